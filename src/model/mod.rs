//! What a BERT classifier is: its configuration, the order of its parameters, and the files it comes in.

pub mod config;
pub mod layout;

pub use config::{Activation, BertConfig};
pub use layout::{Layout, Segment, View};
