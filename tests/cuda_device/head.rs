//! Kernels of kernels/head.cu: pooler, classifier, and their backward pass.

use bertsd_cuda::{
    device::{
        Capacity, Copies, Dropout, Head, HeadOps, Mask, Memory, Pooled, Rows, Shape, Sink, Site, StepScalars, Write,
        cpu::CpuDevice,
        cuda::{Bf16, CudaDevice, Element, Tf32},
    },
    model::{BertConfig, Layout, View, layout::Linear},
    random::Philox,
};

use super::{
    buffers::{
        assert_as_the_cpu, factors, matrix, on, on_cpu, poisoned_matrix, poisoned_vector, random, stored, summand,
        vector, written, written_vector,
    },
    reference::{self, Masks, dot, linear},
    support::{self, double},
    tiny,
};

const SCALARS: StepScalars = StepScalars { step: 2, lambda: 1.0, ce_scale: 1.0, distill_scale: 1.0 };
const DROP_PROB: f32 = 0.2;

/// The head alone: no layers' worth of weights for a wide one.
struct Sizes {
    width: usize,
    classes: usize,
    sequences: usize,
}

fn config(sizes: &Sizes) -> BertConfig {
    BertConfig { hidden_size: sizes.width, heads: sizes.width / 8, labels: sizes.classes, ..tiny::config(1, 8, 1) }
}

/// Pooler and classifier after other parameters, as in a model's arena.
fn layers(sizes: &Sizes) -> (Linear, Linear, usize) {
    let mut end = 8;
    let mut view = |len: usize| {
        let start = end;
        end = (start + len).next_multiple_of(8);
        View { start, len }
    };
    let &Sizes { width, classes, .. } = sizes;
    let pooler = Linear { weight: view(width * width), bias: view(width) };
    let classifier = Linear { weight: view(classes * width), bias: view(classes) };
    (pooler, classifier, end.next_multiple_of(16) + 16)
}

fn dropout() -> Dropout {
    let mask = Mask { philox: Philox::new(tiny::SEED), step: SCALARS.step, pass: 0, active: true };
    mask.at(Site::Classifier, DROP_PROB)
}

/// First rows and d_logits are normal numbers times these.
fn check<E: Element>(width: usize, classes: usize, sequences: usize, [of_first, of_logits]: [f32; 2]) {
    let sizes = Sizes { width, classes, sequences };
    let config = config(&sizes);
    let what = format!("{} {sequences} rows of {width}, {classes} classes, {of_first:e}, {of_logits:e}", E::NAME);
    let mut packed = tiny::batch(&config, &vec![1; sizes.sequences], 1);
    packed.slots.iter_mut().for_each(|slot| *slot = *slot * 5 + 2);
    let capacity = Capacity { tokens: sequences + 2, sequences: sequences + 2, length: 8 };
    let (pooler, classifier, len) = layers(&sizes);
    let scale = 1.0 / (width as f32).sqrt();
    let values = random::<E>(1, len, scale, 0.0);
    let first_values = random::<E>(2, sequences * width, of_first, 0.0);
    let d_logits_values = random::<f32>(3, sequences * classes, of_logits, 0.0);

    let masks = Masks { philox: Philox::new(tiny::SEED), step: SCALARS.step, pass: 0 };
    let kept: Vec<f64> = packed
        .slots
        .iter()
        .flat_map(|&slot| (0..width).map(move |j| masks.factor(reference::CLASSIFIER, DROP_PROB, slot, j)))
        .collect();
    let of = |view: View| double(&values[view.range()]);
    let (pooler_weight, pooler_bias) = (of(pooler.weight), of(pooler.bias));
    let plain_pooler_weight = factors::<E>(&values[pooler.weight.range()]);
    let (weight, bias) = (of(classifier.weight), of(classifier.bias));
    let pooled_of = |first: &[f64], weight: &[f64]| -> Vec<f64> {
        first.chunks(width).flat_map(|row| linear(row, weight, &pooler_bias)).map(f64::tanh).collect()
    };
    let (x, plain_x) = (double(&first_values), factors::<E>(&first_values));
    let pooled = pooled_of(&x, &pooler_weight);
    let drop = |x: &[f64]| x.iter().zip(&kept).map(|(x, f)| x * f).collect::<Vec<_>>();
    let logits_of = |x: &[f64]| x.chunks(width).flat_map(|row| linear(row, &weight, &bias)).collect::<Vec<_>>();
    let dropped = drop(&pooled);
    // As the device multiplies and stores.
    let plain_pooled = stored::<E>(&pooled_of(&plain_x, &plain_pooler_weight));
    let plain_dropped = stored::<E>(&drop(&plain_pooled));

    let mut device: CudaDevice<E> = support::device(Shape::new(&config), capacity);
    let batch = support::upload(&mut device, &packed, capacity, &SCALARS);
    let parameters = device.parameters(&values).unwrap();
    let head = Head { pooler, classifier, dropout: dropout() };
    let first = matrix(&device, &first_values, width);
    let [mut found_pooled, mut found_dropped] = [0; 2].map(|_| poisoned_matrix(&device, sequences + 1, width));
    let mut found_logits = poisoned_vector(&device, sequences * classes + 1);
    let all = on(&parameters, &batch, Rows::Sequences);
    device.classify(&mut found_pooled, &mut found_dropped, &mut found_logits, &first, head, all).unwrap();
    let mut cpu = CpuDevice::new(Shape::new(&config), capacity);
    let cpu_batch = support::upload(&mut cpu, &packed, capacity, &SCALARS);
    let [mut cpu_pooled, mut cpu_dropped] = [0; 2].map(|_| poisoned_matrix(&cpu, sequences, width));
    let mut cpu_logits = vec![f32::NAN; sequences * classes];
    let (cpu_first, of_cpu) = (matrix(&cpu, &first_values, width), on_cpu(&values, &cpu_batch, Rows::Sequences));
    cpu.classify(&mut cpu_pooled, &mut cpu_dropped, &mut cpu_logits, &cpu_first, head, of_cpu).unwrap();
    let (cpu_pooled, cpu_dropped) = (cpu_pooled.elements(), cpu_dropped.elements());
    let rows = |m| written(&device, m, sequences * width, &what);
    let part = |name: &str| format!("{what}: {name}");
    assert_as_the_cpu::<E>(&rows(&found_pooled), cpu_pooled, &pooled, &plain_pooled, &part("pooled"));
    let found = rows(&found_dropped);
    assert_as_the_cpu::<E>(&found, cpu_dropped, &dropped, &plain_dropped, &part("dropped"));
    assert!(found.iter().zip(&kept).all(|(&v, &f)| (v == 0.0) == (f == 0.0)), "{what}: the mask");
    assert!(found.iter().zip(cpu_dropped).all(|(&v, &c)| (v == 0.0) == (c == 0.0)), "{what}: the mask of the CPU");
    let found = written_vector(&device, &found_logits, sequences * classes, &what);
    let (exact, plain) = (logits_of(&dropped), logits_of(&plain_dropped));
    assert_as_the_cpu::<E>(&found, &cpu_logits, &exact, &plain, &part("logits"));

    // What the backward pass is given are the device's own matrices: the gradients are exact for them.
    let given_pooled = double(&rows(&found_pooled));
    let given_dropped = double(&rows(&found_dropped));
    let d_logits = vector(&device, &d_logits_values);
    let d = double(&d_logits_values);
    let columns = |x: &[f64], width: usize| -> Vec<Vec<f64>> {
        (0..width).map(|j| x.iter().skip(j).step_by(width).copied().collect()).collect()
    };
    // x · W, W [outputs, inputs]
    let through = |x: &[f64], outputs: usize, columns: &[Vec<f64>]| -> Vec<f64> {
        x.chunks(outputs).flat_map(|row| columns.iter().map(move |column| dot(row, column))).collect()
    };
    let d_dropped = through(&d, classes, &columns(&weight, width));
    let d_pre: Vec<f64> =
        d_dropped.iter().zip(&kept).zip(&given_pooled).map(|((d, f), y)| d * f * (1.0 - y * y)).collect();
    let stored_d_pre: Vec<f32> = stored::<E>(&d_pre).iter().map(|&d| d as f32).collect();
    let plain_d_pre = factors::<E>(&stored_d_pre);
    let summands: Vec<f64> = stored_d_pre.iter().map(|&d| f64::from(summand::<E>(d))).collect();
    let d_first = through(&d_pre, width, &columns(&pooler_weight, width));
    let plain_d_first = through(&plain_d_pre, width, &columns(&plain_pooler_weight, width));
    let outer = |d: &[f64], outputs: usize, x: &[f64]| -> Vec<f64> {
        let xs = columns(x, width);
        columns(d, outputs).iter().flat_map(|d| xs.iter().map(move |x| dot(d, x))).collect()
    };
    let sums = |d: &[f64], outputs: usize| columns(d, outputs).iter().map(|d| d.iter().sum()).collect::<Vec<f64>>();
    let exact = [
        (classifier.weight, outer(&d, classes, &given_dropped), None),
        (classifier.bias, sums(&d, classes), None),
        (pooler.weight, outer(&d_pre, width, &x), Some(outer(&plain_d_pre, width, &plain_x))),
        (pooler.bias, sums(&d_pre, width), Some(sums(&summands, width))),
    ];
    let tables = Layout::new(&tiny::config(1, 8, 1)).embeddings;
    let mut gradients = device.gradients(len.max(tables.norm.beta.range().end), &tables).unwrap();
    let poison = vec![f32::NAN; gradients.arena.len()];
    device.write_gradients(&mut gradients, &poison).unwrap();
    let mut found_d_first = poisoned_matrix(&device, sequences + 1, width);
    let mut cpu_d_first = poisoned_matrix(&cpu, sequences, width);
    let mut cpu_gradients = cpu.gradients(gradients.arena.len(), &tables).unwrap();
    let [cpu_pooled, cpu_dropped] = [&found_pooled, &found_dropped].map(|found| matrix(&cpu, &rows(found), width));
    for (write, times) in [(Write::Overwrite, 1.0), (Write::Add, 2.0)] {
        let kept = Pooled { first: &first, pooled: &found_pooled, dropped: &found_dropped };
        let mut sink = Sink { gradients: &mut gradients, write };
        device.classify_backward(&mut found_d_first, &mut sink, &d_logits, kept, head, all).unwrap();
        let kept = Pooled { first: &cpu_first, pooled: &cpu_pooled, dropped: &cpu_dropped };
        let mut sink = Sink { gradients: &mut cpu_gradients, write };
        cpu.classify_backward(&mut cpu_d_first, &mut sink, &d_logits_values, kept, head, of_cpu).unwrap();
        let found = written(&device, &found_d_first, sequences * width, &what);
        assert_as_the_cpu::<E>(
            &found,
            cpu_d_first.elements(),
            &d_first,
            &stored::<E>(&plain_d_first),
            &part("d_first"),
        );
        let found = device.read_gradients(&gradients).unwrap();
        let expected = cpu.read_gradients(&cpu_gradients).unwrap();
        for (i, (view, exact, plain)) in exact.iter().enumerate() {
            let scaled = |values: &[f64]| values.iter().map(|v| v * times).collect::<Vec<_>>();
            let (what, found, cpu) = (part(&format!("gradient {i}")), &found[view.range()], &expected[view.range()]);
            match plain {
                Some(plain) => assert_as_the_cpu::<E>(found, cpu, &scaled(exact), &scaled(plain), &what),
                None => assert_as_the_cpu::<f32>(found, cpu, &scaled(exact), &scaled(exact), &what),
            }
        }
        let padding = [0..8, classifier.bias.range().end..gradients.arena.len()];
        assert!(
            padding.into_iter().flatten().all(|i| found[i].is_nan()),
            "{what}: what is not the head's is left alone"
        );
    }
}

#[test]
fn forward_and_backward_at_every_tail() {
    for (width, classes, sequences) in
        [(64, 2, 1), (72, 3, 7), (200, 7, 8), (264, 33, 9), (136, 129, 17), (1024, 2, 3), (64, 5000, 5), (8, 31, 67)]
    {
        check::<f32>(width, classes, sequences, [1.0, 1.0]);
        check::<Tf32>(width, classes, sequences, [1.0, 1.0]);
        check::<Bf16>(width, classes, sequences, [1.0, 1.0]);
    }
}

/// tanh where it is its argument, where it is ±1 and its slope 0, and gradients near the ends of float32.
#[test]
fn extreme_and_denormal_numbers() {
    for sizes in [[1e-40, 1.0], [30.0, 1.0], [1e18, 1.0], [1.0, 1e-37], [1.0, 1e30], [0.0, 0.0]] {
        check::<f32>(72, 5, 9, sizes);
        check::<Tf32>(72, 5, 9, sizes);
        check::<Bf16>(72, 5, 9, sizes);
    }
}
