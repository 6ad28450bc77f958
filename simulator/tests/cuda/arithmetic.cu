// Integer intrinsics and conversions, each result in a place of its own: out[i * width + k].
#include <cstdint>

extern "C" __global__ void integers(int* out, const int* a, const int* b, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int x = a[i], y = b[i];
    unsigned ux = x, uy = y;
    long long wide = (long long)x * y;
    int* o = out + i * 40;
    *o++ = __mulhi(x, y);
    *o++ = __umulhi(ux, uy);
    *o++ = __mul24(x, y);
    *o++ = __umul24(ux, uy);
    *o++ = __clz(x);
    *o++ = __ffs(x);
    *o++ = __popc(ux);
    *o++ = __brev(ux);
    *o++ = __byte_perm(ux, uy, ux & 0x7777);
    *o++ = __funnelshift_l(ux, uy, ux);
    *o++ = __funnelshift_r(ux, uy, ux);
    *o++ = __funnelshift_lc(ux, uy, ux & 63);
    *o++ = __funnelshift_rc(ux, uy, ux & 63);
    *o++ = __sad(x, y, ux);
    *o++ = __hadd(x, y);
    *o++ = __rhadd(x, y);
    *o++ = __uhadd(ux, uy);
    *o++ = __dp4a(x, y, 5);
    *o++ = __dp4a(ux, uy, 5u);
    *o++ = __dp2a_lo(x, y, 5);
    *o++ = y ? x / y : 0;
    *o++ = y ? x % y : 0;
    *o++ = x / 7;
    *o++ = ux % 1000u;
    *o++ = y ? (int)((wide + 12345) / y) : 0;
    *o++ = (int)__mul64hi(wide, (long long)x << 20);
    *o++ = __clzll(wide);
    *o++ = __popcll((unsigned long long)ux * uy);
    *o++ = __ffsll(wide);
    *o++ = (int)(__brevll((unsigned long long)wide) >> 32);
    *o++ = __vadd4(ux, uy);
    *o++ = __vabsdiffu4(ux, uy);
    *o++ = __vsadu4(ux, uy);
    *o++ = __vmaxs2(ux, uy);
    *o++ = __vcmpeq4(ux, uy);
    *o++ = min(max(x, -1000), 1000);
    *o++ = (int)(float)x;
    *o++ = __float2int_ru((float)x * 0.37f);
    *o++ = (int)__double2ll_rn((double)x * 0.37);
    *o++ = (int16_t)x * (uint8_t)y;
}

// Products and quotients of 128-bit numbers: carries across four words.
extern "C" __global__ void wide_integers(unsigned __int128* out, const unsigned __int128* in, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned __int128 x = in[2 * i], y = in[2 * i + 1] | 1;
    out[4 * i] = x * y + (x >> 13);
    out[4 * i + 1] = x / (y >> 40 | 1);
    out[4 * i + 2] = x - y;
    out[4 * i + 3] = (unsigned __int128)((__int128)x >> 77) ^ (y << 9);
}
