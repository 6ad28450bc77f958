// What a kernel knows of the batch.
//
// Grids are fixed by the capacity a batch is rounded up to; the true sizes, the step and the scalars of the loss lie in
// device memory, so that a recorded launch serves every batch that fits. Blocks and rows beyond the true sizes return
// at once.
#pragma once

// Mirrored in src/device/cuda/batch.rs, word for word.
struct BatchHeader {
    unsigned tokens;      // T
    unsigned sequences;   // B
    unsigned step;        // optimizer step of the dropout masks
    unsigned runs;        // distinct word ids
    unsigned longest;     // tokens of the longest sequence
    float ce_scale;       // factor of the cross-entropy's gradient
    float distill_factor; // λ · distill_scale: factor of the distillation term's gradient
    unsigned unused;
};
static_assert(sizeof(BatchHeader) == 32 && __builtin_offsetof(BatchHeader, distill_factor) == 24,
              "eight words of the host");

// The rows of a matrix, and where each lies in the dropout masks.
struct Rows {
    const unsigned* count;     // one number: T or B
    const unsigned* slots;     // [rows] slot of the row's sequence in its optimizer step
    const unsigned* positions; // [rows] position in the sequence; null: 0, the rows are first tokens
};
static_assert(sizeof(Rows) == 24 && __builtin_offsetof(Rows, slots) == 8 && __builtin_offsetof(Rows, positions) == 16,
              "RowsArgs of the host");
