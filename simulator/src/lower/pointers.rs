//! Functions whose address a module takes: in the initializer of a variable (a table, a virtual function table) or in
//! code.

use crate::ptx::tree::{Block, Initial, Module, Operand, Statement, Variable};

/// Numbers of the functions with a body that a pointer may name.
pub fn pointed_to(module: &Module) -> Vec<usize> {
    let mut names = Vec::new();
    module.variables.iter().for_each(|variable| in_initializer(variable, &mut names));
    module.functions.iter().filter_map(|f| f.body.as_ref()).for_each(|body| in_block(body, &mut names));
    let mut numbers: Vec<usize> = names.into_iter().filter_map(|name| module.function_named(name)).collect();
    numbers.retain(|&number| !module.functions[number].entry && module.functions[number].body.is_some());
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn in_initializer<'m>(variable: &'m Variable, names: &mut Vec<&'m str>) {
    names.extend(variable.initial.iter().filter_map(|initial| match initial {
        Initial::Address { name, .. } => Some(name.as_str()),
        Initial::Number(_) => None,
    }));
}

fn in_block<'m>(block: &'m Block, names: &mut Vec<&'m str>) {
    for statement in &block.statements {
        match statement {
            Statement::Block(inner) => in_block(inner, names),
            Statement::Variable(variable) => in_initializer(variable, names),
            // A call names its callee without taking its address; every other operand that names a function takes it.
            Statement::Instruction(instruction) if instruction.opcode != "call" => {
                names.extend(instruction.operands.iter().filter_map(|operand| match operand {
                    Operand::Name(name, 0) => Some(name.as_str()),
                    _ => None,
                }));
            }
            _ => {}
        }
    }
}
