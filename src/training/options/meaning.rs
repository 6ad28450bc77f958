//! What the options of a run mean: what is given only now and then filled in, and the parts of the program that take
//! several of them together.

use std::path::{Path, PathBuf};

use super::{DistillationTerm, Export, RunOptions, TokenCache};
use crate::{
    Error, Result,
    data::{Columns, Conventions, Preset, TableOptions},
    device::{Backend, DeviceChoice, Distance, Precision},
    distillation::{LambdaSchedule, Method, MethodSettings},
    reports::Weights,
};

/// Passes over the training examples where neither epochs nor steps are given.
const EPOCHS: u64 = 3;

impl RunOptions {
    /// A run over files of examples, with the defaults for everything else.
    pub fn for_files(model: impl Into<String>, train: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self { model: Some(model.into()), train: vec![train.into()], out: Some(out.into()), ..Self::default() }
    }

    /// Seed of new weights.
    pub fn init_seed(&self) -> u64 {
        self.init_seed.unwrap_or(self.seed)
    }

    /// Seed of the order of the examples.
    pub fn order_seed(&self) -> u64 {
        self.order_seed.unwrap_or(self.seed)
    }

    /// Seed of the dropout masks.
    pub fn dropout_seed(&self) -> u64 {
        self.dropout_seed.unwrap_or(self.seed)
    }

    /// The run's directory.
    ///
    /// # Errors
    /// [`Error::Setting`] when none is given.
    pub fn directory(&self) -> Result<&Path> {
        given(&self.out, "out").map(PathBuf::as_path)
    }

    /// Optimizer steps of the whole run.
    pub fn total_steps(&self, steps_per_epoch: u64) -> u64 {
        self.max_steps.unwrap_or_else(|| steps_per_epoch.saturating_mul(self.epochs.unwrap_or(EPOCHS)))
    }

    /// Whether there is anything to choose the best weights by.
    pub fn has_dev(&self) -> bool {
        !self.dev.is_empty() || self.dev_fraction.is_some() || self.preset.is_some_and(Preset::has_dev)
    }

    /// Whether the best weights on dev are exported rather than the last.
    pub fn exports_best(&self) -> bool {
        self.export.map_or_else(|| self.has_dev(), |export| export == Export::Best)
    }

    /// Weights that are scored; the first is exported.
    pub fn evaluated(&self) -> Vec<Weights> {
        match (&self.evaluate[..], self.method) {
            ([], Method::Se) => vec![Weights::Average],
            ([], _) => vec![Weights::Student],
            (given, _) => given.to_vec(),
        }
    }

    /// Whether the mean of the iterates is kept.
    pub fn keeps_average(&self) -> bool {
        self.method == Method::Se || self.average.unwrap_or_else(|| self.evaluate.contains(&Weights::Average))
    }

    /// What is kept beside the student.
    pub fn method_settings(&self) -> MethodSettings {
        MethodSettings {
            method: self.method,
            teacher: self.teacher,
            sdv_mode: self.sdv_mode,
            average_from: self.keeps_average().then_some(self.average_from),
            keeps_teacher: self.evaluate.contains(&Weights::Teacher),
        }
    }

    /// λ over the steps.
    pub fn lambda_schedule(&self) -> LambdaSchedule {
        let lambda = if self.method == Method::Rdrop { self.rdrop_alpha } else { self.lambda };
        LambdaSchedule { lambda, ramp_steps: self.lambda_ramp }
    }

    /// The distillation term.
    pub fn distance(&self) -> Distance {
        match self.distill {
            _ if self.method == Method::Rdrop => Distance::Twins,
            DistillationTerm::Mse => Distance::Mse,
            DistillationTerm::Kl => Distance::Kl { temperature: self.temperature },
        }
    }

    /// Columns of the text; a preset knows its own.
    pub fn text_columns(&self) -> Vec<String> {
        if self.text.is_empty() && self.preset.is_none() { vec!["text".to_owned()] } else { self.text.clone() }
    }

    /// Column of the label; a preset knows its own.
    pub fn label_column(&self) -> Option<String> {
        self.label.clone().or_else(|| self.preset.is_none().then(|| "label".to_owned()))
    }

    /// How files of examples are read.
    pub fn table_options(&self) -> TableOptions {
        TableOptions {
            format: self.format,
            no_header: self.no_header == Some(true),
            columns: Columns {
                text: self.text_columns().iter().map(|column| column.as_str().into()).collect(),
                pair: self.text_pair.as_deref().map(Into::into),
                label: self.label_column().as_deref().map(Into::into),
                kept: Vec::new(),
            },
            conventions: Conventions {
                delimiter: self.delimiter,
                ignored_labels: self.ignore_label.clone(),
                label_names: self.label_map.clone().unwrap_or_default(),
                bad_rows: self.bad_rows,
                ..Conventions::default()
            },
        }
    }

    /// With what follows from other options filled in, as `run.toml` keeps it.
    pub fn resolved(mut self) -> Self {
        self.epochs = self.max_steps.is_none().then(|| self.epochs.unwrap_or(EPOCHS));
        self.export = Some(if self.exports_best() { Export::Best } else { Export::Last });
        self.average = Some(self.keeps_average());
        self.evaluate = self.evaluated();
        self.text = self.text_columns();
        self.label = self.label_column();
        self.no_header = Some(self.no_header == Some(true));
        self
    }

    /// Keeps the device that `auto` turned out to be: the run goes on there, and is repeated there.
    pub fn settle_on(&mut self, backend: Backend) {
        (self.device, self.precision) = match backend {
            // Another device may read these options; there `auto` is no float32.
            Backend::Cpu => (DeviceChoice::Cpu, self.precision),
            Backend::CudaBf16 { ordinal } => (DeviceChoice::Cuda { ordinal }, Precision::Bf16),
            Backend::CudaTf32 { ordinal } => (DeviceChoice::Cuda { ordinal }, Precision::Tf32),
            Backend::CudaF32 { ordinal } => (DeviceChoice::Cuda { ordinal }, Precision::F32),
        };
    }

    /// The places of files made absolute, so that they mean the same from anywhere.
    pub fn with_absolute_paths(mut self) -> Self {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        for path in [&mut self.data_dir, &mut self.out] {
            *path = path.as_ref().map(absolute);
        }
        for path in [&mut self.train, &mut self.dev, &mut self.test].into_iter().flatten() {
            *path = absolute(path);
        }
        if let Some(model) = self.model.as_ref().map(PathBuf::from).filter(|model| model.is_dir()) {
            self.model = Some(absolute(&model).display().to_string());
        }
        if let Some(TokenCache::Directory(path)) = &mut self.token_cache {
            *path = absolute(path);
        }
        self
    }
}

/// An option without which there is no run.
pub(in crate::training) fn given<'a, T>(value: &'a Option<T>, name: &str) -> Result<&'a T> {
    value.as_ref().ok_or_else(|| Error::setting(name, "must be given"))
}
