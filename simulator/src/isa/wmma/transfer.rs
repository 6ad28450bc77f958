//! Fragments between registers and memory: `wmma.load` and `wmma.store` as ordinary accesses.

use super::Fragment;
use crate::isa::memory::class_for;
use crate::lower::decode::Decode;
use crate::program::lanes::{LANES, Lanes, Word};
use crate::program::loops::{each1, each2};
use crate::program::{Access, Class, Inst, Op, Reg, RegClass};
use crate::ptx::types::Type;

/// A fragment on its way between registers and memory.
pub struct Transfer {
    pub fragment: Fragment,
    pub base: Reg,
    pub stride: Reg,
    pub access: Access,
    pub store: bool,
}

impl Transfer {
    /// Where each lane's element `index` lies, counted from the instruction's address. Of an accumulator in columns the
    /// line is a row of the matrix, and its elements are a stride apart.
    fn address(&self, decode: &mut Decode<'_, '_, '_>, index: usize, line: usize, across: bool) -> Reg {
        let to = decode.new_word(true);
        let mut inst = Inst::new(Op::Alu(addresses), Class::None);
        (inst.d[0], inst.s[0], inst.s[1]) = (to, self.base, self.stride);
        let bytes = self.fragment.ty.bytes();
        inst.imm = Steps { elements: self.fragment.elements(), line, bytes, index, across }.pack();
        decode.emit(inst);
        to
    }

    fn emit(&self, decode: &mut Decode<'_, '_, '_>, access: Access, address: Reg, data: &[Reg]) {
        let class = class_for(access.space);
        let mut inst = if self.store {
            let mut inst = Inst::new(Op::Store(access), class);
            inst.s[1..=data.len()].copy_from_slice(data);
            inst
        } else {
            let mut inst = Inst::new(Op::Load(access), class);
            inst.d[..data.len()].copy_from_slice(data);
            inst
        };
        inst.s[0] = address;
        decode.emit(inst);
    }

    /// Each lane's elements lie together: as few accesses as 16 bytes allow.
    pub fn stretches(&self, decode: &mut Decode<'_, '_, '_>, registers: &[Reg]) {
        let address = self.address(decode, 0, self.fragment.line(), false);
        let ty = if self.fragment.ty == Type::F64 { Type::B64 } else { Type::B32 };
        let mut access = Access { ty, extend: ty.bits() as u8, ..self.access };
        let mut rest = &registers[..self.fragment.registers()];
        while !rest.is_empty() {
            let most = 16 / ty.bytes();
            let count = if rest.len() >= most { most } else { 1 << rest.len().ilog2() };
            access.vector = count as u8;
            self.emit(decode, access, address, &rest[..count]);
            access.offset += (count * ty.bytes()) as i64;
            rest = &rest[count..];
        }
    }

    /// An accumulator in columns: its rows are across them, element by element.
    pub fn scattered(&self, decode: &mut Decode<'_, '_, '_>, registers: &[Reg]) {
        let ty = match self.fragment.ty {
            Type::F64 => Type::B64,
            Type::F16 => Type::B16,
            _ => Type::B32,
        };
        let access = Access { ty, extend: ty.bits().max(32) as u8, ..self.access };
        let count = self.fragment.elements();
        let places: Vec<Reg> = (0..count).map(|k| self.address(decode, k, self.fragment.columns, true)).collect();
        if ty != Type::B16 {
            (0..count).for_each(|k| self.emit(decode, access, places[k], &[registers[k]]));
            return;
        }
        for (pair, &register) in places.chunks(2).zip(registers) {
            let high = decode.new_word(false);
            if self.store {
                decode.emit_alu(each1!(u32 => u32, |a| a >> 16), Class::None, high, &[register]);
                self.emit(decode, access, pair[0], &[register]);
                self.emit(decode, access, pair[1], &[high]);
            } else {
                let low = decode.new_word(false);
                self.emit(decode, access, pair[0], &[low]);
                self.emit(decode, access, pair[1], &[high]);
                decode.emit_alu(each2!(u32, u32 => u32, |a, b| a | b << 16), Class::None, register, &[low, high]);
            }
        }
    }
}

/// How an element's number gives its place.
struct Steps {
    /// Elements a lane holds.
    elements: usize,
    /// Elements in a line.
    line: usize,
    bytes: usize,
    /// The lane's element.
    index: usize,
    /// Lines are elements apart, and the elements of a line strides.
    across: bool,
}

impl Steps {
    fn pack(&self) -> u32 {
        let fields = [self.elements, self.line, self.bytes, self.index];
        let packed = fields.iter().rev().fold(0, |word, &field| word << 7 | field as u32);
        packed | u32::from(self.across) << 31
    }

    fn unpack(word: u32) -> Self {
        let field = |k: u32| (word >> (7 * k) & 0x7f) as usize;
        Self { elements: field(0), line: field(1), bytes: field(2), index: field(3), across: word >> 31 == 1 }
    }
}

fn addresses(lanes: &mut Lanes<'_>, inst: &Inst, mask: u32) {
    let steps = Steps::unpack(inst.imm);
    let stride = *u32::read(lanes, inst.s[1]);
    let base: [u64; LANES] = if inst.s[0].class() == RegClass::Word {
        u32::read(lanes, inst.s[0]).map(u64::from)
    } else {
        *u64::read(lanes, inst.s[0])
    };
    let out: [u64; LANES] = std::array::from_fn(|lane| {
        let element = lane * steps.elements + steps.index;
        let (line, at) = ((element / steps.line) as u64, (element % steps.line) as u64);
        let stride = u64::from(stride[lane]);
        let elements = if steps.across { at * stride + line } else { line * stride + at };
        base[lane].wrapping_add(elements.wrapping_mul(steps.bytes as u64))
    });
    u64::write(lanes, inst.d[0], &out, mask);
}
