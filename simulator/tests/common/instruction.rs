//! One instruction over up to 32 lanes: operands from memory, the result back to it.

use super::{Gpu, checked};
use crate::args;

pub struct Case {
    pub text: &'static str,
    /// Kind of the result, then of each operand.
    pub kinds: &'static str,
    pub rows: Vec<(Vec<u64>, u64)>,
}

pub fn case<const N: usize>(text: &'static str, kinds: &'static str, rows: &[([u64; N], u64)]) -> Case {
    Case { text, kinds, rows: rows.iter().map(|(inputs, want)| (inputs.to_vec(), *want)).collect() }
}

pub fn kernel(index: usize, case: &Case) -> String {
    let bits = |kind| match kind {
        'h' => 16,
        'd' => 64,
        _ => 32,
    };
    let names = ["d", "a", "b", "c", "e"];
    let mut text = format!(".visible .entry k{index}(.param .u64 out, .param .u64 in) {{\n");
    text += ".reg .b64 %o, %i, %t64; .reg .b32 %lane, %t32;\n";
    let kinds: Vec<char> = case.kinds.chars().collect();
    for (name, kind) in names.iter().zip(&kinds) {
        let ty = if *kind == 'p' { "pred".to_owned() } else { format!("b{}", bits(*kind)) };
        text += &format!(".reg .{ty} %{name};\n");
    }
    text += "mov.u32 %lane, %tid.x; ld.param.u64 %o, [out]; ld.param.u64 %i, [in];\n";
    text += "mad.wide.u32 %o, %lane, 8, %o; mad.wide.u32 %i, %lane, 32, %i;\n";
    for (k, kind) in kinds.iter().enumerate().skip(1) {
        let (name, at) = (names[k], 8 * (k - 1));
        text += &match kind {
            'p' => format!("ld.global.u32 %t32, [%i+{at}]; setp.ne.u32 %{name}, %t32, 0;\n"),
            kind => format!("ld.global.b{} %{name}, [%i+{at}];\n", bits(*kind)),
        };
    }
    text += case.text;
    text += &match kinds[0] {
        'p' => "selp.u32 %t32, 1, 0, %d; cvt.u64.u32 %t64, %t32;\n".to_owned(),
        'd' => "mov.b64 %t64, %d;\n".to_owned(),
        kind => format!("cvt.u64.u{} %t64, %d;\n", bits(kind)),
    };
    text + "st.global.b64 [%o], %t64; ret; }\n"
}

pub fn run(cases: &[Case]) {
    let mut ptx = ".version 8.6\n.target sm_90\n.address_size 64\n".to_owned();
    cases.iter().enumerate().for_each(|(i, case)| ptx += &kernel(i, case));
    let gpu = Gpu::new(&ptx, checked());
    let mut wrong = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let mut input = vec![0u64; 4 * case.rows.len()];
        for (lane, (values, _)) in case.rows.iter().enumerate() {
            input[4 * lane..][..values.len()].copy_from_slice(values);
        }
        let (input, out) = (gpu.upload(&input), gpu.alloc(8 * case.rows.len()));
        gpu.launch(&format!("k{i}"), 1, case.rows.len() as u32, args![out, input]);
        for ((inputs, want), got) in case.rows.iter().zip(gpu.download::<u64>(out, case.rows.len())) {
            if got != *want {
                wrong.push(format!("{} of {inputs:x?}: {got:x} instead of {want:x}", case.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
