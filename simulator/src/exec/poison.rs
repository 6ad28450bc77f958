//! Values that come from memory nothing wrote, followed from register to register until one is used: as an address, in
//! a decision, or in a store to global memory. A value that is loaded and then dropped, as at the edge of a tile, is no
//! mistake.
//!
//! Whatever is computed from such a value is one too, but for what `selp` did not choose and bits that `and` with zero
//! took away. Stored to shared memory it leaves that memory unwritten. All of it costs a look at [`Poison::is_empty`]
//! as long as there is nothing to follow.

use std::collections::HashMap;

use super::block::BlockState;
use super::strand::Strand;
use super::warp::Warp;
use crate::error::{Fault, FaultKind};
use crate::isa::warp::source_lane;
use crate::launch::Launch;
use crate::launch::accesses::Accesses;
use crate::program::lanes::{LANES, Word};
use crate::program::{Access, Inst, NONE, Op, Reg, RegClass};
use crate::ptx::types::Space;

/// Reads remembered for reports; later ones are reported as the last of these.
const MOST_ORIGINS: usize = 64;
const LOCAL_WORD: u64 = 4;

/// Lanes whose value is not known, and the read that it came from.
#[derive(Clone, Copy, Default)]
struct Taint {
    lanes: u32,
    origin: usize,
}

impl Taint {
    fn or(self, other: Self) -> Self {
        if self.lanes == 0 { other } else { Self { lanes: self.lanes | other.lanes, ..self } }
    }

    fn only(self, lanes: u32) -> Self {
        Self { lanes: self.lanes & lanes, ..self }
    }
}

/// What of a warp's registers and local memory is not known.
#[derive(Default)]
pub struct Poison {
    /// By the register's first row, of all activations.
    registers: HashMap<usize, Taint>,
    predicates: HashMap<usize, Taint>,
    /// By the number of the word within a lane's local memory.
    local: HashMap<u64, Taint>,
    origins: Vec<Fault>,
}

impl Poison {
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty() && self.predicates.is_empty() && self.local.is_empty()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn remember(&mut self, origin: Fault) -> usize {
        if self.origins.len() < MOST_ORIGINS {
            self.origins.push(origin);
        }
        self.origins.len() - 1
    }
}

fn set<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Taint>, key: K, new: Taint, mask: u32) {
    let held = map.get(&key).copied().unwrap_or_default();
    let next = new.only(mask).or(held.only(!mask));
    if next.lanes == 0 {
        map.remove(&key);
    } else {
        map.insert(key, next);
    }
}

impl Warp {
    fn taint(&self, strand: &Strand, reg: Reg) -> Taint {
        if reg == NONE || reg.is_constant() {
            return Taint::default();
        }
        let found = match reg.class() {
            RegClass::Predicate => self.poison.predicates.get(&(strand.predicate_base + reg.index())),
            _ => self.poison.registers.get(&(strand.row_base + reg.index())),
        };
        found.copied().unwrap_or_default()
    }

    fn set_taint(&mut self, strand: &Strand, reg: Reg, taint: Taint, mask: u32) {
        if reg == NONE {
            return;
        }
        match reg.class() {
            RegClass::Predicate => {
                set(&mut self.poison.predicates, strand.predicate_base + reg.index(), taint, mask);
            }
            _ => set(&mut self.poison.registers, strand.row_base + reg.index(), taint, mask),
        }
    }

    /// The report of a use.
    fn used(&self, taint: Taint, how: &str) -> Fault {
        match self.poison.origins.get(taint.origin) {
            Some(origin) => Fault { message: format!("{}, {how}", origin.message), ..origin.clone() },
            None => Fault::new(FaultKind::Uninitialized, how).at_lane(taint.lanes.trailing_zeros() as usize),
        }
    }

    fn refuse(&self, strand: &Strand, reg: Reg, mask: u32, how: &str) -> Result<(), Fault> {
        match self.taint(strand, reg).only(mask) {
            Taint { lanes: 0, .. } => Ok(()),
            taint => Err(self.used(taint, how)),
        }
    }

    /// What an instruction that is no lane loop does with values that are not known, before it runs.
    pub fn watch_poison(&mut self, strand: &Strand, inst: &Inst, mask: u32, launch: &Launch) -> Result<(), Fault> {
        const ADDRESS: &str = "and used as an address";
        const DECISION: &str = "and used in a decision";
        let decides = !matches!(inst.op, Op::Alu(_) | Op::Load(_) | Op::Special(_) | Op::Collective(_) | Op::Nothing);
        if decides {
            self.refuse(strand, inst.guard.reg, strand.mask, DECISION)?;
        }
        match &inst.op {
            Op::Alu(_) => {
                self.flow(strand, inst, mask, launch);
                return Ok(());
            }
            Op::BranchTable { .. } | Op::Call(_) => self.refuse(strand, inst.s[0], mask, DECISION)?,
            Op::Load(_) | Op::Store(_) | Op::MatrixMove(_) => self.refuse(strand, inst.s[0], mask, ADDRESS)?,
            Op::Atomic(_) | Op::CopyAsync(_) | Op::Mbarrier { .. } => {
                self.refuse(strand, inst.s[0], mask, ADDRESS)?;
                self.refuse(strand, inst.s[1], mask, "and used by an operation on memory")?;
                self.refuse(strand, inst.s[2], mask, "and used by an operation on memory")?;
            }
            // It may not run now; see `flow_collective`.
            Op::Collective(_) => return Ok(()),
            _ => {}
        }
        let guard = self.taint(strand, inst.guard.reg).only(strand.mask);
        for d in inst.d {
            self.set_taint(strand, d, guard, mask | guard.lanes);
        }
        Ok(())
    }

    /// From the sources of a lane loop to its destinations, before it runs.
    pub fn flow(&mut self, strand: &Strand, inst: &Inst, mask: u32, launch: &Launch) {
        let mnemonic = &launch.program.codes[strand.code].infos[strand.pc].mnemonic;
        let all = if mnemonic.starts_with("selp") {
            self.selected(strand, inst, launch)
        } else if mnemonic.starts_with("and.b") {
            self.masked(strand, inst, launch)
        } else {
            inst.s.iter().fold(Taint::default(), |all, &s| all.or(self.taint(strand, s)))
        };
        let guard = self.taint(strand, inst.guard.reg).only(strand.mask);
        let new = all.only(mask).or(guard);
        inst.d.iter().for_each(|&d| self.set_taint(strand, d, new, mask | guard.lanes));
    }

    /// `selp`: the value that was chosen, and the choice.
    fn selected(&mut self, strand: &Strand, inst: &Inst, launch: &Launch) -> Taint {
        let choice = self.lanes(strand, launch).predicate(inst.s[2]) ^ inst.imm;
        let [a, b, c] = [0, 1, 2].map(|k| self.taint(strand, inst.s[k]));
        a.only(choice).or(b.only(!choice)).or(c)
    }

    /// `and`: nothing where the other source is zero.
    fn masked(&mut self, strand: &Strand, inst: &Inst, launch: &Launch) -> Taint {
        let [a, b] = [0, 1].map(|k| self.taint(strand, inst.s[k]));
        let lanes = self.lanes(strand, launch);
        let [zero_a, zero_b] = [0, 1].map(|k| {
            let reg = inst.s[k];
            let is_zero = |lane: usize| match reg.class() {
                RegClass::Double => u64::read(&lanes, reg)[lane] == 0,
                // Of a constant either width shows it.
                _ => u32::read(&lanes, reg)[lane] == 0,
            };
            (0..LANES).fold(0, |bits, lane| bits | u32::from(is_zero(lane)) << lane)
        });
        let (zero_a, zero_b) = if inst.d[0].class() == RegClass::Double { (0, 0) } else { (zero_a, zero_b) };
        a.only(!zero_b).or(b.only(!zero_a))
    }

    /// Between the lanes of a collective, before it runs for those of `mask`.
    pub fn flow_collective(&mut self, strand: &Strand, inst: &Inst, mask: u32, launch: &Launch) {
        if self.poison.is_empty() {
            return;
        }
        let sources: Vec<Taint> = inst.s.iter().map(|&s| self.taint(strand, s).only(mask)).collect();
        let any = sources.iter().fold(Taint::default(), |all, &s| all.or(s));
        let mnemonic = &launch.program.codes[strand.code].infos[strand.pc].mnemonic;
        let results = if any.lanes == 0 {
            [any; 4]
        } else if mnemonic.starts_with("shfl") && sources[1].lanes | sources[2].lanes == 0 {
            [self.shuffled(strand, inst, sources[0], launch), Taint::default(), Taint::default(), Taint::default()]
        } else if mnemonic.starts_with("mma") && mnemonic.contains(".m16n8") {
            multiplied(inst, &sources, any.origin)
        } else {
            [Taint { lanes: u32::MAX, ..any }; 4]
        };
        for (d, taint) in inst.d.into_iter().zip(results) {
            self.set_taint(strand, d, taint, mask);
        }
    }

    fn shuffled(&mut self, strand: &Strand, inst: &Inst, from: Taint, launch: &Launch) -> Taint {
        let lanes = self.lanes(strand, launch);
        let (b, c) = (u32::read(&lanes, inst.s[1]), u32::read(&lanes, inst.s[2]));
        let bit = |i: u32| from.lanes >> source_lane(i, b[i as usize], c[i as usize], inst.imm).0 & 1;
        Taint { lanes: (0..LANES as u32).fold(0, |lanes, i| lanes | bit(i) << i), ..from }
    }

    /// A load of bytes that nothing wrote in the lanes of `unwritten`: its registers, element by element.
    pub fn load_poison(
        &mut self,
        strand: &Strand,
        inst: &Inst,
        access: &Access,
        (part, unwritten): (&Accesses, u32),
        launch: &Launch,
        state: &BlockState,
    ) {
        let origin = if unwritten == 0 { 0 } else { self.origin(part, unwritten, strand, launch, state) };
        let bytes = access.ty.bytes();
        for k in 0..access.vector as usize {
            let taint = if part.space == Space::Local {
                self.local_taint(part, k * bytes, bytes)
            } else if unwritten == 0 {
                Taint::default()
            } else {
                let addresses = part.addresses.map(|address| address + (k * bytes) as u64);
                let element = Accesses::new(part.space, addresses, unwritten, bytes);
                Taint { lanes: state.unwritten(&element, launch), origin }
            };
            self.set_taint(strand, inst.d[k], taint, part.mask);
        }
    }

    fn local_taint(&self, part: &Accesses, offset: usize, bytes: usize) -> Taint {
        let mut all = Taint::default();
        for lane in part.active() {
            let first = (part.addresses[lane] + offset as u64) / LOCAL_WORD;
            let last = (part.addresses[lane] + (offset + bytes) as u64 - 1) / LOCAL_WORD;
            for word in first..=last {
                all = all.or(self.poison.local.get(&word).copied().unwrap_or_default().only(1 << lane));
            }
        }
        all
    }

    /// A store of values that are not known.
    pub fn store_poison(
        &mut self,
        strand: &Strand,
        inst: &Inst,
        access: &Access,
        part: &Accesses,
        state: &mut BlockState,
    ) -> Result<(), Fault> {
        let bytes = access.ty.bytes();
        for k in 0..access.vector as usize {
            let taint = self.taint(strand, inst.s[1 + k]).only(part.mask);
            match part.space {
                Space::Local => {
                    for lane in part.active() {
                        let first = (part.addresses[lane] + (k * bytes) as u64) / LOCAL_WORD;
                        let last = (part.addresses[lane] + ((k + 1) * bytes) as u64 - 1) / LOCAL_WORD;
                        (first..=last).for_each(|word| set(&mut self.poison.local, word, taint, 1 << lane));
                    }
                }
                _ if taint.lanes == 0 => {}
                Space::Shared => {
                    let addresses = part.addresses.map(|address| address + (k * bytes) as u64);
                    state.forget_shared(&Accesses::new(Space::Shared, addresses, taint.lanes, bytes));
                }
                _ => return Err(self.used(taint, "and stored to global memory")),
            }
        }
        Ok(())
    }

    /// Rows of `ldmatrix`, of which `unwritten` are: the lanes and registers that get them.
    pub fn matrix_poison(
        &mut self,
        strand: &Strand,
        inst: &Inst,
        rows: (&Accesses, u32, bool),
        mask: u32,
        launch: &Launch,
        state: &BlockState,
    ) {
        let (part, unwritten, transposed) = rows;
        let origin = if unwritten == 0 { 0 } else { self.origin(part, unwritten, strand, launch, state) };
        for tile in 0..inst.d.len() {
            let of_tile = unwritten >> (8 * tile) & 0xff;
            let lanes = (0..LANES).filter(|lane| {
                // A register holds a row of its tile in four lanes; transposed, two rows in every fourth.
                let held = if transposed { 3 << (2 * (lane % 4)) } else { 1 << (lane / 4) };
                of_tile & held != 0
            });
            let taint = Taint { lanes: lanes.fold(0, |bits, lane| bits | 1 << lane), origin };
            self.set_taint(strand, inst.d[tile], taint, mask);
        }
    }

    /// Arguments and results of calls are copied within local memory.
    pub fn copy_poison(&mut self, lanes: u32, from: usize, to: usize, bytes: usize) {
        if self.poison.local.is_empty() {
            return;
        }
        for at in (0..bytes as u64).step_by(LOCAL_WORD as usize) {
            let (from, to) = ((from as u64 + at) / LOCAL_WORD, (to as u64 + at) / LOCAL_WORD);
            let taint = self.poison.local.get(&from).copied().unwrap_or_default();
            set(&mut self.poison.local, to, taint, lanes);
        }
    }

    fn origin(
        &mut self,
        part: &Accesses,
        unwritten: u32,
        strand: &Strand,
        launch: &Launch,
        state: &BlockState,
    ) -> usize {
        let fault = self.place(state.unwritten_fault(part, unwritten, launch), strand, launch, state);
        self.poison.remember(fault)
    }
}

/// `mma.m16n8…`: rows of A make rows of the result unknown, columns of B columns, and elements of C themselves.
fn multiplied(inst: &Inst, sources: &[Taint], origin: usize) -> [Taint; 4] {
    let accumulators = inst.d.iter().filter(|&&d| d != NONE).count();
    let chunks = (inst.s.iter().filter(|&&s| s != NONE).count() - accumulators) / 3;
    let rows = |first: usize| {
        let lanes = (0..chunks).fold(0, |all, c| all | sources[2 * c + first].lanes);
        (0..LANES / 4).fold(0, |all, g| if lanes >> (4 * g) & 15 != 0 { all | 15 << (4 * g) } else { all })
    };
    let columns = (0..chunks).fold(0, |all, c| all | sources[2 * chunks + c].lanes);
    let column = |n: usize| columns >> (4 * n) & 15 != 0;
    std::array::from_fn(|k| {
        if k >= accumulators {
            return Taint::default();
        }
        // Four registers: two of the upper rows, even columns and odd, and two of the lower rows; or one of each half.
        let (half, odd) = if accumulators == 4 { (k / 2, Some(k % 2)) } else { (k, None) };
        let in_column = |lane: usize| {
            let first = 2 * (lane % 4);
            odd.map_or(column(first) || column(first + 1), |odd| column(first + odd))
        };
        let columns = (0..LANES).fold(0, |all, lane| all | u32::from(in_column(lane)) << lane);
        Taint { lanes: rows(half) | columns | sources[3 * chunks + k].lanes, origin }
    })
}
