//! One pass over the arenas: scale, AdamW, teacher and average; and the gradient's norm.
//!
//! The arenas are cut alike into leaves of `LEAF` elements, and a leaf is done in tiles that stay in the first-level
//! cache while AdamW, teacher and average pass over them: each arena is read and written once. Rows of the word
//! embeddings that no batch has touched have zero moments and no gradient; for them AdamW is the decay alone, which is
//! exact and saves most of their traffic.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::{CpuDevice, CpuGradients, math::sum_by};
use crate::{
    Result,
    device::{Blend, Follower, Mean, OptimizerOps, ParameterRange, Student, Update},
};

/// Elements a task takes.
const LEAF: usize = 1 << 16;
/// Elements that pass through all stages together: a dozen arenas' tiles fit the first-level cache.
const TILE: usize = 1 << 9;

impl OptimizerOps for CpuDevice {
    fn gradient_norm(&mut self, gradients: &CpuGradients) -> Result<()> {
        self.norm = gradient_norm(&mut self.norm_partials, gradients);
        Ok(())
    }

    fn update(
        &mut self,
        student: &mut Student<Self>,
        gradients: &CpuGradients,
        ranges: &[ParameterRange],
        update: Update<Self>,
    ) -> Result<()> {
        let number = update.step_number - self.skips;
        update_arenas(student, gradients, ranges, update, number, self.norm);
        self.skips += u64::from(!self.norm.is_finite());
        Ok(())
    }

    fn set_skips(&mut self, skips: u64) -> Result<()> {
        self.skips = skips;
        Ok(())
    }
}

/// The same stretch of every arena, starting at `start`.
struct Stretch<'a> {
    start: usize,
    student: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    gradient: &'a [f32],
    teacher: FollowerPart<'a>,
    average: Option<BlendPart<'a>>,
}

/// A stretch of what follows the student; of a window's slots all but the one that θ takes are whole arenas.
enum FollowerPart<'a> {
    None,
    Window { mean: &'a mut [f32], slot: &'a mut [f32], before: &'a [Vec<f32>], after: &'a [Vec<f32>] },
    Copy(&'a mut [f32]),
    Before(BlendPart<'a>),
    After(BlendPart<'a>),
}

/// A stretch of a mean in two floats, which moves by `weight` of the way to θ.
struct BlendPart<'a> {
    value: &'a mut [f32],
    rest: &'a mut [f32],
    weight: f32,
}

impl<'a> From<Blend<'a, CpuDevice>> for BlendPart<'a> {
    fn from(Blend { mean: Mean { value, rest }, weight }: Blend<'a, CpuDevice>) -> Self {
        Self { value, rest, weight: weight as f32 }
    }
}

impl BlendPart<'_> {
    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { value, rest, weight } = self;
        let ((value, value_high), (rest, rest_high)) = (value.split_at_mut(at), rest.split_at_mut(at));
        (Self { value, rest, weight }, Self { value: value_high, rest: rest_high, weight })
    }

    /// mean += weight · (θ − mean), the mean in two floats (Knuth's two-sum keeps what the addition rounds off).
    #[inline(always)]
    fn move_towards(&mut self, theta: &[f32], span: &Range<usize>) {
        let (value, rest, weight) = (&mut self.value[span.clone()], &mut self.rest[span.clone()], self.weight);
        for ((mean, rest), &w) in value.iter_mut().zip(rest).zip(theta) {
            let increment = weight.mul_add((w - *mean) - *rest, *rest);
            let sum = *mean + increment;
            let part = sum - *mean;
            *rest = (*mean - (sum - part)) + (increment - part);
            *mean = sum;
        }
    }
}

impl<'a> From<Option<Follower<'a, CpuDevice>>> for FollowerPart<'a> {
    fn from(follower: Option<Follower<'a, CpuDevice>>) -> Self {
        match follower {
            None => Self::None,
            Some(Follower::Window { window, number }) => {
                let turn = window.turn(number);
                let (mean, ring) = window.parts();
                let (before, rest) = ring[..turn.filled].split_at_mut(turn.slot);
                let (slot, after) = rest.split_first_mut().expect("the slot is one of those in use");
                Self::Window { mean, slot, before, after }
            }
            Some(Follower::Copy(copy)) => Self::Copy(copy),
            Some(Follower::Before(blend)) => Self::Before(blend.into()),
            Some(Follower::After(blend)) => Self::After(blend.into()),
        }
    }
}

impl FollowerPart<'_> {
    fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Self::None => (Self::None, Self::None),
            Self::Window { mean, slot, before, after } => {
                let ((mean, mean_high), (slot, slot_high)) = (mean.split_at_mut(at), slot.split_at_mut(at));
                let high = Self::Window { mean: mean_high, slot: slot_high, before, after };
                (Self::Window { mean, slot, before, after }, high)
            }
            Self::Copy(copy) => {
                let (low, high) = copy.split_at_mut(at);
                (Self::Copy(low), Self::Copy(high))
            }
            Self::Before(blend) => {
                let (low, high) = blend.split_at(at);
                (Self::Before(low), Self::Before(high))
            }
            Self::After(blend) => {
                let (low, high) = blend.split_at(at);
                (Self::After(low), Self::After(high))
            }
        }
    }

    /// What the weights before the update do to it; the stretch begins at `start`.
    #[inline(always)]
    fn follow_before(&mut self, theta: &[f32], start: usize, span: &Range<usize>) {
        match self {
            Self::Window { mean, slot, before, after } => {
                let mean = &mut mean[span.clone()];
                slot[span.clone()].copy_from_slice(theta);
                mean.copy_from_slice(theta);
                for other in before.iter().chain(after.iter()) {
                    for (sum, &w) in mean.iter_mut().zip(&other[start + span.start..start + span.end]) {
                        *sum += w;
                    }
                }
                let share = 1.0 / (before.len() + 1 + after.len()) as f32;
                for sum in mean.iter_mut() {
                    *sum *= share;
                }
            }
            Self::Copy(copy) => copy[span.clone()].copy_from_slice(theta),
            Self::Before(blend) => blend.move_towards(theta, span),
            Self::None | Self::After(_) => {}
        }
    }

    /// What the weights after the update do to it.
    #[inline(always)]
    fn follow_after(&mut self, theta: &[f32], span: &Range<usize>) {
        match self {
            Self::After(blend) => blend.move_towards(theta, span),
            Self::None | Self::Window { .. } | Self::Copy(_) | Self::Before(_) => {}
        }
    }
}

impl Stretch<'_> {
    fn split_at(self, at: usize) -> (Self, Self) {
        let (student, student_high) = self.student.split_at_mut(at);
        let (first, first_high) = self.first.split_at_mut(at);
        let (second, second_high) = self.second.split_at_mut(at);
        let (gradient, gradient_high) = self.gradient.split_at(at);
        let (teacher, teacher_high) = self.teacher.split_at(at);
        let (average, average_high) = self.average.map(|average| average.split_at(at)).unzip();
        (
            Self { start: self.start, student, first, second, gradient, teacher, average },
            Self {
                start: self.start + at,
                student: student_high,
                first: first_high,
                second: second_high,
                gradient: gradient_high,
                teacher: teacher_high,
                average: average_high,
            },
        )
    }
}

/// The update is the `number`-th that is not skipped; `norm` is the gradient's.
fn update_arenas(
    student: &mut Student<CpuDevice>,
    gradients: &CpuGradients,
    ranges: &[ParameterRange],
    update: Update<CpuDevice>,
    number: u64,
    norm: f64,
) {
    let Update { beta1, beta2, eps, clip, teacher, average, .. } = update;
    let whole = Stretch {
        start: 0,
        student: &mut student.weights,
        first: &mut student.first_moment,
        second: &mut student.second_moment,
        gradient: &gradients.arena,
        teacher: teacher.into(),
        average: average.map(BlendPart::from),
    };
    let scale = (f64::from(clip) / (norm + 1e-6)).min(1.0) as f32;
    recurse(whole, &Pass { gradients, ranges, beta1, beta2, eps, number, scale, moves: norm.is_finite() });
}

/// What every leaf needs to know.
struct Pass<'a> {
    gradients: &'a CpuGradients,
    ranges: &'a [ParameterRange],
    beta1: f32,
    beta2: f32,
    eps: f32,
    number: u64,
    /// Factor on the gradients: the clip coefficient.
    scale: f32,
    /// θ moves: the gradient is finite.
    moves: bool,
}

fn recurse(stretch: Stretch, pass: &Pass) {
    let len = stretch.student.len();
    if len > LEAF {
        let (low, high) = stretch.split_at((len / 2).next_multiple_of(LEAF).min(len - 1));
        rayon::join(|| recurse(low, pass), || recurse(high, pass));
    } else {
        leaf(stretch, pass);
    }
}

#[multiversion(targets = "simd")]
fn leaf(mut stretch: Stretch, pass: &Pass) {
    let (start, end) = (stretch.start, stretch.start + stretch.student.len());
    let from = pass.ranges.partition_point(|range| range.start + range.len <= start);
    for range in pass.ranges[from..].iter().take_while(|range| range.start < end) {
        let (low, high) = (range.start.max(start), (range.start + range.len).min(end));
        let mut at = low;
        while at < high {
            // A tile of the word embeddings ends with its row, so that a row is skipped or done as one.
            let row_end = range.sparse_row.map_or(high, |width| {
                let row = (at - range.start) / width;
                (range.start + (row + 1) * width).min(high)
            });
            let stop = (at + TILE).min(row_end);
            let skip = range.sparse_row.is_some_and(|width| !pass.gradients.touched[(at - range.start) / width]);
            tile(&mut stretch, at - start..stop - start, range, pass, skip);
            at = stop;
        }
    }
}

#[inline(always)]
fn tile(stretch: &mut Stretch, span: Range<usize>, range: &ParameterRange, pass: &Pass, no_gradient: bool) {
    let theta = &mut stretch.student[span.clone()];
    stretch.teacher.follow_before(theta, stretch.start, &span);
    let (m, v) = (&mut stretch.first[span.clone()], &mut stretch.second[span.clone()]);
    let keep = 1.0 - range.lr * range.decay;
    if !pass.moves {
        // This iterate is the one before once more.
    } else if no_gradient && v.iter().all(|&v| v == 0.0) {
        for w in theta.iter_mut() {
            *w *= keep;
        }
    } else {
        adamw(theta, m, v, &stretch.gradient[span.clone()], range.lr, keep, pass);
    }
    stretch.teacher.follow_after(theta, &span);
    if let Some(average) = &mut stretch.average {
        average.move_towards(theta, &span);
    }
}

#[inline(always)]
fn adamw(theta: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], lr: f32, keep: f32, pass: &Pass) {
    let &Pass { beta1, beta2, eps, number, scale, .. } = pass;
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(number as f64);
    let step = (f64::from(lr) / correction(beta1)) as f32;
    let inverse_root = (1.0 / correction(beta2).sqrt()) as f32;
    for (((w, m), v), &g) in theta.iter_mut().zip(m).zip(v).zip(g) {
        let g = g * scale;
        *m = beta1.mul_add(*m, (1.0 - beta1) * g);
        *v = beta2.mul_add(*v, (1.0 - beta2) * g * g);
        *w = *w * keep - step * *m / (v.sqrt() * inverse_root + eps);
    }
}

/// Σ g², dense parameters in blocks of `NORM_BLOCK`, then the touched rows of the word embeddings, all in order.
fn gradient_norm(partials: &mut Vec<f64>, gradients: &CpuGradients) -> f64 {
    const NORM_BLOCK: usize = 1 << 12;
    let word = gradients.word;
    let (low, rest) = gradients.arena.split_at(word.start);
    let high = &rest[word.len..];
    let blocks = |part: &[f32]| part.len().div_ceil(NORM_BLOCK);
    partials.resize(blocks(low) + blocks(high) + gradients.rows.len(), 0.0);
    let (low_sums, rest) = partials.split_at_mut(blocks(low));
    let (high_sums, row_sums) = rest.split_at_mut(blocks(high));
    let dense = low.par_chunks(NORM_BLOCK).chain(high.par_chunks(NORM_BLOCK));
    low_sums.par_iter_mut().chain(high_sums).zip(dense).for_each(|(sum, block)| *sum = square_sum(block));
    row_sums.par_iter_mut().zip(&gradients.rows).with_min_len(16).for_each(|(sum, &row)| {
        let start = word.start + row as usize * gradients.width;
        *sum = square_sum(&gradients.arena[start..start + gradients.width]);
    });
    partials.iter().sum::<f64>().sqrt()
}

#[multiversion(targets = "simd")]
fn square_sum(block: &[f32]) -> f64 {
    f64::from(sum_by(block, |g| g * g))
}
