//! The opcodes of Python's pickle protocols 0 to 5, and which of them a file of tensors needs.
//!
//! https://docs.python.org/3/library/pickletools.html lists them. What is not needed is refused by its name.

/// Declares the opcodes that are carried out.
macro_rules! opcodes {
    ($($name:ident = $code:literal),* $(,)?) => {
        /// An opcode that is carried out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Opcode { $($name),* }

        impl Opcode {
            pub(crate) fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

opcodes! {
    Mark = b'(', Stop = b'.', Pop = b'0', PopMark = b'1',
    Proto = 0x80, Frame = 0x95,
    None = b'N', NewTrue = 0x88, NewFalse = 0x89,
    Int = b'I', BinInt = b'J', BinInt1 = b'K', BinInt2 = b'M', Long = b'L', Long1 = 0x8a, Float = b'F', BinFloat = b'G',
    Unicode = b'V', BinUnicode = b'X', ShortBinUnicode = 0x8c, BinUnicode8 = 0x8d,
    BinString = b'T', ShortBinString = b'U', BinBytes = b'B', ShortBinBytes = b'C',
    EmptyTuple = b')', Tuple = b't', Tuple1 = 0x85, Tuple2 = 0x86, Tuple3 = 0x87,
    EmptyList = b']', List = b'l', Append = b'a', Appends = b'e',
    EmptyDict = b'}', Dict = b'd', SetItem = b's', SetItems = b'u',
    Put = b'p', BinPut = b'q', LongBinPut = b'r', Memoize = 0x94,
    Get = b'g', BinGet = b'h', LongBinGet = b'j',
    Global = b'c', StackGlobal = 0x93, Reduce = b'R', Build = b'b', BinPersId = b'Q',
}

/// Opcodes that exist and are not carried out.
const REFUSED: [(u8, &str); 18] = [
    (b'2', "DUP"),
    (b'P', "PERSID"),
    (b'S', "STRING"),
    (b'i', "INST"),
    (b'o', "OBJ"),
    (0x81, "NEWOBJ"),
    (0x82, "EXT1"),
    (0x83, "EXT2"),
    (0x84, "EXT4"),
    (0x8b, "LONG4"),
    (0x8e, "BINBYTES8"),
    (0x8f, "EMPTY_SET"),
    (0x90, "ADDITEMS"),
    (0x91, "FROZENSET"),
    (0x92, "NEWOBJ_EX"),
    (0x96, "BYTEARRAY8"),
    (0x97, "NEXT_BUFFER"),
    (0x98, "READONLY_BUFFER"),
];

/// What to call a byte that is no opcode that is carried out.
pub(super) fn name(byte: u8) -> String {
    let known = REFUSED.iter().find(|(code, _)| *code == byte);
    known.map_or_else(|| format!("0x{byte:02x}"), |(_, name)| (*name).to_owned())
}
