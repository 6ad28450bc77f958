// Kernels that stream through memory, 16 bytes a thread and access.

// m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  θ ← θ (1 − lr · decay) − lr · m / (√v + ε); four elements a thread.
extern "C" __global__ void adamw(float4* theta, float4* m, float4* v, const float4* g, int packs, float lr, float decay) {
    const float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f;
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= packs) return;
    float4 t4 = theta[i], m4 = m[i], v4 = v[i], g4 = g[i];
    float *t = &t4.x, *a = &m4.x, *b = &v4.x, *d = &g4.x;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        a[k] = fmaf(beta1, a[k], (1 - beta1) * d[k]);
        b[k] = fmaf(beta2, b[k], (1 - beta2) * d[k] * d[k]);
        t[k] = fmaf(t[k], -lr * decay, t[k]) - lr * a[k] / (sqrtf(b[k]) + eps);
    }
    theta[i] = t4, m[i] = m4, v[i] = v4;
}
