"""A driver-API program that knows nothing of the simulator: loads a PTX file by its path and runs a kernel of it.

usage: client.py LIBCUDA PTX
"""

import ctypes
import sys

driver = ctypes.CDLL(sys.argv[1])


def check(code):
    if code:
        name = ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(name))
        sys.exit(f"driver error {code}: {name.value}")


check(driver.cuInit(0))
device, context, module, function = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
check(driver.cuDeviceGet(ctypes.byref(device), 0))
name = ctypes.create_string_buffer(100)
check(driver.cuDeviceGetName(name, 100, device))
check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
check(driver.cuCtxSetCurrent(context))
check(driver.cuModuleLoad(ctypes.byref(module), sys.argv[2].encode()))
check(driver.cuModuleGetFunction(ctypes.byref(function), module, b"vector_add"))

n = 1000
a = (ctypes.c_float * n)(*range(n))
out = (ctypes.c_float * n)()
pointers = [ctypes.c_uint64() for _ in range(3)]
for pointer in pointers:
    check(driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(4 * n)))
for pointer in pointers[1:]:
    check(driver.cuMemcpyHtoD_v2(pointer, a, ctypes.c_size_t(4 * n)))
count = ctypes.c_int(n)
arguments = [*pointers, count]
array = (ctypes.c_void_p * 4)(*(ctypes.cast(ctypes.byref(x), ctypes.c_void_p) for x in arguments))
check(driver.cuLaunchKernel(function, 8, 1, 1, 128, 1, 1, 0, None, array, None))
check(driver.cuMemcpyDtoH_v2(out, pointers[0], ctypes.c_size_t(4 * n)))
assert list(out) == [2.0 * i for i in range(n)]
for pointer in pointers:
    check(driver.cuMemFree_v2(pointer))
check(driver.cuDevicePrimaryCtxRelease_v2(device))
print(name.value.decode())
