//! What no parser of a single option can know: ranges, and options that contradict each other.

use super::{DistillationTerm, Export, RunOptions, given};
use crate::{Error, Result, data::Preset, reports::Weights, training::Schedule};

/// Checks a condition that `rule` states.
fn require(holds: bool, name: &str, rule: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::setting(name, rule)) }
}

impl RunOptions {
    /// Whether a run of these options can begin, as far as that shows without opening anything.
    ///
    /// # Errors
    /// [`Error::Setting`] with the option that is missing, out of its range, or contradicts another.
    pub fn check(&self) -> Result<()> {
        self.check_ranges()?;
        self.check_places()?;
        self.check_data()?;
        self.check_method()?;
        self.check_dev()
    }

    fn check_ranges(&self) -> Result<()> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        let drops = |value: Option<f32>| value.is_none_or(|v| (0.0..1.0).contains(&v));
        let least = |holds: bool, name: &str| require(holds, name, "must be at least 1");
        require(positive(self.lr), "lr", "must be a positive number")?;
        require(positive(self.head_lr), "head-lr", "must be a positive number")?;
        require(positive(self.layer_decay), "layer-decay", "must be a positive number; 1 means none")?;
        require((0.0..=1.0).contains(&self.warmup), "warmup", "is a share of the steps, from 0 to 1")?;
        require((0.0..=1.0).contains(&self.lr_floor), "lr-floor", "is a share of the peak learning rate, from 0 to 1")?;
        let falls = self.schedule != Schedule::Constant || self.lr_floor == 0.0;
        require(falls, "lr-floor", "is given beside --schedule constant, which has no end to fall to")?;
        require(not_negative(self.weight_decay), "weight-decay", "must not be negative")?;
        require(not_negative(self.clip), "clip", "must not be negative; 0 means no clipping")?;
        require(not_negative(self.lambda), "lambda", "must not be negative; 0 means no distillation")?;
        require(not_negative(self.rdrop_alpha), "rdrop-alpha", "must not be negative; 0 means no divergence")?;
        require(positive(self.temperature.into()), "temperature", "must be a positive number")?;
        require(drops(Some(self.label_smoothing)), "label-smoothing", "must be at least 0 and below 1")?;
        require(drops(self.dropout), "dropout", "is a probability, at least 0 and below 1")?;
        require(drops(self.attention_dropout), "attention-dropout", "is a probability, at least 0 and below 1")?;
        least(self.epochs != Some(0), "epochs")?;
        least(self.max_steps != Some(0), "max-steps")?;
        least(self.log_every > 0, "log-every")?;
        least(self.batch_size > 0, "batch-size")?;
        least(self.eval_batch_size > 0, "eval-batch-size")?;
        least(self.grad_accum > 0, "grad-accum")?;
        least(self.max_tokens != Some(0), "max-tokens")?;
        least(self.threads != Some(0), "threads")?;
        require(self.keep_checkpoints < 1000, "keep-checkpoints", "must be below 1000")
    }

    /// `run.toml` keeps every place as text.
    fn check_places(&self) -> Result<()> {
        let places = [
            ("train", &self.train[..]),
            ("dev", &self.dev[..]),
            ("test", &self.test[..]),
            ("data-dir", self.data_dir.as_slice()),
            ("out", self.out.as_slice()),
        ];
        for (name, places) in places {
            let is_text = places.iter().all(|place| place.to_str().is_some());
            require(is_text, name, "the path is not UTF-8, and run.toml keeps it as text; rename it")?;
        }
        given(&self.model, "model")?;
        given(&self.out, "out").map(drop)
    }

    fn check_data(&self) -> Result<()> {
        let both = |one: bool, other: bool| one && other;
        require(!both(self.epochs.is_some(), self.max_steps.is_some()), "max-steps", "is given beside epochs")?;
        require(!both(!self.dev.is_empty(), self.dev_fraction.is_some()), "dev-fraction", "is given beside dev")?;
        match self.preset {
            Some(preset) => {
                given(&self.data_dir, "data-dir")?;
                self.refuse_beside(preset)
            }
            None => {
                require(self.data_dir.is_none(), "data-dir", "is given without a preset")?;
                require(!self.train.is_empty(), "train", "must be given")
            }
        }
    }

    /// A preset says itself what the options for files of one's own say.
    fn refuse_beside(&self, preset: Preset) -> Result<()> {
        let rivals = [
            ("train", !self.train.is_empty()),
            ("dev", !self.dev.is_empty()),
            ("test", !self.test.is_empty()),
            ("text", !self.text.is_empty()),
            ("text-pair", self.text_pair.is_some()),
            ("label", self.label.is_some()),
            ("format", self.format.is_some()),
            ("no-header", self.no_header == Some(true)),
            ("delimiter", self.delimiter.is_some()),
            ("ignore-label", !self.ignore_label.is_empty()),
            ("label-map", self.label_map.is_some()),
            ("dev-fraction", self.dev_fraction.is_some() && preset.has_dev()),
        ];
        let Some((name, _)) = rivals.into_iter().find(|(_, given)| *given) else { return Ok(()) };
        let message =
            format!("{preset} is a whole data set and says itself what --{name} says; leave one of the two out");
        Err(Error::setting("preset", message))
    }

    fn check_method(&self) -> Result<()> {
        self.method_settings().check()?;
        let evaluate = self.evaluated();
        let scores = |weights| evaluate.contains(&weights);
        let (averages, rule) = (self.keeps_average(), "there is no average to score; add --average");
        require(averages || !scores(Weights::Average), "evaluate", rule)?;
        let twice = (1..evaluate.len()).any(|i| evaluate[..i].contains(&evaluate[i]));
        require(!twice, "evaluate", "names the same weights twice")?;
        let rule = "there is no average to begin; add --average";
        require(averages || self.average_from == 1, "average-from", rule)?;
        let plain = self.distill == DistillationTerm::Kl || self.temperature == 1.0;
        require(plain, "temperature", "belongs to --distill kl; mse has none")
    }

    /// Without a development set there is nothing to choose the best by, to stop at, or to score in between.
    fn check_dev(&self) -> Result<()> {
        const RULE: &str = "needs a development set; give one with --dev or --dev-fraction";
        let has_dev = self.has_dev();
        require(has_dev || self.patience == 0, "patience", RULE)?;
        require(has_dev || self.eval_every == 0, "eval-every", RULE)?;
        require(has_dev || self.export != Some(Export::Best), "export", RULE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distillation::{Method, TeacherKind};

    #[test]
    fn a_program_meets_the_same_refusals_as_the_command_line() {
        let base = || RunOptions::for_files("model", "train.csv", "run");
        base().check().unwrap();
        for (options, part) in [
            (RunOptions { lr: -1.0, ..base() }, "lr: must be a positive number"),
            (RunOptions { rdrop_alpha: -1.0, ..base() }, "rdrop-alpha: must not be negative"),
            (RunOptions { lr_floor: 1.5, ..base() }, "lr-floor: is a share"),
            (RunOptions { lr_floor: 0.5, schedule: Schedule::Constant, ..base() }, "lr-floor: is given beside"),
            (RunOptions { batch_size: 0, ..base() }, "batch-size: must be at least 1"),
            (RunOptions { model: None, ..base() }, "model: must be given"),
            (RunOptions { train: Vec::new(), ..base() }, "train: must be given"),
            (RunOptions { patience: 1, ..base() }, "patience: needs a development set"),
            (RunOptions { epochs: Some(1), max_steps: Some(1), ..base() }, "max-steps: is given beside epochs"),
            (RunOptions { method: Method::Sdv, teacher: TeacherKind::All, ..base() }, "takes window:K only"),
            (RunOptions { evaluate: vec![Weights::Teacher], method: Method::Ft, ..base() }, "only --method sda"),
        ] {
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
