//! Matrix instructions (ISA 9.7.14): fragment layouts as in the ISA's figures, lane by lane; products against exact
//! sums.

use cudasim::driver::settings::Settings;

use super::program::{HEAD, lanes, run, run_threads};
use crate::args;
use crate::common::{Gpu, checked, numbers};

/// Element (row, column) of an 8×8 tile stored with 16-byte rows is `row * 8 + column`.
fn tile_word(low: u32, high: u32) -> u32 {
    low | high << 16
}

const STORE_ROWS: &str = "mov.u32 %x9, box; mad.lo.u32 %x9, %lane, 16, %x9; mad.wide.u32 %d1, %lane, 16, %in;
    ld.global.v4.u32 {%x1, %x2, %x3, %x4}, [%d1]; st.shared.v4.u32 [%x9], {%x1, %x2, %x3, %x4}; bar.sync 0;";

#[test]
fn ldmatrix_and_stmatrix_lane_by_lane() {
    // 32 rows of eight 16-bit elements: four tiles, tile i holding 64·i + 8·row + column.
    let input: Vec<u32> = (0..128).map(|w| tile_word(2 * w, 2 * w + 1)).collect();
    for tile in 0..4u32 {
        let registers = format!(
            "{STORE_ROWS} ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%x1, %x2, %x3, %x4}}, [%x9]; mov.u32 %r, %x{};",
            tile + 1
        );
        let at = |row: u32, column: u32| 64 * tile + 8 * row + column;
        assert_eq!(
            run_threads(&registers, &input, 32).0,
            lanes(|i| tile_word(at(i / 4, i % 4 * 2), at(i / 4, i % 4 * 2 + 1)))
        );
        let transposed = registers.replace(".x4", ".x4.trans");
        assert_eq!(
            run_threads(&transposed, &input, 32).0,
            lanes(|i| tile_word(at(i % 4 * 2, i / 4), at(i % 4 * 2 + 1, i / 4)))
        );
    }
    // Fewer tiles take their rows from the first lanes; the address may be generic.
    for (count, tiles) in [("x1", 1u32), ("x2", 2)] {
        for tile in 0..tiles {
            let list = ["%x1", "%x1, %x2"][tiles as usize - 1];
            let body = format!(
                "{STORE_ROWS} cvt.u64.u32 %d2, %x9; cvta.shared.u64 %d2, %d2;
                ldmatrix.sync.aligned.m8n8.{count}.b16 {{{list}}}, [%d2]; mov.u32 %r, %x{};",
                tile + 1
            );
            let at = |row: u32, column: u32| 64 * tile + 8 * row + column;
            let want = lanes(|i| tile_word(at(i / 4, i % 4 * 2), at(i / 4, i % 4 * 2 + 1)));
            assert_eq!(run_threads(&body, &input, 32).0, want, "{count}");
        }
    }
    // Four tiles stored and read back with plain loads: register t of lane l is word l of tile t.
    for tile in 0..4u32 {
        let body = format!(
            "mov.u32 %x9, box; mad.lo.u32 %x8, %lane, 16, %x9; mov.u32 %x1, %lane; add.u32 %x2, %lane, 100; add.u32 %x3, %lane, 200;
            add.u32 %x4, %lane, 300; stmatrix.sync.aligned.m8n8.x4.shared.b16 [%x8], {{%x1, %x2, %x3, %x4}}; bar.sync 0;
            mad.lo.u32 %x9, %lane, 4, %x9; ld.shared.u32 %r, [%x9+{}];",
            128 * tile
        );
        assert_eq!(run(&body), lanes(|i| i + 100 * tile));
    }
    // A tile stored and read back as rows: lane l reads word l, so row l / 4, columns 2·(l mod 4).
    let stored = "mov.u32 %x9, box; and.b32 %x1, %lane, 7; mad.lo.u32 %x8, %x1, 16, %x9; shl.b32 %x2, %lane, 1; add.u32 %x3, %x2, 1; shl.b32 %x3, %x3, 16; or.b32 %x2, %x2, %x3;
        stmatrix.sync.aligned.m8n8.x1.shared.b16 [%x8], {%x2}; bar.sync 0; mad.lo.u32 %x9, %lane, 4, %x9; ld.shared.u32 %r, [%x9];";
    assert_eq!(run(stored), lanes(|i| tile_word(2 * i, 2 * i + 1)));
    let across = stored.replace(".x1.shared", ".x1.trans.shared");
    let held = |row: u32, column: u32| row * 8 + column;
    assert_eq!(run(&across), lanes(|i| tile_word(held(i % 4 * 2, i / 4), held(i % 4 * 2 + 1, i / 4))));
    let moved = "shl.b32 %x2, %lane, 1; add.u32 %x3, %x2, 1; shl.b32 %x3, %x3, 16; or.b32 %x2, %x2, %x3; movmatrix.sync.aligned.m8n8.trans.b16 %r, %x2;";
    assert_eq!(run(moved), lanes(|i| tile_word(held(i % 4 * 2, i / 4), held(i % 4 * 2 + 1, i / 4))));
}

/// One mma over 32 lanes: registers of A, B and C from memory, all of D back.
fn mma(shape: &str, counts: [usize; 4], words: &[u32], settings: Settings) -> Vec<[u32; 4]> {
    let [d, a, b, c] = counts;
    let list = |base: usize, n: usize| (0..n).map(|k| format!("%v{}", base + k)).collect::<Vec<_>>().join(", ");
    let total = a + b + c;
    let mut text = format!(
        "{HEAD}.visible .entry k(.param .u64 out, .param .u64 in) {{ .reg .b64 %o, %i; .reg .b32 %l, %v<20>;\nld.param.u64 %o, [out]; ld.param.u64 %i, [in]; mov.u32 %l, %tid.x; mad.wide.u32 %o, %l, 16, %o; mad.wide.u32 %i, %l, {}, %i;\n",
        4 * total
    );
    (0..total).for_each(|k| text += &format!("ld.global.u32 %v{k}, [%i+{}];\n", 4 * k));
    text += &format!(
        "mma.sync.aligned.{shape} {{{}}}, {{{}}}, {{{}}}, {{{}}};\n",
        list(12, d),
        list(0, a),
        list(a, b),
        list(a + b, c)
    );
    (0..d).for_each(|k| text += &format!("st.global.u32 [%o+{}], %v{};\n", 4 * k, 12 + k));
    let gpu = Gpu::new(&(text + "ret; }\n"), settings);
    let (input, out) = (gpu.upload(words), gpu.upload(&[[0u32; 4]; 32]));
    gpu.launch("k", 1, 32, args![out, input]);
    gpu.download(out, 32)
}

/// An element format: how a shape and types are written, and an element's bits and value.
#[derive(Clone, Copy)]
struct Kind {
    shape: &'static str,
    k: usize,
    /// Elements a register holds.
    packed: usize,
    encode: fn(f64) -> u32,
    decode: fn(u32) -> f64,
    /// The format of B where it differs: signed A with unsigned B.
    encode_b: fn(f64) -> u32,
    decode_b: fn(u32) -> f64,
    integer: bool,
}

const fn float(shape: &'static str, k: usize, packed: usize, encode: fn(f64) -> u32, decode: fn(u32) -> f64) -> Kind {
    Kind { shape, k, packed, encode, decode, encode_b: encode, decode_b: decode, integer: false }
}

fn to_bf16(x: f64) -> u32 {
    u32::from(half::bf16::from_f64(x).to_bits())
}
fn of_bf16(bits: u32) -> f64 {
    half::bf16::from_bits(bits as u16).to_f64()
}
fn to_f16(x: f64) -> u32 {
    u32::from(half::f16::from_f64(x).to_bits())
}
fn of_f16(bits: u32) -> f64 {
    half::f16::from_bits(bits as u16).to_f64()
}
/// tf32 is an f32 whose low 13 bits are not read.
fn to_tf32(x: f64) -> u32 {
    (x as f32).to_bits()
}
fn of_tf32(bits: u32) -> f64 {
    f32::from_bits(bits & 0xffff_e000).into()
}
fn to_8(x: f64) -> u32 {
    (x as i32 & 0xff) as u32
}
fn of_s8(bits: u32) -> f64 {
    f64::from(bits as u8 as i8)
}
fn of_u8(bits: u32) -> f64 {
    f64::from(bits as u8)
}

const fn bytes(shape: &'static str, k: usize, decode: fn(u32) -> f64, decode_b: fn(u32) -> f64) -> Kind {
    Kind { shape, k, packed: 4, encode: to_8, decode, encode_b: to_8, decode_b, integer: true }
}

/// The value of an 8-bit float with so many bits of fraction and an exponent's bias; the largest codes are not used
/// here.
fn of_float8(bits: u32, fraction: u32, bias: i32) -> f64 {
    let (exponent, low) = ((bits & 0x7f) >> fraction, bits & ((1 << fraction) - 1));
    let unit = 2f64.powi(exponent.max(1) as i32 - bias - fraction as i32);
    let magnitude = f64::from(low + if exponent > 0 { 1 << fraction } else { 0 }) * unit;
    if bits >> 7 & 1 == 1 { -magnitude } else { magnitude }
}
fn of_e4m3(bits: u32) -> f64 {
    of_float8(bits, 3, 7)
}
fn of_e5m2(bits: u32) -> f64 {
    of_float8(bits, 2, 15)
}
/// The nearest of a format's finite codes.
fn nearest(x: f64, decode: fn(u32) -> f64, largest: u32) -> u32 {
    let codes = (0..=largest).chain(0x80..=0x80 | largest);
    let far = |code: u32| (decode(code) - x).abs();
    codes.fold(0, |best, code| if far(code) < far(best) { code } else { best })
}
fn to_e4m3(x: f64) -> u32 {
    nearest(x, of_e4m3, 0x7e)
}
fn to_e5m2(x: f64) -> u32 {
    nearest(x, of_e5m2, 0x7b)
}

const KINDS: [Kind; 20] = [
    float("m16n8k32.row.col.f32.e4m3.e4m3.f32", 32, 4, to_e4m3, of_e4m3),
    float("m16n8k32.row.col.f32.e5m2.e5m2.f32", 32, 4, to_e5m2, of_e5m2),
    float("m16n8k16.row.col.f32.e4m3.e4m3.f32", 16, 4, to_e4m3, of_e4m3),
    float("m16n8k16.row.col.f32.e5m2.e5m2.f32", 16, 4, to_e5m2, of_e5m2),
    Kind {
        encode_b: to_e5m2,
        decode_b: of_e5m2,
        ..float("m16n8k32.row.col.f32.e4m3.e5m2.f32", 32, 4, to_e4m3, of_e4m3)
    },
    Kind {
        encode_b: to_e4m3,
        decode_b: of_e4m3,
        ..float("m16n8k32.row.col.f32.e5m2.e4m3.f32", 32, 4, to_e5m2, of_e5m2)
    },
    float("m16n8k16.row.col.f32.bf16.bf16.f32", 16, 2, to_bf16, of_bf16),
    float("m16n8k8.row.col.f32.bf16.bf16.f32", 8, 2, to_bf16, of_bf16),
    float("m16n8k16.row.col.f32.f16.f16.f32", 16, 2, to_f16, of_f16),
    float("m16n8k8.row.col.f32.f16.f16.f32", 8, 2, to_f16, of_f16),
    float("m16n8k8.row.col.f32.tf32.tf32.f32", 8, 1, to_tf32, of_tf32),
    float("m16n8k4.row.col.f32.tf32.tf32.f32", 4, 1, to_tf32, of_tf32),
    bytes("m16n8k32.row.col.s32.s8.s8.s32", 32, of_s8, of_s8),
    bytes("m16n8k16.row.col.s32.s8.s8.s32", 16, of_s8, of_s8),
    bytes("m16n8k32.row.col.s32.u8.u8.s32", 32, of_u8, of_u8),
    bytes("m16n8k16.row.col.s32.u8.u8.s32", 16, of_u8, of_u8),
    bytes("m16n8k32.row.col.s32.s8.u8.s32", 32, of_s8, of_u8),
    bytes("m16n8k16.row.col.s32.u8.s8.s32", 16, of_u8, of_s8),
    bytes("m16n8k32.row.col.s32.u8.s8.s32", 32, of_u8, of_s8),
    bytes("m16n8k16.row.col.s32.s8.u8.s32", 16, of_s8, of_u8),
];

/// Matrices of bits: A is 16 x k, B is k x 8; C holds f32 or i32 bits.
struct Matrices {
    a: Vec<Vec<u32>>,
    b: Vec<Vec<u32>>,
    c: Vec<Vec<u32>>,
}

fn matrix(rows: usize, columns: usize, mut element: impl FnMut() -> u32) -> Vec<Vec<u32>> {
    (0..rows).map(|_| (0..columns).map(|_| element()).collect()).collect()
}

/// Every lane's registers of A, B and C: with g = lane / 4 and t = lane mod 4, register r of A holds row g (odd r: g +
/// 8) and the columns from t of the (r / 2)-th group, B's likewise with rows and columns exchanged, C's two columns
/// from 2t.
fn fragments(kind: Kind, m: &Matrices) -> Vec<u32> {
    let (p, bits) = (kind.packed, 32 / kind.packed);
    let (registers_a, registers_b) = (kind.k * 16 / 32 / p, kind.k * 8 / 32 / p);
    let pack = |f: &dyn Fn(usize) -> u32| (0..p).fold(0u32, |word, e| word | f(e) << (e * bits % 32));
    let mut words = Vec::new();
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        words.extend((0..registers_a).map(|r| pack(&|e| m.a[g + 8 * (r % 2)][r / 2 * 4 * p + t * p + e])));
        words.extend((0..registers_b).map(|r| pack(&|e| m.b[r * 4 * p + t * p + e][g])));
        words.extend((0..4).map(|r| m.c[g + 8 * (r / 2)][2 * t + r % 2]));
    }
    words
}

/// D by the instruction, row by row.
fn multiply(kind: Kind, m: &Matrices) -> Vec<Vec<u32>> {
    multiply_on(kind, m, checked())
}

fn multiply_on(kind: Kind, m: &Matrices, settings: Settings) -> Vec<Vec<u32>> {
    let counts = [4, kind.k * 16 / 32 / kind.packed, kind.k * 8 / 32 / kind.packed, 4];
    let got = mma(kind.shape, counts, &fragments(kind, m), settings);
    let mut d = matrix(16, 8, || 0);
    for (lane, registers) in got.iter().enumerate() {
        for (r, &word) in registers.iter().enumerate() {
            d[lane / 4 + 8 * (r / 2)][lane % 4 * 2 + r % 2] = word;
        }
    }
    d
}

#[test]
fn mma_of_small_numbers_is_exact_lane_by_lane() {
    for kind in KINDS {
        let mut next = numbers(31);
        let mut small = |low: i64| (next() % 15) as f64 + low as f64;
        let (low_a, low_b) =
            (if (kind.decode)(0xff) > 0.0 { 0 } else { -7 }, if (kind.decode_b)(0xff) > 0.0 { 0 } else { -7 });
        let number = |x: f64| if kind.integer { x as i32 as u32 } else { (x as f32).to_bits() };
        let m = Matrices {
            a: matrix(16, kind.k, || (kind.encode)(small(low_a))),
            b: matrix(kind.k, 8, || (kind.encode_b)(small(low_b))),
            c: matrix(16, 8, || number(small(-7))),
        };
        let value = |bits: u32| if kind.integer { f64::from(bits as i32) } else { f64::from(f32::from_bits(bits)) };
        for (row, got) in multiply(kind, &m).iter().enumerate() {
            for (column, &got) in got.iter().enumerate() {
                let products = (0..kind.k).map(|k| (kind.decode)(m.a[row][k]) * (kind.decode_b)(m.b[k][column]));
                let sum: f64 = products.sum::<f64>() + value(m.c[row][column]);
                assert_eq!(got, number(sum), "{} row {row} column {column}", kind.shape);
            }
        }
    }
}

/// Products are exact in f32 for these formats, so k + 1 terms summed in any order are off by at most k roundings of
/// the sum of magnitudes.
#[test]
fn mma_agrees_with_exact_products_summed_in_f64() {
    for kind in KINDS.into_iter().filter(|kind| !kind.integer) {
        for (seed, spread) in [(41, 0), (43, 8), (47, 30)] {
            let mut next = numbers(seed);
            let mut any = || {
                let unit = (next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
                unit * 2f64.powi((next() % (spread + 1)) as i32 - spread as i32 / 2)
            };
            let m = Matrices {
                a: matrix(16, kind.k, || (kind.encode)(any().clamp(-6e4, 6e4))),
                b: matrix(kind.k, 8, || (kind.encode_b)(any().clamp(-6e4, 6e4))),
                c: matrix(16, 8, || (any() as f32).to_bits()),
            };
            for (row, got) in multiply(kind, &m).iter().enumerate() {
                for (column, &got) in got.iter().enumerate() {
                    let terms = (0..kind.k).map(|k| (kind.decode)(m.a[row][k]) * (kind.decode_b)(m.b[k][column]));
                    let terms: Vec<f64> = terms.chain([f64::from(f32::from_bits(m.c[row][column]))]).collect();
                    let (sum, size) = terms.iter().fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                    let allowed = size * kind.k as f64 * 2f64.powi(-24);
                    let got = f64::from(f32::from_bits(got));
                    assert!((got - sum).abs() <= allowed, "{} seed {seed}: {got} for {sum}", kind.shape);
                }
            }
        }
    }
}

#[test]
fn mma_keeps_infinities_nans_and_subnormals() {
    let kind = float("m16n8k16.row.col.f32.bf16.bf16.f32", 16, 2, to_bf16, of_bf16);
    let mut m = Matrices { a: matrix(16, 16, || 0), b: matrix(16, 8, || 0), c: matrix(16, 8, || 0) };
    (m.a[0][0], m.b[0][0]) = (0x7f80, 0x3f80); // ∞ · 1
    (m.a[1][1], m.b[1][1]) = (0x7f80, 0x0000); // ∞ · 0
    (m.a[2][2], m.b[2][2]) = (0x0001, 0x3f80); // the smallest subnormal
    m.c[3][3] = 1;
    let d = multiply(kind, &m);
    assert_eq!((d[0][0], d[1][1], d[2][2], d[3][3]), (0x7f80_0000, 0x7fff_ffff, 0x0001_0000, 1));
    // What does not meet them stays zero; 0 · ∞ is NaN wherever it occurs.
    assert_eq!((d[4][4], d[0][1], d[1][0]), (0, 0x7fff_ffff, 0x7fff_ffff));
}

#[test]
fn integer_mma_saturates_when_asked_and_wraps_otherwise() {
    let base = bytes("m16n8k32.row.col.s32.s8.s8.s32", 32, of_s8, of_s8);
    let m = Matrices { a: matrix(16, 32, || 127), b: matrix(32, 8, || 127), c: matrix(16, 8, || i32::MAX as u32) };
    assert_eq!(multiply(base, &m)[5][5], (i32::MAX.wrapping_add(32 * 127 * 127)) as u32);
    let saturated = Kind { shape: "m16n8k32.row.col.satfinite.s32.s8.s8.s32", ..base };
    assert_eq!(multiply(saturated, &m)[5][5], i32::MAX as u32);
    let low = Matrices { a: matrix(16, 32, || 0x80), b: matrix(32, 8, || 127), c: matrix(16, 8, || i32::MIN as u32) };
    assert_eq!(multiply(saturated, &low)[0][0], i32::MIN as u32);
}

/// Sums of 16 or 8 products of halves and c, each half exactly one rounding (in f32) and one (to f16) from the exact
/// sum.
#[test]
fn mma_with_f16_accumulators() {
    for (shape, k, a_registers) in [("m16n8k16", 16usize, 4usize), ("m16n8k8", 8, 2)] {
        let mut next = numbers(53);
        let mut any = || half::f16::from_f64((next() >> 11) as f64 / (1u64 << 51) as f64 - 2.0).to_bits();
        let a: Vec<Vec<u16>> = (0..16).map(|_| (0..k).map(|_| any()).collect()).collect();
        let b: Vec<Vec<u16>> = (0..k).map(|_| (0..8).map(|_| any()).collect()).collect();
        let c: Vec<Vec<u16>> = (0..16).map(|_| (0..8).map(|_| any()).collect()).collect();
        let word = |x: u16, y: u16| u32::from(x) | u32::from(y) << 16;
        let mut words = Vec::new();
        for lane in 0..32 {
            let (g, t) = (lane / 4, lane % 4);
            words.extend((0..a_registers).map(|r| {
                let (row, column) = (&a[g + 8 * (r % 2)], r / 2 * 8 + 2 * t);
                word(row[column], row[column + 1])
            }));
            words.extend((0..a_registers / 2).map(|r| word(b[r * 8 + 2 * t][g], b[r * 8 + 2 * t + 1][g])));
            words.extend((0..2).map(|r| word(c[g + 8 * r][2 * t], c[g + 8 * r][2 * t + 1])));
        }
        let got =
            mma(&format!("{shape}.row.col.f16.f16.f16.f16"), [2, a_registers, a_registers / 2, 2], &words, checked());
        let value = |bits: u16| half::f16::from_bits(bits).to_f64();
        for (lane, got) in got.iter().enumerate() {
            for (r, &got) in got.iter().take(2).enumerate() {
                for h in 0..2 {
                    let (row, column) = (lane / 4 + 8 * r, lane % 4 * 2 + h);
                    let terms = (0..k).map(|i| value(a[row][i]) * value(b[i][column])).chain([value(c[row][column])]);
                    let (sum, size) = terms.fold((0.0, 0.0), |(s, m), x: f64| (s + x, m + x.abs()));
                    let got = value((got >> (16 * h)) as u16);
                    // Half a unit of an f16, and the roundings of the f32 sum.
                    let allowed = sum.abs() * 2f64.powi(-11) + size * k as f64 * 2f64.powi(-24);
                    assert!((got - sum).abs() <= allowed, "{shape} row {row} column {column}: {got} for {sum}");
                }
            }
        }
    }
}

/// Sums cut off what lies two bits below f32's last, where that is asked for.
#[test]
fn truncated_sums() {
    let kind = float("m16n8k16.row.col.f32.bf16.bf16.f32", 16, 2, to_bf16, of_bf16);
    let mut m = Matrices { a: matrix(16, 16, || 0), b: matrix(16, 8, || 0), c: matrix(16, 8, || 0x3f80_0000) };
    // Row 0: four products of 2^-25, which together are the last bit of 1. Row 1: sixteen of 2^-26, each cut off.
    m.a[0][..4].fill(to_bf16(2f64.powi(-25)));
    m.a[1].fill(to_bf16(2f64.powi(-26)));
    m.b.iter_mut().for_each(|row| row.fill(0x3f80));
    let mut settings = checked();
    let exact = multiply_on(kind, &m, settings.clone());
    settings.numerics.truncated_sums = true;
    let cut = multiply_on(kind, &m, settings);
    assert_eq!((exact[0][0], exact[1][0]), (0x3f80_0000, 0x3f80_0000), "each addition rounds to even");
    assert_eq!((cut[0][0], cut[1][0]), (0x3f80_0001, 0x3f80_0000));
}
