//! Constants of a program: immediates and addresses, each broadcast to a row once and shared by all that use it.

use std::collections::HashMap;

use crate::program::lanes::{LANES, Row};
use crate::program::{Reg, RegClass};

#[derive(Default)]
pub struct Constants {
    pub rows: Vec<Row>,
    words: HashMap<u32, Reg>,
    doubles: HashMap<u64, Reg>,
    /// Rows that hold an address in dynamic shared memory, known when static shared memory is laid out.
    dynamic: Vec<(Reg, bool, i64)>,
}

impl Constants {
    pub fn word(&mut self, value: u32) -> Reg {
        if let Some(&reg) = self.words.get(&value) {
            return reg;
        }
        let reg = self.fresh(value.into(), false);
        self.words.insert(value, reg);
        reg
    }

    pub fn double(&mut self, value: u64) -> Reg {
        if let Some(&reg) = self.doubles.get(&value) {
            return reg;
        }
        let reg = self.fresh(value, true);
        self.doubles.insert(value, reg);
        reg
    }

    /// The address of dynamic shared memory plus an offset; its value comes with [`Self::place_dynamic`].
    pub fn dynamic_shared(&mut self, wide: bool, offset: i64) -> Reg {
        let reg = self.fresh(0, wide);
        self.dynamic.push((reg, wide, offset));
        reg
    }

    pub fn place_dynamic(&mut self, base: usize) {
        for (reg, wide, offset) in std::mem::take(&mut self.dynamic) {
            self.fill(reg, (base as i64).wrapping_add(offset) as u64, wide);
        }
    }

    fn fresh(&mut self, value: u64, wide: bool) -> Reg {
        let reg = Reg::new(RegClass::Constant, self.rows.len() as u32);
        self.rows.resize(self.rows.len() + 1 + usize::from(wide), Row::ZERO);
        self.fill(reg, value, wide);
        reg
    }

    fn fill(&mut self, reg: Reg, value: u64, wide: bool) {
        if wide {
            let (low, high) = (value as u32, (value >> 32) as u32);
            for half in &mut self.rows[reg.index()..reg.index() + 2] {
                half.0 = std::array::from_fn(|i| if i % 2 == 0 { low } else { high });
            }
        } else {
            self.rows[reg.index()] = Row([value as u32; LANES]);
        }
    }
}
