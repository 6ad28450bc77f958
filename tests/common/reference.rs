//! An independent BERT classifier in plain f64: one sequence at a time, no packing, every row of every layer, dropout
//! masks made element by element from the specification in `src/device/dropout.rs`.
#![allow(dead_code, reason = "each test binary uses its part")]

use bertsd_cuda::{
    data::PackedBatch,
    model::{
        Activation, BertConfig, Layout, View,
        layout::{Linear, Norm},
    },
    random::Philox,
};

/// Numbers of the sites, as the dropout specification counts them.
pub const EMBEDDINGS: u32 = 0;
pub const CLASSIFIER: u32 = 1;

pub fn probabilities(layer: usize) -> u32 {
    4 * (layer as u32 + 1)
}

pub fn attention_output(layer: usize) -> u32 {
    probabilities(layer) + 1
}

pub fn output(layer: usize) -> u32 {
    probabilities(layer) + 2
}

/// Which masks a pass draws.
#[derive(Clone, Copy)]
pub struct Masks {
    pub philox: Philox,
    pub step: u32,
    pub pass: u32,
}

impl Masks {
    /// What element `element` of sequence `slot` is multiplied by at a site.
    pub fn factor(&self, site: u32, drop_prob: f32, slot: u32, element: usize) -> f64 {
        let threshold = (f64::from(drop_prob) * 65536.0).round();
        let words = self.philox.block([(element / 8) as u32, slot, self.step, self.pass << 16 | site]);
        let lane = element % 8;
        let bits = words[lane / 2] >> (16 * (lane % 2)) & 0xffff;
        if f64::from(bits) < threshold { 0.0 } else { 65536.0 / (65536.0 - threshold) }
    }
}

/// Number of an attention mask's element in a sequence of `length` tokens.
pub fn attention_element(length: usize, head: usize, query: usize, key: usize) -> usize {
    (head * length + query) * length.div_ceil(8) * 8 + key
}

/// A model of f64 weights.
#[derive(Clone)]
pub struct Reference {
    pub config: BertConfig,
    pub layout: Layout,
    pub weights: Vec<f64>,
    pub masks: Option<Masks>,
}

type Rows = Vec<Vec<f64>>;

impl Reference {
    pub fn new(config: &BertConfig, weights: &[f32], masks: Option<Masks>) -> Self {
        let weights = weights.iter().map(|&w| f64::from(w)).collect();
        Self { config: config.clone(), layout: Layout::new(config), weights, masks }
    }

    fn view(&self, view: View) -> &[f64] {
        &self.weights[view.range()]
    }

    fn linear(&self, x: &[f64], layer: Linear) -> Vec<f64> {
        linear(x, self.view(layer.weight), self.view(layer.bias))
    }

    fn norm(&self, x: &[f64], norm: Norm) -> Vec<f64> {
        layer_norm(x, self.view(norm.gamma), self.view(norm.beta), f64::from(self.config.layer_norm_eps))
    }

    fn drop_row(&self, row: &mut [f64], site: u32, drop_prob: f32, slot: u32, position: usize) {
        let Some(masks) = &self.masks else { return };
        let first = position * row.len();
        for (column, v) in row.iter_mut().enumerate() {
            *v *= masks.factor(site, drop_prob, slot, first + column);
        }
    }

    /// Logits of one sequence.
    pub fn logits(&self, ids: &[u32], types: &[u32], slot: u32) -> Vec<f64> {
        let (config, layout) = (&self.config, &self.layout);
        let (c, hidden) = (config.hidden_size, config.hidden_drop_prob);
        let row = |table: View, i: usize| &self.view(table)[i * c..(i + 1) * c];
        let tables = layout.embeddings;
        let mut x: Rows = (0..ids.len())
            .map(|p| {
                let (word, kind) = (row(tables.word, ids[p] as usize), row(tables.kind, types[p] as usize));
                let sum: Vec<f64> = (0..c).map(|j| word[j] + kind[j] + row(tables.position, p)[j]).collect();
                let mut out = self.norm(&sum, tables.norm);
                self.drop_row(&mut out, EMBEDDINGS, hidden, slot, p);
                out
            })
            .collect();
        for (l, layer) in layout.layers.iter().enumerate() {
            let qkv: Rows = x.iter().map(|row| self.linear(row, layer.qkv)).collect();
            let masks = self.masks.map(|masks| (masks, probabilities(l), config.attention_drop_prob, slot));
            let ctx = attention(&qkv, config.heads, config.head_size(), masks);
            for (p, (x, ctx)) in x.iter_mut().zip(&ctx).enumerate() {
                let mut branch = self.linear(ctx, layer.attention_output);
                self.drop_row(&mut branch, attention_output(l), hidden, slot, p);
                let y = self.norm(&add(x, &branch), layer.attention_norm);
                let u = self.linear(&y, layer.intermediate);
                let h: Vec<f64> = u.iter().map(|&u| gelu(u, config.activation)).collect();
                let mut branch = self.linear(&h, layer.output);
                self.drop_row(&mut branch, output(l), hidden, slot, p);
                *x = self.norm(&add(&y, &branch), layer.output_norm);
            }
        }
        let mut pooled: Vec<f64> = self.linear(&x[0], layout.pooler).iter().map(|v| v.tanh()).collect();
        self.drop_row(&mut pooled, CLASSIFIER, config.classifier_drop_prob, slot, 0);
        self.linear(&pooled, layout.classifier)
    }

    /// Logits of all sequences, one row each.
    pub fn batch_logits(&self, batch: &PackedBatch) -> Rows {
        (0..batch.sequences())
            .map(|b| {
                let tokens = batch.offsets[b] as usize..batch.offsets[b + 1] as usize;
                self.logits(&batch.ids[tokens.clone()], &batch.types[tokens], batch.slots[b])
            })
            .collect()
    }
}

fn add(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

pub fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// W · x + b, W [outputs, inputs].
pub fn linear(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    weight.chunks_exact(x.len()).zip(bias).map(|(row, b)| dot(row, x) + b).collect()
}

pub fn layer_norm(x: &[f64], gamma: &[f64], beta: &[f64], eps: f64) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let sigma = (variance + eps).sqrt();
    x.iter().zip(gamma).zip(beta).map(|((v, g), b)| (v - mean) / sigma * g + b).collect()
}

/// Rows of [3A] → rows of [A], of whose heads the first `d` elements count; the mask is (masks, site, drop probability,
/// slot).
pub fn attention(qkv: &[Vec<f64>], heads: usize, d: usize, masks: Option<(Masks, u32, f32, u32)>) -> Rows {
    let (length, a) = (qkv.len(), qkv[0].len() / 3);
    let stride = a / heads;
    let mut ctx = vec![vec![0.0; a]; length];
    for head in 0..heads {
        let part = |row: usize, which: usize| &qkv[row][which * a + head * stride..][..d];
        for (query, ctx) in ctx.iter_mut().enumerate() {
            let scores: Vec<f64> =
                (0..length).map(|key| dot(part(query, 0), part(key, 1)) / (d as f64).sqrt()).collect();
            let lse = log_sum_exp(&scores);
            for (key, score) in scores.iter().enumerate() {
                let factor = masks.map_or(1.0, |(masks, site, drop_prob, slot)| {
                    masks.factor(site, drop_prob, slot, attention_element(length, head, query, key))
                });
                let p = (score - lse).exp() * factor;
                for (out, v) in ctx[head * stride..][..d].iter_mut().zip(part(key, 2)) {
                    *out += p * v;
                }
            }
        }
    }
    ctx
}

pub fn log_sum_exp(z: &[f64]) -> f64 {
    let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + z.iter().map(|v| (v - largest).exp()).sum::<f64>().ln()
}

/// Series with positive terms only: exact to a few units in the last place.
pub fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

pub fn gelu(u: f64, activation: Activation) -> f64 {
    match activation {
        Activation::GeluErf => 0.5 * u * (1.0 + erf(u / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            0.5 * u * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (u + 0.044715 * u.powi(3))).tanh())
        }
    }
}

/// The loss of a step, as torch's CrossEntropyLoss(weight, label_smoothing, reduction="mean") weighs it.
pub struct Loss {
    pub class_weights: Option<Vec<f64>>,
    pub smoothing: f64,
    pub lambda: f64,
    /// None: MSE.
    pub temperature: Option<f64>,
}

impl Loss {
    pub fn cross_entropy(&self, logits: &[Vec<f64>], labels: &[u32]) -> f64 {
        let weight = |class: usize| self.class_weights.as_ref().map_or(1.0, |w| w[class]);
        let (mut sum, mut total) = (0.0, 0.0);
        for (z, &label) in logits.iter().zip(labels) {
            let (lse, label) = (log_sum_exp(z), label as usize);
            let smooth: f64 = z.iter().enumerate().map(|(c, z)| weight(c) * (lse - z)).sum();
            sum += (1.0 - self.smoothing) * weight(label) * (lse - z[label]) + self.smoothing / z.len() as f64 * smooth;
            total += weight(label);
        }
        sum / total
    }

    pub fn distillation(&self, logits: &[Vec<f64>], target: &[Vec<f64>]) -> f64 {
        let row = |z: &[f64], t: &[f64]| match self.temperature {
            None => z.iter().zip(t).map(|(z, t)| (z - t).powi(2)).sum::<f64>() / z.len() as f64,
            Some(tau) => {
                let log_p = |z: &[f64]| -> Vec<f64> {
                    let scaled: Vec<f64> = z.iter().map(|v| v / tau).collect();
                    let lse = log_sum_exp(&scaled);
                    scaled.iter().map(|v| v - lse).collect()
                };
                let pairs = log_p(t).into_iter().zip(log_p(z));
                tau * tau * pairs.map(|(t, z)| t.exp() * (t - z)).sum::<f64>()
            }
        };
        logits.iter().zip(target).map(|(z, t)| row(z, t)).sum::<f64>() / logits.len() as f64
    }

    pub fn total(&self, logits: &[Vec<f64>], labels: &[u32], target: Option<&[Vec<f64>]>) -> f64 {
        let distill = target.map_or(0.0, |target| self.lambda * self.distillation(logits, target));
        self.cross_entropy(logits, labels) + distill
    }
}
