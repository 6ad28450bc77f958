// Access patterns whose traffic is known by hand.
extern "C" __global__ void coalesced(float* out, const float* in) { out[threadIdx.x] = in[threadIdx.x]; }
extern "C" __global__ void strided(float* out, const float* in) { out[threadIdx.x] = in[threadIdx.x * 8]; }
extern "C" __global__ void broadcast(float* out, const float* in) { out[threadIdx.x] = in[0]; }
extern "C" __global__ void vectors(float4* out, const float4* in) { out[threadIdx.x] = in[threadIdx.x]; }
// The volatile store and load are one request each; `stride` words apart.
extern "C" __global__ void banks(float* out, int stride) {
    __shared__ volatile float box[1024];
    box[threadIdx.x * stride] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = box[threadIdx.x * stride];
}
extern "C" __global__ void half_warp(float* out, float a) {
    if (threadIdx.x < 16) {
        out[threadIdx.x] = __fmaf_rn(a, a, a);
    }
}
extern "C" __global__ void shifted(float* out, const float* in) { out[threadIdx.x] = in[threadIdx.x + 1]; }
extern "C" __global__ void banks_double(double* out, int stride) {
    __shared__ volatile double box[64];
    box[threadIdx.x * stride] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = box[threadIdx.x * stride];
}
extern "C" __global__ void banks_quad(float4* out, int stride) {
    __shared__ float4 box[64];
    box[threadIdx.x * stride] = make_float4(threadIdx.x, 1, 2, 3);
    __syncthreads();
    out[threadIdx.x] = box[threadIdx.x * stride];
}
