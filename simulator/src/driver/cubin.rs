//! Registers of kernels from machine code (cubin, an ELF file): what ptxas has given to each, in the section
//! `.nv.info`.
//!
//! The section is a list of attributes: a format, a number, then 16 bits of size and that many bytes (format 4), or 16
//! bits of value. Attribute 0x2f pairs a symbol's index with a register count. Bytes come from outside: whatever does
//! not fit gives fewer kernels, never a panic.

use std::collections::HashMap;

const MAGIC: &[u8] = b"\x7fELF";
const SIZED: u8 = 4;
const REGISTER_COUNT: u8 = 0x2f;
const SYMBOL_TABLE: u32 = 2;

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    word(bytes, at).map(u16::from_le_bytes).map(usize::from)
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(word(bytes, at)?)).ok()
}

struct Section<'b> {
    name: usize,
    kind: u32,
    /// The section that this one refers to: of a symbol table, its names.
    link: usize,
    bytes: &'b [u8],
}

fn sections(elf: &[u8]) -> Option<(Vec<Section<'_>>, usize)> {
    let (start, size, count, names) = (long(elf, 40)?, half(elf, 58)?, half(elf, 60)?, half(elf, 62)?);
    let mut found = Vec::new();
    for k in 0..count {
        let header = elf.get(start.checked_add(k.checked_mul(size)?)?..)?;
        let kind = u32::from_le_bytes(word(header, 4)?);
        let (offset, length) = (long(header, 24)?, long(header, 32)?);
        let bytes = elf.get(offset..offset.saturating_add(length)).unwrap_or_default();
        let (name, link) =
            (u32::from_le_bytes(word(header, 0)?) as usize, u32::from_le_bytes(word(header, 40)?) as usize);
        found.push(Section { name, kind, link, bytes });
    }
    Some((found, names))
}

fn text(table: &[u8], at: usize) -> Option<&str> {
    let rest = table.get(at..)?;
    std::str::from_utf8(&rest[..rest.iter().position(|&byte| byte == 0)?]).ok()
}

/// Pairs of symbol and register count.
fn counts(info: &[u8]) -> Vec<(usize, u32)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let (Some(&format), Some(&attribute), Some(size)) = (info.get(at), info.get(at + 1), half(info, at + 2)) {
        at += 4;
        if format != SIZED {
            continue;
        }
        if let (REGISTER_COUNT, Some(symbol), Some(count)) = (attribute, word(info, at), word(info, at + 4)) {
            found.push((u32::from_le_bytes(symbol) as usize, u32::from_le_bytes(count)));
        }
        at += size;
    }
    found
}

/// The registers of each kernel by its name; nothing if these bytes are no machine code.
pub fn registers(elf: &[u8]) -> HashMap<String, u32> {
    const SYMBOL_BYTES: usize = 24;
    let mut found = HashMap::new();
    let Some((sections, names)) = elf.starts_with(MAGIC).then(|| sections(elf)).flatten() else { return found };
    let names = sections.get(names).map_or(&[][..], |section| section.bytes);
    let Some(symbols) = sections.iter().find(|section| section.kind == SYMBOL_TABLE) else { return found };
    let symbol_names = sections.get(symbols.link).map_or(&[][..], |section| section.bytes);
    for section in sections.iter().filter(|section| text(names, section.name) == Some(".nv.info")) {
        for (symbol, count) in counts(section.bytes) {
            let name = word(symbols.bytes, symbol.saturating_mul(SYMBOL_BYTES)).map(u32::from_le_bytes);
            if let Some(name) = name.and_then(|name| text(symbol_names, name as usize)) {
                found.insert(name.to_owned(), count);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::registers;

    #[test]
    fn damaged_machine_code_has_fewer_kernels_and_no_panic() {
        let mut state = 9u64;
        for length in [0, 4, 40, 64, 200, 4096] {
            let mut bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 56) as u8
                })
                .collect();
            let magic = bytes.len().min(4);
            bytes[..magic].copy_from_slice(&b"\x7fELF"[..magic]);
            assert!(registers(&bytes).is_empty());
        }
    }
}
