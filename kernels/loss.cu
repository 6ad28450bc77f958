// Cross-entropy with its distillation term, and the gradient of both, in one launch, a block owning an example; and the
// logits that votes are summed from.
//
// With p = softmax(z), class weights w (1 without), smoothing ε, label y, teacher logits z̄ (none without), temperature
// τ:
//
//   ce       = (1 − ε) · w_y · (−ln p_y) + ε / N · Σ_c w_c · (−ln p_c)      (as torch.nn.CrossEntropyLoss weighs it)
//   mse      = Σ_c (z_c − z̄_c)² / N                kl = τ² · Σ_c p̄_c · (ln p̄_c − ln p'_c), p̄, p' at temperature τ
//   twins    = ½ · Σ_c (p_c − q_c) · (ln p_c − ln q_c), q of the sequence that stands half a batch away
//   d_logits = ce_scale · ∂ce/∂z + λ · distill_scale · ∂distill/∂z
//
// Overwrites losses [2, E] in the example's slot, unscaled, and its row of d_logits [B, N]. Reads logits (and teacher)
// three times, all but the first from a cache: 8N bytes an example, 12N with a teacher. Exponentials are in double, as
// on the other device: near p = 1 the gradient p − 1 is a difference that float32 has no digits for. A class costs two,
// or six with a divergence; nine with twins.
#include "batch.cuh"
#include "geometry.cuh"
#include "reduce.cuh"
#include "mark.cuh"

constexpr int LOSS_WARPS = LOSS_THREADS / WARP;

// Mirrored in src/device/cuda/loss.rs. Quotients are made on the host: a division in double is a call.
struct LossArgs {
    double smoothing;           // ε
    double class_share;         // 1 / N
    double temperature;         // τ of the divergence; 0: mean squared error; below 0: twins
    double inverse_temperature; // 1 / τ; 1 for twins
};
static_assert(sizeof(LossArgs) == 32 && __builtin_offsetof(LossArgs, inverse_temperature) == 24,
              "LossArgs of the host");

// Largest over the block, the same in every thread.
__device__ __forceinline__ float block_max(float x) {
    __shared__ float warps[LOSS_WARPS];
    x = warp_max(x);
    __syncthreads(); // the last maximum has been read
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = x;
    __syncthreads();
    float largest = warps[0];
#pragma unroll
    for (int warp = 1; warp < LOSS_WARPS; warp++) largest = fmaxf(largest, warps[warp]);
    return largest;
}

// Sum over the block in double, the same in every thread.
__device__ __forceinline__ double sum_over_block(double x) {
    __shared__ double warps[LOSS_WARPS];
    __syncthreads(); // the last sum has been read
    return block_sum<LOSS_THREADS>(x, warps);
}

// ln Σ e^(z / τ).
__device__ __forceinline__ double log_sum_exp(const float* z, unsigned classes, double inverse_temperature) {
    float largest = -INFINITY;
    for (unsigned c = threadIdx.x; c < classes; c += LOSS_THREADS) largest = fmaxf(largest, z[c]);
    const double shift = block_max(largest) * inverse_temperature;
    double sum = 0;
    for (unsigned c = threadIdx.x; c < classes; c += LOSS_THREADS) sum += exp(z[c] * inverse_temperature - shift);
    return shift + log(sum_over_block(sum));
}

// Without a least number of blocks ptxas holds itself to fewer registers and spills on sm_90.
extern "C" __global__ void __launch_bounds__(LOSS_THREADS, 1)
    distillation_loss(float* __restrict__ losses,              // [2, E]
                      float* __restrict__ d_logits,            // [B, N]
                      const float* __restrict__ logits,        // [B, N]
                      const float* __restrict__ target,        // [B, N]; null: no distillation term
                      const float* __restrict__ class_weights, // [N]; null: all 1
                      const BatchHeader* __restrict__ header,
                      const unsigned* __restrict__ labels, // [B]
                      const unsigned* __restrict__ slots,  // [B]
                      unsigned examples, unsigned classes, LossArgs args, Mark mark) {
    leave_mark(mark);
    const unsigned b = blockIdx.x;
    if (b >= header->sequences) return;
    const unsigned label = labels[b];
    const float* const z = logits + (size_t)b * classes;
    const bool twins = target && args.temperature < 0;
    const unsigned half = header->sequences / 2;
    const unsigned taught_by = !twins ? b : b < half ? b + half : b - half;
    const float* const teacher = target ? target + (size_t)taught_by * classes : nullptr;
    float* const d = d_logits + (size_t)b * classes;

    const double own_share = 1.0 - args.smoothing, common_share = args.smoothing * args.class_share;
    auto share_of = [&](unsigned c) {
        const double weight = class_weights ? class_weights[c] : 1.0;
        return ((c == label ? own_share : 0.0) + common_share) * weight;
    };
    double total = 0; // Σ of the shares
    if (args.smoothing == 0) {
        total = share_of(label);
    } else {
        for (unsigned c = threadIdx.x; c < classes; c += LOSS_THREADS) total += share_of(c);
        total = sum_over_block(total);
    }

    const double lse = log_sum_exp(z, classes, 1.0);
    const bool divergence = teacher && args.temperature != 0;
    const double inverse = args.inverse_temperature;
    const double soft_lse = divergence ? log_sum_exp(z, classes, inverse) : 0.0;
    const double teacher_lse = divergence ? log_sum_exp(teacher, classes, inverse) : 0.0;
    const float factor = header->distill_factor, ce_scale = header->ce_scale;

    double there = 0; // KL(p ‖ q) of twins
    if (twins) {
        for (unsigned c = threadIdx.x; c < classes; c += LOSS_THREADS) {
            const double log_p = z[c] - soft_lse, p = exp(log_p);
            if (p > 0) there += p * (log_p - (teacher[c] - teacher_lse));
        }
        there = sum_over_block(there);
    }

    double ce = 0, distill = 0;
    for (unsigned c = threadIdx.x; c < classes; c += LOSS_THREADS) {
        const double log_p = z[c] - lse, share = share_of(c);
        if (share != 0) ce -= share * log_p;
        float gradient = (float)(total * exp(log_p) - share) * ce_scale;
        if (divergence) {
            const double log_soft = z[c] * inverse - soft_lse, log_q = teacher[c] * inverse - teacher_lse;
            const double q = exp(log_q);
            if (q > 0) distill += q * (log_q - log_soft);
            if (twins) {
                const double p = exp(log_soft), own = p > 0 ? p * (log_soft - log_q - there) : 0.0;
                gradient += (float)(factor * (p - q + own));
            } else {
                gradient += (float)(factor * args.temperature * (exp(log_soft) - q));
            }
        } else if (teacher) {
            const float difference = z[c] - teacher[c];
            distill += (double)difference * difference;
            gradient += factor * 2.0f * (float)args.class_share * difference;
        }
        d[c] = gradient;
    }
    ce = sum_over_block(ce);
    distill = sum_over_block(distill);
    if (threadIdx.x == 0) {
        losses[slots[b]] = (float)ce;
        const double scale = divergence ? args.temperature * args.temperature : args.class_share;
        losses[examples + slots[b]] = (float)(twins ? 0.5 * (there + distill) : distill * scale);
    }
}

// Votes [E, N] lie by slot, logits and target [B, N] by sequence; a thread takes one number.
__device__ __forceinline__ bool place_of_vote(unsigned& row, unsigned& at_slot, const BatchHeader* header,
                                              const unsigned* slots, unsigned classes) {
    row = blockIdx.x * ELEMENTWISE_THREADS + threadIdx.x;
    const unsigned b = row / classes;
    if (b >= header->sequences) return false;
    at_slot = slots[b] * classes + row % classes;
    return true;
}

// votes (+)= logits.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    add_votes(float* __restrict__ votes, const float* __restrict__ logits, const BatchHeader* __restrict__ header,
              const unsigned* __restrict__ slots, unsigned classes, int adds, Mark mark) {
    leave_mark(mark);
    unsigned row, at_slot;
    if (!place_of_vote(row, at_slot, header, slots, classes)) return;
    votes[at_slot] = adds ? votes[at_slot] + logits[row] : logits[row];
}

// target = votes / count.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    mean_of_votes(float* __restrict__ target, const float* __restrict__ votes, const BatchHeader* __restrict__ header,
                  const unsigned* __restrict__ slots, unsigned classes, unsigned count, Mark mark) {
    leave_mark(mark);
    unsigned row, at_slot;
    if (!place_of_vote(row, at_slot, header, slots, classes)) return;
    target[row] = votes[at_slot] / (float)count;
}
