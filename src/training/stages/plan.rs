//! Plan: how the examples are cut into steps and batches, and thereby how much memory they take. Nothing is opened or
//! allocated.

use super::RunData;
use crate::{
    Error, Result,
    data::{Examples, LabelMap, OrderSettings, StepPlan},
    device::Capacity,
    distillation::MethodSettings,
    training::{
        ClassWeights, EVALUATION_TOKENS, EvaluationSet, LearningRates, Leaves, LoopSettings, Order, RunOptions,
        StepSettings, Switch,
    },
};

/// Steps that length bucketing sorts together.
const BUCKET_STEPS: usize = 50;

/// The examples of a run in the order and the batches in which they are used.
pub struct Batches {
    /// The batches of each update.
    pub steps: StepPlan,
    /// Updates of the run.
    pub total_steps: u64,
    /// What is trained on.
    pub train: Examples,
    /// What is evaluated on.
    pub dev: Option<EvaluationSet>,
    /// What is scored at the end.
    pub tests: Vec<(String, EvaluationSet)>,
    /// How often each example stands in a batch.
    pub copies: usize,
    /// The largest micro-batch, copies included.
    pub training: Capacity,
    /// The largest batch of any kind.
    pub inference: Capacity,
    /// By class; none: all 1.
    pub class_weights: Option<Vec<f32>>,
}

impl Batches {
    /// # Errors
    /// [`Error::Setting`] where the options do not fit the examples.
    pub fn plan(options: &RunOptions, data: &RunData) -> Result<Self> {
        let (train, dev) = match (options.dev_fraction, &data.dev) {
            (Some(share), None) => {
                let (train, dev) = data.train.split(share, options.seed)?;
                (train, Some(dev))
            }
            (_, dev) => (data.train.clone(), dev.clone()),
        };
        let order = OrderSettings {
            seed: options.order_seed(),
            batch_size: options.batch_size,
            grad_accum: options.grad_accum,
            max_tokens: options.max_tokens,
            shuffle: options.order != Order::File,
            bucket_steps: if options.order == Order::Bucketed { BUCKET_STEPS } else { 0 },
            drop_last: false,
        };
        let steps = StepPlan::new(train.lengths(), order)?;
        let total_steps = options.total_steps(steps.steps_per_epoch());
        if options.average_from > total_steps {
            let from = options.average_from;
            let message = format!("the average would begin at step {from}, and the run has {total_steps}");
            return Err(Error::setting("average-from", message));
        }
        let length = data.encode.max_length;
        let copies = options.method.copies();
        let training =
            Capacity { tokens: copies * steps.token_capacity(), sequences: copies * steps.sequence_capacity(), length };
        let tokens = training.tokens.max(EVALUATION_TOKENS);
        let evaluation = |examples| EvaluationSet::new(examples, options.eval_batch_size, tokens);
        let dev = dev.map(evaluation);
        let test = |(name, examples): &(String, Examples)| (name.clone(), evaluation(examples.clone()));
        let tests: Vec<_> = data.tests.iter().map(test).collect();
        let sets = dev.iter().chain(tests.iter().map(|(_, set)| set));
        let inference = sets.fold(training, |largest, set| Capacity {
            tokens: largest.tokens.max(set.plan.token_capacity()),
            sequences: largest.sequences.max(set.plan.sequence_capacity()),
            length,
        });
        let class_weights = class_weights(&options.class_weights, &data.labels, &train)?;
        Ok(Self { steps, total_steps, train, dev, tests, copies, training, inference, class_weights })
    }

    /// Micro-batches of fewer examples.
    pub fn fewer(&self, examples: usize) -> Capacity {
        let sequences = examples.saturating_mul(self.copies);
        let longest = self.train.lengths().into_iter().max().unwrap_or(0) as usize;
        let tokens = self.training.tokens.min(sequences.saturating_mul(longest));
        Capacity { tokens, sequences, ..self.training }
    }

    /// Sizes that the run's batches have: the largest, with the longest text there is, and how many batches there are,
    /// where that is known beforehand.
    pub fn sizes(&self, options: &RunOptions) -> (Capacity, Option<usize>) {
        let sets = || self.dev.iter().chain(self.tests.iter().map(|(_, set)| set)).map(|set| &set.examples);
        let longest = |examples: &Examples| examples.lengths().into_iter().max().unwrap_or(0) as usize;
        let length = sets().map(longest).fold(longest(&self.train), usize::max);
        let micro = (self.total_steps as usize).saturating_mul(options.grad_accum);
        let is_known = sets().next().is_none() && options.max_tokens.is_none();
        (Capacity { length, ..self.inference }, is_known.then_some(micro))
    }

    /// The constants of every step.
    pub fn step_settings(&self, options: &RunOptions) -> StepSettings {
        let total_steps = self.total_steps;
        let method = options.method_settings();
        StepSettings {
            seed: options.dropout_seed(),
            max_examples: self.copies * self.steps.example_capacity(),
            method: MethodSettings { teacher: method.teacher.over(total_steps), ..method },
            rates: LearningRates {
                encoder: options.lr,
                head: options.head_lr,
                layer_decay: options.layer_decay,
                weight_decay: options.weight_decay,
                warmup_steps: (options.warmup * total_steps as f64).ceil() as u64,
                total_steps,
                schedule: options.schedule,
                floor: options.lr_floor,
            },
            lambda: options.lambda_schedule(),
            distance: options.distance(),
            teacher_dropout: options.teacher_dropout == Switch::On,
            label_smoothing: options.label_smoothing,
            class_weights: self.class_weights.clone(),
            clip: if options.clip == 0.0 { f64::INFINITY } else { options.clip },
            beta1: 0.9,
            beta2: 0.999,
            adam_eps: 1e-8,
        }
    }

    /// When things happen in the loop.
    pub fn loop_settings(&self, options: &RunOptions, stop_after: Option<u64>, leaves: Leaves) -> LoopSettings {
        LoopSettings {
            total_steps: self.total_steps,
            eval_every: options.eval_every,
            save_every: options.save_every,
            log_every: options.log_every,
            patience: options.patience,
            best_metric: options.best_metric,
            evaluate: options.evaluated(),
            export_best: options.exports_best() && self.dev.is_some(),
            save: options.keep_checkpoints > 0,
            leaves,
            stop_after,
        }
    }
}

fn class_weights(choice: &ClassWeights, labels: &LabelMap, train: &Examples) -> Result<Option<Vec<f32>>> {
    match choice {
        ClassWeights::None => Ok(None),
        ClassWeights::Balanced => {
            let even = train.len() as f64 / labels.len() as f64;
            Ok(Some(train.label_counts().iter().map(|&count| (even / count.max(1) as f64) as f32).collect()))
        }
        ClassWeights::Given(pairs) => {
            let mut weights = vec![1.0; labels.len()];
            for (label, weight) in pairs {
                let Some(number) = labels.number(label) else {
                    let message = format!("'{label}' is none of the labels {}", labels.names().join(", "));
                    return Err(Error::setting("class-weights", message));
                };
                weights[number as usize] = *weight;
            }
            if weights.iter().all(|&weight| weight == 0.0) {
                return Err(Error::setting("class-weights", "all are 0, so that nothing would be learnt"));
            }
            Ok(Some(weights))
        }
    }
}
