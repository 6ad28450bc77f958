//! Running programs: lanes, strands, warps, blocks, grids.
//!
//! A warp is a set of strands: groups of lanes at one place of the program. A strand splits at a divergent branch and
//! its parts meet again at the branch's immediate post-dominator; strands that wait let the others run.

pub mod atomic;
pub mod block;
pub mod builtin;
pub mod collective;
pub mod control;
pub mod copies;
pub mod grid;
pub mod matrix;
pub mod mbarrier;
pub mod memory_ops;
pub mod poison;
pub mod special;
pub mod strand;
pub mod sync;
pub mod transfer;
pub mod warp;
