//! What the program and its library do, seen from outside: one binary, so that it is linked once.

#[path = "../common/padding.rs"]
mod padding;
#[path = "../common/place.rs"]
mod place;
#[path = "../common/reference.rs"]
mod reference;
#[path = "../common/runs.rs"]
mod runs;
#[path = "../common/skips.rs"]
mod skips;
#[path = "../common/tiny.rs"]
mod tiny;

mod bits;
mod build_script;
mod examples;
mod experiment;
mod metrics;
mod readme;
mod statistics;

mod checkpoint {
    mod files;
    mod store;
}
mod commands {
    mod completions;
    mod console;
    mod ensemble;
    mod eval;
    mod info;
    mod predict;
    pub mod support;
}
mod data {
    mod delimiters;
    mod fixtures;
    mod kept;
    mod labels;
    mod order;
    mod packed;
    mod shards;
    mod sources;
    mod tokenized;
    mod tokenizer;
    mod transformers;
}
mod model {
    mod config;
    mod hostile;
    mod hub;
    mod load;
    mod save;
    mod support;
    mod torch;
}
mod reports {
    mod curves;
    mod events;
    mod progress;
    mod tensorboard;
}
mod step {
    mod dropout;
    mod embeddings;
    mod gradients;
    mod heads;
    mod learner;
    mod operations;
    mod states;
    mod teachers;
}
mod train {
    mod checkpoints;
    mod data;
    mod errors;
    mod options;
    mod repeat;
    mod resume;
    mod settings;
    mod stop;
}
