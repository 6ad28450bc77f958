//! Copies and sets of rectangles and boxes, and attributes of pointers asked for together.

use std::ffi::c_void;

use cudasim::driver::api::{memory, rectangle};

use crate::common::{Gpu, checked, ok};

const INVALID_VALUE: u32 = 1;
const HOST: u64 = 1;
const DEVICE: u64 = 2;

/// One end of `CUDA_MEMCPY3D` as words: where it begins, its kind and address, its pitch and rows.
fn end([x, y, z]: [u64; 3], kind: u64, address: u64, pitch: u64, height: u64) -> [u64; 11] {
    [x, y, z, 0, kind, address, address, 0, 0, pitch, height]
}

fn copy(from: [u64; 11], to: [u64; 11], size: [u64; 3]) -> u32 {
    let words: Vec<u64> = from.into_iter().chain(to).chain(size).collect();
    unsafe { rectangle::cuMemcpy3D_v2(words.as_ptr().cast()) }
}

#[test]
fn a_box_within_boxes() {
    let gpu = Gpu::empty(checked());
    // 4 slices of 5 rows of 16 bytes on the host, 3 of 6 rows of 20 on the device.
    let host: Vec<u8> = (0..4 * 5 * 16).map(|i| (i % 251) as u8).collect();
    let device = gpu.upload(&[255u8; 3 * 6 * 20]);
    let from = |at| end(at, HOST, host.as_ptr() as u64, 16, 5);
    let to = |at| end(at, DEVICE, device, 20, 6);
    ok(copy(from([3, 1, 1]), to([7, 2, 1]), [5, 3, 2]));
    let mut want = vec![255u8; 3 * 6 * 20];
    for (z, y, x) in (0..2).flat_map(|z| (0..3).flat_map(move |y| (0..5).map(move |x| (z, y, x)))) {
        want[((1 + z) * 6 + 2 + y) * 20 + 7 + x] = host[((1 + z) * 5 + 1 + y) * 16 + 3 + x];
    }
    assert_eq!(gpu.download::<u8>(device, want.len()), want);
    // Wider than the pitch, beyond the memory, slices without a height, and an array, of which there are none.
    assert_eq!(copy(from([12, 0, 0]), to([0, 0, 0]), [5, 1, 1]), INVALID_VALUE);
    assert_eq!(copy(from([0, 0, 0]), to([0, 5, 2]), [5, 2, 1]), INVALID_VALUE);
    assert_eq!(copy(end([0; 3], HOST, host.as_ptr() as u64, 16, 0), to([0; 3]), [5, 1, 2]), INVALID_VALUE);
    assert_eq!(copy(end([0; 3], 3, 0, 16, 5), to([0; 3]), [5, 1, 1]), INVALID_VALUE);
    assert_eq!(gpu.download::<u8>(device, want.len()), want, "what is refused changes nothing");
}

#[test]
fn rectangles_of_every_width_and_on_a_stream() {
    let gpu = Gpu::empty(checked());
    let (data, one) = (gpu.upload(&[0u32; 12]), gpu.stream());
    ok(unsafe { rectangle::cuMemsetD2D16_v2(data + 2, 16, 0x1234, 3, 2) });
    ok(unsafe { rectangle::cuMemsetD2D8Async(data + 8, 16, 7, 2, 2, one) });
    ok(unsafe { rectangle::cuMemsetD2D16Async(data + 12, 16, 0x55aa, 1, 3, one) });
    ok(unsafe { rectangle::cuMemsetD2D32Async(data + 32, 16, 9, 2, 1, one) });
    ok(gpu.sync());
    let row = [0x1234_0000, 0x1234_1234, 0x0707, 0x55aa];
    assert_eq!(gpu.download::<u32>(data, 12), [row, row, [9, 9, 0, 0x55aa]].concat());
    assert_eq!(unsafe { rectangle::cuMemsetD2D32_v2(data, 8, 0, 3, 2) }, INVALID_VALUE, "rows overlap");
    assert_eq!(unsafe { rectangle::cuMemsetD2D32_v2(data, 16, 0, 4, 4) }, INVALID_VALUE, "too long");
}

#[test]
fn attributes_of_a_pointer_together() {
    let gpu = Gpu::empty(checked());
    let data = gpu.alloc(100);
    let (mut kind, mut base, mut bytes) = (9u32, 9u64, 9usize);
    let which = [2, 11, 12];
    let to: [*mut c_void; 3] = [(&raw mut kind).cast(), (&raw mut base).cast(), (&raw mut bytes).cast()];
    ok(unsafe { memory::cuPointerGetAttributes(3, which.as_ptr(), to.as_ptr(), data + 7) });
    assert_eq!((kind, base, bytes), (2, data, 100));
    // What is not the driver's has zeros, which is how a program tells.
    let stray = &raw const kind as u64;
    ok(unsafe { memory::cuPointerGetAttributes(3, which.as_ptr(), to.as_ptr(), stray) });
    assert_eq!((kind, base, bytes), (0, 0, 0));
    assert_eq!(unsafe { memory::cuPointerGetAttributes(1, [999].as_ptr(), to.as_ptr(), data) }, INVALID_VALUE);
}
