//! Each thread's stack of contexts; the top one is current. A thread that ends, or a program that does, has none any
//! more: what it calls while it is taken down finds no context.

use std::cell::RefCell;
use std::collections::HashSet;

use super::result::{Code, Outcome};

thread_local! {
    static STACK: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The current context's handle; zero is none.
pub fn get() -> u64 {
    STACK.try_with(|stack| stack.borrow().last().copied()).ok().flatten().unwrap_or(0)
}

pub fn push(context: u64) {
    let _ = STACK.try_with(|stack| stack.borrow_mut().push(context));
}

pub fn pop() -> Option<u64> {
    STACK.try_with(|stack| stack.borrow_mut().pop()).ok().flatten()
}

/// Puts a context in the place of the top one.
pub fn replace(context: u64) {
    pop();
    push(context);
}

/// Takes a destroyed context off the top. Deeper down, and on other threads, it stays and is found out when used.
pub fn remove(context: u64) {
    if get() == context {
        pop();
    }
}

/// Whether the current context is one of those alive.
pub fn check(alive: &HashSet<u64>) -> Outcome {
    match get() {
        0 => Err(Code::CUDA_ERROR_INVALID_CONTEXT),
        context if alive.contains(&context) => Ok(()),
        _ => Err(Code::CUDA_ERROR_CONTEXT_IS_DESTROYED),
    }
}
