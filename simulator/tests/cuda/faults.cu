// Launches that tell the host how far they came before they fault.

// report[0] = 41 before the barrier, report[1] = 42 behind it; between them a store `beyond` ints into `data`.
extern "C" __global__ void report_around_store(volatile int *report, int *data, int beyond) {
    if (threadIdx.x == 0) {
        report[0] = 41;
        __threadfence_system();
    }
    __syncthreads();
    data[beyond + threadIdx.x] = threadIdx.x;
    __syncthreads();
    if (threadIdx.x == 0)
        report[1] = 42;
}
