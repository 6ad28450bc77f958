//! The loop around the step: data order, evaluation, best weights, early stopping, logs, checkpoints, signals.
//!
//! After update t, in this order: the step is logged; if due, dev is scored and logged; if due, the state is saved. So
//! a checkpoint comes after everything its log says, and a resumed run repeats whatever came later.

use std::{
    collections::VecDeque,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    Batches, Learner, Leaves, LoopSettings, Observation, StepReport, Watch, evaluate,
    evaluate::answers,
    state::{self, Best, Position},
    step::MOST_QUEUED,
};
use crate::{
    Error, Result, Stop,
    checkpoint::CheckpointStore,
    data::{PackedBatch, StepBatches},
    device::Device,
    metrics::Scores,
    model::Model,
    reports::{EvalEvent, Event, EventLog, Split, StepEvent, TensorBoardWriter, Timeline, Weights},
};

/// A run, ready to go.
pub struct Run<D: Device> {
    /// Where everything is written.
    pub directory: PathBuf,
    /// What is exported with the trained weights.
    pub model: Model,
    /// What trains.
    pub learner: Learner<D>,
    /// Where batches come from.
    pub batches: Batches,
    /// [`Examples::fingerprint`](crate::data::Examples::fingerprint) of the training examples.
    pub fingerprint: u64,
    /// How often what is done.
    pub settings: LoopSettings,
    /// Checkpoints.
    pub store: CheckpointStore,
    /// Events.
    pub log: EventLog,
    /// The same for TensorBoard.
    pub board: TensorBoardWriter,
    /// Where the times of everything go, if they are wanted.
    pub timeline: Option<Timeline>,
    /// How far it is.
    pub position: Position,
    /// The best weights, while they are on no disk.
    pub best: Option<(Best, Vec<f32>)>,
    /// When the state was saved, or the run began.
    pub saved: Instant,
}

/// The batches of the steps from the next one on, as far as they have been looked at.
#[derive(Default)]
struct Coming {
    steps: VecDeque<StepBatches>,
    /// Memory of steps that are done.
    spare: Vec<StepBatches>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Updates done.
    pub steps: u64,
    /// Step whose weights are in `model/`.
    pub exported_step: u64,
    /// Where the model is, unless the run [leaves](Leaves) none.
    pub model: PathBuf,
    /// Scores of the exported weights, test set by test set.
    pub tests: Vec<(String, Scores)>,
}

impl<D: Device> Run<D> {
    /// Trains to the end.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when `watch` asked to stop, after saving the state; [`Error::NotFinite`] when the
    /// training diverged; of the device and of the files.
    pub fn run(&mut self, watch: &mut Watch<'_>) -> Result<Outcome> {
        // Weights that are not there are an error now, not after an epoch.
        self.settings.evaluate.iter().try_for_each(|&weights| self.learner.state.weights(weights).map(drop))?;
        watch.tell(Observation::Ready {
            device: self.learner.device.name(),
            parameters: self.learner.encoder.layout.parameters(),
            labels: self.learner.encoder.shape.labels,
            total_steps: self.settings.total_steps,
            steps_per_epoch: self.batches.steps.steps_per_epoch(),
            step: self.position.step,
        });
        let outcome = self.train(watch);
        if matches!(outcome, Err(Error::Io { .. })) && self.settings.save {
            let directory = self.directory.display();
            watch.note(&format!("when that is mended, the run goes on with: bertsd-cuda train --resume {directory}"));
        }
        outcome
    }

    fn train(&mut self, watch: &mut Watch<'_>) -> Result<Outcome> {
        let mut coming = Coming::default();
        let mut started = Instant::now();
        if self.position.owes_evaluation {
            self.after_step(watch).map_err(|error| self.explain(error))?;
        }
        while self.position.step < self.settings.total_steps && !self.position.stopped {
            if self.may_queue(watch) {
                if self.learner.queued() == 0 {
                    started = Instant::now();
                }
                match self.queue(&mut coming, watch.stop()) {
                    Err(Error::Interrupted { .. }) => return Err(self.stop_before_step(watch)?),
                    queued => queued.map_err(|error| self.explain(error))?,
                }
                continue;
            }
            let report = self.learner.collect().map_err(|error| self.explain(error))?;
            self.position.step = report.step + 1;
            self.trace_step(report.step + 1, started)?;
            self.log_step(&report, started.elapsed(), watch)?;
            started = Instant::now();
            self.after_step(watch).map_err(|error| self.explain(error))?;
        }
        let outcome = self.finish(watch)?;
        if let Some(timeline) = &mut self.timeline {
            timeline.device(&self.learner.device.take_spans()?)?;
            timeline.finish()?;
        }
        Ok(outcome)
    }

    /// Whether the next step may be set under way: what is done after a step looks at its weights, so the next step
    /// waits.
    fn may_queue(&self, watch: &Watch<'_>) -> bool {
        let queued = self.learner.queued();
        let next = self.position.step + queued as u64;
        queued == 0
            || (D::QUEUES
                && queued < MOST_QUEUED
                && next < self.settings.total_steps
                && self.timeline.is_none()
                && !self.evaluates_after(next)
                && !self.saves_after(next)
                && !watch.is_stopping()
                && self.settings.stop_after.is_none_or(|after| next < after))
    }

    /// Sets the next step under way, unless it is called off.
    fn queue(&mut self, coming: &mut Coming, stop: Stop<'_>) -> Result<()> {
        let t = self.position.step + self.learner.queued() as u64;
        let ahead = self.learner.state.teacher.steps_ahead() as u64;
        let horizon = (t + ahead + 1).min(self.settings.total_steps);
        while t + (coming.steps.len() as u64) < horizon {
            let mut batches = coming.spare.pop().unwrap_or_default();
            self.batches.steps.pack(t + coming.steps.len() as u64, &self.batches.train, &mut batches);
            if self.batches.copies > 1 {
                batches.repeat();
            }
            coming.steps.push_back(batches);
        }
        let current = coming.steps.pop_front().unwrap_or_default();
        let next: Vec<&[PackedBatch]> = coming.steps.iter().map(|batches| &**batches).collect();
        let queued = self.learner.queue_unless(stop, t, &current, &next);
        coming.spare.push(current);
        queued
    }

    /// The step's times, on the host and the device.
    fn trace_step(&mut self, step: u64, started: Instant) -> Result<()> {
        let Some(timeline) = &mut self.timeline else { return Ok(()) };
        timeline.device(&self.learner.device.take_spans()?)?;
        timeline.host(&format!("step {step}"), started)
    }

    /// Whether an epoch, or the run, ends with update `step`.
    fn is_epoch_end(&self, step: u64) -> bool {
        step.is_multiple_of(self.batches.steps.steps_per_epoch()) || step == self.settings.total_steps
    }

    fn is_due(&self, step: u64, every: u64) -> bool {
        self.is_epoch_end(step) || (every > 0 && step.is_multiple_of(every))
    }

    fn evaluates_after(&self, step: u64) -> bool {
        self.batches.dev.is_some() && self.is_due(step, self.settings.eval_every)
    }

    fn saves_after(&self, step: u64) -> bool {
        let is_due = || match self.settings.leaves {
            Leaves::Model => self.is_due(step, self.settings.save_every),
            Leaves::Scores { save_after } => self.saved.elapsed() >= save_after,
        };
        self.settings.save && is_due()
    }

    fn log_step(&mut self, report: &StepReport, elapsed: Duration, watch: &mut Watch<'_>) -> Result<()> {
        let (step, skips) = (report.step + 1, self.learner.skips);
        let event = StepEvent {
            step,
            loss: report.loss,
            ce: report.ce,
            distill: report.distill,
            lr: report.lr,
            grad_norm: report.grad_norm,
            tokens_per_s: report.tokens as f64 / elapsed.as_secs_f64(),
            epoch: Some(step as f64 / self.batches.steps.steps_per_epoch() as f64),
            lr_head: Some(report.lr_head),
            lambda: Some(report.lambda),
            skipped: Some(skips.total).filter(|&total| total > 0),
            ..StepEvent::default()
        };
        watch.tell(Observation::Step { event: &event, tokens: report.tokens, elapsed });
        if skips.in_a_row > 0 {
            watch.tell(Observation::Skipped { step, skips });
        }
        if step.is_multiple_of(self.settings.log_every) || self.is_epoch_end(step) || skips.in_a_row > 0 {
            self.record(Event::Step(event))?;
        }
        Ok(())
    }

    fn record(&mut self, event: Event) -> Result<()> {
        self.log.write(&event)?;
        self.board.write(&event)
    }

    fn after_step(&mut self, watch: &mut Watch<'_>) -> Result<()> {
        let step = self.position.step;
        if self.evaluates_after(step) {
            self.evaluate_dev(watch)?;
        }
        // A step that is under way already is waited for before the state is saved.
        if self.learner.queued() > 0 {
            return Ok(());
        }
        let asked = watch.is_stopping() || self.settings.stop_after.is_some_and(|after| step >= after);
        let is_over = step >= self.settings.total_steps || self.position.stopped;
        let interrupted = self.position.owes_evaluation || (asked && !is_over);
        // Weights that give no finite gradient may be lost already: they are not to take the place of good ones.
        let is_due = self.saves_after(step) && self.learner.skips.in_a_row == 0;
        let stops = self.position.stopped && self.settings.leaves == Leaves::Model;
        if is_due || (self.settings.save && (interrupted || stops)) {
            self.save(watch)?;
        }
        if interrupted { Err(self.interrupted()) } else { Ok(()) }
    }

    /// Saves the state that a step which was called off has left as it was, if no checkpoint has it yet, and says how to
    /// go on.
    fn stop_before_step(&mut self, watch: &mut Watch<'_>) -> Result<Error> {
        let step = self.position.step;
        // A run whose first step is not done begins anew.
        if self.settings.save && step > 0 && !self.store.steps()?.contains(&step) {
            self.save(watch)?;
        }
        Ok(self.interrupted())
    }

    fn save(&mut self, watch: &mut Watch<'_>) -> Result<()> {
        if !watch.is_stopping() {
            self.log.sync()?;
        }
        if let Some((best, weights)) = &self.best {
            state::save_best(&self.store, *best, weights, watch.stop())?;
        }
        self.saved = Instant::now();
        state::save(&self.store, &mut self.learner, &self.position, self.fingerprint, watch.stop())?;
        watch.tell(Observation::Saved { step: self.position.step });
        Ok(())
    }

    fn interrupted(&self) -> Error {
        let resume = if self.settings.save {
            format!("bertsd-cuda train --resume {}", self.directory.display())
        } else {
            "nothing: --keep-checkpoints 0 saves no state".to_owned()
        };
        Error::Interrupted { step: Some(self.position.step).filter(|&step| step > 0), resume }
    }

    fn evaluate_dev(&mut self, watch: &mut Watch<'_>) -> Result<()> {
        let Some(dev) = &self.batches.dev else { return Ok(()) };
        let step = self.position.step;
        let average_has_begun = self.learner.state.average.as_ref().is_none_or(|average| average.has_begun(step));
        let (primary, metric) = (self.settings.evaluate[0], self.settings.best_metric);
        let mut value = None;
        let mut events = Vec::new();
        // A mean of nothing yet has no scores.
        for &weights in self.settings.evaluate.iter().filter(|&&of| of != Weights::Average || average_has_begun) {
            let Some(scores) = evaluate(&mut self.learner, dev, weights, watch)? else {
                self.position.owes_evaluation = true;
                return Ok(());
            };
            value = if weights == primary { Some(metric.get(&scores)) } else { value };
            events.push(EvalEvent::new(Split::Dev, weights, step, scores));
        }
        self.position.owes_evaluation = false;
        for event in events {
            watch.tell(Observation::Evaluation(&event));
            self.record(Event::Eval(event))?;
        }
        let Some(value) = value else { return Ok(()) };
        let is_best = self.position.judge(step, value, metric, self.settings.patience);
        let Some(best) = self.position.best else { return Ok(()) };
        if is_best && self.settings.export_best {
            let weights = self.learner.device.read_parameters(self.learner.state.weights(primary)?)?;
            match self.settings.leaves {
                Leaves::Model => state::save_best(&self.store, best, &weights, watch.stop())?,
                Leaves::Scores { .. } => self.best = Some((best, weights.into_owned())),
            }
        }
        if self.position.stopped {
            watch.tell(Observation::StoppedEarly { step, best });
        }
        Ok(())
    }

    /// Exports the chosen weights and scores them on the test sets. They take the student's place, whose own state is
    /// in the last checkpoint by now.
    fn finish(&mut self, watch: &mut Watch<'_>) -> Result<Outcome> {
        let step = self.position.step;
        let (primary, others) = (self.settings.evaluate[0], self.settings.evaluate[1..].to_vec());
        for weights in others {
            self.score_tests(weights, weights, step, watch)?;
        }
        let best = match self.best.take() {
            None if self.settings.export_best => state::load_best(&self.store, self.learner.encoder.layout.len)?,
            best => best,
        };
        let (exported_step, exported) = match best {
            Some((best, weights)) => (best.step, weights),
            None => (step, self.learner.device.read_parameters(self.learner.state.weights(primary)?)?.into_owned()),
        };
        let path = self.directory.join("model");
        if self.settings.leaves == Leaves::Model {
            match self.model.save_unless(watch.stop(), &path, &exported) {
                Err(Error::Interrupted { .. }) => return Err(self.interrupted()),
                saved => saved?,
            }
        }
        self.learner.device.write_parameters(&mut self.learner.state.student.weights, &exported)?;
        drop(exported);
        let tests = self.score_tests(Weights::Student, primary, exported_step, watch)?;
        self.log.sync()?;
        Ok(Outcome { steps: step, exported_step, model: path, tests })
    }

    /// Scores on every test set, logged under the name of `logged`.
    fn score_tests(
        &mut self,
        weights: Weights,
        logged: Weights,
        step: u64,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<(String, Scores)>> {
        let mut all = Vec::new();
        for (name, set) in &self.batches.tests {
            let answered = answers(&mut self.learner, set, weights, watch)?;
            let (scores, logits) = answered.ok_or_else(|| self.interrupted())?;
            watch.tell(Observation::Answers { set: name, weights: logged, examples: &set.examples, logits: &logits });
            let mut event = EvalEvent::new(Split::Test, logged, step, scores);
            event.extra.insert("set".into(), name.as_str().into());
            watch.tell(Observation::Evaluation(&event));
            let event = Event::Eval(event);
            self.log.write(&event)?;
            self.board.write(&event)?;
            all.push((name.clone(), scores));
        }
        Ok(all)
    }

    /// Adds where the last good state is to an error that ends the run.
    fn explain(&self, error: Error) -> Error {
        let kept = self.store.steps().ok().and_then(|steps| steps.last().copied());
        let kept = kept.map_or("no checkpoint had been written yet".to_owned(), |last| {
            format!("the last good checkpoint is {}", self.store.path(last).display())
        });
        match error {
            Error::NotFinite { step, what, advice } => {
                Error::NotFinite { step: step + 1, what, advice: format!("{advice}; {kept}") }
            }
            Error::Device { device, message } => {
                let step = self.position.step + 1;
                Error::Device { device, message: format!("step {step}: {message}; {kept}") }
            }
            error => error,
        }
    }
}
