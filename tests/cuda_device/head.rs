//! Kernels of kernels/head.cu.
