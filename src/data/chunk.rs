//! A bounded number of rows as text, and their sequences, made on all cores.
//!
//! Reading fills one chunk while another is tokenized, so at most a few chunks of text are in memory whatever the
//! file's size. Sequences come back in the order of the rows whatever the number of threads.

use std::sync::Mutex;

use rayon::prelude::*;

use super::{BertTokenizer, EncodeSettings, Row, SequenceEncoder};
use crate::Result;

/// A chunk is full at this many rows or bytes, whichever comes first; the last row may exceed it.
const MOST_ROWS: usize = 8192;
const MOST_BYTES: usize = 4 << 20;

#[derive(Default)]
pub(crate) struct Chunk {
    text: String,
    rows: Vec<RowPlace>,
    /// Where the kept cells end, for each row as many as there are such columns.
    kept_ends: Vec<usize>,
    /// [`Row::position`] of its last row.
    pub position: u64,
}

/// A row's texts in the chunk: the second starts where the first ends.
struct RowPlace {
    start: usize,
    first_end: usize,
    end: usize,
    paired: bool,
}

impl Chunk {
    pub(crate) fn push(&mut self, row: &Row) {
        let start = self.text.len();
        self.text.push_str(row.text);
        let first_end = self.text.len();
        self.text.push_str(row.pair.unwrap_or_default());
        self.rows.push(RowPlace { start, first_end, end: self.text.len(), paired: row.pair.is_some() });
        for cell in row.kept.iter() {
            self.text.push_str(cell);
            self.kept_ends.push(self.text.len());
        }
        self.position = row.position;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The texts of row `i`.
    pub(crate) fn row(&self, i: usize) -> (&str, Option<&str>) {
        let RowPlace { start, first_end, end, paired } = self.rows[i];
        (&self.text[start..first_end], paired.then(|| &self.text[first_end..end]))
    }

    /// The kept cells of row `i`.
    pub(crate) fn kept(&self, i: usize) -> impl Iterator<Item = &str> {
        let each = self.kept_ends.len() / self.rows.len();
        let mut start = self.rows[i].end;
        self.kept_ends[i * each..][..each].iter().map(move |&end| {
            let cell = &self.text[start..end];
            start = end;
            cell
        })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= MOST_ROWS || self.text.len() >= MOST_BYTES
    }
}

/// Some sequences of a chunk: their ids, and for each its length and where its second text starts.
#[derive(Default)]
pub(crate) struct Piece {
    pub ids: Vec<u32>,
    pub rows: Vec<(u32, u32)>,
}

/// Tokenizes chunks, keeping one encoder for each thread with the words it has met.
pub(crate) struct ChunkEncoder<'t> {
    tokenizer: &'t BertTokenizer,
    settings: EncodeSettings,
    idle: Mutex<Vec<SequenceEncoder<'t>>>,
}

impl<'t> ChunkEncoder<'t> {
    pub(crate) fn new(tokenizer: &'t BertTokenizer, settings: EncodeSettings) -> Self {
        Self { tokenizer, settings, idle: Mutex::default() }
    }

    pub(crate) fn encode(&self, chunk: &Chunk) -> Result<Vec<Piece>> {
        // Several pieces for each thread, so that one with long texts does not leave the others waiting.
        const PIECES_PER_THREAD: usize = 8;
        let size = chunk.rows.len().div_ceil(rayon::current_num_threads() * PIECES_PER_THREAD).max(1);
        chunk.rows.par_chunks(size).map(|rows| self.encode_piece(&chunk.text, rows)).collect()
    }

    fn encode_piece(&self, text: &str, rows: &[RowPlace]) -> Result<Piece> {
        let idle = || self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let reused = idle().pop();
        let mut encoder = reused.unwrap_or_else(|| SequenceEncoder::new(self.tokenizer, self.settings));
        let mut piece = Piece::default();
        for RowPlace { start, first_end, end, paired } in rows {
            let before = piece.ids.len();
            let pair = paired.then(|| &text[*first_end..*end]);
            let second = encoder.encode(&text[*start..*first_end], pair, &mut piece.ids)?;
            piece.rows.push(((piece.ids.len() - before) as u32, second));
        }
        idle().push(encoder);
        Ok(piece)
    }
}
