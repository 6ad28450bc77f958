//! A reader of pickles that can make tensors, strings, numbers, tuples, lists and dictionaries, and nothing else.
//!
//! Python's own reader calls any function that a pickle names. This one carries out no code: a global name is one of
//! the few in [`Global`], whose meaning is built in here, or the pickle is refused by that name; an opcode outside of
//! [`Opcode`] likewise. Objects live in one list and refer to each other by number, so that nothing recurses, however
//! deep or circular a pickle is. A pickle of a state dictionary has a few objects for each tensor; the limits are far
//! above that, and far below what memory holds.

use std::collections::HashMap;

use safetensors::Dtype;

use super::{
    calls::global,
    opcode::{self, Opcode},
};

/// Text for the user.
pub(super) type Result<T> = std::result::Result<T, String>;

const PICKLE_MAX_BYTES: usize = 64 << 20;
/// Values that are put on the stack, or copied, in all: some 25 for each tensor.
const VALUES_MAX: usize = 1 << 20;

/// A value on the stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// A whole number of more than eight bytes, little-endian.
    Long(&'a [u8]),
    /// A number that no tensor needs.
    Float,
    /// Bytes that no tensor needs.
    Bytes,
    Text(&'a str),
    Global(Global),
    /// Its place in [`Pickle::objects`].
    Object(usize),
}

/// What a name may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

/// What values refer to.
#[derive(Debug)]
pub(super) enum Object<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Storage<'a>),
    Tensor(Tensor),
}

/// The numbers of one or more tensors, as they lie in a file of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Storage<'a> {
    pub dtype: Dtype,
    pub key: &'a str,
    pub elements: usize,
}

/// A view of a storage.
#[derive(Debug)]
pub(super) struct Tensor {
    /// The storage's place in [`Pickle::objects`].
    pub storage: usize,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// What a pickle says.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub objects: Vec<Object<'a>>,
    pub root: Value<'a>,
    /// Bytes up to and including its end.
    pub length: usize,
}

impl Pickle<'_> {
    /// # Errors
    /// Says which opcode or which name is refused, or where the pickle makes no sense.
    pub(crate) fn read(bytes: &[u8]) -> Result<Pickle<'_>> {
        let bytes = bytes.get(..PICKLE_MAX_BYTES).unwrap_or(bytes);
        let mut machine =
            Machine { bytes, at: 0, stack: vec![], marks: vec![], memo: HashMap::new(), objects: vec![], values: 0 };
        loop {
            let start = machine.at;
            let byte = machine.take(1)?[0];
            let Some(opcode) = Opcode::from_byte(byte) else {
                return Err(format!(
                    "its pickle has the opcode {} at byte {start}, which tensors do not need",
                    opcode::name(byte)
                ));
            };
            if opcode == Opcode::Stop {
                let root = machine.pop()?;
                return Ok(Pickle { objects: machine.objects, root, length: machine.at });
            }
            machine.step(opcode)?;
        }
    }
}

/// What is done so far.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    pub(super) objects: Vec<Object<'a>>,
    /// Put on the stack so far, or copied.
    values: usize,
}

impl<'a> Machine<'a> {
    fn step(&mut self, opcode: Opcode) -> Result<()> {
        match opcode {
            Opcode::Stop => Ok(()), // handled by the caller
            Opcode::Proto => self.take(1).map(drop),
            Opcode::Frame => self.take(8).map(drop),
            Opcode::Mark => {
                self.count(1)?;
                self.marks.push(self.stack.len());
                Ok(())
            }
            Opcode::Pop => self.pop().map(drop),
            Opcode::PopMark => self.pop_mark().map(drop),
            Opcode::None => self.push(Value::None),
            Opcode::NewTrue => self.push(Value::Bool(true)),
            Opcode::NewFalse => self.push(Value::Bool(false)),
            Opcode::Int | Opcode::Long | Opcode::Float => self.number_in_text(opcode),
            Opcode::BinInt => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(i64::from(value)))
            }
            Opcode::BinInt1 => self.length(1).and_then(|value| self.push(Value::Int(value as i64))),
            Opcode::BinInt2 => self.length(2).and_then(|value| self.push(Value::Int(value as i64))),
            Opcode::Long1 => {
                let length = self.length(1)?;
                let bytes = self.take(length)?;
                self.push(whole(bytes))
            }
            Opcode::BinFloat => self.take(8).and_then(|_| self.push(Value::Float)),
            Opcode::Unicode => self.line().and_then(|text| self.push(Value::Text(text))),
            Opcode::ShortBinUnicode | Opcode::ShortBinString => self.text(1),
            Opcode::BinUnicode | Opcode::BinString => self.text(4),
            Opcode::BinUnicode8 => self.text(8),
            Opcode::ShortBinBytes => self.skip(1),
            Opcode::BinBytes => self.skip(4),
            Opcode::EmptyTuple => self.make(Object::Tuple(vec![])),
            Opcode::Tuple1 => self.tuple(1),
            Opcode::Tuple2 => self.tuple(2),
            Opcode::Tuple3 => self.tuple(3),
            Opcode::Tuple => self.pop_mark().and_then(|items| self.make(Object::Tuple(items))),
            Opcode::EmptyList => self.make(Object::List(vec![])),
            Opcode::List => self.pop_mark().and_then(|items| self.make(Object::List(items))),
            Opcode::Append => self.pop().and_then(|item| self.append(vec![item])),
            Opcode::Appends => self.pop_mark().and_then(|items| self.append(items)),
            Opcode::EmptyDict => self.make(Object::Dict(vec![])),
            Opcode::Dict => self.pop_mark().and_then(|items| self.make(Object::Dict(pairs(&items)?))),
            Opcode::SetItem => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![(key, value)])
            }
            Opcode::SetItems => self.pop_mark().and_then(|items| self.set_items(pairs(&items)?)),
            Opcode::Put | Opcode::BinPut | Opcode::LongBinPut | Opcode::Memoize => self.put(opcode),
            Opcode::Get | Opcode::BinGet | Opcode::LongBinGet => self.get(opcode),
            Opcode::Global => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(global(module, name)?))
            }
            Opcode::StackGlobal => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.push(Value::Global(global(module, name)?)),
                _ => Err(nonsense("STACK_GLOBAL")),
            },
            Opcode::Reduce => self.reduce(),
            Opcode::Build => self.build(),
            Opcode::BinPersId => self.persistent(),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length);
        let bytes = end.and_then(|end| self.bytes.get(self.at..end)).ok_or("its pickle ends too early")?;
        self.at += length;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// An unsigned number of this many bytes.
    fn length(&mut self, width: usize) -> Result<usize> {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| "its pickle ends too early".to_owned())
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest).ok_or("its pickle ends too early")?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).map_err(|_| "its pickle holds a text that is not UTF-8".to_owned())
    }

    fn text(&mut self, width: usize) -> Result<()> {
        let length = self.length(width)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "its pickle holds a text that is not UTF-8")?;
        self.push(Value::Text(text))
    }

    fn skip(&mut self, width: usize) -> Result<()> {
        let length = self.length(width)?;
        self.take(length)?;
        self.push(Value::Bytes)
    }

    fn number_in_text(&mut self, opcode: Opcode) -> Result<()> {
        let line = self.line()?;
        let number = || line.trim_end_matches('L').parse().map_err(|_| nonsense("INT"));
        let value = match (opcode, line) {
            (Opcode::Float, _) => Value::Float,
            (Opcode::Int, "00") => Value::Bool(false),
            (Opcode::Int, "01") => Value::Bool(true),
            _ => Value::Int(number()?),
        };
        self.push(value)
    }

    pub(super) fn push(&mut self, value: Value<'a>) -> Result<()> {
        self.count(1)?;
        self.stack.push(value);
        Ok(())
    }

    pub(super) fn count(&mut self, values: usize) -> Result<()> {
        self.values = self.values.saturating_add(values);
        match self.values <= VALUES_MAX {
            true => Ok(()),
            false => Err(format!("its pickle holds more than {VALUES_MAX} values, which no model needs")),
        }
    }

    /// What lies above the last mark, and no further.
    pub(super) fn pop(&mut self) -> Result<Value<'a>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let value = if self.stack.len() > floor { self.stack.pop() } else { None };
        value.ok_or_else(|| "its pickle takes more than it has put".to_owned())
    }

    fn top(&self) -> Result<Value<'a>> {
        self.stack.last().copied().ok_or_else(|| "its pickle takes more than it has put".to_owned())
    }

    fn pop_mark(&mut self) -> Result<Vec<Value<'a>>> {
        let mark = self.marks.pop().ok_or("its pickle has no mark where it needs one")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    pub(super) fn make(&mut self, object: Object<'a>) -> Result<()> {
        self.objects.push(object);
        self.push(Value::Object(self.objects.len() - 1))
    }

    fn tuple(&mut self, length: usize) -> Result<()> {
        let mut items = (0..length).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        items.reverse();
        self.make(Object::Tuple(items))
    }

    pub(super) fn object(&self, value: Value<'a>) -> Option<&Object<'a>> {
        match value {
            Value::Object(place) => self.objects.get(place),
            _ => None,
        }
    }

    pub(super) fn top_object(&mut self) -> Result<Option<&mut Object<'a>>> {
        match self.top()? {
            Value::Object(place) => Ok(self.objects.get_mut(place)),
            _ => Ok(None),
        }
    }

    fn append(&mut self, items: Vec<Value<'a>>) -> Result<()> {
        match self.top_object()? {
            Some(Object::List(list)) => {
                list.extend(items);
                Ok(())
            }
            _ => Err(nonsense("APPENDS")),
        }
    }

    fn set_items(&mut self, items: Vec<(Value<'a>, Value<'a>)>) -> Result<()> {
        match self.top_object()? {
            Some(Object::Dict(dict)) => {
                dict.extend(items);
                Ok(())
            }
            _ => Err(nonsense("SETITEMS")),
        }
    }

    fn memo_key(&mut self, opcode: Opcode) -> Result<u32> {
        match opcode {
            Opcode::Put | Opcode::Get => self.line()?.parse().map_err(|_| nonsense("PUT")),
            Opcode::BinPut | Opcode::BinGet => Ok(u32::from(self.take(1)?[0])),
            Opcode::Memoize => Ok(self.memo.len() as u32),
            _ => Ok(u32::from_le_bytes(self.array()?)),
        }
    }

    fn put(&mut self, opcode: Opcode) -> Result<()> {
        let key = self.memo_key(opcode)?;
        let value = self.top()?;
        self.count(1)?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn get(&mut self, opcode: Opcode) -> Result<()> {
        let key = self.memo_key(opcode)?;
        let value = self.memo.get(&key).copied().ok_or_else(|| nonsense("GET"))?;
        self.push(value)
    }
}

/// A signed whole number, little-endian.
fn whole(bytes: &[u8]) -> Value<'_> {
    if bytes.len() > 8 {
        return Value::Long(bytes);
    }
    let negative = bytes.last().is_some_and(|last| *last >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(wide))
}

fn pairs<'a>(items: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>> {
    match items.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err(nonsense("SETITEMS")),
    }
}

pub(super) fn nonsense(opcode: &str) -> String {
    format!("its pickle has the opcode {opcode} for values that make no sense there")
}
