//! The embedded images of kernels.

use std::{env, fs};

use bertsd_cuda::device::cuda::IMAGES;

#[test]
fn an_executable_holds_each_image_once() {
    let program = fs::read(env::current_exe().unwrap()).unwrap();
    for image in IMAGES {
        // The whole image: where a part of it is found, the rest is compared.
        let copies = program.windows(image.bytes.len()).filter(|window| *window == image.bytes).count();
        assert_eq!(copies, 1, "{}: {} bytes", image.file, image.bytes.len());
    }
}
