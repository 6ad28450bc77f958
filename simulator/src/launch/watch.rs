//! What a launch is watched for, and how an access touches memory.

use crate::program::Order;

/// Which checks are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    pub mem: bool,
    pub race: bool,
    pub init: bool,
    pub sync: bool,
    pub leak: bool,
    /// `.aligned` instructions that lanes reach after they parted, with nothing but the compiler to bring them
    /// together. Not among [`Self::ALL`]: programs rely on compilers for that.
    pub aligned: bool,
    /// Copies on a stream from or to pageable memory, for which the program has to wait. Not among [`Self::ALL`]:
    /// nothing is wrong with their results.
    pub pageable: bool,
}

impl Checks {
    pub const ALL: Self =
        Self { mem: true, race: true, init: true, sync: true, leak: true, aligned: false, pageable: false };

    /// Reads `CUDASIM_CHECK`'s list; an unknown name is returned as the error.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut checks = Self::default();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "mem" => checks.mem = true,
                "race" => checks.race = true,
                "init" => checks.init = true,
                "sync" => checks.sync = true,
                "leak" => checks.leak = true,
                "aligned" => checks.aligned = true,
                "pageable" => checks.pageable = true,
                "all" => checks = Self { aligned: checks.aligned, pageable: checks.pageable, ..Self::ALL },
                "none" => checks = Self::default(),
                other => return Err(other.to_owned()),
            }
        }
        Ok(checks)
    }
}

/// How an access touches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    Read,
    Write,
    /// Volatile, relaxed, acquire: part of a protocol between threads.
    StrongRead(Order),
    StrongWrite(Order),
    /// Reads and writes; with `true` it only writes (`mbarrier.init`).
    Atomic(Order, bool),
    /// `cp.async` has been issued: its destination is neither old nor new.
    BeginCopy,
    /// The thread that copied waited for it.
    EndCopy,
}

impl Touch {
    pub fn reads(self) -> bool {
        matches!(self, Self::Read | Self::StrongRead(_) | Self::Atomic(_, false))
    }

    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::StrongWrite(_) | Self::Atomic(..) | Self::EndCopy)
    }

    /// Writes, or has begun to.
    pub fn modifies(self) -> bool {
        self.writes() || self == Self::BeginCopy
    }

    pub fn strong(self) -> bool {
        matches!(self, Self::StrongRead(_) | Self::StrongWrite(_) | Self::Atomic(..))
    }
}
