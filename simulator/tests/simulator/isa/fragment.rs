//! `wmma` (ISA 9.7.14.4): what lanes hold is the instruction's secret, so a product is loaded, multiplied and stored,
//! in every shape, layout and type, and compared with sums of small integers, which are exact.

use super::program::HEAD;
use crate::args;
use crate::common::{Gpu, checked, numbers};

/// Elements of memory: how they are written in the instruction, and a number's bytes.
#[derive(Clone, Copy)]
struct Format {
    name: &'static str,
    bytes: usize,
    encode: fn(i32) -> u64,
}

const F16: Format = Format { name: "f16", bytes: 2, encode: |x| half::f16::from_f32(x as f32).to_bits().into() };
const BF16: Format = Format { name: "bf16", bytes: 2, encode: |x| half::bf16::from_f32(x as f32).to_bits().into() };
const TF32: Format = Format { name: "tf32", bytes: 4, encode: |x| (x as f32).to_bits().into() };
const F32: Format = Format { name: "f32", bytes: 4, encode: |x| (x as f32).to_bits().into() };
const F64: Format = Format { name: "f64", bytes: 8, encode: |x| f64::from(x).to_bits() };
const S8: Format = Format { name: "s8", bytes: 1, encode: |x| (x as u8).into() };
const U8: Format = Format { name: "u8", bytes: 1, encode: |x| (x as u8).into() };
const S32: Format = Format { name: "s32", bytes: 4, encode: |x| (x as u32).into() };

/// M, N, K, the registers of A, B, C and D, and the types of A and B, C, D.
type Product = ([usize; 3], [usize; 4], [Format; 3]);

const PRODUCTS: [Product; 17] = [
    ([16, 16, 16], [8, 8, 8, 8], [F16, F32, F32]),
    ([16, 16, 16], [8, 8, 4, 4], [F16, F16, F16]),
    ([32, 8, 16], [8, 8, 4, 8], [F16, F16, F32]),
    ([32, 8, 16], [8, 8, 8, 4], [F16, F32, F16]),
    ([8, 32, 16], [8, 8, 8, 8], [F16, F32, F32]),
    ([8, 32, 16], [8, 8, 8, 4], [F16, F32, F16]),
    ([16, 16, 16], [4, 4, 8, 8], [BF16, F32, F32]),
    ([32, 8, 16], [8, 2, 8, 8], [BF16, F32, F32]),
    ([8, 32, 16], [2, 8, 8, 8], [BF16, F32, F32]),
    ([16, 16, 8], [4, 4, 8, 8], [TF32, F32, F32]),
    ([8, 8, 4], [1, 1, 2, 2], [F64, F64, F64]),
    ([16, 16, 16], [2, 2, 8, 8], [S8, S32, S32]),
    ([32, 8, 16], [4, 1, 8, 8], [S8, S32, S32]),
    ([8, 32, 16], [1, 4, 8, 8], [S8, S32, S32]),
    ([16, 16, 16], [2, 2, 8, 8], [U8, S32, S32]),
    ([32, 8, 16], [4, 1, 8, 8], [U8, S32, S32]),
    ([8, 32, 16], [1, 4, 8, 8], [U8, S32, S32]),
];

/// Elements that a line of memory has beyond the matrix, filled with what must not be read.
const PADDING: usize = 16;
const WRONG: i32 = 77;

fn name(row_major: bool) -> &'static str {
    if row_major { "row" } else { "col" }
}

/// A matrix in memory, its lines padded.
fn stored(matrix: &[Vec<i32>], row_major: bool, format: Format) -> Vec<u8> {
    let (rows, columns) = (matrix.len(), matrix[0].len());
    let (lines, length) = if row_major { (rows, columns) } else { (columns, rows) };
    let mut bytes = Vec::new();
    for line in 0..lines {
        for at in 0..length + PADDING {
            let element = match (at < length, row_major) {
                (false, _) => WRONG,
                (true, true) => matrix[line][at],
                (true, false) => matrix[at][line],
            };
            bytes.extend(&(format.encode)(element).to_le_bytes()[..format.bytes]);
        }
    }
    bytes
}

/// The instructions of a product; D's registers are C's where `in_place`.
fn kernel((shape, registers, [ab, c, d]): Product, layouts: [bool; 4], suffix: &str, in_place: bool) -> String {
    let [m, n, k] = shape;
    let [la, lb, lc, ld] = layouts.map(name);
    let strides = [(m, k), (k, n), (m, n), (m, n)].into_iter().zip(layouts);
    let strides: Vec<usize> =
        strides.map(|((rows, columns), row)| if row { columns } else { rows } + PADDING).collect();
    let letter = if ab.name == "f64" { "y" } else { "x" };
    let list = |part: usize| {
        let names: Vec<String> = (0..registers[part]).map(|r| format!("%{letter}{}", 10 * part + r)).collect();
        format!("{{{}}}", names.join(", "))
    };
    let types = if ab.name == "f16" {
        format!("{}.{}", d.name, c.name)
    } else {
        format!("{}.{}.{}.{}", d.name, ab.name, ab.name, c.name)
    };
    let at = format!("m{m}n{n}k{k}");
    let result = if in_place { list(2) } else { list(3) };
    format!(
        "{HEAD}.visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d) {{
.reg .b32 %x<40>, %s; .reg .b64 %y<40>, %pa, %pb, %pc, %pd;
ld.param.u64 %pa, [a]; ld.param.u64 %pb, [b]; ld.param.u64 %pc, [c]; ld.param.u64 %pd, [d];
wmma.load.a.sync.aligned.{la}.{at}.global.{ab} {}, [%pa], {};
wmma.load.b.sync.aligned.{lb}.{at}.{ab} {}, [%pb], {};
mov.u32 %s, {};
wmma.load.c.sync.aligned.{lc}.{at}.global.{} {}, [%pc], %s;
wmma.mma.sync.aligned.{la}.{lb}.{at}.{types}{suffix} {result}, {}, {}, {};
wmma.store.d.sync.aligned.{ld}.{at}.global.{} [%pd], {result}, {};
ret; }}\n",
        list(0),
        strides[0],
        list(1),
        strides[1],
        strides[2],
        c.name,
        list(2),
        list(0),
        list(1),
        list(2),
        d.name,
        strides[3],
        ab = ab.name,
    )
}

fn matrix(rows: usize, columns: usize, mut element: impl FnMut() -> i32) -> Vec<Vec<i32>> {
    (0..rows).map(|_| (0..columns).map(|_| element()).collect()).collect()
}

/// D's memory, padding included, after one warp's product.
fn run(text: &str, inputs: [&[u8]; 3], result: &[u8]) -> Vec<u8> {
    let gpu = Gpu::new(text, checked());
    let [a, b, c] = inputs.map(|bytes| gpu.upload(bytes));
    let d = gpu.upload(result);
    gpu.launch("k", 1, 32, args![a, b, c, d]);
    gpu.download(d, result.len())
}

#[test]
fn wmma_in_every_shape_type_and_layout() {
    for (index, product) in PRODUCTS.into_iter().enumerate() {
        let ([m, n, k], registers, [ab, c, d]) = product;
        let mut next = numbers(index as u64);
        let low = if ab.name == "u8" { 0 } else { -4 };
        let mut small = |low: i32| (next() % 9) as i32 + low;
        let (left, right) = (matrix(m, k, || small(low)), matrix(k, n, || small(low)));
        let initial = matrix(m, n, || small(-4));
        let sum = |i: usize, j: usize| (0..k).map(|x| left[i][x] * right[x][j]).sum::<i32>() + initial[i][j];
        let want: Vec<Vec<i32>> = (0..m).map(|i| (0..n).map(|j| sum(i, j)).collect()).collect();
        for bits in 0..16 {
            let layouts = [0, 1, 2, 3].map(|bit| bits >> bit & 1 == 1);
            let inputs = [(&left, ab), (&right, ab), (&initial, c)];
            let inputs: Vec<Vec<u8>> =
                inputs.iter().zip(layouts).map(|(&(matrix, format), row)| stored(matrix, row, format)).collect();
            let empty = stored(&matrix(m, n, || 0), layouts[3], d);
            let in_place = bits & 1 == 1 && registers[2] == registers[3];
            let text = kernel(product, layouts, "", in_place);
            let got = run(&text, [&inputs[0], &inputs[1], &inputs[2]], &empty);
            assert_eq!(got, stored(&want, layouts[3], d), "{text}");
        }
    }
}

#[test]
fn wmma_of_integers_saturates_when_asked_and_wraps_otherwise() {
    let product = PRODUCTS[11];
    let [a, b] = [stored(&matrix(16, 16, || 127), true, S8), stored(&matrix(16, 16, || 127), true, S8)];
    let c = stored(&matrix(16, 16, || i32::MAX), true, S32);
    let empty = stored(&matrix(16, 16, || 0), true, S32);
    for (suffix, want) in [("", i32::MAX.wrapping_add(16 * 127 * 127)), (".satfinite", i32::MAX)] {
        let got = run(&kernel(product, [true; 4], suffix, false), [&a, &b, &c], &empty);
        assert_eq!(got, stored(&matrix(16, 16, || want), true, S32), "{suffix}");
    }
}

#[test]
fn wmma_beyond_its_matrices_is_refused() {
    let text = kernel(PRODUCTS[0], [true; 4], "", false);
    for (from, to, named) in
        [("m16n16k16", "m16n16k32", "shape"), (".f16 ", ".s4 ", "s4"), (".f32.f32", ".f32.f64", "F64")]
    {
        let log = Gpu::refusal(&text.replace(from, to));
        assert!(log.contains("wmma") && log.contains(named), "{log}");
    }
    let log = Gpu::refusal(&text.replace("%x7}", "%x7, %x8}"));
    assert!(log.contains("8 registers"), "{log}");
}
