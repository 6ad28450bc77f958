//! `ldmatrix` and `stmatrix`: 8×8 tiles of 16-bit elements between shared memory and the warp's registers.
//!
//! Lane `8·i + r` gives the address of row r of tile i. In tile i's register, lane `4·g + t` holds columns 2t and 2t+1
//! of row g; transposed, rows 2t and 2t+1 of column g. So a register is its tile row after row, or the transposed tile.

use super::block::BlockState;
use super::strand::Strand;
use super::warp::Warp;
use crate::error::Fault;
use crate::launch::Launch;
use crate::launch::Touch;
use crate::launch::accesses::{Accesses, effective};
use crate::memory::spaces;
use crate::program::lanes::{LANES, Word};
use crate::program::loops::vectorized;
use crate::program::{Inst, MatrixMove};
use crate::ptx::types::Space;

const SIDE: usize = 8;
const ROW_BYTES: usize = 2 * SIDE;

type Tile = [[u16; SIDE]; SIDE];

vectorized! {
    pub fn move_matrix(
        warp: &mut Warp,
        strand: &Strand,
        inst: &Inst,
        matrix: &MatrixMove,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        let mut addresses = effective(&warp.lanes(strand, launch), inst.s[0], matrix.offset);
        for i in 0..LANES {
            addresses[i] = spaces::shared_offset(addresses[i]);
        }
        // Lanes beyond those of the tiles name no row.
        let rows = u32::MAX >> (LANES - SIDE * matrix.tiles as usize);
        let places = Accesses::new(Space::Shared, addresses, rows, ROW_BYTES);
        places.check_alignment()?;
        let touch = if matrix.store { Touch::Write } else { Touch::Read };
        let unwritten = state.matrix_access(&places, touch, matrix.transposed, warp.index, launch)?;
        if !matrix.store && (unwritten != 0 || !warp.poison.is_empty()) {
            warp.matrix_poison(strand, inst, (&places, unwritten, matrix.transposed), mask, launch, state);
        }
        for tile in 0..matrix.tiles as usize {
            let rows: [usize; SIDE] = std::array::from_fn(|r| places.addresses[SIDE * tile + r] as usize);
            let mut lanes = warp.lanes(strand, launch);
            if matrix.store {
                let held: &Tile = bytemuck::cast_ref(u32::read(&lanes, inst.s[1 + tile]));
                let held = if matrix.transposed { transpose(held) } else { *held };
                let shared = state.shared_bytes_mut();
                for (row, at) in held.iter().zip(rows) {
                    shared[at..at + ROW_BYTES].copy_from_slice(bytemuck::cast_slice(row));
                }
            } else {
                let shared = state.shared_bytes();
                let mut read: Tile = [[0; SIDE]; SIDE];
                for (row, at) in read.iter_mut().zip(rows) {
                    *row = bytemuck::pod_read_unaligned(&shared[at..at + ROW_BYTES]);
                }
                let read = if matrix.transposed { transpose(&read) } else { read };
                u32::write(&mut lanes, inst.d[tile], bytemuck::cast_ref(&read), mask);
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn transpose(tile: &Tile) -> Tile {
    #[cfg(target_arch = "x86_64")]
    {
        transpose_sse2(tile)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::array::from_fn(|row| std::array::from_fn(|column| tile[column][row]))
    }
}

/// Three rounds of interleaving: each brings rows together that were twice as far apart.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transpose_sse2(tile: &Tile) -> Tile {
    use std::arch::x86_64::{__m128i, _mm_unpackhi_epi16 as high, _mm_unpacklo_epi16 as low};
    let mut rows: [__m128i; SIDE] = bytemuck::cast(*tile);
    for _ in 0..3 {
        rows = std::array::from_fn(|r| {
            let (a, b) = (rows[r / 2], rows[r / 2 + SIDE / 2]);
            // SAFETY: every x86-64 processor has SSE2.
            unsafe { if r % 2 == 0 { low(a, b) } else { high(a, b) } }
        });
    }
    bytemuck::cast(rows)
}
