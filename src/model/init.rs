//! New weights, as `transformers` makes them: matrices normal(0, initializer_range), LayerNorm scale 1 and shift 0,
//! biases 0, and the word embedding's padding row 0.
//!
//! Every parameter draws from a stream of its own, numbered by its place in the layout: the values depend on the seed
//! and the layout only, neither on threads nor on which other parameters are drawn.

use rayon::prelude::*;

use super::{Layout, Segment};
use crate::random::Philox;

/// "INIT": the purpose under which [`Philox::stream`] serves initial weights; the index is the parameter's place.
const STREAM: u32 = 0x494E_4954;

/// The token whose word embedding starts at 0.
const PADDING_TOKEN: usize = 0;

/// Overwrites all of `arena` (`layout.len` elements, 0 between parameters).
pub(super) fn fill(layout: &Layout, initializer_range: f32, seed: u64, arena: &mut [f32]) {
    arena.fill(0.0);
    let jobs: Vec<_> = parts_mut(layout, arena).into_iter().zip(&layout.segments).enumerate().collect();
    jobs.into_par_iter().for_each(|(place, (part, segment))| {
        fill_segment(place, segment, initializer_range, seed, part);
        if segment.view == layout.embeddings.word {
            let row = segment.shape[1];
            part[PADDING_TOKEN * row..(PADDING_TOKEN + 1) * row].fill(0.0);
        }
    });
}

/// Overwrites one parameter, the one at `place` in the layout, with what [`fill`] would give it; zeros between its
/// elements stay.
pub(super) fn fill_segment(place: usize, segment: &Segment, initializer_range: f32, seed: u64, part: &mut [f32]) {
    if segment.name.ends_with(".bias") {
        part.fill(0.0);
    } else if segment.shape.len() == 1 {
        part.fill(1.0); // the scale of a LayerNorm
    } else {
        let mut stream = Philox::new(seed).stream(STREAM, place as u32);
        let range = f64::from(initializer_range);
        for run in segment.runs_mut(part) {
            run.fill_with(|| (range * stream.normal()) as f32);
        }
    }
}

/// The arena cut into its parameters, in the layout's order.
pub(super) fn parts_mut<'a>(layout: &Layout, arena: &'a mut [f32]) -> Vec<&'a mut [f32]> {
    let mut parts = Vec::with_capacity(layout.segments.len());
    let (mut rest, mut position) = (arena, 0);
    for segment in &layout.segments {
        let (_, from_start) = rest.split_at_mut(segment.view.start - position);
        let (part, behind) = from_start.split_at_mut(segment.view.len);
        parts.push(part);
        rest = behind;
        position = segment.view.start + segment.view.len;
    }
    parts
}
