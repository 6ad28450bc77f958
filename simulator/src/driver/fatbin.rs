//! PTX out of a fat binary: the container nvcc embeds, with an entry an architecture.
//!
//! Entries with machine code are of no use here. PTX may be stored plainly or compressed with LZ4 or Zstandard; the first is
//! decoded here, the second is refused with advice, since nothing else in this crate needs a Zstandard decoder.

const FATBIN_MAGIC: u32 = 0xba55_ed50;
const KIND_PTX: u16 = 1;
const COMPRESSED_LZ4: u64 = 0x2000;
const COMPRESSED_ZSTD: u64 = 0x8000;

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

/// The PTX of the newest architecture not above `capability` (as `90`), or why there is none.
pub fn ptx(bytes: &[u8], capability: u32) -> Result<String, String> {
    let truncated = || "the fat binary is truncated".to_owned();
    let mut at = u16::from_le_bytes(number(bytes, 6).ok_or_else(truncated)?) as usize;
    let mut best: Option<(u32, &[u8], u64, usize)> = None;
    while at < bytes.len() {
        let Some(kind) = number::<2>(bytes, at).map(u16::from_le_bytes) else { break };
        let header = u32::from_le_bytes(number(bytes, at + 4).ok_or_else(truncated)?) as usize;
        let size = u64::from_le_bytes(number(bytes, at + 8).ok_or_else(truncated)?) as usize;
        let compressed = u32::from_le_bytes(number(bytes, at + 16).ok_or_else(truncated)?) as usize;
        let arch = u32::from_le_bytes(number(bytes, at + 28).ok_or_else(truncated)?);
        let flags = u64::from_le_bytes(number(bytes, at + 40).ok_or_else(truncated)?);
        let unpacked = u64::from_le_bytes(number(bytes, at + 56).ok_or_else(truncated)?) as usize;
        let start = at.checked_add(header).ok_or_else(truncated)?;
        let end = start.checked_add(size).filter(|&end| end <= bytes.len() && end > at).ok_or_else(truncated)?;
        if kind == KIND_PTX && arch <= capability && best.is_none_or(|(other, ..)| arch > other) {
            let used = if flags & (COMPRESSED_LZ4 | COMPRESSED_ZSTD) != 0 { compressed.min(size) } else { size };
            best = Some((arch, &bytes[start..start + used], flags, unpacked));
        }
        at = end;
    }
    let Some((_, text, flags, unpacked)) = best else {
        return Err(format!("the fat binary has no PTX for sm_{capability} or below"));
    };
    let text = if flags & COMPRESSED_ZSTD != 0 {
        return Err("the PTX is compressed with Zstandard: compile with --compress-mode=none or speed".to_owned());
    } else if flags & COMPRESSED_LZ4 != 0 {
        lz4(text, unpacked.min(MAX_TEXT)).ok_or("the compressed PTX is damaged")?
    } else {
        text.to_vec()
    };
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// One LZ4 block.
fn lz4(mut input: &[u8], limit: usize) -> Option<Vec<u8>> {
    fn length(input: &mut &[u8], nibble: u8) -> Option<usize> {
        let mut total = nibble as usize;
        if nibble == 15 {
            loop {
                let (&byte, rest) = input.split_first()?;
                *input = rest;
                total += byte as usize;
                if byte != 255 {
                    break;
                }
            }
        }
        Some(total)
    }
    let mut out: Vec<u8> = Vec::new();
    while let Some((&token, rest)) = input.split_first() {
        input = rest;
        let literals = length(&mut input, token >> 4)?;
        out.extend_from_slice(input.get(..literals)?);
        input = &input[literals..];
        if input.is_empty() {
            break;
        }
        let distance = u16::from_le_bytes(*input.first_chunk()?) as usize;
        input = &input[2..];
        let matched = length(&mut input, token & 15)? + 4;
        let from = out.len().checked_sub(distance).filter(|_| distance > 0)?;
        if out.len() + matched > limit {
            return None;
        }
        (0..matched).for_each(|k| out.push(out[from + k]));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn lz4_repeats_what_it_wrote() {
        // Two literals, then 4 + 4 bytes from two back, then one literal.
        assert_eq!(super::lz4(&[0x24, b'a', b'b', 2, 0, 0x10, b'c'], 64).as_deref(), Some(b"abababababc".as_slice()));
        assert_eq!(super::lz4(&[0x14, b'a', 0, 0], 64), None);
    }
}
