//! Tokenize: the examples of a run as token ids, and what their labels are.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::BaseModel;
use crate::{
    Error, Result,
    data::{EncodeSettings, Examples, LabelMap, Labels, Source, Splits, TokenizeRequest, TokenizedSet, Truncation},
    training::{Observation, RunOptions, TokenCache, Watch},
};

/// All examples of a run, before any of them are set aside: they depend on no seed.
#[derive(Clone)]
pub struct RunData {
    /// What is trained on.
    pub train: Examples,
    /// What is evaluated on, if it is there or was split off.
    pub dev: Option<Examples>,
    /// By the names that their scores are shown under.
    pub tests: Vec<(String, Examples)>,
    /// Numbers of the classes.
    pub labels: LabelMap,
    /// How texts became ids.
    pub encode: EncodeSettings,
}

impl RunData {
    /// Reads and tokenizes what the options name, or takes it from the cache.
    ///
    /// # Errors
    /// [`Error::Setting`] for a length that the model does not know, and as [`TokenizedSet::open`].
    pub fn read(options: &RunOptions, base: &BaseModel, watch: &mut Watch<'_>) -> Result<Self> {
        let splits = splits(options)?;
        let config = &base.config;
        let encode = EncodeSettings {
            max_length: options.max_length.unwrap_or_else(|| base.tokenizer.max_length_within(config.max_positions)),
            truncation: options.truncate,
        };
        base.tokenizer.notices().iter().for_each(|notice| watch.note(notice));
        if base.tokenizer.truncation() == Truncation::Tail && encode.truncation == Truncation::Head {
            watch.note("the model's files say that the end of a long text stays; --truncate head keeps the start");
        }
        encode.check(config.max_positions, config.type_vocab_size, splits.train.is_paired())?;
        let cache = token_cache(options);
        let mut read = |name: &str, source: &Source, labels: Labels<'_>| {
            watch.require_going_on()?;
            let stop = watch.stop();
            let request = TokenizeRequest {
                tokenizer: &base.tokenizer,
                settings: encode,
                labels,
                cache: cache.as_deref(),
                progress: &mut |progress| {
                    watch.tell(Observation::Tokenizing { set: name, progress });
                    stop.check()
                },
                stop,
            };
            let started = Instant::now();
            let set = TokenizedSet::open(source, request)?;
            set.notices().iter().for_each(|notice| watch.note(notice));
            watch.tell(Observation::Tokenized { set: name, tokens: &set, elapsed: started.elapsed() });
            Ok::<_, Error>(Arc::new(set))
        };
        let train_labels = splits.labels.as_ref().map_or(Labels::Learn, Labels::Known);
        let train = read("train", &splits.train, train_labels)?;
        let labels = match (&splits.labels, train.labels()) {
            (Some(labels), _) | (None, Some(labels)) => labels.clone(),
            (None, None) => return Err(Error::table(splits.train.path(), "has no labels")),
        };
        let known = Labels::Known(&labels);
        let dev = splits.dev.map(|(name, source)| read(&name, &source, known)).transpose()?.map(Examples::all);
        let test = |(name, source): (String, Source)| {
            let examples = Examples::all(read(&name, &source, known)?);
            Ok((name, examples))
        };
        let tests = splits.tests.into_iter().map(test).collect::<Result<_>>()?;
        Ok(Self { train: Examples::all(train), dev, tests, labels, encode })
    }
}

/// The files of the run, as sources.
fn splits(options: &RunOptions) -> Result<Splits> {
    if let (Some(preset), Some(directory)) = (options.preset, &options.data_dir) {
        let mut splits = preset.open(directory)?;
        splits.set_bad_rows(options.bad_rows);
        return Ok(splits);
    }
    let tables = options.table_options();
    let named = |name: &str, paths: &[PathBuf]| -> Result<Option<(String, Source)>> {
        let source = || tables.tables(paths).map(|tables| Some((name.to_owned(), Source::Tables(tables))));
        if paths.is_empty() { Ok(None) } else { source() }
    };
    Ok(Splits {
        train: Source::Tables(tables.tables(&options.train)?),
        dev: named("dev", &options.dev)?,
        tests: named("test", &options.test)?.into_iter().collect(),
        labels: None,
    })
}

/// Where tokenized data is kept: as asked, or below the user's cache directory.
pub(crate) fn token_cache(options: &RunOptions) -> Option<PathBuf> {
    match &options.token_cache {
        Some(TokenCache::None) => None,
        Some(TokenCache::Directory(path)) => Some(path.clone()),
        None => {
            let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
            let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
            Some(base.join("bertsd-cuda"))
        }
    }
}
