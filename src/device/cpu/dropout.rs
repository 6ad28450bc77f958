//! Dropout multipliers of a row: 0 or the scale, from Philox blocks made `BLOCKS` at a time.

use super::super::Dropout;

/// Blocks made side by side: their counters differ only in the first word, so the rounds vectorise.
const BLOCKS: usize = 8;

/// `factors[j]` = what element `first + j` of sequence `slot` is multiplied by. `first` is a multiple of 8.
///
/// Call from a multiversioned function.
#[inline(always)]
pub(crate) fn fill_factors(factors: &mut [f32], dropout: Dropout, slot: u32, first: usize) {
    debug_assert!(first.is_multiple_of(Dropout::GROUP));
    let mut block = (first / Dropout::GROUP) as u32;
    for chunk in factors.chunks_mut(BLOCKS * Dropout::GROUP) {
        let words = dropout.philox.blocks::<BLOCKS>(dropout.counter(block, slot));
        let mut made = [0.0f32; BLOCKS * Dropout::GROUP];
        for lane in 0..BLOCKS {
            for w in 0..4 {
                let word = words[w][lane];
                made[lane * Dropout::GROUP + 2 * w] = factor(dropout, word & 0xffff);
                made[lane * Dropout::GROUP + 2 * w + 1] = factor(dropout, word >> 16);
            }
        }
        chunk.copy_from_slice(&made[..chunk.len()]);
        block = block.wrapping_add(BLOCKS as u32);
    }
}

/// Elements whose factors are made at once.
pub(crate) const TILE: usize = 256;

/// `row *= factors`, the row's first element being number `first` of the mask.
#[inline(always)]
pub(crate) fn drop_row(row: &mut [f32], dropout: Dropout, slot: u32, first: usize) {
    if !dropout.is_active() {
        return;
    }
    let mut factors = [0.0f32; TILE];
    for (tile, chunk) in row.chunks_mut(TILE).enumerate() {
        fill_factors(&mut factors[..chunk.len()], dropout, slot, first + tile * TILE);
        for (v, &factor) in chunk.iter_mut().zip(&factors) {
            *v *= factor;
        }
    }
}

#[inline(always)]
fn factor(dropout: Dropout, bits: u32) -> f32 {
    if bits < dropout.threshold { 0.0 } else { dropout.scale }
}
