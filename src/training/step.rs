//! One optimizer step: micro-batches forward and backward, the teacher's logits, clip, update.

use std::{borrow::Cow, collections::VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result, Stop,
    data::PackedBatch,
    device::{
        Capacity, Device, Distance, ForwardWeights, LossInputs, LossKind, Mask, ParameterRange, PassKey, Scope, Sink,
        StepScalars, Update, Write,
    },
    distillation::{Forward, LambdaSchedule, LogitSizes, Masks, MethodSettings},
    encoder::{Encoder, Keep, Pass, Workspace},
    reports::Weights,
    training::{LearningRates, TrainingState},
};

/// Constants of every step of a run.
#[derive(Clone, Debug)]
pub struct StepSettings {
    /// Of dropout masks.
    pub seed: u64,
    /// Most examples of one step, E: their losses are kept until it ends.
    pub max_examples: usize,
    /// The method.
    pub method: MethodSettings,
    /// Learning rates.
    pub rates: LearningRates,
    /// λ by step.
    pub lambda: LambdaSchedule,
    /// How student and teacher differ.
    pub distance: Distance,
    /// The teacher runs with dropout, its own masks.
    pub teacher_dropout: bool,
    /// ε of the cross-entropy.
    pub label_smoothing: f32,
    /// One weight a class; none: all 1.
    pub class_weights: Option<Vec<f32>>,
    /// Largest gradient norm; infinite: no clipping.
    pub clip: f64,
    /// β₁.
    pub beta1: f32,
    /// β₂.
    pub beta2: f32,
    /// ε of AdamW.
    pub adam_eps: f32,
}

/// What a step did, as it is logged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Which, from 0.
    pub step: u64,
    /// Cross-entropy and λ times the distillation loss.
    pub loss: f64,
    /// Cross-entropy.
    pub ce: f64,
    /// Distillation loss, before λ.
    pub distill: f64,
    /// λ.
    pub lambda: f64,
    /// Learning rate of the encoder.
    pub lr: f64,
    /// Learning rate of the head.
    pub lr_head: f64,
    /// Before clipping; where it is not finite, the step was skipped.
    pub grad_norm: f64,
    /// Real tokens of the batch, seen by the student.
    pub tokens: u64,
}

/// Steps in a row without a finite gradient that end a run: what one bad batch does passes, what diverged weights do
/// does not.
const MOST_SKIPS_IN_A_ROW: u64 = 5;

/// Steps whose gradient was not finite: they left weights and moments as they were.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Skips {
    /// In the whole run.
    pub total: u64,
    /// Up to the last step.
    pub in_a_row: u64,
}

/// A model in training on a device.
pub struct Learner<D: Device> {
    /// Where it trains.
    pub device: D,
    /// What it trains.
    pub encoder: Encoder,
    /// All that a step changes.
    pub state: TrainingState<D>,
    /// Steps that were left out.
    pub skips: Skips,
    /// How it trains.
    pub settings: StepSettings,
    student: Workspace<D>,
    /// The teacher's forward pass, also used for evaluation.
    inference: Workspace<D>,
    class_weights: Option<D::Vector>, // [N]
    gradients: D::Gradients,
    batch: D::Batch,
    ranges: Vec<ParameterRange>,
    /// Losses of a step by slot, cross-entropy and distillation; summed in that order, so that micro-batches do not
    /// change the sum.
    losses: D::Vector, // [2, E]
    /// Where steps report to, taking turns.
    outcomes: [D::Outcome; MOST_QUEUED],
    queued: VecDeque<Queued>,
}

/// Steps under way at most: while one runs, the next is prepared.
pub const MOST_QUEUED: usize = 2;

/// A step under way, whose losses and gradient norm are still to come.
struct Queued {
    report: StepReport,
    examples: usize,
    /// Factor of the summed cross-entropy.
    ce_scale: f64,
}

impl<D: Device> Learner<D> {
    /// Plans all memory; `weights` is θ_0.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device has no memory for it;
    /// [`Error::Setting`](crate::Error::Setting) when the method's settings contradict each other.
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
        let logits = LogitSizes { step: settings.max_examples * labels, batch: capacity.sequences * labels };
        let both = Capacity {
            tokens: capacity.tokens.max(inference_capacity.tokens),
            sequences: capacity.sequences.max(inference_capacity.sequences),
            length: capacity.length.max(inference_capacity.length),
        };
        Ok(Self {
            state: TrainingState::new(&device, &settings.method, weights, logits)?,
            skips: Skips::default(),
            student: Workspace::new(&device, &encoder, capacity, Keep::ForBackward)?,
            inference: Workspace::new(&device, &encoder, both, Keep::Logits)?,
            class_weights,
            gradients: device.gradients(encoder.layout.len, &encoder.layout.embeddings)?,
            batch: device.batch(both)?,
            ranges: Vec::with_capacity(encoder.layout.segments.len()),
            losses: device.vector(2 * settings.max_examples)?,
            outcomes: [device.outcome(2 * settings.max_examples)?, device.outcome(2 * settings.max_examples)?],
            queued: VecDeque::with_capacity(MOST_QUEUED),
            device,
            encoder,
            settings,
        })
    }

    /// Step t on its micro-batches, to its end. `ahead[k − 1]` are the micro-batches of step t + k, as many as
    /// [`Teacher::steps_ahead`](crate::distillation::Teacher::steps_ahead) asks for and the run still has.
    ///
    /// # Errors
    /// As [`queue`](Self::queue) and [`collect`](Self::collect).
    pub fn step(&mut self, step: u64, micro: &[PackedBatch], ahead: &[&[PackedBatch]]) -> Result<StepReport> {
        self.queue(step, micro, ahead)?;
        self.collect()
    }

    /// Sets step t under way, without waiting for it. At most [`MOST_QUEUED`] may be.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device fails; [`Error::Misuse`](crate::Error::Misuse) when
    /// the batches are not those that were planned for.
    pub fn queue(&mut self, step: u64, micro: &[PackedBatch], ahead: &[&[PackedBatch]]) -> Result<()> {
        self.queue_unless(Stop::NEVER, step, micro, ahead)
    }

    /// [`Learner::queue`], unless the step is called off before its update: then the state is that of the step before.
    ///
    /// # Errors
    /// Those of the device, and [`Error::Interrupted`] for a step that was called off.
    pub fn queue_unless(
        &mut self,
        stop: Stop<'_>,
        step: u64,
        micro: &[PackedBatch],
        ahead: &[&[PackedBatch]],
    ) -> Result<()> {
        assert!(self.queued.len() < MOST_QUEUED, "a step is collected before the one after the next is queued");
        let examples: usize = micro.iter().map(PackedBatch::sequences).sum();
        assert!(
            examples <= self.settings.max_examples,
            "a step has no more examples than have a place for their losses"
        );
        let scalars = self.scalars(step, micro, examples);
        self.device.enter_step(step + 1);
        self.device.begin_step(&mut self.gradients, &self.encoder.layout.embeddings)?;
        for (i, batch) in micro.iter().enumerate() {
            let write = if i == 0 { Write::Overwrite } else { Write::Add };
            self.micro_step(stop, step, batch, &scalars, write)?;
        }
        let masks = self.masks();
        let Self { device, encoder, state, inference, batch, .. } = self;
        let forward = Forward { encoder, workspace: inference, masks, stop };
        state.teacher.look_ahead(step, ahead, &state.student.weights, device, forward, batch)?;
        self.device.enter(Scope::Optimizer);
        self.device.gradient_norm(&self.gradients)?;
        self.update(step)?;
        let outcome = &mut self.outcomes[(step % MOST_QUEUED as u64) as usize];
        self.device.send_outcome(outcome, &self.losses)?;
        let factor = self.settings.rates.factor(step);
        let report = StepReport {
            step,
            loss: 0.0,
            ce: 0.0,
            distill: 0.0,
            lambda: if self.state.teacher.teaches(step) { f64::from(scalars.lambda) } else { 0.0 },
            lr: self.settings.rates.encoder * factor,
            lr_head: self.settings.rates.head * factor,
            grad_norm: 0.0,
            tokens: micro.iter().map(|batch| batch.tokens() as u64).sum(),
        };
        self.queued.push_back(Queued { report, examples, ce_scale: f64::from(scalars.ce_scale) });
        Ok(())
    }

    /// Steps that were queued and not collected.
    pub fn queued(&self) -> usize {
        self.queued.len()
    }

    /// Waits for the oldest step under way.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device fails; [`Error::NotFinite`](crate::Error::NotFinite)
    /// when the loss or the gradient is no number.
    pub fn collect(&mut self) -> Result<StepReport> {
        let Queued { mut report, examples, ce_scale } = self.queued.pop_front().expect("a step was queued");
        let outcome = &self.outcomes[(report.step % MOST_QUEUED as u64) as usize];
        let (losses, grad_norm) = self.device.receive_outcome(outcome)?;
        // Sums over the examples in the order of their slots.
        let sum = |values: &[f32]| values[..examples].iter().map(|&v| f64::from(v)).sum::<f64>();
        let (ce, distill) = losses.split_at(self.settings.max_examples);
        report.ce = sum(ce) * ce_scale;
        report.distill = sum(distill) / examples as f64;
        report.loss = if report.lambda == 0.0 { report.ce } else { report.ce + report.lambda * report.distill };
        report.grad_norm = grad_norm;
        self.count_skips(&report)?;
        Ok(report)
    }

    /// # Errors
    /// [`Error::NotFinite`] where the step could not be skipped, or too many were.
    fn count_skips(&mut self, report: &StepReport) -> Result<()> {
        let advice = "lower --lr or --lambda, or look at the data of this step";
        let fail = |what, advice| Err(Error::NotFinite { step: report.step, what, advice });
        let Skips { total, in_a_row } = &mut self.skips;
        if report.grad_norm.is_finite() {
            *in_a_row = 0;
            return if report.loss.is_finite() { Ok(()) } else { fail("the loss", advice.to_owned()) };
        }
        (*total, *in_a_row) = (*total + 1, *in_a_row + 1);
        match *in_a_row {
            MOST_SKIPS_IN_A_ROW.. => {
                fail("the gradient norm", format!("neither was it in the {} steps before; {advice}", *in_a_row - 1))
            }
            _ => Ok(()),
        }
    }

    fn scalars(&self, step: u64, micro: &[PackedBatch], examples: usize) -> StepScalars {
        let total: f64 = match &self.settings.class_weights {
            None => examples as f64,
            Some(weights) => {
                micro.iter().flat_map(|b| &b.labels).map(|&label| f64::from(weights[label as usize])).sum()
            }
        };
        StepScalars {
            step: step as u32,
            lambda: self.settings.lambda.at(step) as f32,
            ce_scale: if total > 0.0 { (1.0 / total) as f32 } else { 0.0 },
            distill_scale: (1.0 / examples as f64) as f32,
        }
    }

    fn micro_step(
        &mut self,
        stop: Stop<'_>,
        step: u64,
        batch: &PackedBatch,
        scalars: &StepScalars,
        write: Write,
    ) -> Result<()> {
        let masks = self.masks();
        self.device.upload(&mut self.batch, batch, scalars)?;
        let kind = LossKind { distance: self.settings.distance, label_smoothing: self.settings.label_smoothing };
        let Self { device, encoder, state, student, inference, class_weights, gradients, batch, losses, .. } = self;
        let weights = &state.student.weights;
        let twins = state.teacher.is_twin();
        let forward = Forward { encoder, workspace: inference, masks, stop };
        let target = state.teacher.target(step, device, forward, batch)?;
        // The teacher of a run has its logits always in the same place.
        device.replay(PassKey::Student { target: u8::from(twins || target.is_some()), write }, batch, |device| {
            let mut pass = Pass { encoder, device, weights, batch, mask: masks.at(step, 0), stop };
            pass.forward(student)?;
            let flow = student.gradients.as_mut().expect("the student's workspace is kept for the backward pass");
            let target = if twins { Some(&student.logits) } else { target };
            let inputs = LossInputs { logits: &student.logits, target, class_weights: class_weights.as_ref() };
            pass.device.enter(Scope::Loss);
            pass.device.distillation_loss(losses, &mut flow.d_logits, inputs, kind, batch)?;
            pass.backward(student, &mut Sink { gradients, write })
        })
    }

    fn masks(&self) -> Masks {
        Masks { seed: self.settings.seed, teacher_dropout: self.settings.teacher_dropout }
    }

    fn update(&mut self, step: u64) -> Result<()> {
        let settings = &self.settings;
        settings.rates.fill_ranges(&mut self.ranges, &self.encoder.layout, step);
        let TrainingState { student, teacher, average } = &mut self.state;
        let update = Update {
            step_number: step + 1,
            beta1: settings.beta1,
            beta2: settings.beta2,
            eps: settings.adam_eps,
            clip: settings.clip as f32,
            teacher: teacher.follower(step),
            average: average.as_mut().and_then(|average| average.blend(step)),
        };
        self.device.update(student, &self.gradients, &self.ranges, update)
    }

    /// Logits [B, N] of a batch without dropout.
    ///
    /// # Errors
    /// [`Error::Misuse`] for weights that the run does not keep; and those of the device.
    pub fn logits(&mut self, batch: &PackedBatch, which: Weights) -> Result<Cow<'_, [f32]>> {
        self.logits_unless(Stop::NEVER, batch, which)
    }

    /// [`Learner::logits`], unless the pass is called off.
    ///
    /// # Errors
    /// As there, and [`Error::Interrupted`] for a pass that was called off.
    pub fn logits_unless(&mut self, stop: Stop<'_>, batch: &PackedBatch, which: Weights) -> Result<Cow<'_, [f32]>> {
        let masks = self.masks();
        let Self { device, encoder, inference, batch: uploaded, state, .. } = self;
        let weights = state.weights(which)?;
        let name = match which {
            Weights::Student => ForwardWeights::Student,
            Weights::Teacher => ForwardWeights::Teacher,
            Weights::Average => ForwardWeights::Average,
        };
        device.upload(uploaded, batch, &StepScalars::default())?;
        let mut forward = Forward { encoder, workspace: inference, masks, stop };
        forward.run(device, name, weights, uploaded, Mask::none())?;
        device.read_vector(&inference.logits)
    }

    /// The gradients of the last step, before clipping.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device fails.
    pub fn gradients(&self) -> Result<Cow<'_, [f32]>> {
        self.device.read_gradients(&self.gradients)
    }
}
