//! The two ways a program can fail here, kept apart.
//!
//! [`LoadError`] is the simulator's or the text's shortcoming: PTX that does not parse, an instruction that is not in
//! the table. It appears when a module is loaded and names the line and kernel. [`Fault`] is the program's own mistake
//! while it runs: an address outside every allocation, a barrier some threads never reach. It becomes a sticky driver
//! error.

use std::fmt;

/// PTX that cannot be loaded: a syntax error, or something that is not in the instruction table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ptx line {line}{}: {message}", Within(function))]
pub struct LoadError {
    pub line: u32,
    pub function: Option<String>,
    pub message: String,
}

struct Within<'a>(&'a Option<String>);

impl fmt::Display for Within<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, " in {name}"),
            None => Ok(()),
        }
    }
}

impl LoadError {
    pub fn new(line: u32, message: impl Into<String>) -> Self {
        Self { line, function: None, message: message.into() }
    }

    /// Names the kernel or function, unless a deeper layer has already done so.
    pub fn within(mut self, function: &str) -> Self {
        self.function.get_or_insert_with(|| function.to_owned());
        self
    }

    /// Names the instruction whose operand was not understood.
    pub fn in_instruction(mut self, instruction: &str) -> Self {
        self.message = format!("`{instruction}`: {}", self.message);
        self
    }
}

pub type LoadResult<T> = Result<T, LoadError>;

/// Which kind of mistake a running kernel made; each maps to one driver error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    IllegalAddress,
    MisalignedAddress,
    UseAfterFree,
    Race,
    Uninitialized,
    Barrier,
    Convergence,
    Assert,
    Trap,
    Timeout,
    StackOverflow,
    InvalidCall,
}

impl FaultKind {
    /// The check of `CUDASIM_CHECK` that finds this kind, for those that only a check finds.
    pub fn check(self) -> &'static str {
        match self {
            Self::IllegalAddress | Self::MisalignedAddress | Self::UseAfterFree => "mem",
            Self::Race => "race",
            Self::Uninitialized => "init",
            Self::Barrier => "sync",
            Self::Convergence => "aligned",
            _ => "exec",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IllegalAddress => "illegal address",
            Self::MisalignedAddress => "misaligned address",
            Self::UseAfterFree => "use after free",
            Self::Race => "race",
            Self::Uninitialized => "read of memory nothing wrote",
            Self::Barrier => "divergent barrier",
            Self::Convergence => "lanes not brought together",
            Self::Assert => "assertion failed",
            Self::Trap => "trap",
            Self::Timeout => "launch timed out",
            Self::StackOverflow => "stack overflow",
            Self::InvalidCall => "invalid call target",
        })
    }
}

/// Where in the program a fault happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    pub kernel: String,
    pub ptx_line: u32,
    pub source: Option<(String, u32)>,
    /// Where the statement's function was called, if it was inlined.
    pub caller: Option<(String, u32)>,
    pub instruction: String,
    pub block: [u32; 3],
    pub thread: [u32; 3],
}

/// A mistake of the running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    pub message: String,
    pub place: Option<Box<Place>>,
    /// The lane it happened to, until the executor turns it into a place.
    pub lane: u32,
}

impl Fault {
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, lane: 0 }
    }

    pub fn at_lane(mut self, lane: usize) -> Self {
        self.lane = lane as u32;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        let Some(at) = &self.place else { return Ok(()) };
        let ([bx, by, bz], [tx, ty, tz]) = (at.block, at.thread);
        write!(f, " in {} at ptx line {}", at.kernel, at.ptx_line)?;
        if let Some((file, line)) = &at.source {
            write!(f, " ({file}:{line}")?;
            if let Some((file, line)) = &at.caller {
                write!(f, ", inlined at {file}:{line}")?;
            }
            f.write_str(")")?;
        }
        write!(f, " `{}`, block ({bx},{by},{bz}), thread ({tx},{ty},{tz})", at.instruction)
    }
}
