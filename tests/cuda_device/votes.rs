//! Sums and means of votes: the CPU device's to the bit.

use bertsd_cuda::{
    data::PackedBatch,
    device::{Capacity, Device, Shape, StepScalars, Write, cpu::CpuDevice},
};

use super::{support, tiny};

/// Examples of a step.
const EXAMPLES: usize = 40;

/// `sequences` of one token, in slots that neither begin at 0 nor ascend.
fn batch(sequences: usize) -> PackedBatch {
    let mut batch = PackedBatch::default();
    batch.clear();
    for b in 0..sequences {
        batch.push(&[7], &[0], 0, ((b * 7 + 3) % EXAMPLES) as u32);
    }
    batch
}

/// Sums after one vote and two more, then their mean: every number a device leaves behind.
fn votes<D: Device>(device: &mut D, packed: &PackedBatch, capacity: Capacity, classes: usize) -> (Vec<f32>, Vec<f32>) {
    let batch = support::upload(device, packed, capacity, &StepScalars::default());
    let poisoned = |device: &D, len: usize| {
        let mut vector = device.vector(len).unwrap();
        device.write_vector(&mut vector, &vec![f32::NAN; len]).unwrap();
        vector
    };
    let mut sums = poisoned(device, EXAMPLES * classes);
    let mut target = poisoned(device, capacity.sequences * classes);
    let mut logits = device.vector(capacity.sequences * classes).unwrap();
    for (voter, write) in [Write::Overwrite, Write::Add, Write::Add].into_iter().enumerate() {
        let mut stream = tiny::stream(90 + voter as u32);
        let values: Vec<f32> = (0..capacity.sequences * classes).map(|_| (3.0 * stream.normal()) as f32).collect();
        device.write_vector(&mut logits, &values).unwrap();
        device.add_votes(&mut sums, &logits, &batch, write).unwrap();
    }
    device.mean_of_votes(&mut target, &sums, &batch, 3).unwrap();
    (device.read_vector(&sums).unwrap().into_owned(), device.read_vector(&target).unwrap().into_owned())
}

#[test]
fn sums_and_means_are_those_of_the_cpu() {
    for (sequences, classes) in [(1, 2), (3, 5), (31, 3), (33, 11), (EXAMPLES, 77), (2, 5000)] {
        let config = bertsd_cuda::model::BertConfig { labels: classes, ..tiny::config(1, 16, 1) };
        let (shape, packed) = (Shape::new(&config), batch(sequences));
        let capacity = Capacity { tokens: EXAMPLES, sequences: EXAMPLES, length: 1 };
        let bits = |(sums, target): (Vec<f32>, Vec<f32>)| {
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            (bits(sums), bits(target))
        };
        let expected = bits(votes(&mut CpuDevice::new(shape, capacity), &packed, capacity, classes));
        let found = bits(votes(&mut support::device::<f32>(shape, capacity), &packed, capacity, classes));
        assert!(found == expected, "{sequences} sequences, {classes} classes");
        let written = found.0.iter().filter(|&&bits| !f32::from_bits(bits).is_nan()).count();
        assert_eq!(written, sequences * classes, "only the slots of the batch are written");
    }
}
