//! Kernels of kernels/loss.cu.
