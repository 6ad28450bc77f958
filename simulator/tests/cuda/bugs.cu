// One bug a kernel. The comment names the check that finds it; the statements that a report may point to are marked.

// mem: the last thread stores one element too far
extern "C" __global__ void off_by_one(int* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) out[i] = i;  // bug: off_by_one
}

// race: a neighbour's element is read without a barrier
extern "C" __global__ void missing_syncthreads(int* out) {
    __shared__ int box[64];
    box[threadIdx.x] = 0;
    __syncthreads();
    box[threadIdx.x] = threadIdx.x, out[threadIdx.x] = box[63 - threadIdx.x];  // bug: missing_syncthreads
}

// race: lanes of one warp exchange through memory without __syncwarp
extern "C" __global__ void missing_syncwarp(int* out) {
    __shared__ int box[32];
    box[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = box[31 - threadIdx.x];  // bug: missing_syncwarp
}

// race: the buffer is filled again while others still read it
extern "C" __global__ void reused_buffer(int* out, int rounds) {
    __shared__ int box[64];
    int sum = 0;
    for (int r = 0; r < rounds; r++) {
        box[threadIdx.x] = r;  // bug: reused_buffer
        __syncthreads();
        sum += box[63 - threadIdx.x];  // bug: reused_buffer
    }
    out[threadIdx.x] = sum;
}

// race, in global memory: another warp's element is read without a barrier
extern "C" __global__ void global_neighbour(int* out) {
    out[threadIdx.x] = threadIdx.x, out[128 + threadIdx.x] = out[63 - threadIdx.x] + 1;  // bug: global_neighbour
}

// race, between blocks: all blocks write one element
extern "C" __global__ void shared_counter(int* out) { *out = *out + 1; }  // bug: shared_counter

// init: only half of the output is written, all of it is read by the next kernel
extern "C" __global__ void half_output(int* out, int n) {
    if (threadIdx.x < n / 2) out[threadIdx.x] = 1;
}
extern "C" __global__ void read_all(int* out, const int* in, int n) {
    if (threadIdx.x < n) out[threadIdx.x] = in[threadIdx.x] + 1;  // bug: read_all
}

// init: shared memory holds nothing before it is written
extern "C" __global__ void unwritten_shared(int* out) {
    __shared__ int box[64];
    if (threadIdx.x < 32) box[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = box[threadIdx.x];  // bug: unwritten_shared
}

// sync: half a warp never comes
extern "C" __global__ void divergent_barrier(int* out) {
    if (threadIdx.x % 2) __syncthreads();  // bug: divergent_barrier
    out[threadIdx.x] = 1;
}

// sync: lanes read from lanes that take no part
extern "C" __global__ void inactive_shuffle(int* out, const int* in) {
    int x = in[threadIdx.x];
    if (threadIdx.x < 16) x += __shfl_sync(0xffff, x, threadIdx.x + 16);  // bug: inactive_shuffle
    out[threadIdx.x] = x;
}

// sync: a lane names a mask that it is not in
extern "C" __global__ void foreign_mask(int* out) {
    int x = threadIdx.x;
    if (threadIdx.x >= 16) x = __reduce_add_sync(0xffff0001, x);  // bug: foreign_mask
    out[threadIdx.x] = x;
}

extern "C" __global__ void fill(int* out, int value, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = value;  // bug: fill
}
extern "C" __global__ void misaligned(char* out) { *reinterpret_cast<int*>(out + 1) = 3; }  // bug: misaligned
extern "C" __global__ void forever(volatile int* flag) {
    while (*flag == 0) {}
}
extern "C" __global__ void big_shared(int* out) {
    extern __shared__ int box[];
    box[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = box[threadIdx.x];
}
