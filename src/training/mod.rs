//! Training: the step, the schedule, the loop around them, and what a stopped run needs to go on.

mod evaluate;
mod memory;
mod run;
pub mod schedule;
pub mod state;
pub mod step;

pub use evaluate::{EvaluationSet, evaluate, pick};
pub use memory::{MemoryPlan, largest_that_fits};
pub use run::{LoopSettings, Observation, Outcome, Run};
pub use schedule::LearningRates;
pub use step::{Learner, Skips, StepReport, StepSettings};
