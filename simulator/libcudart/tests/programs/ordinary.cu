// A program of the CUDA runtime that goes through what such programs use. It says what is wrong, and ends with "all
// right".

#include <cstdio>
#include <cstring>
#include <vector>

static int wrong = 0;

static void check(bool good, const char* what) {
    if (!good) {
        wrong++;
        printf("wrong: %s (%s)\n", what, cudaGetErrorString(cudaGetLastError()));
    }
}
#define OK(call) check((call) == cudaSuccess, #call)

__constant__ float scale[2];
__device__ int counter;

__global__ void axpy(float* y, const float* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] += scale[0] * x[i] + scale[1];
}
__global__ void count() { atomicAdd(&counter, 1); }
__global__ void bounded(int* out) {
    extern __shared__ int box[];
    box[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = box[blockDim.x - 1 - threadIdx.x];
}
__global__ void greet() { printf("hello from thread %d\n", threadIdx.x); }
__global__ void astray(int* p) { *p = 1; }

static void memory() {
    const int n = 1000;
    std::vector<float> x(n, 2.0f), y(n, 1.0f);
    float *dx, *dy, coefficients[2] = {3.0f, 0.5f};
    OK(cudaMalloc(&dx, n * 4));
    OK(cudaMalloc(&dy, n * 4));
    OK(cudaMemcpy(dx, x.data(), n * 4, cudaMemcpyHostToDevice));
    OK(cudaMemcpy(dy, y.data(), n * 4, cudaMemcpyHostToDevice));
    OK(cudaMemcpyToSymbol(scale, coefficients, sizeof coefficients));
    axpy<<<(n + 127) / 128, 128>>>(dy, dx, n);
    OK(cudaGetLastError());
    OK(cudaMemcpy(y.data(), dy, n * 4, cudaMemcpyDeviceToHost));
    for (float v : y) check(v == 7.5f, "axpy");
    int zero = 0, counted = -1;
    OK(cudaMemcpyToSymbol(counter, &zero, 4));
    count<<<10, 32>>>();
    OK(cudaMemcpyFromSymbol(&counted, counter, 4));
    check(counted == 320, "atomics on a variable");
    size_t bytes;
    void* address;
    OK(cudaGetSymbolSize(&bytes, scale));
    OK(cudaGetSymbolAddress(&address, counter));
    check(bytes == 8 && address != nullptr, "symbols");
    // Rows at a pitch.
    char *pitched, rows[3][10], back[3][10];
    size_t pitch;
    memset(rows, 'a', sizeof rows);
    OK(cudaMallocPitch(&pitched, &pitch, 10, 3));
    OK(cudaMemset2D(pitched, pitch, 'z', 10, 3));
    OK(cudaMemcpy2D(pitched, pitch, rows, 10, 5, 3, cudaMemcpyHostToDevice));
    OK(cudaMemcpy2D(back, 10, pitched, pitch, 10, 3, cudaMemcpyDeviceToHost));
    check(pitch >= 10 && back[2][4] == 'a' && back[2][5] == 'z', "rows");
    // Memory of the host.
    int *pinned, *seen;
    OK(cudaHostAlloc(&pinned, 4, cudaHostAllocMapped));
    OK(cudaHostGetDevicePointer(&seen, pinned, 0));
    *pinned = 5;
    bounded<<<1, 1, 4>>>(seen);
    OK(cudaDeviceSynchronize());
    check(*pinned == 0, "mapped memory");
    cudaPointerAttributes what;
    OK(cudaPointerGetAttributes(&what, dx));
    check(what.type == cudaMemoryTypeDevice, "device pointer");
    OK(cudaPointerGetAttributes(&what, pinned));
    check(what.type == cudaMemoryTypeHost, "pinned pointer");
    OK(cudaPointerGetAttributes(&what, x.data()));
    check(what.type == cudaMemoryTypeUnregistered, "pointer of the program");
    OK(cudaFreeHost(pinned));
    OK(cudaFree(pitched));
    OK(cudaFree(dx));
    OK(cudaFree(dy));
    OK(cudaFree(nullptr));
}

static void CUDART_CB add(void* data) { ++*static_cast<int*>(data); }

static void streams() {
    cudaStream_t one, two;
    cudaEvent_t start, end;
    int called = 0, *out, got[64];
    OK(cudaStreamCreate(&one));
    OK(cudaStreamCreateWithFlags(&two, cudaStreamNonBlocking));
    OK(cudaEventCreate(&start));
    OK(cudaEventCreate(&end));
    OK(cudaMallocAsync(&out, 256, one));
    OK(cudaEventRecord(start, one));
    bounded<<<1, 64, 256, one>>>(out);
    OK(cudaLaunchHostFunc(one, add, &called));
    OK(cudaEventRecord(end, one));
    OK(cudaStreamWaitEvent(two, end, 0));
    OK(cudaMemcpyAsync(got, out, 256, cudaMemcpyDeviceToHost, two));
    OK(cudaStreamSynchronize(two));
    check(got[0] == 63 && got[63] == 0 && called == 1, "order of streams");
    float ms = -1;
    OK(cudaEventElapsedTime(&ms, start, end));
    check(ms >= 0, "time between events");
    check(cudaStreamQuery(one) == cudaSuccess && cudaEventQuery(end) == cudaSuccess, "queries");
    // A capture and launches of its graph.
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    size_t nodes = 0;
    OK(cudaStreamBeginCapture(one, cudaStreamCaptureModeGlobal));
    count<<<1, 1, 0, one>>>();
    count<<<1, 1, 0, one>>>();
    OK(cudaStreamEndCapture(one, &graph));
    OK(cudaGraphGetNodes(graph, nullptr, &nodes));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    int before, after;
    OK(cudaMemcpyFromSymbol(&before, counter, 4));
    for (int i = 0; i < 5; i++) OK(cudaGraphLaunch(exec, one));
    OK(cudaStreamSynchronize(one));
    OK(cudaMemcpyFromSymbol(&after, counter, 4));
    check(nodes == 2 && after - before == 10, "graph");
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(graph));
    OK(cudaFreeAsync(out, one));
    OK(cudaEventDestroy(start));
    OK(cudaEventDestroy(end));
    OK(cudaStreamDestroy(one));
    OK(cudaStreamDestroy(two));
}

static void device() {
    int count = 0, current = -1, blocks = 0, version = 0, warp = 0;
    cudaDeviceProp properties;
    OK(cudaGetDeviceCount(&count));
    OK(cudaSetDevice(0));
    OK(cudaGetDevice(&current));
    OK(cudaGetDeviceProperties(&properties, 0));
    check(count == 1 && current == 0 && strstr(properties.name, "(simulated)") != nullptr, "the device");
    check(properties.warpSize == 32 && properties.major == 9 && properties.multiProcessorCount == 132, "properties");
    check(properties.sharedMemPerBlockOptin == 227 << 10 && properties.maxThreadsPerMultiProcessor == 2048, "limits");
    check(properties.memoryPoolsSupported == 1 && properties.regsPerMultiprocessor == 65536, "later properties");
    OK(cudaDeviceGetAttribute(&warp, cudaDevAttrWarpSize, 0));
    OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, axpy, 256, 0));
    check(warp == 32 && blocks == 8, "occupancy");
    int grid = 0, block = 0;
    OK(cudaOccupancyMaxPotentialBlockSize(&grid, &block, axpy));
    check(block == 1024 && grid == 264, "potential block size");
    cudaFuncAttributes attributes;
    OK(cudaFuncGetAttributes(&attributes, bounded));
    check(attributes.maxThreadsPerBlock == 1024 && attributes.ptxVersion == 80 && attributes.binaryVersion == 90, "function");
    OK(cudaFuncSetAttribute(bounded, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10));
    OK(cudaRuntimeGetVersion(&version));
    check(version >= 12000 && cudaSetDevice(1) == cudaErrorInvalidDevice, "versions");
    size_t free = 0, total = 0;
    OK(cudaMemGetInfo(&free, &total));
    check(free > 0 && free <= total, "memory");
    cudaGetLastError();
}

static void errors() {
    axpy<<<1, 2048>>>(nullptr, nullptr, 0);
    check(cudaGetLastError() == cudaErrorInvalidConfiguration, "a block that is too large");
    check(cudaGetLastError() == cudaSuccess, "an error is told once");
    check(!strcmp(cudaGetErrorName(cudaErrorMemoryAllocation), "cudaErrorMemoryAllocation"), "name");
    check(!strcmp(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory"), "text");
    check(cudaMemcpy(nullptr, nullptr, 4, cudaMemcpyDefault) == cudaErrorInvalidValue, "copy of nothing");
    astray<<<1, 1>>>(reinterpret_cast<int*>(16));
    check(cudaDeviceSynchronize() == cudaErrorIllegalAddress, "an address that is not memory");
    check(cudaDeviceSynchronize() == cudaErrorIllegalAddress, "which stays");
}

int main() {
    device();
    memory();
    streams();
    greet<<<1, 2>>>();
    OK(cudaDeviceSynchronize());
    errors();
    printf(wrong ? "%d wrong\n" : "all right\n", wrong);
    return wrong != 0;
}
