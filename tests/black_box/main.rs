//! What the program and its library do, seen from outside: one binary, so that it is linked once.

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
mod examples;
mod metrics;
mod readme;

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
    mod support;
}
mod data {
    mod fixtures;
    mod order;
    mod sources;
    mod tokenized;
    mod tokenizer;
}
mod model {
    mod config;
    mod hostile;
    mod hub;
    mod load;
    mod save;
    mod support;
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
    mod learner;
    mod operations;
    mod states;
    mod teachers;
}
mod train {
    mod errors;
    mod options;
    mod repeat;
    mod resume;
    mod settings;
    mod stop;
}
