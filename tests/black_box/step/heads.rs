//! Heads of a size that is no multiple of 8, on the CPU device.

use crate::{padding, tiny};
use bertsd_cuda::distillation::Method;

#[test]
fn what_fills_heads_up_stays_zero() {
    for (method, teacher) in padding::METHODS {
        let weights = tiny::weights(&padding::config(), 1);
        let settings = padding::settings(method, teacher);
        let learner = tiny::learner(&padding::config(), settings, &padding::batches(4), &weights);
        padding::stays_zero(learner, 4, method == Method::Sda);
    }
}
