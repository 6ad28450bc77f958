//! A body of PTX over the threads of one block, for instructions that need a warp, a block or memory.
//!
//! The body leaves a word in `%r` for each thread. It may use `%lane` (the thread's number), the pointer `%in` to words
//! of its own, a kilobyte of shared memory `box`, the constant `table`, the function `twice`, and scratch registers.

use crate::args;
use crate::common::{Gpu, checked};

pub const HEAD: &str = super::case::HEAD;

pub fn program(body: &str) -> String {
    format!(
        "{HEAD}
.func (.param .b32 result) twice(.param .b32 x) {{
.reg .b32 %v; ld.param.b32 %v, [x]; add.u32 %v, %v, %v; st.param.b32 [result], %v; ret; }}
.const .align 4 .b32 table[4] = {{10, 20, 30, 40}};
.visible .entry k(.param .u64 out, .param .u64 in) {{
.reg .b64 %o, %in, %d<9>; .reg .b32 %lane, %r, %x<16>; .reg .b16 %h<4>; .reg .pred %p<4>; .reg .f32 %f<4>;
.shared .align 16 .b8 box[1024];
ld.param.u64 %o, [out]; ld.param.u64 %in, [in]; mov.u32 %lane, %tid.x; mov.u32 %r, 0;
{body}
mad.wide.u32 %o, %lane, 4, %o; st.global.u32 [%o], %r; ret; }}\n"
    )
}

/// Runs a body over `threads` threads; each one's word, and what is left of `input`.
pub fn run_threads(body: &str, input: &[u32], threads: u32) -> (Vec<u32>, Vec<u32>) {
    let gpu = Gpu::new(&program(body), checked());
    let (data, out) = (gpu.upload(input), gpu.alloc(4 * threads as usize));
    gpu.launch("k", 1, threads, args![out, data]);
    (gpu.download(out, threads as usize), gpu.download(data, input.len()))
}

/// One warp, with 64 zero words to use.
pub fn run(body: &str) -> Vec<u32> {
    run_threads(body, &[0; 64], 32).0
}

pub fn lanes(f: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..32).map(f).collect()
}

/// The driver's error code of a body that must not succeed.
pub fn failure(body: &str) -> u32 {
    let gpu = Gpu::new(&program(body), checked());
    let (data, out) = (gpu.upload(&[0u32; 64]), gpu.alloc(128));
    gpu.launch("k", 1, 32, args![out, data]);
    gpu.sync()
}
