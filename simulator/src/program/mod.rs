//! A kernel in the form the executor runs: decoded instructions over allocated registers.
//!
//! One [`Program`] is one entry and every function it can reach. It is made once when its module loads and then shared
//! by all launches. Registers are rows of 32 lanes, so that an instruction is a loop over a row.

mod inst;
pub mod lanes;
pub mod loops;
mod reg;
mod segment;

pub use inst::{
    ALIGNED, Access, AluFn, Atomic, AtomicOp, BARRIERS, Barrier, Builtin, Call, Class, Collective, CollectiveFn,
    CopyAsync, Guard, Inst, LaneMaskKind, MatrixMove, MbarrierOp, Members, NEGATE, NO_SEGMENT, NO_TARGET, Op, Order,
    Reserved, Special, Target,
};
pub use reg::{NONE, Reg, RegClass};
pub use segment::{Segment, Tally};

use crate::error::LoadError;
use lanes::Row;

/// File index and line of a statement and, where its function was inlined, of the call in the function that was not.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    pub place: (u32, u32),
    pub caller: Option<(u32, u32)>,
}

/// What is known about an instruction beside what it does: for messages and counters.
#[derive(Debug, Clone)]
pub struct Info {
    pub mnemonic: String,
    pub line: u32,
    /// The last `.loc`, if any.
    pub source: Option<Source>,
}

/// One function's code; branch targets are indices into `code`.
#[derive(Debug)]
pub struct Code {
    pub name: String,
    pub insts: Vec<Inst>,
    pub infos: Vec<Info>,
    /// 128-byte register rows and predicates one activation needs.
    pub rows: usize,
    pub predicates: usize,
    /// Bytes of local memory one activation needs: returned values, parameters, arrays.
    pub frame_bytes: usize,
    /// Frame offset and size of each returned value and parameter.
    pub returns: Vec<(usize, usize)>,
    pub params: Vec<(usize, usize)>,
}

/// An entry with every function it can reach.
#[derive(Debug)]
pub struct Program {
    pub name: String,
    /// `codes[0]` is the entry.
    pub codes: Vec<Code>,
    /// Of all codes, one after the other.
    pub segments: Vec<Segment>,
    pub constants: Vec<Row>,
    pub files: Vec<(u32, String)>,
    /// Offset and size of each kernel parameter, and the bytes of them all.
    pub params: Vec<(usize, usize)>,
    pub param_bytes: usize,
    pub shared_bytes: usize,
    /// Shared memory kept for the system, behind the kernel's own, if the kernel looks at it.
    pub reserved_shared_bytes: usize,
    pub max_threads: Option<u32>,
    /// Registers a thread needs on a GPU: those of machine code where there is some, or an estimate.
    pub registers: u32,
    /// Whether machine code for the device says so: then a launch can ask for too many.
    pub registers_are_exact: bool,
    pub local_bytes: usize,
    /// The module's number of each function that has a code here.
    pub functions: Vec<usize>,
    /// Why the kernel cannot run: it has an instruction that is not supported. It then has no code.
    pub refusal: Option<LoadError>,
    /// Whether some instruction calls `malloc` or `free`.
    pub uses_heap: bool,
    /// Whether some instruction reads a clock, for which the executor counts on the way.
    pub reads_clock: bool,
}

/// Function pointers are `FUNCTION_BASE + 16·n` for the n-th function of the module: a range no memory has, and the
/// same in every kernel, so that a pointer may lie in a table or be left by one kernel for another.
const FUNCTION_BASE: u64 = 0x00ff_0000_0000_0000;

pub fn function_address(number: usize) -> u64 {
    FUNCTION_BASE + 16 * number as u64
}

impl Program {
    /// The code a function pointer names.
    pub fn code_at(&self, address: u64) -> Option<usize> {
        let offset = address.checked_sub(FUNCTION_BASE)?;
        if offset % 16 != 0 {
            return None;
        }
        self.functions.iter().position(|&number| number as u64 == offset / 16)
    }
}
