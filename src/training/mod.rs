//! Training: the step, the schedule, the loop around them, and what a stopped run needs to go on.

pub mod schedule;
pub mod step;

pub use schedule::LearningRates;
pub use step::{Learner, StepReport};
