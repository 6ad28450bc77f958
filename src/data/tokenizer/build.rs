//! From what the files say to a tokenizer of the `tokenizers` crate, as transformers makes it.

use serde_json::{Value, json};
use tokenizers::{
    AddedToken, DecoderWrapper, Model, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer, TokenizerBuilder, decoders::wordpiece::WordPiece as WordPieceDecoder, models::wordpiece::WordPiece,
    normalizers::BertNormalizer, pre_tokenizers::bert::BertPreTokenizer, processors::bert::BertProcessing,
};

use super::{
    class::Class,
    plan::{SETTINGS, TOKENIZER, TokenizerPlan, VOCABULARY},
};
use crate::{Error, Result};

/// Settings whose tokens a sequence cannot do without.
const NEEDED: [&str; 3] = ["unk_token", "cls_token", "sep_token"];

/// A tokenizer, and the tokens that begin and end a text.
pub(super) struct Built {
    pub tokenizer: Tokenizer,
    pub cls: u32,
    pub sep: u32,
    /// For the user: where the files disagree, and what holds.
    pub notices: Vec<String>,
}

/// `vocab_size`: rows of the model's embedding.
///
/// # Errors
/// [`Error::Model`] when the files make no tokenizer of BERT's.
pub(super) fn build(plan: &TokenizerPlan, vocab_size: usize) -> Result<Built> {
    match plan.class {
        Class::Bert => bert(plan, vocab_size),
        Class::AsSaved => as_saved(plan, vocab_size),
    }
}

/// The vocabulary of the files, and all else from the settings.
fn bert(plan: &TokenizerPlan, vocab_size: usize) -> Result<Built> {
    let fault = |error: tokenizers::Error| Error::model(&plan.directory, error.to_string());
    let setting = |key: &str| {
        let token = plan.named.iter().find(|(name, _)| *name == key).map(|(_, token)| token.content.clone());
        token.ok_or_else(|| Error::model(plan.directory.join(SETTINGS), format!("'{key}' is null; BERT needs one")))
    };
    let [unk, cls, sep] = [setting("unk_token")?, setting("cls_token")?, setting("sep_token")?];
    let model = word_piece(plan, &unk)?;
    let file = if plan.json.is_some() { TOKENIZER } else { VOCABULARY };
    let lacks = |token: &str, known: bool| match known {
        true => Ok(()),
        false => {
            let message = format!("the vocabulary lacks '{token}'; is this a BERT vocabulary?");
            Err(Error::model(plan.directory.join(file), message))
        }
    };
    let is_added = |token: &str| plan.added.values().any(|added| added.content == token);
    lacks(&unk, model.token_to_id(&unk).is_some())?;
    [&cls, &sep]
        .into_iter()
        .try_for_each(|token| lacks(token, model.token_to_id(token).is_some() || is_added(token)))?;
    let normalizer = BertNormalizer::new(true, plan.chinese, plan.strip_accents, plan.lowercase);
    let notices = disagreement(plan, &normalizer);
    let mut tokenizer: Tokenizer = TokenizerBuilder::new()
        .with_model(ModelWrapper::from(model))
        .with_normalizer(Some(NormalizerWrapper::from(normalizer)))
        .with_pre_tokenizer(Some(PreTokenizerWrapper::BertPreTokenizer(BertPreTokenizer)))
        .with_post_processor(Some(PostProcessorWrapper::Bert(BertProcessing::default())))
        .with_decoder(Some(DecoderWrapper::WordPiece(WordPieceDecoder::default())))
        .build()
        .map_err(fault)?
        .into();
    add_tokens(&mut tokenizer, plan, vocab_size)?;
    let id = |token: &str| tokenizer.token_to_id(token).unwrap_or_default();
    let processing = BertProcessing::new((sep.clone(), id(&sep)), (cls.clone(), id(&cls)));
    let (cls, sep) = (id(&cls), id(&sep));
    if let Some(saved) = plan.json.as_ref().map(|json| &json["post_processor"]).filter(|saved| !saved.is_null()) {
        // It does not count, but one that builds something else than BERT's sequences was made for another model.
        let path = plan.directory.join(TOKENIZER);
        let saved: PostProcessorWrapper = serde_json::from_str(&saved.to_string())
            .map_err(|error| Error::model(&path, format!("'post_processor' cannot be read: {error}")))?;
        tokenizer.with_post_processor(Some(saved));
        ends(plan, &tokenizer)?;
    }
    tokenizer.with_post_processor(Some(PostProcessorWrapper::Bert(processing)));
    tokenizer.set_encode_special_tokens(plan.split_special);
    Ok(Built { tokenizer, cls, sep, notices })
}

/// `tokenizer.json` as it is, with what the settings add.
fn as_saved(plan: &TokenizerPlan, vocab_size: usize) -> Result<Built> {
    let path = plan.directory.join(TOKENIZER);
    let json = plan.json.as_ref().unwrap_or(&Value::Null).to_string();
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(|fault| Error::model(&path, fault.to_string()))?;
    if let ModelWrapper::WordPiece(pieces) = tokenizer.get_model()
        && pieces.token_to_id(&pieces.unk_token).is_none()
    {
        let message = format!("the vocabulary lacks the token for unknown words, '{}'", pieces.unk_token);
        return Err(Error::model(&path, message));
    }
    add_tokens(&mut tokenizer, plan, vocab_size)?;
    tokenizer.set_encode_special_tokens(plan.split_special);
    let (cls, sep) = ends(plan, &tokenizer)?;
    Ok(Built { tokenizer, cls, sep, notices: Vec::new() })
}

/// The model: the files' word pieces, and the limits that BERT's class has, whatever `tokenizer.json` says of them.
fn word_piece(plan: &TokenizerPlan, unk: &str) -> Result<WordPiece> {
    let Some(json) = &plan.json else {
        let fault = |error: tokenizers::Error| Error::model(plan.directory.join(VOCABULARY), error.to_string());
        let vocabulary = WordPiece::read_bytes(plan.vocabulary.as_deref().unwrap_or_default()).map_err(fault)?;
        return WordPiece::builder().vocab(vocabulary).unk_token(unk.to_owned()).build().map_err(fault);
    };
    let fault = |message| Error::model(plan.directory.join(TOKENIZER), message);
    let saved = &json["model"];
    if let Some(kind) = saved["type"].as_str().filter(|kind| *kind != "WordPiece") {
        return Err(fault(format!("its model is {kind}; BERT's tokenizer is WordPiece")));
    }
    let model = json!({
        "type": "WordPiece", "vocab": saved["vocab"], "unk_token": unk, "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    });
    // Through a text: the crate takes only strings that it can borrow.
    serde_json::from_str(&model.to_string()).map_err(|error| fault(format!("its word pieces cannot be read: {error}")))
}

/// Adds what the files add, then the special tokens that are not there yet. New ones get the ids after the vocabulary,
/// in this order, whatever ids the files give them.
fn add_tokens(tokenizer: &mut Tokenizer, plan: &TokenizerPlan, vocab_size: usize) -> Result<()> {
    let is_named = |token: &AddedToken| plan.named.iter().any(|(_, named)| named.content == token.content);
    let mut tokens: Vec<(AddedToken, bool)> = Vec::new();
    for token in plan.added.values() {
        tokens.push((AddedToken { special: token.special || is_named(token), ..token.clone() }, true));
    }
    let already: Vec<String> =
        tokenizer.get_added_tokens_decoder().values().map(|token| token.content.clone()).collect();
    let named = plan.named.iter().map(|(key, token)| (token, NEEDED.contains(key)));
    for (token, needed) in named.chain(plan.extra.iter().map(|token| (token, true))) {
        let known = already.contains(&token.content) || tokens.iter().any(|(other, _)| other.content == token.content);
        if !known {
            tokens.push((token.clone(), needed));
        }
    }
    // A [MASK] that the vocabulary lacks would get an id that the embedding lacks. It is named by default, not by need.
    let words = tokenizer.get_vocab_size(false);
    let last = tokenizer.get_added_tokens_decoder().keys().max().map_or(0, |&last| last as usize + 1);
    let mut next = words.max(last);
    tokens.retain(|(token, needed)| {
        let is_new = tokenizer.token_to_id(&token.content).is_none();
        let keep = !is_new || *needed || next < vocab_size;
        next += usize::from(is_new && keep);
        keep
    });
    let added = tokenizer.add_tokens(tokens.into_iter().map(|(token, _)| token));
    added.map(drop).map_err(|fault| Error::model(&plan.directory, format!("its added tokens: {fault}")))
}

/// The ids before and after a text, by the tokenizer's own post-processor.
///
/// # Errors
/// [`Error::Model`] when it does not build BERT's sequences.
fn ends(plan: &TokenizerPlan, tokenizer: &Tokenizer) -> Result<(u32, u32)> {
    let fault = |error: tokenizers::Error| Error::model(&plan.directory, error.to_string());
    let text = tokenizer.encode_fast("a", false).map_err(fault)?;
    let single = tokenizer.encode_fast("a", true).map_err(fault)?;
    let pair = tokenizer.encode_fast(("a", "a"), true).map_err(fault)?;
    if let [cls, .., sep] = *single.get_ids() {
        let text = text.get_ids();
        let expected = [&[cls][..], text, &[sep]].concat();
        let expected_pair = [&expected[..], text, &[sep]].concat();
        let types: Vec<u32> = (0..expected_pair.len()).map(|i| u32::from(i >= expected.len())).collect();
        if single.get_ids() == expected && pair.get_ids() == expected_pair && pair.get_type_ids() == types {
            return Ok((cls, sep));
        }
    }
    let message =
        "its tokenizer does not build [CLS] A [SEP] B [SEP] with token types 0 and 1; this is no BERT tokenizer";
    Err(Error::model(&plan.directory, message))
}

/// Where `tokenizer.json` would clean texts in another way than the settings say.
fn disagreement(plan: &TokenizerPlan, normalizer: &BertNormalizer) -> Vec<String> {
    let Some(saved) = plan.json.as_ref().map(|json| &json["normalizer"]) else { return Vec::new() };
    let other =
        |what: String| format!("{TOKENIZER} {what}; {SETTINGS} holds, as in transformers: {}", describe(normalizer));
    let saved = match serde_json::from_str(&saved.to_string()) {
        Ok(NormalizerWrapper::BertNormalizer(saved)) => saved,
        _ => return vec![other("has another normalizer than BERT's".to_owned())],
    };
    let key = |n: &BertNormalizer| (n.lowercase, n.strip_accents.unwrap_or(n.lowercase), n.handle_chinese_chars);
    if key(&saved) == key(normalizer) && saved.clean_text {
        Vec::new()
    } else {
        vec![other(format!("has {}", describe(&saved)))]
    }
}

fn describe(normalizer: &BertNormalizer) -> String {
    let accents = normalizer.strip_accents.unwrap_or(normalizer.lowercase);
    let cleaning = if normalizer.clean_text { "" } else { ", control characters kept" };
    format!(
        "lower-casing {}, accents stripped {}, Chinese characters apart {}{cleaning}",
        yes(normalizer.lowercase),
        yes(accents),
        yes(normalizer.handle_chinese_chars)
    )
}

fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}
