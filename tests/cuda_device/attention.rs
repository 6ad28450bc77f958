//! Kernels of kernels/attention*.cu: against f64, against the same computation rounded where the kernels round, and
//! against the CPU device for the bits of the masks. Outputs are NaN before each launch; rows beyond the batch must
//! stay so.

mod case;
mod expected;

use bertsd_cuda::device::{
    Shape,
    cuda::{Bf16, CudaDevice, Element},
};
use case::{Case, Results, on_cpu, on_cuda};
use expected::{Rounding, exactly, in_f64, rounded};

use super::{
    buffers::{TIMES_PLAIN, TOLERANCE},
    support, tiny,
};

impl<T: Copy> Results<T> {
    /// The results in groups that are judged together. Gradients of q and k vanish for one token, so d_v is with them.
    fn groups(&self) -> [(&'static str, Vec<T>); 6] {
        let together = |a: &[T], b: &[T]| [a, b].concat();
        [
            ("ctx", self.ctx.clone()),
            ("lse", self.lse.clone()),
            ("d_qkv", self.d_qkv.clone()),
            ("ctx of first tokens", self.ctx_first.clone()),
            ("lse of first tokens", self.lse_first.clone()),
            ("d_q and d_kv of first tokens", together(&self.d_q, &self.d_kv)),
        ]
    }
}

fn error(found: &[f64], expected: &[f64]) -> f64 {
    tiny::norm(found.iter().zip(expected).map(|(a, b)| a - b))
}

fn check<E: Element>(case: &Case, what: &str) {
    let (found, cpu) = (on_cuda::<E>(case), on_cpu(case));
    let exact = in_f64(case, Rounding { inner: exactly, result: exactly });
    let plain = in_f64(case, Rounding { inner: rounded::<E>, result: rounded::<E> });
    let what = format!("{what}, {}, {} × {}", E::NAME, case.config.heads, case.config.head_size());
    let groups = found.groups().into_iter().zip(cpu.groups()).zip(exact.groups()).zip(plain.groups());
    for ((((name, found), (_, cpu)), (_, exact)), (_, plain)) in groups {
        let (found, size) = (support::double(&found), tiny::norm(exact.iter().copied()));
        let float32 = E::NAME == f32::NAME || name.starts_with("lse");
        let allowed = if float32 { TOLERANCE * size } else { TIMES_PLAIN * error(&plain, &exact) };
        let cpu = support::double(&cpu);
        let (from_cpu, of_cpu, error) = (error(&found, &cpu), error(&cpu, &exact), error(&found, &exact));
        eprintln!("{what}, {name}: error {:.2e}, allowed {:.2e}", error / size, allowed / size);
        assert!(error <= allowed, "{what}, {name}: {error:e}, allowed {allowed:e}, of {size:e}");
        assert!(of_cpu <= TOLERANCE * size, "{what}, {name}: {of_cpu:e} of {size:e} on the processor");
        let allowed = if float32 { allowed } else { allowed + TOLERANCE * size };
        assert!(
            from_cpu <= allowed,
            "{what}, {name}: {from_cpu:e} from the processor, allowed {allowed:e}, of {size:e}"
        );
    }
}

/// Lengths around the fragments of 8 and 16, the groups of 32 and the tiles of 64, and primes.
const LENGTHS: [&[usize]; 4] =
    [&[1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33], &[63, 64, 65, 5], &[127, 1, 128, 129], &[97, 23, 201]];

fn every_head_size<E: Element>() {
    for (i, head_size) in [16, 32, 64, 96, 128, 8, 24, 72, 120, 26, 3, 1, 127].into_iter().enumerate() {
        let lengths = LENGTHS[i % 2];
        check::<E>(&Case::new::<E>(2, head_size, lengths, 0.0, [1.0; 4]), "no dropout");
        check::<E>(&Case::new::<E>(2, head_size, lengths, 0.1, [1.0; 4]), "dropout");
    }
}

#[test]
fn every_head_size_bf16() {
    every_head_size::<Bf16>();
}

#[test]
fn every_head_size_f32() {
    every_head_size::<f32>();
}

/// Every multiple of 8 as a head size, those with kernels of their own and those that run on the next larger one; the
/// lengths of a batch are drawn between 1 and 512, so that blocks of rows without work are beside full ones.
fn mixed_lengths<E: Element>() {
    for head_size in (8..=128).step_by(8) {
        let mut stream = tiny::stream(7500 + head_size as u32);
        let mut draw = |end: u64| 1 + stream.below(end) as usize;
        let has_kernels = [16, 32, 64, 96, 128].contains(&head_size);
        let lengths = if has_kernels { [draw(60), 512, 1, draw(250)] } else { [1, draw(140), draw(8), draw(70)] };
        check::<E>(&Case::new::<E>(1, head_size, &lengths, 0.1, [1.0; 4]), &format!("lengths {lengths:?}"));
    }
}

#[test]
fn mixed_lengths_at_every_head_size_bf16() {
    mixed_lengths::<Bf16>();
}

#[test]
fn mixed_lengths_at_every_head_size_f32() {
    mixed_lengths::<f32>();
}

fn longer_sequences<E: Element>() {
    check::<E>(&Case::new::<E>(1, 64, LENGTHS[2], 0.1, [1.0; 4]), "tiles of 64");
    check::<E>(&Case::new::<E>(3, 32, LENGTHS[3], 0.3, [1.0; 4]), "primes");
    check::<E>(&Case::new::<E>(1, 32, &[512, 3, 511], 0.1, [1.0; 4]), "512");
    check::<E>(&Case::new::<E>(16, 64, &[33, 4], 0.1, [1.0; 4]), "C = 1024");
}

#[test]
fn longer_sequences_bf16() {
    longer_sequences::<Bf16>();
}

#[test]
fn longer_sequences_f32() {
    longer_sequences::<f32>();
}

/// What fills a row of q, k and v.
#[derive(Clone, Copy, Debug)]
enum Rows {
    Random,
    /// All tokens of a sequence are alike: every probability is 1 / S.
    Equal,
    /// q = k, of entries ±10: a token attends to itself alone, all other probabilities are 0 to float32.
    OneHot,
}

fn extreme_case<E: Element>(rows: Rows, sizes: [f32; 4]) -> Case {
    let mut case = Case::new::<E>(2, 32, &[1, 33, 70], 0.1, sizes);
    let width = 3 * case.config.hidden_size;
    for range in case.ranges() {
        let first = case.qkv[range.start * width..][..width].to_vec();
        for row in case.qkv[range.start * width..range.end * width].chunks_mut(width) {
            match rows {
                Rows::Random => {}
                Rows::Equal => row.copy_from_slice(&first),
                Rows::OneHot => {
                    let (q, rest) = row.split_at_mut(width / 3);
                    q.iter_mut().for_each(|q| *q = 10.0 * q.signum());
                    rest[..width / 3].copy_from_slice(q);
                }
            }
        }
    }
    case
}

/// Softmax that has a single winner, scores that are 1e4 and more apart, and numbers below the least normal one.
fn extreme_inputs<E: Element>() {
    for (rows, sizes) in [
        (Rows::Random, [100.0, 100.0, 1.0, 1.0]),
        (Rows::Random, [12.0, 12.0, 1.0, 1.0]),
        (Rows::Random, [1e-39, 1.0, 1e-39, 1.0]),
        (Rows::Random, [1.0, 1.0, 1.0, 1e-39]),
        (Rows::Random, [1.0, 1.0, 1e30, 1e-30]),
        (Rows::Random, [1e-20, 1e-20, 1e18, 1e18]),
        (Rows::Equal, [1.0; 4]),
        (Rows::Equal, [4.0, 4.0, 1.0, 1.0]),
        (Rows::OneHot, [1.0; 4]),
    ] {
        let case = extreme_case::<E>(rows, sizes);
        let (found, cpu) = (on_cuda::<E>(&case), on_cpu(&case));
        let exact = in_f64(&case, Rounding { inner: exactly, result: exactly });
        // What rounding in E alone does to such numbers: on the way and in the result; in float32, the CPU device.
        let plain = match E::NAME == f32::NAME {
            true => cpu.groups().map(|(_, values)| support::double(&values)),
            false => in_f64(&case, Rounding { inner: rounded::<E>, result: rounded::<E> }).groups().map(|(_, v)| v),
        };
        let groups = found.groups().into_iter().zip(cpu.groups()).zip(exact.groups()).zip(plain);
        for ((((name, found), (_, cpu)), (_, exact)), plain) in groups {
            assert!(found.iter().all(|v| v.is_finite()), "{rows:?} {sizes:?}, {name}");
            let (found, cpu) = (support::double(&found), support::double(&cpu));
            let size = tiny::norm(exact.iter().copied());
            let allowed = (TIMES_PLAIN * error(&plain, &exact)).max(TOLERANCE * size);
            let (from_cpu, of_cpu, error) = (error(&found, &cpu), error(&cpu, &exact), error(&found, &exact));
            let what = format!("{}, {rows:?} {sizes:?}, {name}", E::NAME);
            eprintln!("{what}: error {:.2e}, allowed {:.2e}", error / size, allowed / size);
            assert!(error <= allowed, "{what}: {error:e}, allowed {allowed:e}");
            assert!(from_cpu <= allowed + of_cpu, "{what}: {from_cpu:e} from the processor, allowed {allowed:e}");
        }
    }
}

#[test]
fn extreme_inputs_bf16() {
    extreme_inputs::<Bf16>();
}

#[test]
fn extreme_inputs_f32() {
    extreme_inputs::<f32>();
}

/// With scores of 0 every probability is 1 / S. One column of v a key shows the mask of the forward pass in ctx; one
/// column of d_ctx a query that of the key-value pass in d_v; one column of k a key that of the query pass in d_q,
/// where d_ctx · v = 1.
fn masks_are_those_of_the_cpu<E: Element>(head_size: usize, length: usize) {
    let heads = 2;
    let mut case = Case::new::<E>(heads, head_size, &[3, length], 0.2, [0.0; 4]);
    let (c, first_row) = (case.config.hidden_size, 3);
    let mut seen = 0;
    for base in (0..length).step_by(head_size) {
        let shown = |row: usize, column: usize| f32::from(u8::from(base + column % head_size == row));
        for i in first_row..first_row + length {
            for column in 0..c {
                case.qkv[i * 3 * c + 2 * c + column] = shown(i - first_row, column);
                case.d_ctx[i * c + column] = shown(i - first_row, column);
            }
        }
        let (gpu, cpu) = (on_cuda::<E>(&case), on_cpu(&case));
        let mut compare = |gpu: &[f32], cpu: &[f32], what: &str| {
            let (gpu, cpu): (Vec<_>, Vec<_>) =
                (gpu.iter().map(|&v| v != 0.0).collect(), cpu.iter().map(|&v| v != 0.0).collect());
            assert!(gpu == cpu, "{}, {what}, {head_size}, {length}", E::NAME);
            seen += cpu.iter().filter(|kept| **kept).count();
        };
        compare(&gpu.ctx, &cpu.ctx, "forward");
        compare(&gpu.ctx_first, &cpu.ctx_first, "first tokens");
        let d_v = |r: &Results<f32>| r.d_qkv.chunks(3 * c).flat_map(|row| row[2 * c..].to_vec()).collect::<Vec<_>>();
        compare(&d_v(&gpu), &d_v(&cpu), "key-value pass");
        compare(&gpu.d_kv, &cpu.d_kv, "backward of first tokens");
        // Query pass: d_s = P ∘ (f − δ) with d_ctx · v = 1, through k. Without its mask it would vanish but for
        // rounding.
        for i in first_row..first_row + length {
            for column in 0..c {
                case.qkv[i * 3 * c + c + column] = shown(i - first_row, column);
                case.qkv[i * 3 * c + 2 * c + column] = f32::from(u8::from(column % head_size == 0));
                case.d_ctx[i * c + column] = f32::from(u8::from(column % head_size == 0));
            }
        }
        let (gpu, cpu) = (on_cuda::<E>(&case), on_cpu(&case));
        // f − δ is below 0 where the mask drops and above where it does not.
        let kept = |r: &Results<f32>| -> Vec<bool> {
            r.d_qkv.chunks(3 * c).flat_map(|row| row[..c].iter().map(|&v| v > 0.0).collect::<Vec<_>>()).collect()
        };
        assert!(kept(&gpu) == kept(&cpu), "{}, query pass, {head_size}, {length}", E::NAME);
        case.qkv.fill(0.0);
    }
    assert!(seen > length * length, "the mask was looked at");
}

#[test]
fn masks_are_those_of_the_cpu_element_by_element() {
    for (head_size, length) in [(64, 77), (128, 130), (24, 40)] {
        masks_are_those_of_the_cpu::<Bf16>(head_size, length);
        masks_are_those_of_the_cpu::<f32>(head_size, length);
    }
}

/// A sequence's results do not depend on what it is batched with, nor on the grid of the batch.
fn company_does_not_matter<E: Element>() {
    let case = Case::new::<E>(2, 64, &[5, 70, 130], 0.1, [1.0; 4]);
    let all = on_cuda::<E>(&case);
    let c = case.config.hidden_size;
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for (b, range) in case.ranges().into_iter().enumerate() {
        let alone = on_cuda::<E>(&Case {
            config: case.config.clone(),
            packed: tiny::part(&case.packed, [b]),
            drop_prob: case.drop_prob,
            qkv: case.qkv[range.start * 3 * c..range.end * 3 * c].to_vec(),
            d_ctx: case.d_ctx[range.start * c..range.end * c].to_vec(),
        });
        let rows = |x: &[f32], width: usize| bits(&x[range.start * width..range.end * width]);
        assert!(bits(&alone.ctx) == rows(&all.ctx, c), "ctx of sequence {b}");
        assert!(bits(&alone.d_qkv) == rows(&all.d_qkv, 3 * c), "d_qkv of sequence {b}");
        assert!(bits(&alone.d_kv) == rows(&all.d_kv, 2 * c), "d_kv of sequence {b}");
        assert!(bits(&alone.d_q) == bits(&all.d_q[b * c..(b + 1) * c]), "d_q of sequence {b}");
        assert!(bits(&alone.ctx_first) == bits(&all.ctx_first[b * c..(b + 1) * c]), "first ctx of sequence {b}");
    }
}

#[test]
fn company_does_not_matter_to_the_bit() {
    company_does_not_matter::<Bf16>();
    company_does_not_matter::<f32>();
}

#[test]
fn larger_heads_are_refused() {
    let case = Case::new::<f32>(1, 128, &[4], 0.0, [1.0; 4]);
    let shape = Shape::new(&case.config);
    support::device::<f32>(shape, case.capacity());
    let refused = CudaDevice::<f32>::new(0, Shape { head_size: 136, attention: 136, ..shape }, case.capacity());
    let message = refused.err().expect("no kernel has such heads").to_string();
    assert!(message.contains("136") && message.contains("--device cpu"), "{message}");
}
