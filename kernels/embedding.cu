// Embedding: x = dropout(LayerNorm((word[id] + type[k]) + position[p])) in transformers' order of addition, and its
// backward pass.
//
// Forward: one team per token (see norm_row.cuh); overwrites x, mean, 1/σ. Reads three table rows, writes one: 8C bytes
// per token in bf16.
// Backward, in four launches. One team per token gathers the sum once more and leaves d_sum [T, C], overwritten, and
// sums of d_γ, d_β for the fold of layer_norm.cu. Then each row of a table is written by one warp, which adds its
// tokens in order of appearance (words, positions), or is summed in two stages through that same fold (types: few rows,
// many tokens each). No atomics. Words: 2C bytes read per token, 8C read and written per distinct word; positions and
// types likewise. All are bound by memory. The gradients of the tables are added to; `embed_clear` makes the rows that
// the last step touched 0 again, and only those.
#include "batch.cuh"
#include "dropout.cuh"
#include "norm_row.cuh"
#include "mark.cuh"

template <class T, class Team>
__device__ __forceinline__ void gather(const Team& team, Pack (&sum)[Team::PACKS], const T* word, const T* position,
                                       const T* kind, unsigned width) {
    team.each_pack(width, [&](int i, unsigned column) {
        const Pack w = load_pack(word + column), k = load_pack(kind + column), p = load_pack(position + column);
#pragma unroll
        for (int j = 0; j < PACK; j++) sum[i].v[j] = (w.v[j] + k.v[j]) + p.v[j];
    });
}

template <class T, class Team>
__device__ __forceinline__ void embed(T* __restrict__ x,               // [T, C]
                                      float* __restrict__ mean,        // [T]
                                      float* __restrict__ rstd,        // [T]
                                      const T* __restrict__ word,      // [V, C]
                                      const T* __restrict__ position,  // [positions, C]
                                      const T* __restrict__ kind,      // [types, C]
                                      const float* __restrict__ gamma, // [C]
                                      const float* __restrict__ beta,  // [C]
                                      const BatchHeader* __restrict__ header,
                                      const unsigned* __restrict__ ids,   // [T]
                                      const unsigned* __restrict__ types, // [T]
                                      const Rows& rows, unsigned width, float eps, const Dropout& dropout) {
    const Team team;
    const unsigned t = team.first_row, step = header->step;
    if (t >= *rows.count) return;
    const unsigned slot = rows.slots[t], place = rows.positions[t];
    Pack sum[Team::PACKS];
    gather(team, sum, word + (size_t)ids[t] * width, position + (size_t)place * width, kind + (size_t)types[t] * width,
           width);
    const RowStatistics statistics = row_statistics(team, sum, width, eps);
    if (team.rank == 0) {
        mean[t] = statistics.mean;
        rstd[t] = statistics.rstd;
    }
    team.each_pack(width, [&](int i, unsigned column) {
        Pack y = normalised(sum[i], statistics, gamma + column, beta + column);
        const Pack factors = dropout_factors_if_any(dropout, (place * width + column) / PACK, slot, step);
#pragma unroll
        for (int k = 0; k < PACK; k++) y.v[k] *= factors.v[k];
        store_pack(x + (size_t)t * width + column, y);
    });
}

#define EMBED_FORWARD(NAME, T, TEAM)                                                                              \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS)                                                     \
        NAME(T* x, float* mean, float* rstd, const T* word, const T* position, const T* kind, const float* gamma, \
             const float* beta, const BatchHeader* header, const unsigned* ids, const unsigned* types, Rows rows, \
             unsigned width, float eps, Dropout dropout, Mark mark) {                                             \
        leave_mark(mark);                                                                                         \
        embed<T, TEAM>(x, mean, rstd, word, position, kind, gamma, beta, header, ids, types, rows, width, eps,    \
                       dropout);                                                                                  \
    }
EMBED_FORWARD(embed_forward_f32, float, WarpTeam)
EMBED_FORWARD(embed_forward_bf16, bf16, WarpTeam)
EMBED_FORWARD(embed_forward_wide_f32, float, BlockTeam)
EMBED_FORWARD(embed_forward_wide_bf16, bf16, BlockTeam)

template <class T, class Team>
__device__ __forceinline__ void embed_backward(T* __restrict__ d_sum,           // [T, C]
                                               float* __restrict__ partial,     // [blocks, 2, C]
                                               const T* __restrict__ d_x,       // [T, C]
                                               const float* __restrict__ mean,  // [T]
                                               const float* __restrict__ rstd,  // [T]
                                               const T* __restrict__ word,      // [V, C]
                                               const T* __restrict__ position,  // [positions, C]
                                               const T* __restrict__ kind,      // [types, C]
                                               const float* __restrict__ gamma, // [C]
                                               const BatchHeader* __restrict__ header,
                                               const unsigned* __restrict__ ids,   // [T]
                                               const unsigned* __restrict__ types, // [T]
                                               const Rows& rows, unsigned width, const Dropout& dropout) {
    const Team team;
    const unsigned count = *rows.count, step = header->step;
    if (blockIdx.x * Team::TEAMS >= count) return;
    Pack d_gamma[Team::PACKS] = {}, d_beta[Team::PACKS] = {};
    for (unsigned t = team.first_row; t < count; t += Team::stride()) {
        const size_t start = (size_t)t * width;
        const unsigned slot = rows.slots[t], place = rows.positions[t];
        Pack d[Team::PACKS], sum[Team::PACKS];
        team.each_pack(width, [&](int i, unsigned column) {
            d[i] = load_pack(d_x + start + column);
            const Pack factors = dropout_factors_if_any(dropout, (place * width + column) / PACK, slot, step);
#pragma unroll
            for (int k = 0; k < PACK; k++) d[i].v[k] *= factors.v[k];
        });
        gather(team, sum, word + (size_t)ids[t] * width, position + (size_t)place * width,
               kind + (size_t)types[t] * width, width);
        row_backward(team, d, d_gamma, d_beta, sum, {mean[t], rstd[t]}, gamma, width);
        team.each_pack(width, [&](int i, unsigned column) { store_pack(d_sum + start + column, d[i]); });
    }
    store_partials(team, partial + (size_t)blockIdx.x * 2 * width, d_gamma, d_beta, width);
}

#define EMBED_BACKWARD(NAME, T, TEAM)                                                                              \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS)                                                      \
        NAME(T* d_sum, float* partial, const T* d_x, const float* mean, const float* rstd, const T* word,          \
             const T* position, const T* kind, const float* gamma, const BatchHeader* header, const unsigned* ids, \
             const unsigned* types, Rows rows, unsigned width, Dropout dropout, Mark mark) {                       \
        leave_mark(mark);                                                                                          \
        embed_backward<T, TEAM>(d_sum, partial, d_x, mean, rstd, word, position, kind, gamma, header, ids, types,  \
                                rows, width, dropout);                                                             \
    }
EMBED_BACKWARD(embed_backward_f32, float, WarpTeam)
EMBED_BACKWARD(embed_backward_bf16, bf16, WarpTeam)
EMBED_BACKWARD(embed_backward_wide_f32, float, BlockTeam)
EMBED_BACKWARD(embed_backward_wide_bf16, bf16, BlockTeam)

// partial [2, C] of each block: sums of the rows of types `type` and `type + 1`.
template <class T, class Team>
__device__ __forceinline__ void embed_backward_types(float* __restrict__ partial,        // [blocks, 2, C]
                                                     const T* __restrict__ d_sum,        // [T, C]
                                                     const unsigned* __restrict__ types, // [T]
                                                     const Rows& rows, unsigned width, unsigned type) {
    const Team team;
    const unsigned count = *rows.count;
    if (blockIdx.x * Team::TEAMS >= count) return;
    Pack first[Team::PACKS] = {}, second[Team::PACKS] = {};
    for (unsigned t = team.first_row; t < count; t += Team::stride()) {
        const unsigned which = types[t] - type;
        if (which > 1) continue;
        // One loop per type: a choice within the loop has made ptxas spill.
        auto add_to = [&](Pack(&sums)[Team::PACKS]) {
            team.each_pack(width, [&](int i, unsigned column) {
                const Pack d = load_pack(d_sum + (size_t)t * width + column);
#pragma unroll
                for (int k = 0; k < PACK; k++) sums[i].v[k] += d.v[k];
            });
        };
        if (which == 0) {
            add_to(first);
        } else {
            add_to(second);
        }
    }
    store_partials(team, partial + (size_t)blockIdx.x * 2 * width, first, second, width);
}

#define EMBED_BACKWARD_TYPES(NAME, T, TEAM)                                                                           \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS) NAME(                                                   \
        float* partial, const T* d_sum, const unsigned* types, Rows rows, unsigned width, unsigned type, Mark mark) { \
        leave_mark(mark);                                                                                             \
        embed_backward_types<T, TEAM>(partial, d_sum, types, rows, width, type);                                      \
    }
EMBED_BACKWARD_TYPES(embed_backward_types_f32, float, WarpTeam)
EMBED_BACKWARD_TYPES(embed_backward_types_bf16, bf16, WarpTeam)
EMBED_BACKWARD_TYPES(embed_backward_types_wide_f32, float, BlockTeam)
EMBED_BACKWARD_TYPES(embed_backward_types_wide_bf16, bf16, BlockTeam)

// sum += rows row_of(0), row_of(1), … of d_sum, in this order; a row below 0 is left out. AHEAD rows are under way at a
// time.
template <class T, class F>
__device__ __forceinline__ void add_rows(Pack& sum, const T* d_sum, unsigned count, unsigned width, F row_of) {
    constexpr int AHEAD = 4;
    for (unsigned start = 0; start < count; start += AHEAD) {
        Pack rows[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            const int row = start + i < count ? row_of(start + i) : -1;
            rows[i] = row < 0 ? Pack{} : load_pack(d_sum + (size_t)row * width);
        }
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
#pragma unroll
            for (int k = 0; k < PACK; k++) sum.v[k] += rows[i].v[k];
        }
    }
}

// Warps (run, stripe of WARP packs): the word's row += the rows of its tokens; marks the row as touched.
template <class T>
__device__ __forceinline__ void embed_backward_words(float* __restrict__ d_word,          // [V, C]
                                                     unsigned char* __restrict__ touched, // [V]
                                                     const T* __restrict__ d_sum,         // [T, C]
                                                     const BatchHeader* __restrict__ header,
                                                     const unsigned* __restrict__ order,      // [T]
                                                     const unsigned* __restrict__ run_ids,    // [runs]
                                                     const unsigned* __restrict__ run_starts, // [runs + 1]
                                                     unsigned width) {
    const unsigned run = (blockIdx.x * ROW_THREADS + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    const unsigned column = (blockIdx.y * WARP + lane) * PACK;
    if (run >= header->runs || column >= width) return;
    const unsigned id = run_ids[run], start = run_starts[run], count = run_starts[run + 1] - start;
    float* const row = d_word + (size_t)id * width + column;
    Pack sum = load_pack(row);
    add_rows(sum, d_sum + column, count, width, [&](unsigned i) { return (int)order[start + i]; });
    store_pack(row, sum);
    if (column == 0) touched[id] = 1;
}

// Warps (position, stripe of WARP packs): the position's row += the rows of the sequences that are long enough.
template <class T>
__device__ __forceinline__ void embed_backward_positions(float* __restrict__ d_position, // [positions, C]
                                                         const T* __restrict__ d_sum,    // [T, C]
                                                         const BatchHeader* __restrict__ header,
                                                         const unsigned* __restrict__ offsets, // [B + 1]
                                                         unsigned width) {
    const unsigned position = (blockIdx.x * ROW_THREADS + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    const unsigned column = (blockIdx.y * WARP + lane) * PACK;
    if (position >= header->longest || column >= width) return;
    float* const row = d_position + (size_t)position * width + column;
    Pack sum = load_pack(row);
    add_rows(sum, d_sum + column, header->sequences, width, [&](unsigned b) {
        const unsigned t = offsets[b] + position;
        return t < offsets[b + 1] ? (int)t : -1;
    });
    store_pack(row, sum);
}

// Without a least number of blocks ptxas holds itself to fewer registers and spills on sm_100.
#define EMBED_BACKWARD_ROWS(WORDS, POSITIONS, T)                                                                       \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS, 1)                                                       \
        WORDS(float* d_word, unsigned char* touched, const T* d_sum, const BatchHeader* header, const unsigned* order, \
              const unsigned* run_ids, const unsigned* run_starts, unsigned width, Mark mark) {                        \
        leave_mark(mark);                                                                                              \
        embed_backward_words(d_word, touched, d_sum, header, order, run_ids, run_starts, width);                       \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS)                                                          \
        POSITIONS(float* d_position, const T* d_sum, const BatchHeader* header, const unsigned* offsets,               \
                  unsigned width, Mark mark) {                                                                         \
        leave_mark(mark);                                                                                              \
        embed_backward_positions(d_position, d_sum, header, offsets, width);                                           \
    }
EMBED_BACKWARD_ROWS(embed_backward_words_f32, embed_backward_positions_f32, float)
EMBED_BACKWARD_ROWS(embed_backward_words_bf16, embed_backward_positions_bf16, bf16)

// Stretches of the arena, in packs. Mirrored in src/device/cuda/embedding.rs.
struct Stretches {
    static constexpr int COUNT = 4;
    unsigned start[COUNT], packs[COUNT];
};
static_assert(sizeof(Stretches) == 32 && __builtin_offsetof(Stretches, packs) == 16, "Stretches of the host");

// Touched rows of the word table become 0 and untouched, each warp looking at WARP rows; the blocks after those clear
// the stretches.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
    embed_clear(float* __restrict__ arena,           // [len]
                unsigned char* __restrict__ touched, // [V]
                Stretches stretches, unsigned word, unsigned vocabulary, unsigned width, Mark mark) {
    leave_mark(mark);
    const unsigned word_blocks = (vocabulary + ROW_THREADS - 1) / ROW_THREADS, lane = threadIdx.x % WARP;
    if (blockIdx.x >= word_blocks) {
        unsigned pack = (blockIdx.x - word_blocks) * ROW_THREADS + threadIdx.x;
#pragma unroll
        for (int s = 0; s < Stretches::COUNT; s++) {
            if (pack < stretches.packs[s]) {
                store_pack(arena + (size_t)(stretches.start[s] + pack) * PACK, Pack{});
                return;
            }
            pack -= stretches.packs[s];
        }
        return;
    }
    const unsigned own = blockIdx.x * ROW_THREADS + threadIdx.x, first = own - lane;
    const bool mine = own < vocabulary && touched[own];
    if (mine) touched[own] = 0;
    for (unsigned left = __ballot_sync(0xffffffffu, mine); left; left &= left - 1) {
        float* const row = arena + word + (size_t)(first + __ffs(left) - 1) * width;
        for (unsigned column = lane * PACK; column < width; column += WARP * PACK) store_pack(row + column, Pack{});
    }
}
