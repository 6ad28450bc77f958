//! `ldmatrix` and `stmatrix`: 8×8 tiles of 16-bit elements between shared memory and the warp's registers.
//!
//! Lane `8·i + r` gives the address of row r of tile i. In tile i's register, lane `4·g + t` holds columns 2t and 2t+1 of row g;
//! transposed, rows 2t and 2t+1 of column g.

use super::block::BlockState;
use super::lanes::{LANES, Word};
use super::memory_ops::Places;
use super::params::Launch;
use super::strand::Strand;
use super::warp::Warp;
use crate::checks::Touch;
use crate::error::{Fault, FaultKind};
use crate::memory::spaces;
use crate::program::{Inst, MatrixMove};
use crate::ptx::types::Space;

const ROW_BYTES: usize = 16;

impl Warp {
    pub fn move_matrix(
        &mut self,
        strand: &Strand,
        inst: &Inst,
        matrix: &MatrixMove,
        mask: u32,
        launch: &Launch,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        let base = *u64::read(&self.lanes(strand, launch), inst.s[0]);
        let addresses = base.map(|a| spaces::of(a.wrapping_add(matrix.offset as u64)).1);
        for tile in 0..matrix.tiles as usize {
            let places = Places { space: Space::Shared, addresses, mask: 0xff << (8 * tile), bytes: ROW_BYTES };
            if let Some(lane) = places.active().find(|&i| addresses[i] % ROW_BYTES as u64 != 0) {
                let message = format!("matrix row at shared 0x{:x}", addresses[lane]);
                return Err(Fault::new(FaultKind::MisalignedAddress, message).at_lane(lane));
            }
            let touch = if matrix.store { Touch::Write } else { Touch::Read };
            state.shared_access(&places, touch, self.index, launch)?;
            let rows: [usize; 8] = std::array::from_fn(|r| addresses[8 * tile + r] as usize);
            let mut lanes = self.lanes(strand, launch);
            if matrix.store {
                let values = u32::read(&lanes, inst.s[1 + tile]);
                write_tile(state.shared_bytes_mut(), &rows, values, matrix.transposed);
            } else {
                let values = read_tile(state.shared_bytes(), &rows, matrix.transposed);
                u32::write(&mut lanes, inst.d[tile], &values, mask);
            }
        }
        Ok(())
    }
}

fn read_tile(shared: &[u8], rows: &[usize; 8], transposed: bool) -> [u32; LANES] {
    let mut out = [0; LANES];
    if !transposed {
        for (g, &row) in rows.iter().enumerate() {
            let bytes = &shared[row..row + ROW_BYTES];
            for t in 0..4 {
                out[4 * g + t] =
                    u32::from_le_bytes([bytes[4 * t], bytes[4 * t + 1], bytes[4 * t + 2], bytes[4 * t + 3]]);
            }
        }
        return out;
    }
    for t in 0..4 {
        let (low, high) = (&shared[rows[2 * t]..][..ROW_BYTES], &shared[rows[2 * t + 1]..][..ROW_BYTES]);
        for g in 0..8 {
            out[4 * g + t] = u32::from_le_bytes([low[2 * g], low[2 * g + 1], high[2 * g], high[2 * g + 1]]);
        }
    }
    out
}

fn write_tile(shared: &mut [u8], rows: &[usize; 8], values: &[u32; LANES], transposed: bool) {
    for (lane, value) in values.iter().enumerate() {
        let (g, t) = (lane / 4, lane % 4);
        for k in 0..2 {
            let (row, column) = if transposed { (2 * t + k, g) } else { (g, 2 * t + k) };
            let at = rows[row] + 2 * column;
            shared[at..at + 2].copy_from_slice(&((value >> (16 * k)) as u16).to_le_bytes());
        }
    }
}
