//! One optimizer step: micro-batches forward and backward, the teacher's logits, clip, update.

use crate::{
    Error, Result,
    data::PackedBatch,
    device::{Capacity, Device, Distance, LossScale, Mask, ParameterRange, Teacher, TrainingState, Update, Write},
    distillation::{LambdaSchedule, Plan, Source, look_ahead::Votes},
    encoder::{Encoder, Keep, Workspace},
    random::Philox,
    training::LearningRates,
};

/// Constants of every step of a run.
#[derive(Clone, Debug)]
pub struct StepSettings {
    pub seed: u64,
    pub plan: Plan,
    pub rates: LearningRates,
    pub lambda: LambdaSchedule,
    pub distance: Distance,
    /// The teacher runs with dropout, its own masks.
    pub teacher_dropout: bool,
    pub label_smoothing: f32,
    /// One weight a class; none: all 1.
    pub class_weights: Option<Vec<f32>>,
    /// Largest gradient norm; infinite: no clipping.
    pub clip: f64,
    pub beta1: f32,
    pub beta2: f32,
    pub adam_eps: f32,
}

/// What a step did, as it is logged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    pub step: u64,
    pub loss: f64,
    pub ce: f64,
    pub distill: f64,
    pub lambda: f64,
    pub lr: f64,
    pub lr_head: f64,
    /// Before clipping.
    pub grad_norm: f64,
    /// Real tokens of the batch, seen by the student.
    pub tokens: u64,
}

/// A model in training on a device.
pub struct Learner<D: Device> {
    pub device: D,
    pub encoder: Encoder,
    pub state: TrainingState<D>,
    pub votes: Votes,
    pub settings: StepSettings,
    student: Workspace<D>,
    /// The teacher's forward pass, also used for evaluation.
    inference: Workspace<D>,
    target: D::Vector,                // [B, N]
    target_rows: Vec<f32>,            // [B, N], where the target is made on the host
    class_weights: Option<D::Vector>, // [N]
    gradients: D::Gradients,
    batch: D::Batch,
    ranges: Vec<ParameterRange>,
    losses: Losses,
}

/// Per-example losses of a step, by slot; summed in that order, so that micro-batches do not change the sum.
#[derive(Default)]
struct Losses {
    ce: Vec<f32>,
    distill: Vec<f32>,
}

impl Losses {
    fn reset(&mut self, examples: usize) {
        for values in [&mut self.ce, &mut self.distill] {
            values.clear();
            values.resize(examples, 0.0);
        }
    }
}

impl<D: Device> Learner<D> {
    /// Plans all memory; `weights` is θ_0.
    pub fn new(
        device: D,
        encoder: Encoder,
        settings: StepSettings,
        capacity: Capacity,
        inference_capacity: Capacity,
        weights: &[f32],
    ) -> Result<Self> {
        let labels = encoder.shape.labels;
        let class_weights = match &settings.class_weights {
            None => None,
            Some(values) => {
                let mut vector = device.vector(labels)?;
                device.write_vector(&mut vector, values)?;
                Some(vector)
            }
        };
        let both = Capacity {
            tokens: capacity.tokens.max(inference_capacity.tokens),
            sequences: capacity.sequences.max(inference_capacity.sequences),
            length: capacity.length.max(inference_capacity.length),
        };
        Ok(Self {
            state: settings.plan.initial_state(&device, &encoder.layout, weights)?,
            votes: Votes::default(),
            student: Workspace::new(&device, &encoder, capacity, Keep::ForBackward)?,
            inference: Workspace::new(&device, &encoder, both, Keep::Logits)?,
            target: device.vector(capacity.sequences * labels)?,
            target_rows: Vec::with_capacity(capacity.sequences * labels),
            class_weights,
            gradients: device.gradients(encoder.layout.len, &encoder.layout.embeddings)?,
            batch: device.batch(both)?,
            ranges: Vec::with_capacity(encoder.layout.segments.len()),
            losses: Losses::default(),
            device,
            encoder,
            settings,
        })
    }

    /// Step t on its micro-batches. `ahead[k − 1]` are the micro-batches of step t + k, as many as [`Plan::look_ahead`] asks
    /// for and the run still has.
    pub fn step(&mut self, step: u64, micro: &[PackedBatch], ahead: &[&[PackedBatch]]) -> Result<StepReport> {
        let examples: usize = micro.iter().map(PackedBatch::sequences).sum();
        let scale = self.loss_scale(step, micro, examples);
        let votes = self.votes.take(step);
        self.losses.reset(examples);
        self.device.begin_step(&mut self.gradients, &self.encoder.layout.embeddings)?;
        for (i, batch) in micro.iter().enumerate() {
            let write = if i == 0 { Write::Overwrite } else { Write::Add };
            self.micro_step(step, batch, votes.as_deref(), scale, write)?;
        }
        if let Some(votes) = votes {
            self.votes.give_back(votes);
        }
        self.look_ahead(step, ahead)?;
        let sum = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>();
        let ce = sum(&self.losses.ce) * f64::from(scale.ce_scale);
        let distill = sum(&self.losses.distill) / examples as f64;
        let lambda = if self.settings.plan.teaches(step) { f64::from(scale.lambda) } else { 0.0 };
        let loss = if lambda == 0.0 { ce } else { ce + lambda * distill };
        let grad_norm = self.device.gradient_norm(&self.gradients)?;
        for (what, value) in [("the loss", loss), ("the gradient norm", grad_norm)] {
            if !value.is_finite() {
                let advice = "lower --lr or --lambda, or look at the data of this step".to_owned();
                return Err(Error::NotFinite { step, what, advice });
            }
        }
        self.update(step, grad_norm)?;
        let factor = self.settings.rates.factor(step);
        Ok(StepReport {
            step,
            loss,
            ce,
            distill,
            lambda,
            lr: self.settings.rates.encoder * factor,
            lr_head: self.settings.rates.head * factor,
            grad_norm,
            tokens: micro.iter().map(|batch| batch.tokens() as u64).sum(),
        })
    }

    fn loss_scale(&self, step: u64, micro: &[PackedBatch], examples: usize) -> LossScale {
        let total: f64 = match &self.settings.class_weights {
            None => examples as f64,
            Some(weights) => {
                micro.iter().flat_map(|b| &b.labels).map(|&label| f64::from(weights[label as usize])).sum()
            }
        };
        LossScale {
            lambda: self.settings.lambda.at(step) as f32,
            distance: self.settings.distance,
            label_smoothing: self.settings.label_smoothing,
            ce_scale: if total > 0.0 { (1.0 / total) as f32 } else { 0.0 },
            distill_scale: (1.0 / examples as f64) as f32,
        }
    }

    fn mask(&self, step: u64, pass: usize) -> Mask {
        let active = pass == 0 || self.settings.teacher_dropout;
        Mask { philox: Philox::new(self.settings.seed), step: step as u32, pass: pass as u32, active }
    }

    fn micro_step(
        &mut self,
        step: u64,
        batch: &PackedBatch,
        votes: Option<&[f32]>,
        scale: LossScale,
        write: Write,
    ) -> Result<()> {
        self.device.upload(&mut self.batch, batch)?;
        let taught = self.fill_target(step, batch, votes)?;
        let mask = self.mask(step, 0);
        let (device, encoder, workspace) = (&mut self.device, &self.encoder, &mut self.student);
        encoder.forward(device, workspace, &self.state.student, &self.batch, mask)?;
        let flow = workspace.gradients.as_mut().expect("the student's workspace is kept for the backward pass");
        device.distillation_loss(
            &mut workspace.losses,
            &mut flow.d_logits,
            &workspace.logits,
            match taught {
                Taught::No => None,
                Taught::ByVotes => Some(&self.target),
                Taught::ByWeights => Some(&self.inference.logits),
            },
            self.class_weights.as_ref(),
            &self.batch,
            scale,
        )?;
        encoder.backward(device, workspace, &mut self.gradients, &self.state.student, &self.batch, mask, write)?;
        let losses = device.read_vector(&workspace.losses)?;
        let (ce, distill) = losses.split_at(batch.sequences());
        for (b, &slot) in batch.slots.iter().enumerate() {
            self.losses.ce[slot as usize] = ce[b];
            self.losses.distill[slot as usize] = distill[b];
        }
        Ok(())
    }

    /// Makes the teacher's logits for the uploaded batch.
    fn fill_target(&mut self, step: u64, batch: &PackedBatch, votes: Option<&[f32]>) -> Result<Taught> {
        let plan = self.settings.plan;
        if !plan.teaches(step) {
            return Ok(Taught::No);
        }
        let labels = self.encoder.shape.labels;
        match (plan.source(), votes) {
            (Source::LookAhead, Some(votes)) => {
                let rows = batch.slots.iter().flat_map(|&slot| &votes[slot as usize * labels..][..labels]);
                self.target_rows.clear();
                self.target_rows.extend(rows);
                self.device.write_vector(&mut self.target, &self.target_rows)?;
                Ok(Taught::ByVotes)
            }
            (Source::Weights, _) => {
                let mask = self.mask(step, 1);
                let weights = match &self.state.teacher {
                    Some(Teacher::Window { mean, .. }) => mean,
                    Some(Teacher::Mean(mean)) => &mean.value,
                    _ => return Ok(Taught::No),
                };
                self.encoder.forward(&mut self.device, &mut self.inference, weights, &self.batch, mask)?;
                Ok(Taught::ByWeights)
            }
            (Source::Stored, _) => self.vote_of_stored(step, batch.sequences() * labels),
            (Source::None | Source::LookAhead, _) => Ok(Taught::No),
        }
    }

    fn vote_of_stored(&mut self, step: u64, len: usize) -> Result<Taught> {
        let filled = self.settings.plan.filled(step);
        self.target_rows.clear();
        self.target_rows.resize(len, 0.0);
        for k in 1..=filled {
            let mask = self.mask(step, k);
            let Some(Teacher::Stored { ring }) = &self.state.teacher else { return Ok(Taught::No) };
            let weights = &ring[((step - k as u64) % ring.len() as u64) as usize];
            self.encoder.forward(&mut self.device, &mut self.inference, weights, &self.batch, mask)?;
            let logits = self.device.read_vector(&self.inference.logits)?;
            for (sum, &z) in self.target_rows.iter_mut().zip(&logits[..len]) {
                *sum += z;
            }
        }
        for sum in &mut self.target_rows {
            *sum /= filled as f32;
        }
        self.device.write_vector(&mut self.target, &self.target_rows)?;
        Ok(Taught::ByVotes)
    }

    /// Today's weights on the coming batches.
    fn look_ahead(&mut self, step: u64, ahead: &[&[PackedBatch]]) -> Result<()> {
        let labels = self.encoder.shape.labels;
        for (k, micro) in (1..).zip(ahead.iter().take(self.settings.plan.look_ahead())) {
            let coming = step + k as u64;
            let mask = self.mask(coming, k);
            let examples: usize = micro.iter().map(PackedBatch::sequences).sum();
            let sums = self.votes.vote(coming, examples * labels);
            for batch in *micro {
                self.device.upload(&mut self.batch, batch)?;
                self.encoder.forward(&mut self.device, &mut self.inference, &self.state.student, &self.batch, mask)?;
                let logits = self.device.read_vector(&self.inference.logits)?;
                for (&slot, row) in batch.slots.iter().zip(logits.chunks_exact(labels)) {
                    for (sum, &z) in sums[slot as usize * labels..][..labels].iter_mut().zip(row) {
                        *sum += z;
                    }
                }
            }
        }
        Ok(())
    }

    fn update(&mut self, step: u64, grad_norm: f64) -> Result<()> {
        let settings = &self.settings;
        settings.rates.fill_ranges(&mut self.ranges, &self.encoder.layout, step);
        let update = Update {
            number: step + 1,
            beta1: settings.beta1,
            beta2: settings.beta2,
            eps: settings.adam_eps,
            // As torch.nn.utils.clip_grad_norm_.
            gradient_scale: (settings.clip / (grad_norm + 1e-6)).min(1.0) as f32,
            teacher: settings.plan.teacher_follow(step),
            average: settings.plan.average_follow(step),
        };
        self.device.update(&mut self.state, &self.gradients, &self.ranges, &update)
    }

    /// Logits [B, N] of a batch without dropout, under weights picked from the state.
    pub fn logits<'a>(
        &'a mut self,
        batch: &PackedBatch,
        pick: impl FnOnce(&TrainingState<D>) -> &D::Parameters,
    ) -> Result<std::borrow::Cow<'a, [f32]>> {
        self.device.upload(&mut self.batch, batch)?;
        let weights = pick(&self.state);
        self.encoder.forward(&mut self.device, &mut self.inference, weights, &self.batch, Mask::none())?;
        self.device.read_vector(&self.inference.logits)
    }

    /// The gradients of the last step, before clipping.
    pub fn gradients(&self) -> Result<std::borrow::Cow<'_, [f32]>> {
        self.device.read_gradients(&self.gradients)
    }
}

/// Who made the target logits.
#[derive(Clone, Copy)]
enum Taught {
    No,
    ByVotes,
    ByWeights,
}
