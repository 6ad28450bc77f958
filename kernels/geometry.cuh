// Launch geometry: the one source for kernels and host.
//
// build.rs reads every `constexpr int NAME = NUMBER;` of this file and makes the same constant in Rust, so that a block
// size is written down once. Products and sums are spelled out where they are used.
#pragma once

constexpr int WARP = 32;

// Elements that are read and written together (see numbers.cuh), and that share one Philox block of dropout.
constexpr int PACK = 8;

// Elementwise kernels: threads of a block, each thread takes eight neighbours at a time.
constexpr int ELEMENTWISE_THREADS = 256;

// optimizer.cu: threads of a block of the norm and of the update, and blocks of the norm's first stage.
constexpr int NORM_THREADS = 256;
constexpr int NORM_BLOCKS = 256;
constexpr int UPDATE_THREADS = 256;

// Products of linear layers (gemm_tensor.cuh, gemm_simt.cuh): threads of every block; rows, columns and depth of its
// tile (in bytes where numbers are of two sizes), and tiles of a reduction in flight.
constexpr int GEMM_THREADS = 128;
constexpr int GEMM_LARGE_M = 128;
constexpr int GEMM_LARGE_N = 128;
constexpr int GEMM_LARGE_DEPTH_BYTES = 64;
constexpr int GEMM_LARGE_STAGES = 4;
constexpr int GEMM_MEDIUM_M = 64;
constexpr int GEMM_MEDIUM_N = 64;
constexpr int GEMM_MEDIUM_DEPTH_BYTES = 128;
constexpr int GEMM_MEDIUM_STAGES = 3;
constexpr int GEMM_SMALL_M = 32;
constexpr int GEMM_SMALL_N = 64;
constexpr int GEMM_SMALL_DEPTH_BYTES = 128;
constexpr int GEMM_SMALL_STAGES = 4;
constexpr int GEMM_SIMT_M = 64;
constexpr int GEMM_SIMT_N = 64;
constexpr int GEMM_SIMT_K = 16;
// Least rows of a part, where the weight gradient's sum over rows is split. A part of the large tile is written and
// read again, 128 KB; over fewer rows that takes longer than the products.
constexpr int GEMM_SPLIT_LEAST = 256;

// attention*.cu: threads of a block, and the rows of Q (or of K and V) that a block owns: on tensor cores, and in f32.
constexpr int ATTENTION_THREADS = 128;
constexpr int ATTENTION_ROWS = 64;
constexpr int ATTENTION_ROWS_F32 = 32;
// Floats between two rows in shared memory beyond a row's own: in a tile of D columns, in a tile of probabilities.
constexpr int ATTENTION_PAD_F32 = 4;
// attention_first.cu: threads of a block.
constexpr int ATTENTION_FIRST_THREADS = 128;

// layer_norm.cu, embedding.cu: threads of a block, and packs of eight elements that a thread holds of a row.
constexpr int ROW_THREADS = 256;
constexpr int ROW_PACKS = 4;

// layer_norm.cu: blocks whose sums of dγ and dβ are folded, and how many LayerNorms are folded by one launch.
constexpr int NORM_PARTIAL_BLOCKS = 128;
constexpr int NORM_SLOTS = 64;

// head.cu: threads of a block; rows and classes whose products a thread makes side by side.
constexpr int HEAD_THREADS = 256;
constexpr int HEAD_ROWS = 8;
constexpr int HEAD_BACKWARD_ROWS = 4;
constexpr int HEAD_CLASSES = 4;

// loss.cu: threads of an example.
constexpr int LOSS_THREADS = 128;
