#!/usr/bin/env python3
"""Records which ids transformers gives to odd texts, for directories whose files say it in many ways.

Needs: pip install "transformers>=5" (5.24 made the files that are here)
Usage: make_tokenizers.py [--older PYTHON]

Writes tokenizers/vocab.txt, tokenizers/texts.json and tokenizers/cases.json beside this script. A case is a directory: its
files, where "@vocab" stands for the vocabulary as lines or as {piece: id}. Recorded are FNV-1a hashes (32 bits, over ids as
little-endian u32) of every text, of pairs of neighbours with their token types, and of texts cut by truncation=True. --older
names a Python with transformers 4.46, whose number of texts with other ids is noted with each case.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizers")
TEXTS, PAIRS, CUT = 1500, 150, 150
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
OTHER_SPECIALS = ["<pad>", "<unk>", "<s>", "</s>", "<mask>", "[unused0]", "[unused1]"]
WORDS = """the a is good bad film hello world new york un ##aff ##able ##ing ##ed ##s ##ly play running cafe naive uber strasse
resume hello ##world co ##vid ##xx covid user user1 john wine-making e-mail http www com é à ü ß ø ﬁ ﬀ İ ı σ ς Σ ά
Hello World Film CAFÉ café ##é naïve Straße Über 北 京 天 气 的 ##京 今日 日本 東京 한국 한 국어 안녕 ひらがな カタカナ ##カ
привет мир ёлка السلام عليكم שלום עולם नमस्ते ไทย 😀 👍 👩 🏽 ❤ ️ 1 2 3 ##1 ##2 10 2024 ٣ ½ ① Ⅳ ™ € £ $ % & * + - . , ! ? ; : ( ) [ ]
{ } < > / | ~ ` ^ _ = @ # " ' ’ “ ” … — – ¿ ¡ « » 。 、 「 」 ！ ？""".split()
PIECES = """good|bad|Film|FILM|Hello|hello|HELLO|world|unaffable|running|Played|cafe|café|CAFÉ|cafe\u0301|CAFE\u0301|naïve|nai\u0308ve
Straße|STRASSE|İstanbul|ISTANBUL|ıI|ΑΣ|ΣΑΣ|σς|ά|α\u0301|ﬁlm|ﬀ|ǅ|Ǆ|ß|ẞ|Å|A\u030a|\u212b|ñ|n\u0303|\u0301|\u0301\u0301|a\u0301\u0323
中|中国|北京天气|東京|日本語|𠀀|𪜶|豈|ひらがな|カタカナ|ｶﾀｶﾅ|ﾊﾟ|は\u309a|한국어|안녕|\u1112\u1161\u11ab|\u1100\u1161|ไทย|ภาษาไทย|नमस्ते|क\u094d\u0937
привет|ёлка|е\u0308|Ёлка|السلام|عليكم|لا|\u064b\u064c|שלום|עוֹלָם|\u05d0\u05b7|\u202eabc\u202c|\u200fא|\u200e|\u2066x\u2069
😀|👍🏽|👩\u200d👩\u200d👧|❤\ufe0f|❤|🇩🇪|🇩|1\ufe0f\u20e3|\u200d|\u200c|\u200b|\ufeff|\ufffd|\u00ad|co\u00adop|a\u200bb|x\u2060y|\ue000|\U000e0001|\U0010ffff
\u0000|\u0001|\u0007|\u0008|\u001b[0m|\u007f|\u0085|\u009f|\t|\n|\r\n|\u000b|\u000c|\u00a0|\u1680|\u2000|\u2003|\u2028|\u2029|\u202f|\u205f|\u3000| |  
[CLS]|[SEP]|[MASK]|[PAD]|[UNK]|[sep]|[ SEP ]|[unused0]|[unused1]|<s>|</s>|<pad>|<mask>|<unk>|<S>|<user>|<USER>|<User>|<user>s|covidxx|Covidxx|COVIDXX|xcovidxxy
New York|new york|new  york|NewYork|<lead>|<trail>|<word>|a<word>b|<word>|É1|é1|E\u03011|中文|中文字|##ing|#|##|_|__init__|a_b|a-b|don't|it’s|“q”|…|—|e-mail@x.com|http://www.x.com/a?b=c
１２３|ＡＢＣ|½|①|Ⅳ|™|€5|$10|50%|1,000.5|3.14|٣٤|१२|x²|H₂O|ᴬ|𝔸𝔹|𝟙|ℌ|Ω|K|`code`|^^|~~|©|®|°C|¿qué?|¡olé!|«a»|„b“|。|、|！|！？|「中」|・|ー|々""".replace("\n", "|").split("|")
PIECES[-1] = PIECES[-1].rstrip()


def vocabulary():
    chars = sorted({c for piece in PIECES for c in piece.lower() if c.isalnum() and ord(c) < 0x2fff} | set("abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789"))
    pieces = SPECIALS + OTHER_SPECIALS + WORDS + chars + ["##" + c for c in chars]
    return list(dict.fromkeys(pieces))


def texts():
    rng = random.Random(20240229)
    made = ["", " ", "\u0301", "x" * 101, "é" * 60, "good " * 200, "中" * 120, "a\u0301" * 70, "\n\t ", "[CLS] good [SEP]"]
    while len(made) < TEXTS:
        count = rng.choice([1, 2, 3, 4, 6, 9, 14])
        glue = rng.choice(["", " ", " ", " ", "  ", "\u00a0"])
        text = glue.join(rng.choice(PIECES) for _ in range(count))
        if rng.random() < 0.04:
            text += "".join(chr(rng.choice([rng.randrange(0x20, 0x7f), rng.randrange(0xa0, 0x2000), rng.randrange(0x2000, 0xd800), rng.randrange(0xe000, 0x1f700)])) for _ in range(12))
        if rng.random() < 0.02:
            text += rng.choice("abcdefgh") * rng.randrange(90, 130)
        made.append(text)
    return made


def bert_json(vocab="@vocab", lowercase=True, strip=None, chinese=True, clean=True, added=SPECIALS, extra=(), **other):
    def token(id, content, special=True, **flags):
        return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": not special, "special": special, **flags}

    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [token(i, t) for i, t in enumerate(added)] + [token(*t[:3], **(t[3] if len(t) > 3 else {})) for t in extra],
        "normalizer": {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": strip, "lowercase": lowercase},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab},
        **other,
    }


def token(content, special=False, **flags):
    return {"content": content, "lstrip": False, "normalized": not special, "rstrip": False, "single_word": False, "special": special, **flags}


def cases(vocab):
    n = len(vocab)
    base = {str(i): token(t, True) for i, t in enumerate(SPECIALS)}
    other = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
    bert = {"tokenizer_class": "BertTokenizer"}
    lines = "".join(piece + "\n" for piece in vocab)
    odd = "".join(piece + ("  \n" if i % 97 == 5 else "\r\n" if i % 89 == 6 else "\n") for i, piece in enumerate(vocab[:300]))
    odd += "\n\n" + "".join(piece + "\n" for piece in vocab[300:]) + "\n\n"
    turned = {piece: i for i, piece in enumerate(SPECIALS + OTHER_SPECIALS + vocab[:11:-1])}
    other_class = bert_json(lowercase=False)
    return {
        "vocab-only": {"vocab.txt": "@vocab"},
        "vocab-cased": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "do_lower_case": False}},
        "vocab-lower-accents-kept": {"vocab.txt": "@vocab", "tokenizer_config.json": {"strip_accents": False}},
        "vocab-cased-accents-stripped": {"vocab.txt": "@vocab", "tokenizer_config.json": {"do_lower_case": False, "strip_accents": True}},
        "vocab-chinese-joined": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "tokenize_chinese_chars": False}},
        "vocab-all-three": {"vocab.txt": "@vocab", "tokenizer_config.json": {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False}},
        "vocab-ignored-settings": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "do_basic_tokenize": False, "never_split": ["hello"], "clean_up_tokenization_spaces": True}},
        "json-agrees": {"tokenizer.json": bert_json(), "tokenizer_config.json": {**bert, "do_lower_case": True}},
        "json-lower-config-cased": {"tokenizer.json": bert_json(), "tokenizer_config.json": {**bert, "do_lower_case": False}},
        "json-cased-config-lower": {"tokenizer.json": bert_json(lowercase=False), "tokenizer_config.json": {**bert, "do_lower_case": True}},
        "json-cased-no-config": {"tokenizer.json": bert_json(lowercase=False)},
        "json-strips-config-silent": {"tokenizer.json": bert_json(lowercase=False, strip=True), "tokenizer_config.json": {"do_lower_case": False}},
        "json-strips-config-null": {"tokenizer.json": bert_json(strip=False), "tokenizer_config.json": {"strip_accents": None}},
        "json-keeps-controls": {"tokenizer.json": bert_json(clean=False), "tokenizer_config.json": bert},
        "json-chinese-joined": {"tokenizer.json": bert_json(chinese=False), "tokenizer_config.json": bert},
        "json-other-normalizer": {"tokenizer.json": bert_json(normalizer={"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}), "tokenizer_config.json": bert},
        "json-other-pre-tokenizer": {"tokenizer.json": bert_json(pre_tokenizer={"type": "Whitespace"}), "tokenizer_config.json": bert},
        "json-no-post-processor": {"tokenizer.json": bert_json(post_processor=None), "tokenizer_config.json": bert},
        "json-short-words": {"tokenizer.json": bert_json(model={"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 5, "vocab": "@vocab"}), "tokenizer_config.json": bert},
        "json-other-unk": {"tokenizer.json": bert_json(), "tokenizer_config.json": {**bert, "unk_token": "<unk>"}},
        "json-and-other-vocab": {"tokenizer.json": bert_json(vocab=turned), "vocab.txt": "@vocab", "tokenizer_config.json": bert},
        "as-saved-cased": {"tokenizer.json": other_class, "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}},
        "as-saved-backend": {"tokenizer.json": bert_json(strip=False), "tokenizer_config.json": {"tokenizer_class": "TokenizersBackend", "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}},
        "as-saved-short-words": {"tokenizer.json": bert_json(model={"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 5, "vocab": "@vocab"}), "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": {**base, str(n): token("<user>"), str(n + 1): token("covidxx", True)}}},
        "as-saved-other-normalizer": {"tokenizer.json": bert_json(normalizer={"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}]}), "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "[CLS]", "sep_token": "[SEP]", "additional_special_tokens": ["<word>"]}},
        "added-json": {"vocab.txt": "@vocab", "added_tokens.json": {"<user>": n, "covidxx": n + 1}},
        "added-json-special": {"vocab.txt": "@vocab", "added_tokens.json": {"<user>": n, "covidxx": n + 1}, "special_tokens_map.json": {"additional_special_tokens": ["<user>"]}},
        "added-json-reversed": {"vocab.txt": "@vocab", "tokenizer_config.json": bert, "added_tokens.json": {"covidxx": n + 1, "New York": n}},
        "decoder": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "added_tokens_decoder": {**base, str(n): token("<user>"), str(n + 1): token("covidxx"), str(n + 2): token("[unused0]", True)}}},
        "decoder-flags": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "added_tokens_decoder": {**base, str(n): token("<lead>", lstrip=True), str(n + 1): token("<trail>", rstrip=True), str(n + 2): token("<word>", single_word=True), str(n + 3): token("New York", normalized=False)}}},
        "decoder-normalized": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "added_tokens_decoder": {**base, str(n): token("<USER>"), str(n + 1): token("É1"), str(n + 2): token("中文"), str(n + 3): token("COVIDXX", normalized=False)}}},
        "decoder-cased": {"vocab.txt": "@vocab", "tokenizer_config.json": {"do_lower_case": False, "added_tokens_decoder": {**base, str(n): token("<USER>"), str(n + 1): token("É1"), str(n + 2): token("new york", lstrip=True, rstrip=True)}}},
        "decoder-gaps": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "added_tokens_decoder": {str(n + 9): token("covidxx"), str(n + 4): token("<user>"), "100": token("good"), "1": token("[UNK]", True)}}},
        "decoder-over-other-files": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "added_tokens_decoder": {**base, str(n): token("<user>")}}, "added_tokens.json": {"covidxx": n + 1}, "special_tokens_map.json": {"unk_token": "<unk>", "additional_special_tokens": ["<word>"]}},
        "decoder-empty": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "added_tokens_decoder": {}}, "added_tokens.json": {"<user>": n}},
        "json-added-only": {"tokenizer.json": bert_json(extra=[(n, "<user>", False), (n + 1, "<word>", True, {"single_word": True})]), "tokenizer_config.json": bert},
        "json-added-config-without": {"tokenizer.json": bert_json(extra=[(n, "<user>", False)]), "tokenizer_config.json": {**bert, "added_tokens_decoder": base}},
        "special-names": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, **other}},
        "special-names-in-map": {"vocab.txt": "@vocab", "special_tokens_map.json": {k: token(v, True) for k, v in other.items()} | {"cls_token": "<s>"}},
        "special-names-disagree": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "unk_token": "<unk>", "mask_token": "<mask>"}, "special_tokens_map.json": {"mask_token": {"content": "[unused1]", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}}},
        "special-names-decoder": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "cls_token": "<s>", "added_tokens_decoder": {**base, "7": token("<s>")}}, "special_tokens_map.json": {"cls_token": "[CLS]"}},
        "special-names-json": {"tokenizer.json": bert_json(), "tokenizer_config.json": {**bert, "cls_token": "<s>", "sep_token": "</s>"}},
        "special-lists": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "additional_special_tokens": ["[unused0]", "<user>"]}},
        "special-dict": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "extra_special_tokens": {"user_token": "<user>"}, "word_token": "<word>"}},
        "special-null": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "mask_token": None, "pad_token": None}},
        "special-split": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "split_special_tokens": True, "added_tokens_decoder": {**base, str(n): token("<user>")}}},
        "special-bos": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "bos_token": "<s>", "eos_token": "<trail>"}},
        "vocab-empty-lines": {"vocab.txt": odd},
        "vocab-duplicates": {"vocab.txt": lines + "good\n[MASK]\nhello\n"},
        "vocab-duplicates-added": {"vocab.txt": lines + "good\nhello\n", "added_tokens.json": {"covidxx": n + 2}},
        "class-distilbert": {"vocab.txt": "@vocab", "tokenizer_config.json": {"tokenizer_class": "DistilBertTokenizer"}},
        "class-electra": {"tokenizer.json": bert_json(), "tokenizer_config.json": {"tokenizer_class": "ElectraTokenizerFast", "do_lower_case": False}},
        "class-in-config": {"tokenizer.json": bert_json(), "config.json": {"tokenizer_class": "MobileBertTokenizer"}, "tokenizer_config.json": {"strip_accents": False}},
        "inputs-without-types": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "model_input_names": ["input_ids", "attention_mask"]}},
        "cut-left": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "model_max_length": 16, "truncation_side": "left"}},
        "cut-json-side": {"tokenizer.json": bert_json(truncation={"direction": "Left", "max_length": 12, "strategy": "LongestFirst", "stride": 0}, padding={"strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}), "tokenizer_config.json": {**bert, "model_max_length": 20}},
        "cut-json-side-overruled": {"tokenizer.json": bert_json(truncation={"direction": "Left", "max_length": 12, "strategy": "LongestFirst", "stride": 0}), "tokenizer_config.json": {**bert, "model_max_length": 9, "truncation_side": "right"}},
        "cut-old-name": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "max_len": 7}},
        "cut-unlimited": {"vocab.txt": "@vocab", "tokenizer_config.json": {**bert, "model_max_length": 1000000000000000019884624838656}},
    }


def write(directory, files, vocab):
    files = {**files, "config.json": {"model_type": "bert", "vocab_size": len(vocab) + 40, **files.get("config.json", {})}}
    for name, content in files.items():
        if name == "vocab.txt":
            text = "".join(piece + "\n" for piece in vocab) if content == "@vocab" else content
        else:
            content = json.loads(json.dumps(content))
            if isinstance(content.get("model"), dict) and content["model"].get("vocab") == "@vocab":
                content["model"]["vocab"] = {piece: i for i, piece in enumerate(vocab)}
            text = json.dumps(content, ensure_ascii=False)
        with open(os.path.join(directory, name), "w", encoding="utf-8", newline="") as file:
            file.write(text)


def fnv(numbers):
    hash = 0x811c9dc5
    for number in numbers:
        for byte in int(number).to_bytes(4, "little"):
            hash = (hash ^ byte) * 0x01000193 & 0xffffffff
    return f"{hash:08x}"


def record(files, vocab, texts):
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as directory:
        write(directory, files, vocab)
        tokenizer = AutoTokenizer.from_pretrained(directory)
        single = [tokenizer(text)["input_ids"] for text in texts]
        # As lists: alone, an empty second text counts as none.
        pairs = [tokenizer([a], [b]) for a, b in zip(texts[:PAIRS], texts[1:])]
        pairs = [{key: value[0] for key, value in pair.items()} for pair in pairs]
        limited = tokenizer.model_max_length < 1e20
        cut = [tokenizer(text, truncation=True)["input_ids"] for text in texts[:CUT]] if limited else []
    types = [p.get("token_type_ids", [0] * len(p["input_ids"])) for p in pairs]
    return {
        "ids": {str(i): single[i] for i in (9, 20, 77)},
        "single": "".join(map(fnv, single)),
        "pairs": "".join(fnv(p["input_ids"] + t) for p, t in zip(pairs, types)),
        "cut": "".join(map(fnv, cut)),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--older")
    parser.add_argument("--print", action="store_true", help="print the records of this Python as JSON, and write nothing")
    args = parser.parse_args()
    vocab, odd = vocabulary(), texts()
    records = {}
    for name, files in cases(vocab).items():
        try:
            records[name] = record(files, vocab, odd)
        except Exception as error:  # what one release cannot load is noted, not hidden
            records[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
    if args.print:
        print(json.dumps(records))
        return
    import transformers

    older = {}
    if args.older:
        older = json.loads(subprocess.run([args.older, __file__, "--print"], check=True, stdout=subprocess.PIPE, text=True).stdout)
    made = []
    for name, files in cases(vocab).items():
        entry = {"name": name, "files": files, **records[name]}
        if name in older:
            old, new = older[name].get("single", ""), records[name].get("single", "")
            entry["other_in_4_46"] = older[name].get("error") or sum(old[i:i + 8] != new[i:i + 8] for i in range(0, len(new), 8))
        made.append(entry)
    os.makedirs(HERE, exist_ok=True)
    with open(os.path.join(HERE, "vocab.txt"), "w", encoding="utf-8") as file:
        file.write("".join(piece + "\n" for piece in vocab))
    with open(os.path.join(HERE, "texts.json"), "w", encoding="utf-8") as file:
        json.dump(odd, file, indent=0)
        file.write("\n")
    with open(os.path.join(HERE, "cases.json"), "w", encoding="utf-8") as file:
        file.write(f'{{"transformers": "{transformers.__version__}", "rows": {len(vocab) + 40}, "cases": [\n')
        file.write(",\n".join(json.dumps(entry, ensure_ascii=False) for entry in made))
        file.write("\n]}\n")
    for entry in made:
        print(entry["name"], entry.get("error", ""), "| 4.46:", entry.get("other_in_4_46"), file=sys.stderr)


if __name__ == "__main__":
    main()
