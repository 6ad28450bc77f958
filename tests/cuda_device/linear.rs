//! Kernels of kernels/linear.cu.
