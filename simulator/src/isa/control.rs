//! Control flow (PTX ISA 9.7.12) and the few miscellaneous instructions (9.7.19).
//!
//! `ret` is a branch to the function's one end, so that threads that return early meet the others there.

use super::{Row, row};
use crate::error::LoadResult;
use crate::lower::decode::Decode;
use crate::program::{Builtin, Call, Class, Guard, Inst, NO_TARGET, Op};
use crate::ptx::tree::Operand;
use crate::ptx::types::Type;

pub static ROWS: &[Row] = &[
    row("bra", "9.7.12.3", bra),
    row("brx", "9.7.12.4", brx),
    row("call", "9.7.12.5", call),
    row("ret", "9.7.12.6", ret),
    row("exit", "9.7.12.7", exit),
    row("trap", "9.7.19.4", trap),
    row("brkpt", "9.7.19.1", brkpt),
    row("nanosleep", "9.7.19.2", nanosleep),
    row("pmevent", "9.7.19.3", pmevent),
    row("griddepcontrol", "9.7.13.13", griddepcontrol),
];

fn bra(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    decode.flag("uni");
    decode.operands(1..=1)?;
    let target = decode.label(decode.operand(0)?)?;
    decode.emit(Inst::new(Op::Branch { target, reconverge: NO_TARGET }, Class::Control));
    Ok(())
}

fn brx(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    use crate::lower::decode::targets_named;
    decode.flag("uni");
    if !decode.flag("idx") {
        return decode.fail("only brx.idx exists");
    }
    decode.operands(2..=2)?;
    let index = decode.src(0, Type::U32)?;
    let names = targets_named(decode, 1)?;
    let mut targets = Vec::with_capacity(names.len());
    for name in &names {
        targets.push(decode.label_named(name)?);
    }
    let mut inst = Inst::new(Op::BranchTable { targets: targets.into(), reconverge: NO_TARGET }, Class::Control);
    inst.s[0] = index;
    decode.emit(inst);
    Ok(())
}

/// Frame places of a list of `.param` variables.
fn places(decode: &mut Decode<'_, '_, '_>, operand: &Operand) -> LoadResult<Vec<(usize, usize)>> {
    use crate::lower::decode::frame_place;
    let Operand::List(list) = operand else { return decode.fail("expected a list of parameters") };
    let mut places = Vec::with_capacity(list.len());
    for item in list {
        places.push(frame_place(decode, item)?);
    }
    Ok(places)
}

fn builtin(name: &str) -> Option<Builtin> {
    Some(match name {
        "__assertfail" => Builtin::AssertFail,
        "vprintf" => Builtin::Print,
        "malloc" => Builtin::Allocate,
        "free" => Builtin::Free,
        _ => return None,
    })
}

fn call(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    use crate::lower::decode::function_named;
    decode.flag("uni");
    let count = decode.operands(1..=4)?;
    let mut at = 0;
    let mut site = Call { target: None, args: Vec::new(), returns: Vec::new() };
    if matches!(decode.operand(0)?, Operand::List(_)) {
        site.returns = places(decode, decode.operand(0)?)?;
        at = 1;
    }
    let callee = decode.operand(at)?;
    if count > at + 1 && matches!(decode.operand(at + 1)?, Operand::List(_)) {
        site.args = places(decode, decode.operand(at + 1)?)?;
    }
    let mut inst = Inst::new(Op::Nothing, Class::Control);
    match function_named(decode, callee) {
        Some((name, None)) => {
            let Some(builtin) = builtin(name) else {
                return decode.fail(format!("function {name} has no body and is not built in"));
            };
            inst.op = Op::Builtin(builtin, Box::new(site));
            decode.emit(inst);
            return Ok(());
        }
        Some((_, Some(function))) => {
            let callee = &decode.function.builder.module.functions[function];
            if callee.params.len() != site.args.len() || callee.returns.len() != site.returns.len() {
                return decode.fail(format!("{} takes other parameters", callee.name));
            }
            site.target = Some(decode.function.builder.code_index(function));
        }
        None => {
            decode.function.builder.call_pointers();
            inst.s[0] = decode.src(at, Type::U64)?;
        }
    }
    let indirect = site.target.is_none();
    inst.op = Op::Call(Box::new(site));
    decode.emit(inst);
    if indirect {
        // Lanes that call different functions meet again after the call.
        let guard = std::mem::replace(&mut decode.guard, Guard::ALWAYS);
        decode.emit(Inst::new(Op::Join, Class::None));
        decode.guard = guard;
    }
    Ok(())
}

fn ret(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    decode.flag("uni");
    decode.operands(0..=0)?;
    let target = crate::lower::decode::RETURN_LABEL;
    decode.emit(Inst::new(Op::Branch { target, reconverge: NO_TARGET }, Class::Control));
    Ok(())
}

fn exit(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    decode.operands(0..=0)?;
    decode.emit(Inst::new(Op::Exit, Class::Control));
    Ok(())
}

fn trap(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    decode.operands(0..=0)?;
    decode.emit(Inst::new(Op::Trap, Class::Control));
    Ok(())
}

/// Without a debugger a breakpoint ends the kernel like a trap.
fn brkpt(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    trap(decode)
}

fn nanosleep(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    let ty = decode.ty()?;
    decode.operands(1..=1)?;
    let mut inst = Inst::new(Op::Pause, Class::Control);
    inst.s[0] = decode.src(0, ty)?;
    decode.emit(inst);
    Ok(())
}

fn pmevent(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    decode.flag("mask");
    decode.operands(1..=1)?;
    decode.emit(Inst::new(Op::Nothing, Class::Control));
    Ok(())
}

/// Kernels of a stream never overlap here, so a dependent grid has nothing to wait for.
fn griddepcontrol(decode: &mut Decode<'_, '_, '_>) -> LoadResult<()> {
    decode.require("action", &[("launch_dependents", ()), ("wait", ())])?;
    decode.operands(0..=0)?;
    decode.emit(Inst::new(Op::Nothing, Class::Control));
    Ok(())
}
