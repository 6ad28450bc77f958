//! Variables of the device, by the variables that stand for them in the program.

use std::ffi::c_void;

use crate::driver;
use crate::error::{INVALID_VALUE, Outcome};
use crate::state::{put, runtime, variable};

/// The address of so many bytes of a variable from an offset on.
fn part(symbol: *const c_void, bytes: usize, offset: usize) -> Outcome<u64> {
    let (address, size) = variable(symbol as usize)?;
    match offset.checked_add(bytes) {
        Some(end) if end <= size => Ok(address + offset as u64),
        _ => Err(INVALID_VALUE),
    }
}

runtime! {
    fn cudaGetSymbolAddress(address: *mut u64, symbol: *const c_void) { put(address, variable(symbol as usize)?.0) }
    fn cudaGetSymbolSize(bytes: *mut usize, symbol: *const c_void) { put(bytes, variable(symbol as usize)?.1) }
    fn cudaMemcpyToSymbol(symbol: *const c_void, from: u64, bytes: usize, offset: usize, _kind: u32) {
        driver::cuMemcpy(part(symbol, bytes, offset)?, from, bytes)
    }
    fn cudaMemcpyFromSymbol(to: u64, symbol: *const c_void, bytes: usize, offset: usize, _kind: u32) {
        driver::cuMemcpy(to, part(symbol, bytes, offset)?, bytes)
    }
    fn cudaMemcpyToSymbolAsync(symbol: *const c_void, from: u64, bytes: usize, offset: usize, _kind: u32, stream: u64) {
        driver::cuMemcpyAsync(part(symbol, bytes, offset)?, from, bytes, stream)
    }
    fn cudaMemcpyFromSymbolAsync(to: u64, symbol: *const c_void, bytes: usize, offset: usize, _kind: u32, stream: u64) {
        driver::cuMemcpyAsync(to, part(symbol, bytes, offset)?, bytes, stream)
    }
}
