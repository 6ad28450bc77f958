//! Which blocks of a kernel's grid run on the simulator, and why the others are like them.
//!
//! `KERNEL:X.Y.Z`: how many coordinates of each axis run; two stand for the body of the axis, and what is more are
//! its last ones (see `CUDASIM_SAMPLE` in the simulator's page). The first rule that fits counts;
//! kernels without one run as a whole. Launches like one before do not run again, unless the rule ends in `!`.

/// Rows of tiles at the end of a matrix are partly or wholly beyond the true number of rows, which is rounded up by 256
/// at most: two and a part of the large tile, four and a part of the medium one, eight and a part of the small one.
const RULES: [&str; 12] = [
    // Rows of tiles are alike; parts of a sum wait for each other, so that all run. Columns are alike but for the first,
    // which sums the bias too and stands for half of them here: a few percent too many products.
    "linear_backward_weight_*:3.2.*",
    // Columns of tiles are alike; rows are but for the last.
    "linear_*_large:2.6.*",
    "linear_*_medium:2.8.*",
    "linear_*_small:2.12.*",
    // The last row of tiles is that of first tokens.
    "project_first_forward_*_large:2.7.*",
    "project_first_forward_*_medium:2.9.*",
    "project_first_forward_*_small:2.13.*",
    // Heads are alike; sequences are of different lengths.
    "attention_first_*:*.2.*",
    "attention_*:*.*.2",
    // Every block adds up as many elements, or one more pack.
    "gradient_norm:4.*.*",
    // A block has 2,048 parameters; those at the end of a matrix, fewer than one in a hundred, have less. What the
    // teacher's window does in a step is in a structure, so that no launch stands for another.
    "update_*:4.*.*!",
    "working_copy_*:4.*.*",
];

pub fn rules() -> String {
    RULES.join(",")
}
