//! Special registers (PTX ISA chapter 10).

use crate::program::{LaneMaskKind, Reserved, Special};

/// The special register of a name, and its bits.
pub fn find(name: &str) -> Option<(Special, u32)> {
    let axis = |letter: &str| ["x", "y", "z"].iter().position(|&a| a == letter).map(|a| a as u8);
    if let Some((base, letter)) = name.rsplit_once('.') {
        let axis = axis(letter)?;
        let special = match base {
            "%tid" => Special::Tid(axis),
            "%ntid" => Special::Ntid(axis),
            "%ctaid" => Special::Ctaid(axis),
            "%nctaid" => Special::Nctaid(axis),
            "%clusterid" => Special::Ctaid(axis),
            "%nclusterid" => Special::Nctaid(axis),
            "%cluster_ctaid" => Special::Zero,
            "%cluster_nctaid" => Special::One,
            _ => return None,
        };
        return Some((special, 32));
    }
    let special = match name {
        "%laneid" => Special::LaneId,
        "%warpid" => Special::WarpId,
        "%nwarpid" => Special::NWarpId,
        "%smid" => Special::SmId,
        "%nsmid" => Special::NSmId,
        "%lanemask_eq" => Special::LaneMask(LaneMaskKind::Eq),
        "%lanemask_le" => Special::LaneMask(LaneMaskKind::Le),
        "%lanemask_lt" => Special::LaneMask(LaneMaskKind::Lt),
        "%lanemask_ge" => Special::LaneMask(LaneMaskKind::Ge),
        "%lanemask_gt" => Special::LaneMask(LaneMaskKind::Gt),
        "%clock" => Special::Clock,
        "%clock_hi" => Special::ClockHi,
        "%cluster_ctarank" => Special::Zero,
        "%cluster_nctarank" => Special::One,
        // The driver's own: where cooperative groups keep the barrier of a grid
        // (cooperative_groups/details/driver_abi.h).
        "%envreg1" => Special::Workspace(0),
        "%envreg2" => Special::Workspace(1),
        "%globaltimer_lo" => Special::GlobalTimer,
        "%globaltimer_hi" => Special::ClockHi,
        "%reserved_smem_offset_begin" => Special::Reserved(Reserved::Begin),
        "%reserved_smem_offset_end" => Special::Reserved(Reserved::End),
        "%reserved_smem_offset_cap" => Special::Reserved(Reserved::Capacity),
        "%reserved_smem_offset_0" => Special::Reserved(Reserved::Part(0)),
        "%reserved_smem_offset_1" => Special::Reserved(Reserved::Part(1)),
        "%dynamic_smem_size" => Special::DynamicShared,
        "%total_smem_size" => Special::TotalShared,
        "%gridid" => return Some((Special::GridId, 64)),
        "%clock64" => return Some((Special::Clock64, 64)),
        "%globaltimer" => return Some((Special::GlobalTimer, 64)),
        _ => return None,
    };
    Some((special, 32))
}
