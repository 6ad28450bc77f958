// Launch geometry: the one source for kernels and host.
//
// build.rs reads every `constexpr int NAME = NUMBER;` of this file and makes the same constant in Rust, so that a block size is
// written down once. Products and sums are spelled out where they are used.
#pragma once

constexpr int WARP = 32;

// Elementwise kernels: threads a block, each thread takes eight neighbours at a time.
constexpr int ELEMENTWISE_THREADS = 256;

// optimizer.cu: threads a block of the norm and of the update, and blocks of the norm's first stage.
constexpr int NORM_THREADS = 256;
constexpr int NORM_BLOCKS = 256;
constexpr int UPDATE_THREADS = 256;
