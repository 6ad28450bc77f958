//! `mma` with results of 8×8: f64 at depth 4, 8-bit integers at depth 16, by matrices of small numbers, whose products
//! are exact.

use super::program::HEAD;
use crate::args;
use crate::common::{Gpu, checked, numbers};

const SIDE: usize = 8;

/// One instruction over 32 lanes: each lane's registers of A, B and C, of `bytes` each, from memory; its two of D back.
fn multiply<T: Copy + Default>(shape: &str, bytes: usize, registers: &[[T; 4]]) -> Vec<[T; 2]>
where
    [T; 2]: Default,
{
    let (ty, letter) = if bytes == 8 { ("b64", 'd') } else { ("b32", 'r') };
    let load = |k: usize| format!("ld.global.{ty} %{letter}{k}, [%in+{}];\n", k * bytes);
    let text = format!(
        "{HEAD}.visible .entry k(.param .u64 out, .param .u64 in) {{ .reg .b64 %out, %in, %d<6>; .reg .b32 %l, %r<6>;\n\
         ld.param.u64 %out, [out]; ld.param.u64 %in, [in]; mov.u32 %l, %tid.x;\n\
         mad.wide.u32 %out, %l, {}, %out; mad.wide.u32 %in, %l, {}, %in;\n{}\
         mma.sync.aligned.{shape} {{%{letter}4, %{letter}5}}, {{%{letter}0}}, {{%{letter}1}}, {{%{letter}2, %{letter}3}};\n\
         st.global.{ty} [%out], %{letter}4; st.global.{ty} [%out+{bytes}], %{letter}5; ret; }}\n",
        2 * bytes,
        4 * bytes,
        (0..4).map(load).collect::<String>(),
    );
    let gpu = Gpu::new(&text, checked());
    let (input, out) = (gpu.upload(registers), gpu.alloc(64 * bytes));
    gpu.launch("k", 1, 32, args![out, input]);
    gpu.download(out, 32)
}

/// What the instruction should give to lane `lane` as its result `k`.
fn want(a: &[Vec<i64>], b: &[Vec<i64>], c: &[Vec<i64>], lane: usize, k: usize) -> i64 {
    let (row, column) = (lane / 4, 2 * (lane % 4) + k);
    (0..b.len()).map(|i| a[row][i] * b[i][column]).sum::<i64>() + c[row][column]
}

fn matrix(rows: usize, columns: usize, next: &mut impl FnMut() -> i64) -> Vec<Vec<i64>> {
    (0..rows).map(|_| (0..columns).map(|_| next()).collect()).collect()
}

#[test]
fn products_of_f64() {
    let mut next = numbers(3);
    let mut small = || (next() % 2001) as i64 - 1000;
    let (a, b, c) = (matrix(SIDE, 4, &mut small), matrix(4, SIDE, &mut small), matrix(SIDE, SIDE, &mut small));
    let registers: Vec<[f64; 4]> = (0..32)
        .map(|lane| {
            let (g, t) = (lane / 4, lane % 4);
            [a[g][t], b[t][g], c[g][2 * t], c[g][2 * t + 1]].map(|x| x as f64)
        })
        .collect();
    let got = multiply("m8n8k4.row.col.f64.f64.f64.f64", 8, &registers);
    for lane in 0..32 {
        assert_eq!(got[lane], [0, 1].map(|k| want(&a, &b, &c, lane, k) as f64), "lane {lane}");
    }
}

#[test]
fn products_of_8_bit_integers() {
    for (types, low_a, low_b) in [("s8.s8", -128, -128), ("u8.u8", 0, 0), ("s8.u8", -128, 0), ("u8.s8", 0, -128)] {
        let mut next = numbers(5);
        let mut any = |low: i64| (next() % 256) as i64 + low;
        let (a, b) = (matrix(SIDE, 16, &mut || any(low_a)), matrix(16, SIDE, &mut || any(low_b)));
        let c = matrix(SIDE, SIDE, &mut || any(-9));
        let pack = |f: &dyn Fn(usize) -> i64| (0..4).fold(0, |word, e| word | (f(e) as u32 & 0xff) << (8 * e));
        let registers: Vec<[u32; 4]> = (0..32)
            .map(|lane| {
                let (g, t) = (lane / 4, lane % 4);
                let (of_a, of_b) = (pack(&|e| a[g][4 * t + e]), pack(&|e| b[4 * t + e][g]));
                [of_a, of_b, c[g][2 * t] as u32, c[g][2 * t + 1] as u32]
            })
            .collect();
        let got = multiply(&format!("m8n8k16.row.col.s32.{types}.s32"), 4, &registers);
        for lane in 0..32 {
            assert_eq!(got[lane], [0, 1].map(|k| want(&a, &b, &c, lane, k) as u32), "{types} lane {lane}");
        }
    }
}
