//! Loads and stores: every element and vector, in every space, however the lanes lie and whichever take part.
//!
//! A lane copies a vector from the offset it is given to the offset it is given: straight through global memory, by
//! generic addresses, by shared memory and by local memory.

use crate::args;
use crate::common::{Gpu, checked, compile, floats, numbers};
use cudasim::driver::settings::Settings;

const HEAD: &str = ".version 8.6\n.target sm_90\n.address_size 64\n.shared .align 16 .b8 box[8192];\n";
const TYPES: [(&str, usize); 5] = [("u8", 1), ("b16", 2), ("f32", 4), ("u64", 8), ("s16", 2)];
const ROUTES: [&str; 4] = ["straight", "generic", "shared", "local"];

/// The kernel of one route for vectors of `length`; threads from `n` on are turned off by a guard.
fn kernel(ty: &str, bytes: usize, length: usize, route: &str) -> String {
    let (vector, register) =
        (if length == 1 { String::new() } else { format!(".v{length}") }, if bytes == 8 { 64 } else { 32 });
    let list = (0..length).map(|k| format!("%v{k}")).collect::<Vec<_>>().join(", ");
    let list = if length == 1 { list } else { format!("{{{list}}}") };
    let load = |space: &str, at: &str| format!("@%p ld{space}{vector}.{ty} {list}, [{at}];\n");
    let store = |space: &str, at: &str| format!("@%p st{space}{vector}.{ty} [{at}], {list};\n");
    let body = match route {
        "straight" => load(".global", "%in") + &store(".global", "%out"),
        "generic" => load("", "%in") + &store("", "%out"),
        "shared" => {
            load(".global", "%in")
                + &store(".shared", "%s")
                + "bar.sync 0;\n"
                + &load(".shared", "%s")
                + &store(".global", "%out")
        }
        _ => {
            load(".global", "%in")
                + &store(".local", "mine+16")
                + &load(".local", "mine+16")
                + &store(".global", "%out")
        }
    };
    format!(
        ".visible .entry {route}_{ty}_{length}(.param .u64 out, .param .u64 in, .param .u64 offsets, .param .u32 n) {{
        .local .align 16 .b8 mine[32];
        .reg .b64 %out, %in, %o, %d<3>; .reg .b32 %t, %n, %s; .reg .pred %p; .reg .b{register} %v<4>;
        ld.param.u64 %out, [out]; ld.param.u64 %in, [in]; ld.param.u64 %o, [offsets]; ld.param.u32 %n, [n];
        mov.u32 %t, %tid.x; setp.lt.u32 %p, %t, %n;
        mad.wide.u32 %o, %t, 16, %o; ld.global.v2.u64 {{%d0, %d1}}, [%o];
        add.u64 %in, %in, %d0; add.u64 %out, %out, %d1; cvt.u32.u64 %s, %d1; add.u32 %s, %s, box;
        {body} ret; }}\n"
    )
}

/// Where each lane reads and where it writes, in vectors: the writes are all different.
fn patterns() -> Vec<(&'static str, [usize; 32], [usize; 32])> {
    let straight = std::array::from_fn(|i| i);
    let shifted = std::array::from_fn(|i| i + 3);
    let reversed = std::array::from_fn(|i| 31 - i);
    let strided = std::array::from_fn(|i| 7 * i);
    let mut next = numbers(11);
    let scattered = std::array::from_fn(|_| (next() % 250) as usize);
    vec![
        ("consecutive", straight, straight),
        ("shifted", shifted, shifted),
        ("broadcast", [5; 32], straight),
        ("reversed", straight, reversed),
        ("strided", strided, strided),
        ("gathered", scattered, strided),
    ]
}

#[test]
fn every_vector_by_every_route() {
    let cases: Vec<(&str, usize, usize)> =
        TYPES.iter().flat_map(|&(ty, bytes)| [1, 2, 4].map(|v| (ty, bytes, v))).filter(|c| c.1 * c.2 <= 16).collect();
    let kernels = cases.iter().flat_map(|&(ty, bytes, v)| ROUTES.map(|route| kernel(ty, bytes, v, route)));
    let ptx = kernels.fold(HEAD.to_owned(), |text, kernel| text + &kernel);
    let mut next = numbers(12);
    let input: Vec<u8> = (0..4096).map(|_| next() as u8).collect();
    for settings in [checked(), Settings::default()] {
        let gpu = Gpu::new(&ptx, settings);
        let source = gpu.upload(&input);
        for &(ty, bytes, length) in &cases {
            let size = bytes * length;
            for (name, from, to) in patterns() {
                let offsets: Vec<[u64; 2]> =
                    (0..32).map(|i| [(from[i] * size) as u64, (to[i] * size) as u64]).collect();
                let offsets = gpu.upload(&offsets);
                for (route, active) in ROUTES.iter().flat_map(|route| [1, 13, 32].map(|n| (route, n))) {
                    let out = gpu.upload(&[0xa5u8; 4096]);
                    gpu.launch(&format!("{route}_{ty}_{length}"), 1, 32, args![out, source, offsets, active as i32]);
                    let mut want = [0xa5u8; 4096];
                    for i in 0..active {
                        want[to[i] * size..][..size].copy_from_slice(&input[from[i] * size..][..size]);
                    }
                    assert_eq!(gpu.download::<u8>(out, 4096), want, "{route}_{ty}_{length} {name}, {active} lanes");
                    gpu.free(out);
                }
                gpu.free(offsets);
            }
        }
        gpu.free(source);
    }
}

#[test]
fn an_optimizer_streams_through_memory() {
    for arch in ["sm_80", "sm_90"] {
        let gpu = Gpu::new(&compile("streaming", arch, &[]), checked());
        for packs in [1usize, 31, 256, 1000] {
            let (lr, decay, n) = (1e-3f32, 0.01f32, 4 * packs);
            let square = |seed| floats(seed, n).iter().map(|x| x * x).collect::<Vec<f32>>();
            let (mut theta, mut m, mut v, g) = (floats(1, n), floats(2, n), square(3), floats(4, n));
            let buffers = [&theta, &m, &v, &g].map(|data| gpu.upload(data));
            let [t, a, b, d] = buffers;
            gpu.launch("adamw", packs.div_ceil(128) as u32, 128, args![t, a, b, d, packs as i32, lr, decay]);
            for i in 0..n {
                m[i] = 0.9f32.mul_add(m[i], (1.0 - 0.9f32) * g[i]);
                v[i] = 0.999f32.mul_add(v[i], (1.0 - 0.999f32) * g[i] * g[i]);
                theta[i] = theta[i].mul_add(-lr * decay, theta[i]) - lr * m[i] / (v[i].sqrt() + 1e-8);
            }
            let got = [t, a, b].map(|buffer| gpu.download::<f32>(buffer, n));
            assert_eq!(got, [theta, m, v]);
            buffers.into_iter().for_each(|buffer| gpu.free(buffer));
        }
    }
}
