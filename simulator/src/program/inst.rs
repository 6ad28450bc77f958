//! Decoded instructions. Everything a lane loop needs is in [`Inst`]; what only messages need is in [`super::Info`].

use super::lanes::Lanes;
use super::reg::{NONE, Reg};
use crate::error::Fault;
use crate::ptx::types::{Space, Type};

/// A lane loop.
pub type AluFn = fn(&mut Lanes<'_>, &Inst, u32);

/// An instruction in which lanes exchange values; the mask is of the lanes that take part.
pub type CollectiveFn = fn(&mut Lanes<'_>, &Inst, u32) -> Result<(), Fault>;

/// Classes that counters tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Integer,
    Fp16,
    Fp32,
    Fp64,
    Sfu,
    Convert,
    Move,
    Control,
    Global,
    Shared,
    Local,
    Constant,
    Atomic,
    Barrier,
    Warp,
    Tensor,
    /// Executor bookkeeping: no instruction of the program.
    None,
}

#[derive(Clone, Copy, Debug)]
pub struct Guard {
    pub reg: Reg,
    /// All ones when the guard is negated.
    pub flip: u32,
}

impl Guard {
    pub const ALWAYS: Self = Self { reg: NONE, flip: 0 };
}

pub type Target = u32;
pub const NO_TARGET: Target = u32::MAX;

/// A memory operand: address register plus offset, element type, vector width.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub space: Space,
    /// The offset counts from the activation's frame and there is no address register. A function's own parameters are
    /// such local memory; `Space::Param` is only ever the launch's parameters.
    pub frame: bool,
    pub offset: i64,
    pub ty: Type,
    pub vector: u8,
    /// Bits of the destination registers: narrower loads extend to them.
    pub extend: u8,
    pub order: Order,
}

/// Memory order, as far as checks care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Weak,
    Relaxed,
    Acquire,
    Release,
    AcquireRelease,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtomicOp {
    Add,
    Exchange,
    CompareSwap,
    Min,
    Max,
    And,
    Or,
    Xor,
    Increment,
    Decrement,
}

#[derive(Clone, Copy, Debug)]
pub struct Atomic {
    pub access: Access,
    pub op: AtomicOp,
}

/// Which lanes must come together before a collective runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Members {
    /// A register holds the mask.
    Register(Reg),
    /// `.aligned`: every thread of the warp that has not exited.
    All,
}

#[derive(Clone, Copy, Debug)]
pub struct Collective {
    pub run: CollectiveFn,
    pub members: Members,
}

/// Barriers of a block.
pub const BARRIERS: usize = 16;

/// `imm` bits of a block barrier: every lane of the warp comes together; the predicate counts negated.
pub const ALIGNED: u32 = 1;
pub const NEGATE: u32 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Barrier {
    Sync,
    Arrive,
    ReduceAnd,
    ReduceOr,
    ReducePopc,
}

#[derive(Clone, Debug)]
pub struct Call {
    /// `None`: through the pointer in `s[0]`.
    pub target: Option<u32>,
    /// Frame offsets and sizes, in the caller, of arguments and returned values.
    pub args: Vec<(usize, usize)>,
    pub returns: Vec<(usize, usize)>,
}

/// Functions without a body that the system provides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Builtin {
    /// `__assertfail`: message, file, line and function are the call's arguments.
    AssertFail,
    /// `vprintf`
    Print,
    /// `malloc`
    Allocate,
    /// `free`
    Free,
}

#[derive(Clone, Copy, Debug)]
pub struct CopyAsync {
    pub shared: i64,
    pub global: i64,
    pub bytes: u8,
}

/// `ldmatrix` and `stmatrix`: 8×8 tiles of 16-bit elements.
#[derive(Clone, Copy, Debug)]
pub struct MatrixMove {
    pub offset: i64,
    pub tiles: u8,
    pub transposed: bool,
    pub store: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MbarrierOp {
    Init,
    Invalidate,
    Arrive {
        expect: bool,
        drop: bool,
    },
    ExpectTx,
    CompleteTx,
    /// The token or parity; `try_wait` may suspend, which only costs a scheduling slot here.
    Test {
        parity: bool,
    },
    Pending,
    CopyArrive {
        no_increment: bool,
    },
}

/// Registers whose value depends on the thread or on time, not on the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NWarpId,
    SmId,
    NSmId,
    GridId,
    LaneMask(LaneMaskKind),
    /// The activation's frame in local memory plus the instruction's constant.
    Frame,
    Clock,
    ClockHi,
    Clock64,
    GlobalTimer,
    DynamicShared,
    TotalShared,
    /// The shared memory kept for the system, of which cooperative groups use some: `%reserved_smem_offset_*`.
    Reserved(Reserved),
    /// Halves, high then low, of the address of a cooperative launch's workspace.
    Workspace(u8),
    /// Cluster registers of a launch without clusters, where every block is a cluster of one.
    One,
    Zero,
}

/// Places in the shared memory kept for the system, and its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Reserved {
    Begin,
    End,
    Capacity,
    Part(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum LaneMaskKind {
    Eq,
    Le,
    Lt,
    Ge,
    Gt,
}

/// What an instruction does.
#[derive(Clone, Debug)]
pub enum Op {
    Alu(AluFn),
    Special(Special),
    /// Lanes that split at a branch meet again here.
    Join,
    Branch {
        target: Target,
        reconverge: Target,
    },
    BranchTable {
        targets: Box<[Target]>,
        reconverge: Target,
    },
    Call(Box<Call>),
    Return,
    Exit,
    Trap,
    Builtin(Builtin, Box<Call>),
    Breakpoint,
    Load(Access),
    Store(Access),
    Atomic(Box<Atomic>),
    CopyAsync(Box<CopyAsync>),
    CopyCommit,
    /// Waits until at most so many groups are pending.
    CopyWait(u32),
    MatrixMove(MatrixMove),
    Collective(Collective),
    WarpSync(Members),
    ActiveMask,
    Barrier(Barrier),
    Mbarrier {
        op: MbarrierOp,
        offset: i64,
    },
    /// Orders memory; `true` reaches beyond the block.
    Fence(bool),
    /// Lets others run: `nanosleep`.
    Pause,
    Nothing,
}

pub const NO_SEGMENT: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub struct Inst {
    pub op: Op,
    pub d: [Reg; 4],
    pub s: [Reg; 12],
    /// Whatever constant the operation needs: a truth table, a byte selector, options.
    pub imm: u32,
    pub guard: Guard,
    pub class: Class,
    /// Floating-point operations a lane (a warp, for tensor instructions) performs.
    pub flops: u16,
    /// The segment that starts here, if one does.
    pub segment: u32,
    /// Unguarded lane loops from here on within the segment.
    pub run: u32,
}

impl Inst {
    pub fn new(op: Op, class: Class) -> Self {
        Self {
            op,
            d: [NONE; 4],
            s: [NONE; 12],
            imm: 0,
            guard: Guard::ALWAYS,
            class,
            flops: 0,
            segment: NO_SEGMENT,
            run: 0,
        }
    }

    /// Calls `visit` for every register read or written; the flag says which.
    pub fn visit(&mut self, mut visit: impl FnMut(&mut Reg, bool)) {
        self.s.iter_mut().for_each(|r| visit(r, false));
        if let Op::Collective(Collective { members: Members::Register(r), .. }) | Op::WarpSync(Members::Register(r)) =
            &mut self.op
        {
            visit(r, false);
        }
        visit(&mut self.guard.reg, false);
        let guarded = self.guard.reg != NONE;
        for r in &mut self.d {
            // Lanes that the guard turns off keep what the register held, so it is read too.
            if guarded {
                visit(r, false);
            }
            visit(r, true);
        }
    }
}
