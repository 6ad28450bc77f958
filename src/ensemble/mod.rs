//! Several finished models as one: by voting, or by averaging their weights.
//!
//! | method | what it is | what it costs afterwards |
//! |---|---|---|
//! | `vote` | argmax of the summed probabilities | every model, for every text |
//! | `avg` | one model, whose weights are the mean | one model |
//!
//! Members are told apart by nothing but their weights: classes are matched by name, so members may list them in
//! different orders, and members that do not know the same classes are refused.

mod average;
mod class_order;
mod vote;

pub use average::average;
pub use class_order::ClassOrder;
pub use vote::Vote;
