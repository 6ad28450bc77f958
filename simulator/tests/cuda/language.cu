// What C++ compiles to beside arithmetic: tables of functions, virtual functions, switches, unions, structures by
// value, arrays indexed at run time, recursion, constants and globals, assertions.
#include <cassert>
#include <cstdint>
#include <cuda_bf16.h>
#include <new>

struct Shape {
    float width;
    __device__ virtual float area() const = 0;
};
struct Square : Shape {
    __device__ float area() const override { return width * width; }
};
struct Circle : Shape {
    __device__ float area() const override { return 3.f * width * width; }
};

extern "C" __global__ void virtual_functions(float* out, const int* kind) {
    __shared__ alignas(16) char place[64][32];
    char* mine = place[threadIdx.x];
    Shape* shape = kind[threadIdx.x] ? static_cast<Shape*>(new (mine) Square) : new (mine) Circle;
    shape->width = threadIdx.x;
    out[threadIdx.x] = shape->area();
}

typedef int (*Function)(int);
__device__ __noinline__ int plus_one(int x) { return x + 1; }
__device__ __noinline__ int thrice(int x) { return x * 3; }
__device__ __noinline__ int minus(int x) { return -x; }
__device__ Function table[3] = {plus_one, thrice, minus};
__constant__ Function constant_table[2] = {minus, plus_one};

extern "C" __global__ void function_tables(int* out, const int* which) {
    int w = which[threadIdx.x];
    out[threadIdx.x] = 1000 * table[w](threadIdx.x) + constant_table[w & 1](5);
}

// One kernel leaves a pointer for another.
__device__ Function left_behind;
extern "C" __global__ void leave_function(int w) { left_behind = table[w]; }
extern "C" __global__ void call_function_left(int* out) { out[threadIdx.x] = left_behind(threadIdx.x); }

extern "C" __global__ void switches(int* out, const int* in) {
    int x = in[threadIdx.x], r = 0;
    switch (x) {
        case 0: r = 10; break;
        case 1: r = x * 7;  // falls through
        case 2: r += 3; break;
        case 3: r = 99; break;
        case 4:
            for (int i = 0; i < threadIdx.x; i++) r += i * x;
            break;
        case 5: r = -1; break;
        case 6: return;
        case 7: r = 4711; break;
        default: r = x * x;
    }
    out[threadIdx.x] = r;
}

union Words {
    uint4 whole;
    float singles[4];
    __nv_bfloat16 halves[8];
    uint8_t bytes[16];
};

extern "C" __global__ void unions(Words* out, const Words* in, int at) {
    Words v = in[threadIdx.x];
    for (int i = 0; i < 8; i++) v.halves[i] = __hadd(v.halves[i], __float2bfloat16(1.f));
    v.bytes[at] ^= 0x55;
    v.singles[(at / 4 + 1) & 3] *= 2;
    out[threadIdx.x] = v;
}

struct Record {
    int numbers[20];
    double weight;
    char letters[3];
};

__device__ __noinline__ Record twist(Record r, int k) {
    for (int i = 0; i < 20; i++) r.numbers[i] = r.numbers[(i + k) % 20] + i;
    r.weight *= 2;
    r.letters[1] = k;
    return r;
}

extern "C" __global__ void structures(Record* out, Record in, int k) { out[threadIdx.x] = twist(in, k + threadIdx.x); }

extern "C" __global__ void local_arrays(int* out, int n) {
    int x[32];
    for (int i = 0; i < 32; i++) x[i] = i * n + threadIdx.x;
    for (int i = 0; i < n; i++) {
        int j = (i * 7 + threadIdx.x) & 31, k = (j + n) & 31, t = x[j];
        x[j] = x[k];
        x[k] = t;
    }
    int sum = 0;
    for (int i = 0; i < 32; i++) sum = sum * 31 + x[i];
    out[threadIdx.x] = sum;
}

__device__ int counter = 5;
__constant__ float weights[4] = {1, 2, 3, 4};
__device__ struct {
    int number;
    float factor;
    const char* text;
} record = {3, 2.5f, "text"};

extern "C" __global__ void globals(float* out) {
    out[threadIdx.x] = weights[threadIdx.x & 3] * record.factor + record.number + record.text[threadIdx.x & 3];
    if (threadIdx.x == 0) counter += 2;
}

extern "C" __global__ void grid_constant(int* out, const __grid_constant__ Record r) {
    const int* p = &r.numbers[threadIdx.x % 20];
    out[threadIdx.x] = *p;
}

extern "C" __global__ void asserting(const int* in) { assert(in[threadIdx.x] < 100 && "too large"); }

__device__ int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
extern "C" __global__ void recursive(int* out) { out[threadIdx.x] = fibonacci(threadIdx.x % 12); }

// Two functions call each other, to different depths in neighbouring lanes, without end for negative numbers.
__device__ bool odd(int n);
__device__ __noinline__ bool even(int n) { return n == 0 || odd(n - 1); }
__device__ __noinline__ bool odd(int n) { return n != 0 && even(n - 1); }
extern "C" __global__ void mutual(int* out, int from) { out[threadIdx.x] = even(from + threadIdx.x); }

// More values than 32 registers a thread: what 1,024 threads twice on a multiprocessor would have.
extern "C" __global__ void __launch_bounds__(1024, 2) bounded(float* out, const float* in) {
    float a[48], sum = 0;
    for (int i = 0; i < 48; i++) a[i] = in[i] * i;
    __syncthreads();
    for (int i = 0; i < 48; i++) sum += a[i] * a[47 - i];
    out[threadIdx.x] = sum;
}

extern "C" __global__ void gotos(int* out, int n) {
    int i = 0, s = 0;
again:
    s += i;
    if (++i < n + (int)threadIdx.x) {
        if (s % 5 == 3) goto skip;
        s ^= 1;
    skip:
        goto again;
    }
    out[threadIdx.x] = s;
}
