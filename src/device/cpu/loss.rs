//! Cross-entropy with its distillation term, and the gradient of both, one pass over the logits of an example.
//!
//! With p = softmax(z), class weights w (1 without), smoothing ε, label y, teacher logits z̄:
//!
//! ```text
//! ce      = (1 − ε) · w_y · (−ln p_y) + ε / N · Σ_c w_c · (−ln p_c)        (as torch.nn.CrossEntropyLoss weighs it)
//! mse     = Σ_c (z_c − z̄_c)² / N
//! kl      = τ² · Σ_c p̄_c · (ln p̄_c − ln p'_c)                              (p̄, p' at temperature τ)
//! twins   = ½ · Σ_c (p_c − q_c) · (ln p_c − ln q_c)                        (q of the twin, half a batch away)
//! d_logits = ce_scale · ∂ce/∂z + λ · distill_scale · ∂distill/∂z
//! ```

use rayon::prelude::*;

use super::{CpuBatch, CpuDevice};
use crate::{
    Result,
    device::{
        Distance, LossInputs, LossKind, LossOps, Write,
        loss::{check, check_votes},
    },
};

impl LossOps for CpuDevice {
    fn distillation_loss(
        &mut self,
        losses: &mut Vec<f32>,
        d_logits: &mut Vec<f32>,
        inputs: LossInputs<'_, Self>,
        loss: LossKind,
        batch: &CpuBatch,
    ) -> Result<()> {
        check(&self.shape, losses, d_logits, inputs, batch);
        let sequences = batch.sequences();
        let d_logits = &mut d_logits[..sequences * self.shape.labels];
        distillation_loss(losses, &mut self.scratch.losses[..2 * sequences], d_logits, inputs, loss, batch);
        Ok(())
    }

    fn add_votes(&mut self, votes: &mut Vec<f32>, logits: &Vec<f32>, batch: &CpuBatch, write: Write) -> Result<()> {
        check_votes::<Self>(&self.shape, votes, logits, batch);
        add_votes(votes, logits, &batch.packed.slots, self.shape.labels, write);
        Ok(())
    }

    fn mean_of_votes(&mut self, target: &mut Vec<f32>, votes: &Vec<f32>, batch: &CpuBatch, count: u32) -> Result<()> {
        check_votes::<Self>(&self.shape, votes, target, batch);
        mean_of_votes(target, votes, &batch.packed.slots, self.shape.labels, count);
        Ok(())
    }
}

fn distillation_loss(
    losses: &mut [f32],   // [2, E], E examples of a step
    pairs: &mut [f32],    // [B, 2], scratch
    d_logits: &mut [f32], // [B, N]
    inputs: LossInputs<'_, CpuDevice>,
    kind: LossKind,
    batch: &CpuBatch,
) {
    let CpuBatch { packed, scalars, .. } = batch;
    let classes = d_logits.len() / packed.labels.len();
    let (logits, target) = (inputs.logits, inputs.target);
    let class_weights = inputs.class_weights.map(Vec::as_slice);
    (pairs.par_chunks_exact_mut(2), d_logits.par_chunks_exact_mut(classes))
        .into_par_iter()
        .with_min_len((4096 / classes).max(1))
        .enumerate()
        .for_each(|(b, (pair, d))| {
            let row = b * classes..(b + 1) * classes;
            let z = &logits[row.clone()];
            pair[0] = cross_entropy(d, z, packed.labels[b] as usize, class_weights, kind.label_smoothing);
            for v in d.iter_mut() {
                *v *= scalars.ce_scale;
            }
            pair[1] = target.map_or(0.0, |target| {
                let factor = scalars.lambda * scalars.distill_scale;
                match kind.distance {
                    Distance::Mse => mean_squared_error(d, z, &target[row], factor),
                    Distance::Kl { temperature } => divergence(d, z, &target[row], temperature, factor),
                    Distance::Twins => {
                        let half = packed.labels.len() / 2;
                        let twin = if b < half { b + half } else { b - half };
                        mutual_divergence(d, z, &target[twin * classes..(twin + 1) * classes], factor)
                    }
                }
            });
        });
    let (ce, distill) = losses.split_at_mut(losses.len() / 2);
    for (pair, &slot) in pairs.chunks_exact(2).zip(&packed.slots) {
        ce[slot as usize] = pair[0];
        distill[slot as usize] = pair[1];
    }
}

/// votes [E, N] by slot (+)= logits [B, N].
fn add_votes(votes: &mut [f32], logits: &[f32], slots: &[u32], classes: usize, write: Write) {
    for (&slot, row) in slots.iter().zip(logits.chunks_exact(classes)) {
        let sums = &mut votes[slot as usize * classes..][..classes];
        match write {
            Write::Overwrite => sums.copy_from_slice(row),
            Write::Add => sums.iter_mut().zip(row).for_each(|(sum, &z)| *sum += z),
        }
    }
}

/// target [B, N] = votes [E, N] of the slots / count.
fn mean_of_votes(target: &mut [f32], votes: &[f32], slots: &[u32], classes: usize, count: u32) {
    for (&slot, row) in slots.iter().zip(target.chunks_exact_mut(classes)) {
        let sums = &votes[slot as usize * classes..][..classes];
        row.iter_mut().zip(sums).for_each(|(z, &sum)| *z = sum / count as f32);
    }
}

/// ln Σ e^(z / τ), in f64.
fn log_sum_exp(z: &[f32], temperature: f64) -> f64 {
    let largest = f64::from(z.iter().copied().fold(f32::NEG_INFINITY, f32::max)) / temperature;
    largest + z.iter().map(|&v| (f64::from(v) / temperature - largest).exp()).sum::<f64>().ln()
}

/// Overwrites `d` with ∂ce/∂z.
fn cross_entropy(d: &mut [f32], z: &[f32], label: usize, weights: Option<&[f32]>, smoothing: f32) -> f32 {
    let lse = log_sum_exp(z, 1.0);
    let epsilon = f64::from(smoothing);
    let weight = |c: usize| weights.map_or(1.0, |w| f64::from(w[c]));
    let spread = |c: usize| {
        let own = if c == label { (1.0 - epsilon) * weight(c) } else { 0.0 };
        own + epsilon / z.len() as f64 * weight(c)
    };
    let total: f64 = if smoothing == 0.0 { weight(label) } else { (0..z.len()).map(spread).sum() };
    let mut loss = 0.0;
    for (c, (d, &v)) in d.iter_mut().zip(z).enumerate() {
        let log_p = f64::from(v) - lse;
        let share = spread(c);
        if share != 0.0 {
            loss -= share * log_p;
        }
        *d = (total * log_p.exp() - share) as f32;
    }
    loss as f32
}

/// Adds `factor` · ∂mse/∂z to `d`.
fn mean_squared_error(d: &mut [f32], z: &[f32], target: &[f32], factor: f32) -> f32 {
    let n = z.len() as f32;
    let mut sum = 0.0f64;
    for ((d, &v), &t) in d.iter_mut().zip(z).zip(target) {
        let difference = v - t;
        sum += f64::from(difference) * f64::from(difference);
        *d += factor * 2.0 / n * difference;
    }
    (sum / z.len() as f64) as f32
}

/// Adds `factor` · ∂kl/∂z to `d`.
fn divergence(d: &mut [f32], z: &[f32], target: &[f32], temperature: f32, factor: f32) -> f32 {
    let tau = f64::from(temperature);
    let (lse, target_lse) = (log_sum_exp(z, tau), log_sum_exp(target, tau));
    let mut sum = 0.0f64;
    for ((d, &v), &t) in d.iter_mut().zip(z).zip(target) {
        let (log_p, log_q) = (f64::from(v) / tau - lse, f64::from(t) / tau - target_lse);
        let q = log_q.exp();
        if q > 0.0 {
            sum += q * (log_q - log_p);
        }
        *d += (f64::from(factor) * tau * (log_p.exp() - q)) as f32;
    }
    (tau * tau * sum) as f32
}

/// The mean of both divergences. Adds `factor` · ∂(their sum)/∂z to `d`: the loss counts a pair once for either twin.
fn mutual_divergence(d: &mut [f32], z: &[f32], twin: &[f32], factor: f32) -> f32 {
    let (lse, twin_lse) = (log_sum_exp(z, 1.0), log_sum_exp(twin, 1.0));
    let logarithms = |(&v, &t): (&f32, &f32)| (f64::from(v) - lse, f64::from(t) - twin_lse);
    let term = |p: f64, rest: f64| if p > 0.0 { p * rest } else { 0.0 };
    let there: f64 = z.iter().zip(twin).map(logarithms).map(|(log_p, log_q)| term(log_p.exp(), log_p - log_q)).sum();
    let mut back = 0.0;
    for (d, (log_p, log_q)) in d.iter_mut().zip(z.iter().zip(twin).map(logarithms)) {
        let (p, q) = (log_p.exp(), log_q.exp());
        back += term(q, log_q - log_p);
        *d += (f64::from(factor) * (p - q + term(p, log_p - log_q - there))) as f32;
    }
    (0.5 * (there + back)) as f32
}
