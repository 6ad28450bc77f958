//! Copies and sets of rectangles and boxes: rows at a pitch, one behind the other on their stream.

use std::ffi::{c_uint, c_ushort, c_void};

use super::{api, get};
use crate::driver::result::{Code, Outcome};
use crate::driver::session::Session;
use crate::driver::state::Driver;
use crate::driver::work::{End, Row, Work};

/// `CUmemorytype`.
const HOST: c_uint = 1;
const DEVICE: c_uint = 2;
const UNIFIED: c_uint = 4;

/// One end of a `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy)]
struct PlaneEnd {
    x: usize,
    y: usize,
    kind: c_uint,
    host: usize,
    device: u64,
    array: usize,
    pitch: usize,
}

/// `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Copy2d {
    source: PlaneEnd,
    target: PlaneEnd,
    width: usize,
    height: usize,
}

/// One end of a `CUDA_MEMCPY3D`.
#[repr(C)]
#[derive(Clone, Copy)]
struct BoxEnd {
    x: usize,
    y: usize,
    z: usize,
    level: usize,
    kind: c_uint,
    host: usize,
    device: u64,
    array: usize,
    reserved: usize,
    pitch: usize,
    height: usize,
}

/// `CUDA_MEMCPY3D`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Copy3d {
    source: BoxEnd,
    target: BoxEnd,
    width: usize,
    height: usize,
    depth: usize,
}

impl From<PlaneEnd> for BoxEnd {
    fn from(e: PlaneEnd) -> Self {
        let PlaneEnd { x, y, kind, host, device, array, pitch } = e;
        Self { x, y, z: 0, level: 0, kind, host, device, array, reserved: 0, pitch, height: 0 }
    }
}

impl From<Copy2d> for Copy3d {
    fn from(c: Copy2d) -> Self {
        Self { source: c.source.into(), target: c.target.into(), width: c.width, height: c.height, depth: 1 }
    }
}

impl Copy3d {
    /// A box of bytes, rows and slices between two addresses, each with its pitch; an address says what it is.
    pub fn between(from: usize, from_pitch: usize, to: usize, to_pitch: usize, size: (usize, usize, usize)) -> Self {
        let (width, height, depth) = size;
        let end = |address: usize, pitch| BoxEnd {
            x: 0,
            y: 0,
            z: 0,
            level: 0,
            kind: UNIFIED,
            host: 0,
            device: address as u64,
            array: 0,
            reserved: 0,
            pitch,
            height,
        };
        Self { source: end(from, from_pitch), target: end(to, to_pitch), width, height, depth }
    }
}

impl BoxEnd {
    /// A pitch of zero is that of rows without gaps.
    fn check(&self, width: usize, depth: usize) -> Outcome {
        let pitch_fits = self.pitch == 0 || self.x.checked_add(width).is_some_and(|end| end <= self.pitch);
        let slices_apart = depth <= 1 || self.height > 0;
        match self.kind {
            HOST | DEVICE | UNIFIED if pitch_fits && slices_apart => Ok(()),
            _ => Err(Code::CUDA_ERROR_INVALID_VALUE),
        }
    }

    /// Where row `y` of slice `z` of the copied box begins.
    fn row(&self, y: usize, z: usize, width: usize) -> Outcome<usize> {
        let pitch = if self.pitch == 0 { self.x + width } else { self.pitch };
        let rows = (self.z + z).checked_mul(self.height).and_then(|rows| rows.checked_add(self.y + y));
        let base = if self.kind == HOST { self.host } else { self.device as usize };
        rows.and_then(|rows| rows.checked_mul(pitch))
            .and_then(|offset| base.checked_add(offset)?.checked_add(self.x))
            .ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }
}

impl Driver {
    /// Target and source of a row. Pageable memory is read when the copy is queued on a stream, and when it runs
    /// without one.
    fn box_ends(&mut self, c: &Copy3d, y: usize, z: usize, stream: Option<u64>) -> Outcome<(End, End)> {
        let (from, to) = (c.source.row(y, z, c.width)?, c.target.row(y, z, c.width)?);
        let source = match (c.source.kind, stream) {
            (DEVICE, _) => self.device_end(from as u64, c.width)?,
            (_, Some(stream)) => self.host_source(from as *const c_void, c.width, stream)?,
            (_, None) => self.host_target(from as *mut c_void, c.width)?,
        };
        let target = match c.target.kind {
            DEVICE => self.device_end(to as u64, c.width)?,
            _ => self.host_target(to as *mut c_void, c.width)?,
        };
        Ok((target, source))
    }

    /// A box's copy as a node of a graph.
    pub(super) fn copy_work(&mut self, c: &Copy3d) -> Outcome<Work> {
        c.source.check(c.width, c.depth)?;
        c.target.check(c.width, c.depth)?;
        let mut rows = Vec::new();
        for z in 0..c.depth {
            for y in 0..c.height {
                let (to, from) = self.box_ends(c, y, z, None)?;
                rows.push(Row { to, from, bytes: c.width as u64 });
            }
        }
        Ok(Work::Rows(rows.into()))
    }

    /// Queues a box's rows; the last one's operation, and whether a row goes to pageable memory.
    fn copy_box(&mut self, c: &Copy3d, stream: u64) -> Outcome<(Option<u64>, bool)> {
        c.source.check(c.width, c.depth)?;
        c.target.check(c.width, c.depth)?;
        let (mut last, mut pageable) = (None, false);
        let mut ends = Vec::new();
        for z in 0..c.depth {
            for y in 0..c.height {
                ends.push(self.box_ends(c, y, z, Some(stream))?);
            }
        }
        for (target, source) in ends {
            pageable |= matches!(target, End::Host(_));
            last = self.copy(target, source, c.width, stream)?;
        }
        Ok((last, pageable))
    }
}

fn copy_now(s: &mut Session, c: &Copy3d) -> Outcome {
    s.driver()?.refuse_in_capture()?;
    let (last, _) = s.driver()?.copy_box(c, 0)?;
    if last.is_some() { s.wait(last) } else { Ok(()) }
}

fn copy_on(s: &mut Session, c: &Copy3d, stream: u64) -> Outcome {
    match s.driver()?.copy_box(c, stream)? {
        (Some(last), true) => s.wait(Some(last)),
        _ => Ok(()),
    }
}

/// A rectangle of `value`s, each `bytes` wide.
fn set(
    s: &mut Session,
    (to, pitch): (u64, usize),
    value: u32,
    bytes: u8,
    (width, height): (usize, usize),
    stream: u64,
) -> Outcome {
    let too_narrow = height > 1 && width.checked_mul(bytes.into()).is_none_or(|row| row > pitch);
    if too_narrow || height > 1 && pitch % bytes as usize != 0 {
        return Err(Code::CUDA_ERROR_INVALID_VALUE);
    }
    s.driver()?.set(to, value, bytes, (width, height, pitch), stream).map(|_| ())
}

api! {
    call fn cuMemcpy2D_v2(copy: *const Copy2d) |s| { copy_now(s, &get(copy)?.into()) }
    call fn cuMemcpy2DUnaligned_v2(copy: *const Copy2d) |s| { copy_now(s, &get(copy)?.into()) }
    call fn cuMemcpy2DAsync_v2(copy: *const Copy2d, stream: u64) |s| { copy_on(s, &get(copy)?.into(), stream) }
    call fn cuMemcpy3D_v2(copy: *const Copy3d) |s| { copy_now(s, &get(copy)?) }
    call fn cuMemcpy3DAsync_v2(copy: *const Copy3d, stream: u64) |s| { copy_on(s, &get(copy)?, stream) }
    call fn cuMemsetD2D8_v2(to: u64, pitch: usize, value: u8, width: usize, height: usize) |s| {
        set(s, (to, pitch), value.into(), 1, (width, height), 0)
    }
    call fn cuMemsetD2D16_v2(to: u64, pitch: usize, value: c_ushort, width: usize, height: usize) |s| {
        set(s, (to, pitch), value.into(), 2, (width, height), 0)
    }
    call fn cuMemsetD2D32_v2(to: u64, pitch: usize, value: c_uint, width: usize, height: usize) |s| {
        set(s, (to, pitch), value, 4, (width, height), 0)
    }
    call fn cuMemsetD2D8Async(to: u64, pitch: usize, value: u8, width: usize, height: usize, stream: u64) |s| {
        set(s, (to, pitch), value.into(), 1, (width, height), stream)
    }
    call fn cuMemsetD2D16Async(to: u64, pitch: usize, value: c_ushort, width: usize, height: usize, stream: u64) |s| {
        set(s, (to, pitch), value.into(), 2, (width, height), stream)
    }
    call fn cuMemsetD2D32Async(to: u64, pitch: usize, value: c_uint, width: usize, height: usize, stream: u64) |s| {
        set(s, (to, pitch), value, 4, (width, height), stream)
    }
}
