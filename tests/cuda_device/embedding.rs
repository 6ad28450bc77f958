//! Kernels of kernels/embedding.cu.
