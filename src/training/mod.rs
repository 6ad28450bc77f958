//! Training: a run from its options to its result, the loop around the step, the step, the schedule, and what a stopped
//! run needs to go on.

mod evaluate;
mod loop_settings;
mod memory;
mod options;
mod run;
pub mod schedule;
mod stages;
pub mod state;
pub mod step;
mod train;
mod watch;

pub use evaluate::{EvaluationSet, evaluate};
pub use loop_settings::{Leaves, LoopSettings};
pub use memory::{MemoryPlan, OwnMemory, largest_that_fits};
pub use options::{
    Assignment, ClassWeights, DistillationTerm, EVALUATION_TOKENS, Export, MAX_LENGTH, Order, RunOptions, Switch,
    TokenCache, overlay, read_assignments,
};
pub(crate) use options::{parse, texts};
pub use run::{Outcome, Run};
pub use schedule::{LearningRates, Schedule};
pub use stages::{BaseModel, Batches, Found, RunData, Start, Workbench};
pub use state::TrainingState;
pub use step::{Learner, Skips, StepReport, StepSettings};
pub use train::Training;
pub use watch::{Observation, Watch};
