//! Functions that the system provides to kernels: `vprintf`, `malloc`, `free`, `__assertfail`. Arguments and results
//! lie in the caller's frame, as for any call.

use std::ffi::{CString, c_char, c_int};

use libc::snprintf;

use super::block::BlockState;
use super::strand::Strand;
use super::warp::{Step, Warp};
use crate::error::{Fault, FaultKind};
use crate::launch::Launch;
use crate::memory::spaces;
use crate::program::lanes::LANES;
use crate::program::{Builtin, Call};
use crate::ptx::types::Space;

/// The longest string that is read from device memory.
const MOST_TEXT: usize = 1 << 16;

unsafe extern "C" {
    /// The C library's own stream, so that the program's output and a kernel's come in order.
    static stdout: *mut libc::FILE;
}

/// What one lane of a warp passes to a built-in function.
struct Caller<'a> {
    /// The lane's local memory, and where the caller's frame begins in it.
    local: &'a [u8],
    frame: usize,
    call: &'a Call,
    state: &'a BlockState,
}

impl Caller<'_> {
    fn argument(&self, k: usize) -> u64 {
        let value = self.call.args.get(k).and_then(|&(offset, bytes)| {
            let from = self.frame + offset;
            let mut value = [0; 8];
            value[..bytes.min(8)].copy_from_slice(self.local.get(from..from + bytes.min(8))?);
            Some(u64::from_le_bytes(value))
        });
        value.unwrap_or(0)
    }

    /// `bytes` bytes at a generic address.
    fn read(&self, address: u64, bytes: usize) -> u64 {
        let (space, base) = spaces::window(address);
        if space != Space::Local {
            return self.state.word(address, bytes);
        }
        let at = (address - base) as usize;
        let mut value = [0; 8];
        if let Some(from) = self.local.get(at..at.saturating_add(bytes)) {
            value[..bytes].copy_from_slice(from);
        }
        u64::from_le_bytes(value)
    }

    fn text(&self, address: u64) -> String {
        let mut bytes = Vec::new();
        while bytes.len() < MOST_TEXT {
            match self.read(address.wrapping_add(bytes.len() as u64), 1) as u8 {
                0 => break,
                byte => bytes.push(byte),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `__assertfail(message, file, line, function, char size)`.
    fn assertion(&self) -> String {
        let text = |k: usize| self.text(self.argument(k));
        format!("{}:{}: {}: Assertion `{}` failed", text(1), self.argument(2) as u32, text(3), text(0))
    }

    /// `vprintf(format, arguments)`: arguments lie one after the other, each aligned to its size.
    fn formatted(&self) -> String {
        let (format, mut at) = (self.text(self.argument(0)), self.argument(1));
        let mut next = |bytes: usize| {
            at = at.next_multiple_of(bytes as u64) + bytes as u64;
            self.read(at - bytes as u64, bytes)
        };
        let (mut out, mut rest) = (String::new(), format.as_str());
        while let Some(start) = rest.find('%') {
            out.push_str(&rest[..start]);
            rest = &rest[start..];
            let length = specification(rest);
            let (one, after) = rest.split_at(length);
            rest = after;
            out.push_str(&self.convert(one, &mut next));
        }
        out + rest
    }

    // SAFETY of the calls below: the pattern is a C string with one conversion, for which the argument has the type,
    // and the buffer has room for as many bytes as are said.
    fn convert(&self, specification: &str, next: &mut impl FnMut(usize) -> u64) -> String {
        let mut pattern = String::new();
        for c in specification.chars() {
            if c == '*' {
                pattern.push_str(&(next(4) as i32).to_string());
            } else if !"hlLqjzt".contains(c) {
                pattern.push(c);
            }
        }
        let wide = specification.contains(['l', 'L', 'q', 'j', 'z', 't']);
        let Some(kind) = pattern.pop() else { return String::new() };
        match kind {
            'd' | 'i' if wide => print(&format!("{pattern}ll{kind}"), |p, b, n| unsafe { snprintf(b, n, p, next(8)) }),
            'o' | 'u' | 'x' | 'X' if wide => {
                print(&format!("{pattern}ll{kind}"), |p, b, n| unsafe { snprintf(b, n, p, next(8)) })
            }
            'd' | 'i' | 'o' | 'u' | 'x' | 'X' | 'c' => {
                let short = if specification.contains("hh") {
                    "hh"
                } else if specification.contains('h') {
                    "h"
                } else {
                    ""
                };
                let short = if kind == 'c' { "" } else { short };
                print(&format!("{pattern}{short}{kind}"), |p, b, n| unsafe { snprintf(b, n, p, next(4) as c_int) })
            }
            'f' | 'F' | 'e' | 'E' | 'g' | 'G' | 'a' | 'A' => {
                print(&format!("{pattern}{kind}"), |p, b, n| unsafe { snprintf(b, n, p, f64::from_bits(next(8))) })
            }
            'p' => print(&format!("{pattern}p"), |p, b, n| unsafe { snprintf(b, n, p, next(8)) }),
            's' => {
                let text = CString::new(self.text(next(8))).unwrap_or_default();
                print(&format!("{pattern}s"), |p, b, n| unsafe { snprintf(b, n, p, text.as_ptr()) })
            }
            '%' => "%".to_owned(),
            // As CUDA does with what it does not know.
            _ => specification.to_owned(),
        }
    }
}

/// Bytes of the conversion that a text begins with, from its `%` to its letter.
fn specification(text: &str) -> usize {
    let middle = |c: char| c.is_ascii_digit() || "-+ #.*hlLqjzt".contains(c);
    let end = text[1..].find(|c: char| !middle(c)).map_or(text.len(), |at| at + 1);
    end + text[end..].chars().next().map_or(0, char::len_utf8)
}

/// What one conversion gives: `write` gets pattern, buffer and its size, and says how long the result is.
fn print(pattern: &str, write: impl FnOnce(*const c_char, *mut c_char, usize) -> c_int) -> String {
    let mut buffer = vec![0u8; MOST_TEXT];
    let pattern = CString::new(pattern).unwrap_or_default();
    let length = write(pattern.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len());
    buffer.truncate(length.clamp(0, MOST_TEXT as c_int - 1) as usize);
    String::from_utf8_lossy(&buffer).into_owned()
}

fn write_out(text: &str) {
    // SAFETY: the C library's stream is open as long as the process, and the bytes are as many as are said.
    unsafe {
        libc::fwrite(text.as_ptr().cast(), 1, text.len(), stdout);
        libc::fflush(stdout);
    }
}

impl Warp {
    /// Runs a built-in function for the lanes of a mask, lane by lane.
    pub fn builtin(
        &mut self,
        strand: &Strand,
        builtin: Builtin,
        call: &Call,
        mask: u32,
        launch: &Launch,
        state: &BlockState,
    ) -> Result<Step, Fault> {
        let (stride, frame) = (self.local_stride, strand.local_base);
        let local = self.local_bytes();
        let mut printed = String::new();
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
            let own = local[lane * stride..][..stride].to_vec();
            let caller = Caller { local: &own, frame, call, state };
            let result = match builtin {
                Builtin::AssertFail => return Err(Fault::new(FaultKind::Assert, caller.assertion()).at_lane(lane)),
                Builtin::Print => {
                    printed.push_str(&caller.formatted());
                    1
                }
                Builtin::Allocate => launch.memory.heap_allocate(caller.argument(0)),
                Builtin::Free => {
                    let address = caller.argument(0);
                    if !launch.memory.heap_free(address) {
                        let message = format!("free of 0x{address:x}, which malloc has not given");
                        return Err(Fault::new(FaultKind::IllegalAddress, message).at_lane(lane));
                    }
                    0
                }
            };
            if let Some(&(offset, bytes)) = call.returns.first() {
                let bytes = bytes.min(8);
                local[lane * stride + frame + offset..][..bytes].copy_from_slice(&result.to_le_bytes()[..bytes]);
            }
        }
        if !printed.is_empty() {
            write_out(&printed);
        }
        Ok(Step::Next)
    }
}

#[cfg(test)]
mod tests {
    use super::specification;

    #[test]
    fn conversions_end_at_their_letter() {
        for (text, length) in [("%d", 2), ("%-5.2lf!", 7), ("%*d", 3), ("%%x", 2), ("%", 1), ("%llu", 4), ("%zu", 3)] {
            assert_eq!(specification(text), length, "{text}");
        }
    }
}
