//! How a run comes to be, in stages; each owns what it made, and the next is made from it:
//!
//! ```text
//! options → BaseModel → RunData → Batches → Workbench → Run
//!           load        tokenize  plan      allocate    restore
//! ```
//!
//! The first two depend on few options and hold what takes longest, so that several runs can share them. Nothing is
//! written into the run's directory before everything a run needs is there.

mod allocate;
mod load;
mod plan;
mod restore;
mod tokenize;

pub use allocate::Workbench;
pub use load::BaseModel;
pub use plan::Batches;
pub use restore::{Found, Start};
pub use tokenize::RunData;
