//! A register operand: its class in the top two bits, its index below.
//!
//! Before allocation the index names a virtual register, afterwards a row (or predicate) of the activation. Immediates
//! and addresses of variables are constants of the program, broadcast to a row, so that an instruction reads all alike.

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reg(pub u32);

/// An operand that is absent, or a destination that is dropped.
pub const NONE: Reg = Reg(u32::MAX);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum RegClass {
    /// One row: 32 lanes of up to 32 bits.
    Word,
    /// Two rows: 32 lanes of 64 bits.
    Double,
    /// One bit a lane.
    Predicate,
    Constant,
}

impl Reg {
    pub fn new(class: RegClass, index: u32) -> Self {
        Self((class as u32) << 30 | index)
    }

    pub fn class(self) -> RegClass {
        match self.0 >> 30 {
            0 => RegClass::Word,
            1 => RegClass::Double,
            2 => RegClass::Predicate,
            _ => RegClass::Constant,
        }
    }

    pub fn index(self) -> usize {
        (self.0 & 0x3fff_ffff) as usize
    }

    pub fn is_constant(self) -> bool {
        self.0 >> 30 == 3
    }

    /// Whether allocation gives it a place: not absent, not a constant.
    pub fn is_virtual(self) -> bool {
        !self.is_constant()
    }
}
