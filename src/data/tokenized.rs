//! A source as sequences of token ids, memory-mapped.
//!
//! The first time a source is read, tokenized on all cores and written to a cache file; after that the file is mapped.
//! Its name is a hash of the content, the tokenizer and every setting, so there is nothing to invalidate. A damaged
//! file is noticed and replaced. Where no cache can be written the set lives in a temporary file or in memory.

use std::{
    io,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use xxhash_rust::xxh3::Xxh3;

use super::{
    BertTokenizer, EncodeSettings, LabelMap, Labels, PackedBatch, Source,
    cache::{Destination, Facts, TokenFile, TokenWriter, VERSION},
    chunk::{Chunk, ChunkEncoder},
    labels::LabelLearner,
    source::hash_debug,
};
use crate::{Error, Result, Stop};

/// How far tokenizing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenizingProgress {
    /// Of `total`; in bytes, rows or files, as the source counts.
    pub done: u64,
    /// 0 if unknown.
    pub total: u64,
    /// Examples tokenized so far.
    pub examples: u64,
    /// Their tokens, special ones included.
    pub tokens: u64,
}

/// How a source becomes a [`TokenizedSet`].
pub struct TokenizeRequest<'a> {
    /// Turns texts into ids.
    pub tokenizer: &'a BertTokenizer,
    /// Checked beforehand by [`EncodeSettings::check`].
    pub settings: EncodeSettings,
    /// Where the labels come from.
    pub labels: Labels<'a>,
    /// Directory for cache files, made if need be; `None`: keep no file.
    pub cache: Option<&'a Path>,
    /// Called on the calling thread after every few thousand rows, and not at all if the cache has the set. Its error
    /// ends the work.
    pub progress: &'a mut dyn FnMut(TokenizingProgress) -> Result<()>,
    /// Looked at while files are read for the cache, which has no progress to tell.
    pub stop: Stop<'a>,
}

/// Sequences with their labels.
pub struct TokenizedSet {
    file: TokenFile,
    labels: Option<LabelMap>,
    from_cache: bool,
    notices: Vec<String>,
}

impl TokenizedSet {
    /// Takes the set from the cache, or tokenizes `source`.
    ///
    /// # Errors
    /// [`Error::Table`] when a row cannot be used; [`Error::Io`] when a file cannot be read or the cache not be
    /// written; that of `progress`.
    pub fn open(source: &Source, request: TokenizeRequest) -> Result<Self> {
        if !matches!(request.labels, Labels::Ignore) && !source.is_labelled() {
            return Err(Error::setting("label", "no label column is given; name the one that holds the labels"));
        }
        let mut notices = Vec::new();
        let mut destinations = vec![Destination::Unnamed, Destination::Memory];
        let mut key = 0;
        if let Some(directory) = request.cache {
            key = cache_key(source, &request)?;
            let path = directory.join(format!("{key:032x}.tokens"));
            let found = TokenFile::open(&path, key, request.stop);
            request.stop.check()?;
            match found {
                Ok(Some(file)) => return Self::new(file, source, true, notices),
                Ok(None) => {}
                Err(reason) => {
                    notices.push(format!("{}: the cache is tokenized anew, because {reason}", path.display()));
                }
            }
            destinations.insert(0, Destination::Named(path));
        }
        let mut failure = None;
        for destination in &destinations {
            match build(source, request.tokenizer, request.settings, request.labels, key, destination, request.progress)
            {
                Ok(file) => return Self::new(file, source, false, notices),
                Err(Failure::Input(error)) => return Err(error),
                Err(Failure::Output(fault)) => {
                    if let Destination::Named(path) = destination {
                        notices.push(format!("{}: cannot be cached ({fault}); going on without", path.display()));
                    }
                    failure = Some(fault);
                }
            }
        }
        let fault = failure.unwrap_or_else(|| io::ErrorKind::Other.into());
        Err(Error::io("keep the tokens of", source.path())(fault))
    }

    fn new(file: TokenFile, source: &Source, from_cache: bool, mut notices: Vec<String>) -> Result<Self> {
        let Facts { names, remarks } = file.facts();
        let labels = names.clone().map(LabelMap::from_names).transpose()?;
        notices.extend(remarks.describe(&source.name(), &source.files()));
        Ok(Self { file, labels, from_cache, notices })
    }

    /// N, the number of examples.
    pub fn len(&self) -> usize {
        self.file.examples()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of all examples together.
    pub fn tokens(&self) -> u64 {
        self.file.ids().len() as u64
    }

    /// Tokens of example `i`, special ones included.
    pub fn length(&self, i: usize) -> u32 {
        let offsets = self.file.offsets();
        (offsets[i + 1] - offsets[i]) as u32
    }

    /// Tokens of every example.
    pub fn lengths(&self) -> Vec<u32> {
        self.file.offsets().windows(2).map(|ends| (ends[1] - ends[0]) as u32).collect()
    }

    /// The ids of example `i`.
    pub fn ids(&self, i: usize) -> &[u32] {
        let offsets = self.file.offsets();
        &self.file.ids()[offsets[i] as usize..offsets[i + 1] as usize]
    }

    /// Where in example `i` the second text starts, and with it token type 1; its length if there is none.
    pub fn second_start(&self, i: usize) -> u32 {
        self.file.seconds()[i]
    }

    /// The number of example `i`'s label.
    pub fn label(&self, i: usize) -> u32 {
        self.file.labels()[i]
    }

    /// The numbers of all labels.
    pub fn label_numbers(&self) -> &[u32] {
        self.file.labels()
    }

    /// The line of the source that example `i` came from.
    pub fn line(&self, i: usize) -> u64 {
        self.file.lines()[i]
    }

    /// The labels' names; `None` if they were ignored.
    pub fn labels(&self) -> Option<&LabelMap> {
        self.labels.as_ref()
    }

    /// Examples of each label.
    pub fn label_counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.labels.as_ref().map_or(1, LabelMap::len)];
        self.label_numbers().iter().for_each(|label| counts[*label as usize] += 1);
        counts
    }

    /// Appends example `i` to a batch as sequence number `slot` of its optimizer step.
    pub fn push_into(&self, i: usize, batch: &mut PackedBatch, slot: u32) {
        batch.push_texts(self.ids(i), self.second_start(i), self.label(i), slot);
    }

    /// Whether nothing had to be tokenized.
    pub fn from_cache(&self) -> bool {
        self.from_cache
    }

    /// What the user should know about the cache and the rows.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }
}

fn cache_key(source: &Source, request: &TokenizeRequest) -> Result<u128> {
    let mut hash = Xxh3::new();
    hash.update(&VERSION.to_le_bytes());
    hash.update(&source.digest(request.stop)?.to_le_bytes());
    hash.update(&request.tokenizer.digest().to_le_bytes());
    let labels = match request.labels {
        Labels::Learn => ("learned", &[][..]),
        Labels::Known(map) => ("known", map.names()),
        Labels::Ignore => ("ignored", &[][..]),
    };
    hash_debug(&mut hash, &(request.settings, labels));
    Ok(hash.digest128())
}

/// Why a set could not be built.
enum Failure {
    /// The source is at fault, and will be again.
    Input(Error),
    /// The file could not be written; another place may do.
    Output(io::Error),
}

/// What reading found besides the texts.
struct Found {
    labels: Vec<u32>,
    lines: Vec<u64>,
    facts: Facts,
}

fn build(
    source: &Source,
    tokenizer: &BertTokenizer,
    settings: EncodeSettings,
    labels: Labels,
    key: u128,
    destination: &Destination,
    progress: &mut dyn FnMut(TokenizingProgress) -> Result<()>,
) -> Result<TokenFile, Failure> {
    let mut writer = TokenWriter::new(destination).map_err(Failure::Output)?;
    let total = source.size();
    let encoder = ChunkEncoder::new(tokenizer, settings);
    let found = thread::scope(|scope| {
        // One chunk waits while another is tokenized and a third is filled.
        let (sender, receiver) = sync_channel(1);
        let reader = scope.spawn(move || read(source, labels, &sender));
        let written = write(&receiver, &encoder, &mut writer, |done, examples, tokens| {
            progress(TokenizingProgress { done, total, examples, tokens })
        });
        // A reader that waits to hand over a chunk learns from this that nobody wants it.
        drop(receiver);
        let found = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.and_then(|()| found.map_err(Failure::Input))
    })?;
    writer.finish(key, &found.labels, &found.lines, &found.facts).map_err(Failure::Output)
}

fn read(source: &Source, labels: Labels, sender: &SyncSender<Chunk>) -> Result<Found> {
    let mut learner = LabelLearner::default();
    let mut found = Found { labels: vec![], lines: vec![], facts: Facts::default() };
    let mut chunk = Chunk::default();
    let mut rows = source.rows()?;
    while let Some(row) = rows.next_row()? {
        found.labels.push(match labels {
            Labels::Learn => learner.observe(&row)?,
            Labels::Known(map) => map.number_for(&row)?,
            Labels::Ignore => 0,
        });
        found.lines.push(row.line);
        if found.lines.len() > u32::MAX as usize {
            return Err(Error::table_line(row.path, row.line, "more than 4,294,967,295 rows; split the file"));
        }
        chunk.push(&row);
        if chunk.is_full() && sender.send(std::mem::take(&mut chunk)).is_err() {
            // The other side has failed and says why; this only ends the reading.
            return Err(Error::table(source.path(), "reading was stopped"));
        }
    }
    if !chunk.is_empty() {
        // As above; there is nothing left to stop.
        let _ = sender.send(chunk);
    }
    found.facts.remarks = rows.remarks();
    match labels {
        Labels::Learn => {
            let (map, finals) = learner.finish(source.path(), &source.label_names())?;
            found.labels.iter_mut().for_each(|label| *label = finals[*label as usize]);
            found.facts.names = Some(map.names().to_vec());
            found.facts.remarks.look_for(&source.label_names());
        }
        Labels::Known(map) => found.facts.names = Some(map.names().to_vec()),
        Labels::Ignore => {}
    }
    Ok(found)
}

fn write(
    chunks: &Receiver<Chunk>,
    encoder: &ChunkEncoder,
    writer: &mut TokenWriter,
    mut progress: impl FnMut(u64, u64, u64) -> Result<()>,
) -> Result<(), Failure> {
    for chunk in chunks {
        for piece in encoder.encode(&chunk).map_err(Failure::Input)? {
            writer.push(&piece.ids, &piece.rows).map_err(Failure::Output)?;
        }
        progress(chunk.position, writer.examples(), writer.tokens()).map_err(Failure::Input)?;
    }
    Ok(())
}
