//! Kernels of kernels/layer_norm.cu.
