//! Hostile images through the driver's loader: an error or a module, never a panic, a hang or another's memory.

use std::ffi::CString;
use std::time::{Duration, Instant};

use cudasim::driver::api::module;

use crate::common::{Gpu, checked, compile, numbers, nvcc_output};

/// Bytes of each kind of image; together more than ten million.
const SOUP_BYTES: usize = 4_000_000;
const MUTATED_BYTES: usize = 8_000_000;
const FATBIN_BYTES: usize = 2_000_000;
const LIMIT: Duration = Duration::from_secs(5);

/// The driver's own code for a caught panic.
const UNKNOWN: u32 = 999;

/// Loads a text, and unloads it if it was one.
fn load(text: &[u8]) {
    let text = CString::new(text.iter().copied().filter(|&b| b != 0).collect::<Vec<u8>>()).expect("no NUL is left");
    let (start, mut handle) = (Instant::now(), 0);
    settle(unsafe { module::cuModuleLoadData(&mut handle, text.as_ptr().cast()) }, handle);
    assert!(start.elapsed() < LIMIT, "{}", text.to_string_lossy());
}

fn settle(code: u32, handle: u64) {
    assert_ne!(code, UNKNOWN, "the loader panicked");
    if code == 0 {
        assert_eq!(unsafe { module::cuModuleUnload(handle) }, 0);
    }
}

/// Changes a few places: a byte, a piece taken out, a piece copied elsewhere, the end cut off, a number made large.
fn mutate(bytes: &mut Vec<u8>, next: &mut impl FnMut() -> u64) {
    for _ in 0..1 + next() % 8 {
        if bytes.is_empty() {
            return;
        }
        let (at, from) = (next() as usize % bytes.len(), next() as usize % bytes.len());
        let length = (next() % 40) as usize;
        match next() % 6 {
            0 => bytes[at] = next() as u8,
            1 => bytes.drain(at..(at + length).min(bytes.len())).for_each(drop),
            2 => {
                let part = bytes[from..(from + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, part).for_each(drop);
            }
            3 => bytes.truncate(at.max(bytes.len() / 2)),
            4 => bytes[at] ^= 1 << (next() % 8),
            _ => {
                if let Some(digit) = bytes[at..].iter().position(u8::is_ascii_digit) {
                    bytes.splice(at + digit..at + digit, *b"99999999").for_each(drop);
                }
            }
        }
    }
}

#[test]
fn random_bytes_and_words_are_refused() {
    let _gpu = Gpu::empty(checked());
    let mut next = numbers(11);
    let words = [
        ".version 8.0\n",
        ".target sm_80\n",
        ".address_size 64\n",
        ".visible .entry k(",
        ".param .u64 p",
        ")",
        "{",
        "}",
        "add.s32 ",
        "ld.global.v4.f32 ",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 ",
        "call ",
        "%r1",
        "%p<9>",
        ", ",
        ";",
        ".reg .b32 ",
        "0f3F8",
        "0x",
        "18446744073709551616",
        "[",
        "]",
        "+",
        "-",
        "\"",
        "/*",
        "//",
        "@",
        "@!%p1 ",
        ".",
        ":",
        "L:",
        "bra L;",
        "<",
        "=",
        ".global .align 8 .b8 g[99999999]",
        ".branchtargets ",
        ".section .debug {",
        ".loc 1 2 3",
        "_",
        "|",
    ];
    let mut total = 0;
    while total < SOUP_BYTES {
        let length = (next() % 4000) as usize;
        let mut text: Vec<u8> = match next() % 3 {
            0 => (0..length).map(|_| next() as u8).collect(),
            1 => (0..length / 4).flat_map(|_| words[(next() % words.len() as u64) as usize].bytes()).collect(),
            // Words in the body of a kernel that is well formed around them.
            _ => {
                let body = (0..length / 8)
                    .map(|_| words[3 + (next() % (words.len() as u64 - 3)) as usize])
                    .collect::<String>();
                format!(
                    "{}.visible .entry k(.param .u64 p) {{ .reg .pred %p<9>; .reg .b32 %r<9>; {body} }}",
                    words[..3].concat()
                )
                .into_bytes()
            }
        };
        total += text.len();
        text.push(b' ');
        load(&text);
    }
}

#[test]
fn mutated_ptx_is_refused_or_loads() {
    let sources = ["bugs", "access", "tensor", "language", "atomics", "groups"];
    let sources: Vec<Vec<u8>> = sources.iter().map(|name| compile(name, "sm_80", &[]).into_bytes()).collect();
    let _gpu = Gpu::empty(checked());
    let (mut next, mut total, mut loaded) = (numbers(12), 0, 0);
    while total < MUTATED_BYTES {
        let source = &sources[(next() % sources.len() as u64) as usize];
        // A stretch of a long source that starts at one of its kernels, behind its head.
        let text = String::from_utf8_lossy(source).into_owned();
        let starts: Vec<usize> = text.match_indices(".visible .entry").map(|(at, _)| at).collect();
        let start = starts[next() as usize % starts.len()];
        let end = text[start..].find("\n}").map_or(text.len(), |at| start + at + 3);
        let mut bytes = [&source[..starts[0]], &source[start..end]].concat();
        mutate(&mut bytes, &mut next);
        total += bytes.len();
        let (started, mut handle) = (Instant::now(), 0);
        let text = CString::new(bytes.into_iter().filter(|&b| b != 0).collect::<Vec<u8>>()).expect("no NUL is left");
        let code = unsafe { module::cuModuleLoadData(&mut handle, text.as_ptr().cast()) };
        loaded += usize::from(code == 0);
        settle(code, handle);
        assert!(started.elapsed() < LIMIT, "{}", text.to_string_lossy());
    }
    assert!(loaded > 20, "hardly anything loads: the mutations are too coarse to reach the lowering");
}

/// Fat binaries come from a file, whose end the loader knows; in memory their size is what they say.
#[test]
fn mutated_fat_binaries_are_refused_or_load() {
    let targets = ["-fatbin", "-gencode", "arch=compute_80,code=[sm_80,compute_80]"];
    let modes = ["none", "speed", "default", "size"];
    let sources: Vec<Vec<u8>> =
        modes.iter().map(|mode| nvcc_output("access", &[&targets[..], &["--compress-mode", mode]].concat())).collect();
    let _gpu = Gpu::empty(checked());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("image.fatbin");
    let name = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path has no NUL");
    let (mut next, mut total) = (numbers(13), 0);
    while total < FATBIN_BYTES {
        let mut bytes = sources[(next() % sources.len() as u64) as usize].clone();
        // Half of the changes are among the headers, which are few.
        if next() % 2 == 0 {
            let at = next() as usize % 160;
            bytes[at] = next() as u8;
        } else {
            mutate(&mut bytes, &mut next);
        }
        total += bytes.len();
        std::fs::write(&path, &bytes).expect("the file is written");
        let (start, mut handle) = (Instant::now(), 0);
        settle(unsafe { module::cuModuleLoad(&mut handle, name.as_ptr()) }, handle);
        assert!(start.elapsed() < LIMIT);
    }
}

#[test]
fn the_unknown_is_refused_by_name_line_and_kernel() {
    let body = |line: &str| {
        format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k() {{\n.reg .b32 %r<4>;\n{line}\nret;\n}}\n"
        )
    };
    for (line, message) in [
        ("frobnicate.s32 %r1, %r2;", "`frobnicate.s32`: instruction is not supported"),
        ("wgmma.fence.sync.aligned;", "`wgmma.fence.sync.aligned`: instruction is not supported"),
        ("add.fast.s32 %r1, %r2, %r3;", "`add.fast.s32`: modifier .fast is not supported"),
        ("add.s33 %r1, %r2, %r3;", "`add.s33`: modifier .s33 is not supported"),
        ("cp.async.bulk.commit_group;", "`cp.async.bulk.commit_group`: modifier .bulk is not supported"),
        ("barrier.cluster.arrive;", "`barrier.cluster.arrive`: clusters are not supported"),
        (".weird 5;", "directive .weird is not supported"),
        ("add.s32 %r1, %r2;", "`add.s32`: 2 operands"),
        ("add.s32 %r1, %r9, %r3;", "`add.s32`: %r9 is not declared"),
        ("bra nowhere;", "`bra`: nowhere is not a label"),
        ("{ .reg .b64 %d; add.s32 %d, %r1, %r2; }", "`add.s32`: the destination has 64 bits where 32 are needed"),
        ("tex.2d.v4.f32.f32 {%r1}, [%r1, {%r2, %r3}];", "`tex.2d.v4.f32.f32`: expected `]`, found Punct(',')"),
        ("{ call unknown_function; }", "`call`: unknown_function is not declared"),
    ] {
        let refusal = Gpu::refusal(&body(line));
        assert_eq!(refusal, format!("ptx line 6 in k: {message}"));
    }
    // Blocks of a cluster would share memory.
    let cluster = body("").replace("k()", "k() .reqnctapercluster 2, 1, 1");
    assert_eq!(Gpu::refusal(&cluster), "ptx line 4 in k: clusters of more than one block are not supported");
    // What is wrong in a function is found in the kernel that calls it, and in no other.
    const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n.func f() {\nfrobnicate;\nret;\n}\n";
    let calling = format!("{HEAD}.visible .entry k() {{ call f; ret; }}\n.visible .entry other() {{ ret; }}\n");
    assert_eq!(Gpu::refusal(&calling), "ptx line 5 in f: `frobnicate`: instruction is not supported");
    let gpu = Gpu::new(&calling, checked());
    gpu.launch("other", 1, 1, &[]);
    assert_eq!(gpu.sync(), 0);
}
