//! PTX out of a fat binary: the container nvcc embeds, with an entry an architecture.
//!
//! An entry's header, in bytes from its start: kind 0..2, header size 4..8, size 8..16, compressed size 16..20,
//! architecture 28..32, flags 40..48, unpacked size 56..64. Entries with machine code cannot run here, but say how many
//! registers their kernels take; one for the device means that a driver would not look at the PTX, which stands in for
//! it whatever its version. Code is stored plainly or compressed with Zstandard (nvcc's default) or LZ4
//! (`--compress-mode=speed`).

use std::collections::HashMap;

use super::cubin;
use super::result::Code;
use super::version::{Version, too_new};
use crate::program::Program;

const FATBIN_MAGIC: u32 = 0xba55_ed50;
const KIND_PTX: u16 = 1;
const KIND_MACHINE_CODE: u16 = 2;
const COMPRESSED_LZ4: u64 = 0x2000;
const COMPRESSED_ZSTD: u64 = 0x8000;
/// PTX for one architecture alone (`sm_90a`), or for its family (`sm_100f`).
const ARCHITECTURE_ONLY: u64 = 1 << 20;
const FAMILY_ONLY: u64 = 1 << 21;

/// The largest text an entry may unpack to.
const MAX_TEXT: usize = 1 << 28;

pub fn is_fatbin(bytes: &[u8]) -> bool {
    bytes.starts_with(&FATBIN_MAGIC.to_le_bytes())
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Size of a fat binary from its header.
pub fn total_bytes(header: &[u8; 16]) -> usize {
    let size = u64::from_le_bytes(number(header, 8).unwrap_or_default());
    let header_size = u16::from_le_bytes(number(header, 6).unwrap_or_default());
    (size as usize).saturating_add(header_size as usize)
}

/// A piece of code, as it is stored.
struct Entry<'b> {
    kind: u16,
    architecture: u32,
    flags: u64,
    stored: &'b [u8],
    unpacked: usize,
}

impl<'b> Entry<'b> {
    /// The entry that starts at `at`, if it is code, and where the next one starts. `None` is a damaged container.
    fn read(bytes: &'b [u8], at: usize) -> Option<(Option<Self>, usize)> {
        let header = u32::from_le_bytes(number(bytes, at + 4)?) as usize;
        let size = u64::from_le_bytes(number(bytes, at + 8)?) as usize;
        let start = at.checked_add(header)?;
        let end = start.checked_add(size).filter(|&end| end > at)?;
        let whole = bytes.get(start..end)?;
        let kind = u16::from_le_bytes(number(bytes, at)?);
        if ![KIND_PTX, KIND_MACHINE_CODE].contains(&kind) {
            return Some((None, end));
        }
        let flags = u64::from_le_bytes(number(bytes, at + 40)?);
        let compressed = flags & (COMPRESSED_LZ4 | COMPRESSED_ZSTD) != 0;
        let used = if compressed { u32::from_le_bytes(number(bytes, at + 16)?) as usize } else { size };
        let entry = Self {
            kind,
            architecture: u32::from_le_bytes(number(bytes, at + 28)?),
            flags,
            stored: whole.get(..used)?,
            unpacked: u64::from_le_bytes(number(bytes, at + 56)?) as usize,
        };
        Some((Some(entry), end))
    }

    fn runs_on(&self, capability: u32) -> bool {
        if self.kind == KIND_MACHINE_CODE {
            return self.architecture <= capability && self.architecture / 10 == capability / 10;
        }
        match self.flags & (ARCHITECTURE_ONLY | FAMILY_ONLY) {
            0 => self.architecture <= capability,
            FAMILY_ONLY => self.architecture <= capability && self.architecture / 10 == capability / 10,
            _ => self.architecture == capability,
        }
    }

    /// How narrowly the code was compiled.
    fn exclusiveness(&self) -> u32 {
        match self.flags & (ARCHITECTURE_ONLY | FAMILY_ONLY) {
            0 => 0,
            FAMILY_ONLY => 1,
            _ => 2,
        }
    }

    fn text(&self) -> Option<Vec<u8>> {
        let room = self.unpacked.min(MAX_TEXT);
        if self.flags & COMPRESSED_ZSTD != 0 {
            zstd::bulk::decompress(self.stored, room).ok()
        } else if self.flags & COMPRESSED_LZ4 != 0 {
            lz4_flex::block::decompress(self.stored, room).ok()
        } else {
            Some(self.stored.to_vec())
        }
    }
}

/// Whether a driver finds machine code for `capability` (as `90`) in these bytes, if they are a fat binary.
pub fn has_machine_code(bytes: &[u8], capability: u32) -> bool {
    let Some(mut at) = number(bytes, 6).map(u16::from_le_bytes).map(usize::from).filter(|_| is_fatbin(bytes)) else {
        return false;
    };
    while let Some((entry, next)) = Entry::read(bytes, at).filter(|_| at < bytes.len()) {
        if entry.is_some_and(|e| e.kind == KIND_MACHINE_CODE && e.runs_on(capability)) {
            return true;
        }
        at = next;
    }
    false
}

/// Registers of kernels, as machine code has them.
#[derive(Default, PartialEq)]
pub struct Registers {
    pub counts: HashMap<String, u32>,
    /// Whether a driver would run this machine code on the device.
    pub exact: bool,
}

impl Registers {
    /// Puts what machine code says in the place of a program's estimate.
    pub fn give(&self, program: &mut Program) {
        if let Some(&count) = self.counts.get(&program.name) {
            (program.registers, program.registers_are_exact) = (count.max(1), self.exact);
        }
    }
}

/// All code in a fat binary; `None` if it is damaged.
fn entries(bytes: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut at = u16::from_le_bytes(number(bytes, 6)?) as usize;
    let mut all = Vec::new();
    while at < bytes.len() {
        let (entry, next) = Entry::read(bytes, at)?;
        all.extend(entry);
        at = next;
    }
    Some(all)
}

/// The registers of the kernels in a fat binary on a device of this capability, as `90`: of its machine code for the
/// device, or else of that for the nearest one.
pub fn kernel_registers(bytes: &[u8], capability: u32) -> Registers {
    is_fatbin(bytes)
        .then(|| entries(bytes))
        .flatten()
        .map_or_else(Registers::default, |all| registers(&all, capability))
}

/// What a driver would take from a fat binary, or would compile from it.
pub struct Chosen {
    pub ptx: String,
    pub registers: Registers,
}

/// The registers of the machine code for the device, or else of that for the nearest one.
fn registers(entries: &[Entry<'_>], capability: u32) -> Registers {
    let machine_code = entries.iter().filter(|e| e.kind == KIND_MACHINE_CODE);
    let nearest = machine_code.max_by_key(|e| {
        (e.runs_on(capability), std::cmp::Reverse(e.architecture.abs_diff(capability)), e.architecture)
    });
    let Some(entry) = nearest else { return Registers::default() };
    let counts = entry.text().map(|elf| cubin::registers(&elf)).unwrap_or_default();
    Registers { counts, exact: entry.runs_on(capability) }
}

/// The PTX of the newest architecture that runs on `capability` (as `90`) and that the driver takes, or why there is
/// none.
pub fn choose(bytes: &[u8], capability: u32, newest: Option<Version>) -> Result<Chosen, (Code, String)> {
    let no_binary = |log: String| (Code::CUDA_ERROR_NO_BINARY_FOR_GPU, log);
    let all = entries(bytes).ok_or_else(|| no_binary("the fat binary is truncated".to_owned()))?;
    let mut usable: Vec<&Entry<'_>> = all.iter().filter(|e| e.runs_on(capability)).collect();
    let newest = newest.filter(|_| usable.iter().all(|e| e.kind == KIND_PTX));
    usable.retain(|e| e.kind == KIND_PTX);
    // For one architecture, code for it alone comes before code for its family, and that before code for all; then the
    // first.
    usable.sort_by_key(|e| std::cmp::Reverse((e.architecture, e.exclusiveness())));
    let mut refusal = no_binary(format!("the fat binary has no PTX for sm_{capability} or below"));
    for entry in usable {
        let text = entry.text().ok_or_else(|| no_binary("the compressed PTX is damaged".to_owned()))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        match too_new(&text, newest) {
            Some(log) => refusal = (Code::CUDA_ERROR_UNSUPPORTED_PTX_VERSION, log),
            None => return Ok(Chosen { ptx: text, registers: registers(&all, capability) }),
        }
    }
    Err(refusal)
}
