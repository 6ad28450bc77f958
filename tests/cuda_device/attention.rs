//! Kernels of kernels/attention.cu.
