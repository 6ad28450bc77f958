//! Kernels of kernels/optimizer.cu.

use bertsd_cuda::{
    device::{Capacity, Device, Shape, cuda::Element},
    model::Layout,
};
use half::bf16;

use super::{support, tiny};

fn norm_of<E: Element>() {
    let config = tiny::config(2, 16, 1);
    let layout = Layout::new(&config);
    let capacity = Capacity { tokens: 8, sequences: 1, length: 8 };
    let mut device = support::device::<E>(Shape::new(&config), capacity);
    let mut gradients = device.gradients(layout.len, &layout.embeddings).unwrap();
    let values: Vec<f32> = tiny::weights(&config, 3);
    device.write_arena(&mut gradients.arena, &values).unwrap();
    device.gradient_norm(&gradients).unwrap();
    let found = device.read_gradients(&gradients).unwrap();
    assert_eq!(found, values);
}

#[test]
fn the_norm_is_that_of_the_whole_arena() {
    norm_of::<f32>();
    norm_of::<bf16>();
}
