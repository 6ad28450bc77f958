//! One instruction over many lanes: operands from memory, the result back to it.
//!
//! Operands are `%d`, `%a`, `%b`, `%c`, `%e`; kinds are `h` 16, `w` 32, `d` 64 bits and `p` predicate, the result's
//! first. A case has its rows written out, or made by [`sweep`] from interesting values and a function that knows the
//! answers.

use cudasim::driver::settings::Settings;

use crate::args;
use crate::common::{Gpu, checked, numbers};

pub struct Case {
    pub text: String,
    /// Kind of the result, then of each operand.
    pub kinds: &'static str,
    pub rows: Vec<(Vec<u64>, Want)>,
}

/// What a result must be.
#[derive(Clone, Copy, Debug)]
pub enum Want {
    Bits(u64),
    /// Any NaN of this many bits: the ISA does not say which.
    AnyNan(u32),
    /// The ISA leaves the result open.
    Unspecified,
}

impl From<u64> for Want {
    fn from(bits: u64) -> Self {
        Self::Bits(bits)
    }
}

impl Want {
    fn holds(self, got: u64) -> bool {
        match self {
            Self::Bits(bits) => got == bits,
            Self::AnyNan(64) => f64::from_bits(got).is_nan(),
            Self::AnyNan(_) => f32::from_bits(got as u32).is_nan(),
            Self::Unspecified => true,
        }
    }
}

pub fn case<const N: usize>(text: impl Into<String>, kinds: &'static str, rows: &[([u64; N], u64)]) -> Case {
    let rows = rows.iter().map(|(inputs, want)| (inputs.to_vec(), Want::Bits(*want))).collect();
    Case { text: text.into(), kinds, rows }
}

/// Numbers at the edges of what integers of each size hold.
const EDGES: [u64; 30] = [
    0,
    1,
    2,
    3,
    5,
    7,
    15,
    16,
    31,
    32,
    33,
    63,
    64,
    127,
    128,
    255,
    256,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x00ff_00ff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Pseudo-random inputs beside every pair of edges.
const RANDOM_ROWS: usize = 600;

fn mask(kind: char) -> u64 {
    match kind {
        'p' => 1,
        'h' => 0xffff,
        'd' => u64::MAX,
        _ => 0xffff_ffff,
    }
}

/// A case with integer operands: edges with edges, and random numbers; `answer` gives the result for each.
pub fn sweep(text: impl Into<String>, kinds: &'static str, answer: impl Fn(&[u64]) -> u64) -> Case {
    sweep_over(text, kinds, &EDGES, answer)
}

/// A case whose operands are drawn from `edges`, and at random.
pub fn sweep_over<W: Into<Want>>(
    text: impl Into<String>,
    kinds: &'static str,
    edges: &[u64],
    answer: impl Fn(&[u64]) -> W,
) -> Case {
    let operands: Vec<char> = kinds.chars().skip(1).collect();
    let mut next = numbers(kinds.len() as u64);
    let mut rows = Vec::new();
    let mut add = |inputs: Vec<u64>| {
        let want = answer(&inputs).into();
        rows.push((inputs, want));
    };
    let pick = |k: usize, kind: char| edges[k % edges.len()] & mask(kind);
    for first in 0..edges.len() {
        // Two operands meet in every pair; a third and fourth take turns beside them.
        let seconds = if operands.len() > 1 { edges.len() } else { 1 };
        for second in 0..seconds {
            let index = |k: usize| [first, second, (first * 7 + second * 3) % 29, first + 2 * second][k];
            add(operands.iter().enumerate().map(|(k, &kind)| pick(index(k), kind)).collect());
        }
    }
    for _ in 0..RANDOM_ROWS {
        add(operands
            .iter()
            .map(|&kind| {
                let value =
                    if next().is_multiple_of(4) { edges[(next() % edges.len() as u64) as usize] } else { next() };
                value & mask(kind)
            })
            .collect());
    }
    Case { text: text.into(), kinds, rows }
}

/// A kernel that computes a case: a row of operands a thread.
pub fn kernel(index: usize, case: &Case) -> String {
    let bits = |kind| match kind {
        'h' => 16,
        'd' => 64,
        _ => 32,
    };
    let names = ["d", "a", "b", "c", "e"];
    let mut text = format!(".visible .entry k{index}(.param .u64 out, .param .u64 in) {{\n");
    text += ".reg .b64 %o, %i, %t64; .reg .b32 %row, %t32, %u32;\n";
    let kinds: Vec<char> = case.kinds.chars().collect();
    for (name, kind) in names.iter().zip(&kinds) {
        let ty = if *kind == 'p' { "pred".to_owned() } else { format!("b{}", bits(*kind)) };
        text += &format!(".reg .{ty} %{name};\n");
    }
    text += "mov.u32 %t32, %ctaid.x; mov.u32 %u32, %tid.x; mad.lo.u32 %row, %t32, 32, %u32;\n";
    text += "ld.param.u64 %o, [out]; ld.param.u64 %i, [in];\n";
    text += "mad.wide.u32 %o, %row, 8, %o; mad.wide.u32 %i, %row, 32, %i;\n";
    for (k, kind) in kinds.iter().enumerate().skip(1) {
        let (name, at) = (names[k], 8 * (k - 1));
        text += &match kind {
            'p' => format!("ld.global.u32 %t32, [%i+{at}]; setp.ne.u32 %{name}, %t32, 0;\n"),
            kind => format!("ld.global.b{} %{name}, [%i+{at}];\n", bits(*kind)),
        };
    }
    text += &case.text;
    text += &match kinds[0] {
        'p' => "\nselp.u32 %t32, 1, 0, %d; cvt.u64.u32 %t64, %t32;\n".to_owned(),
        'd' => "\nmov.b64 %t64, %d;\n".to_owned(),
        kind => format!("\ncvt.u64.u{} %t64, %d;\n", bits(kind)),
    };
    text + "st.global.b64 [%o], %t64; ret; }\n"
}

pub const HEAD: &str = ".version 8.6\n.target sm_90\n.address_size 64\n";

/// Runs every case and reports all results that are wrong, a few of each. The rows are so small a work that one thread
/// is quickest.
pub fn run(cases: &[Case]) {
    let text: String = cases.iter().enumerate().map(|(i, case)| kernel(i, case)).collect();
    let gpu = Gpu::new(&format!("{HEAD}{text}"), Settings { threads: 1, ..checked() });
    let mut wrong = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let threads = case.rows.len().next_multiple_of(32);
        let mut input = vec![0u64; 4 * threads];
        for (row, (values, _)) in case.rows.iter().enumerate() {
            input[4 * row..][..values.len()].copy_from_slice(values);
        }
        let (input, out) = (gpu.upload(&input), gpu.alloc(8 * threads));
        gpu.launch(&format!("k{i}"), threads as u32 / 32, 32, args![out, input]);
        let got = gpu.download::<u64>(out, threads);
        let bad = case.rows.iter().zip(&got).filter(|((_, want), got)| !want.holds(**got));
        wrong.extend(
            bad.take(4)
                .map(|((inputs, want), got)| format!("{} of {inputs:x?}: {got:x} instead of {want:x?}", case.text)),
        );
        gpu.free(input);
        gpu.free(out);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
