//! Classifying texts as they come, in bounded memory and in their order.
//!
//! A thread reads one chunk of texts while another chunk is tokenized and classified, so three chunks at most are in
//! memory. Within a chunk texts of like length share a batch; answers come out in the order of the texts. The chunks
//! are cut by count alone and never by who was faster, so the same input gives the same bits.

use std::{sync::mpsc::sync_channel, thread};

use super::{Classifier, TextInput};
use crate::{
    Error, Result,
    data::{BertTokenizer, EncodeSettings, EvaluationPlan, PackedBatch, chunk},
    device::Device,
};

/// How a stream is cut.
#[derive(Clone, Copy, Debug)]
pub struct StreamSettings {
    /// Checked beforehand by [`EncodeSettings::check`].
    pub encode: EncodeSettings,
    /// Texts that are read, classified and answered together; long ones may make it fewer.
    pub chunk_rows: usize,
    /// Sequences of a batch.
    pub max_sequences: usize,
    /// Tokens of a batch, unless it is a single longer sequence.
    pub max_tokens: usize,
}

/// One text and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Streamed<'a> {
    /// The text.
    pub text: &'a str,
    /// The second text.
    pub pair: Option<&'a str>,
    /// Values of the kept columns.
    pub kept: &'a [&'a str],
    /// What the model read.
    pub input_ids: &'a [u32],
    /// By class.
    pub logits: &'a [f32], // [N]
}

/// What has happened, as the caller of [`classify_stream`] hears it.
pub enum StreamEvent<'a> {
    /// A text is answered.
    Row(Streamed<'a>),
    /// A chunk is answered; up to here [`crate::data::Row::position`] of the input lies behind.
    Chunk {
        /// What of the input is answered.
        position: u64,
    },
    /// Something the user should know about the texts; all are answered by now.
    Remark(String),
}

/// Classifies every text of `input`; returns how many there were.
///
/// When it fails the reading thread is left behind, as a blocked read cannot be called back.
///
/// # Errors
/// Of the input, the device, or `hear`; [`Error::Table`] when there is no text at all.
pub fn classify_stream<D: Device>(
    classifier: &mut Classifier<D>,
    tokenizer: &BertTokenizer,
    input: TextInput,
    settings: StreamSettings,
    hear: &mut dyn FnMut(StreamEvent<'_>) -> Result<()>,
) -> Result<u64> {
    let path = input.path().to_owned();
    let (sender, chunks) = sync_channel(1);
    let reader = thread::spawn(move || {
        let mut filling = chunk::Chunk::default();
        let remarks = input.for_each(&mut |row| {
            filling.push(&row);
            if filling.is_full() || filling.len() >= settings.chunk_rows {
                // A receiver that is gone has failed and says why; this only ends the reading.
                let stopped = |_| Error::table(row.path, "reading was stopped");
                sender.send(std::mem::take(&mut filling)).map_err(stopped)?;
            }
            Ok(())
        })?;
        if !filling.is_empty() {
            // As above; there is nothing left to stop.
            let _ = sender.send(filling);
        }
        Ok(remarks)
    });
    let encoder = chunk::ChunkEncoder::new(tokenizer, settings.encode);
    let mut worker = Worker { classifier, settings, batch: PackedBatch::default(), rows: 0 };
    for texts in &chunks {
        worker.answer(&texts, &encoder.encode(&texts)?, hear)?;
        hear(StreamEvent::Chunk { position: texts.position })?;
    }
    let remarks: Vec<String> = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    remarks.into_iter().try_for_each(|remark| hear(StreamEvent::Remark(remark)))?;
    match worker.rows {
        0 => Err(Error::table(path, "there is no text to classify; is the input empty?")),
        rows => Ok(rows),
    }
}

struct Worker<'c, D: Device> {
    classifier: &'c mut Classifier<D>,
    settings: StreamSettings,
    batch: PackedBatch,
    rows: u64,
}

impl<D: Device> Worker<'_, D> {
    fn answer(
        &mut self,
        texts: &chunk::Chunk,
        pieces: &[chunk::Piece],
        hear: &mut dyn FnMut(StreamEvent<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut sequences = Vec::with_capacity(texts.len());
        for piece in pieces {
            let mut start = 0;
            for &(length, second) in &piece.rows {
                sequences.push((&piece.ids[start..start + length as usize], second));
                start += length as usize;
            }
        }
        let lengths: Vec<u32> = sequences.iter().map(|(ids, _)| ids.len() as u32).collect();
        let plan = EvaluationPlan::new(&lengths, self.settings.max_sequences, self.settings.max_tokens);
        let classes = self.classifier.classes();
        let mut logits = vec![0.0; sequences.len() * classes];
        for members in plan.batches() {
            self.batch.clear();
            for (slot, &member) in (0..).zip(members) {
                let (ids, second) = sequences[member as usize];
                self.batch.push_texts(ids, second, 0, slot);
            }
            let answers = self.classifier.logits(&self.batch)?;
            for (&member, row) in members.iter().zip(answers.chunks_exact(classes)) {
                logits[member as usize * classes..][..classes].copy_from_slice(row);
            }
        }
        for (i, ((input_ids, _), logits)) in sequences.iter().zip(logits.chunks_exact(classes)).enumerate() {
            let (text, pair) = texts.row(i);
            let kept: Vec<&str> = texts.kept(i).collect();
            hear(StreamEvent::Row(Streamed { text, pair, kept: &kept, input_ids, logits }))?;
        }
        self.rows += sequences.len() as u64;
        Ok(())
    }
}
