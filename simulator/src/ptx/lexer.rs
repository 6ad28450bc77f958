//! Bytes to tokens (PTX ISA section 4).
//!
//! An identifier takes its leading `%`, `$` or `_`; an opcode with modifiers (`add.rn.f32`) comes out as one word and
//! is split by the parser, while directives end at the next dot (`.reg.b16` is two). Integers keep 64 bits whatever
//! their sign; `0f`/`0d` literals keep their bits.

use crate::error::{LoadError, LoadResult};

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// `add.rn.f32`, `%r1`, `$L__BB0_1`, `name`
    Word(String),
    /// `.reg`, `.visible`
    Directive(String),
    Integer(u64),
    F32(u32),
    F64(u64),
    Text(String),
    Punct(char),
}

#[derive(Debug, Clone)]
pub struct Spanned {
    pub token: Token,
    pub line: u32,
}

/// Splits a module into tokens. A NUL ends the text, as it does for the driver.
pub fn tokenize(source: &str) -> LoadResult<Vec<Spanned>> {
    let bytes = source.split('\0').next().unwrap_or("").as_bytes();
    let mut lexer = Lexer { bytes, at: 0, line: 1 };
    let mut tokens = Vec::with_capacity(bytes.len() / 4);
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$' | b'%')
}

fn continues_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%')
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn fail<T>(&self, message: impl Into<String>) -> LoadResult<T> {
        Err(LoadError::new(self.line, message))
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> String {
        let start = self.at;
        while self.at < self.bytes.len() && accept(self.bytes[self.at]) {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned()
    }

    fn skip_blank(&mut self) -> LoadResult<()> {
        loop {
            match (self.peek(0), self.peek(1)) {
                _ if self.at >= self.bytes.len() => return Ok(()),
                (b'\n', _) => {
                    self.line += 1;
                    self.at += 1;
                }
                (b' ' | b'\t' | b'\r', _) => self.at += 1,
                (b'/', b'/') => {
                    self.take_while(|b| b != b'\n');
                }
                (b'/', b'*') => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn skip_comment(&mut self) -> LoadResult<()> {
        let opened = self.line;
        self.at += 2;
        while !(self.peek(0) == b'*' && self.peek(1) == b'/') {
            if self.at >= self.bytes.len() {
                return Err(LoadError::new(opened, "comment is never closed"));
            }
            self.line += u32::from(self.bytes[self.at] == b'\n');
            self.at += 1;
        }
        self.at += 2;
        Ok(())
    }

    fn next(&mut self) -> LoadResult<Option<Spanned>> {
        self.skip_blank()?;
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let line = self.line;
        let first = self.peek(0);
        let token = if starts_word(first) {
            Token::Word(self.word())
        } else if first == b'.' && starts_word(self.peek(1)) {
            self.at += 1;
            Token::Directive(self.part())
        } else if first.is_ascii_digit() {
            self.number()?
        } else if first == b'"' {
            Token::Text(self.text()?)
        } else if first.is_ascii_graphic() {
            self.at += 1;
            Token::Punct(first as char)
        } else {
            return self.fail(format!("unexpected byte 0x{first:02x}"));
        };
        Ok(Some(Spanned { token, line }))
    }

    /// A name with the dotted modifiers that follow it.
    fn word(&mut self) -> String {
        let mut word = self.part();
        while self.peek(0) == b'.' && continues_word(self.peek(1)) {
            self.at += 1;
            word.push('.');
            word.push_str(&self.part());
        }
        word
    }

    /// A name up to the next dot; `::` joins parts of one.
    fn part(&mut self) -> String {
        let mut part = self.take_while(continues_word);
        while self.peek(0) == b':' && self.peek(1) == b':' {
            self.at += 2;
            part.push_str("::");
            part.push_str(&self.take_while(continues_word));
        }
        part
    }

    fn text(&mut self) -> LoadResult<String> {
        self.at += 1;
        let text = self.take_while(|b| b != b'"' && b != b'\n');
        if self.peek(0) != b'"' {
            return self.fail("string is never closed");
        }
        self.at += 1;
        Ok(text)
    }

    fn number(&mut self) -> LoadResult<Token> {
        let digits = |text: &str, radix| u64::from_str_radix(text, radix).ok();
        let prefix = self.peek(1);
        let (token, text) = if self.peek(0) == b'0' && matches!(prefix, b'f' | b'F' | b'd' | b'D') {
            self.at += 2;
            let text = self.take_while(|b| b.is_ascii_hexdigit());
            let single = matches!(prefix, b'f' | b'F');
            let right_length = text.len() == if single { 8 } else { 16 };
            let bits = digits(&text, 16).filter(|_| right_length);
            (bits.map(|b| if single { Token::F32(b as u32) } else { Token::F64(b) }), text)
        } else if self.peek(0) == b'0' && matches!(prefix, b'x' | b'X' | b'b' | b'B') {
            self.at += 2;
            let text = self.take_while(|b| b.is_ascii_hexdigit());
            let radix = if matches!(prefix, b'x' | b'X') { 16 } else { 2 };
            self.skip_suffix();
            (digits(&text, radix).map(Token::Integer), text)
        } else {
            let text = self.take_while(|b| b.is_ascii_digit());
            if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
                return self.decimal_float(text);
            }
            self.skip_suffix();
            let radix = if text.len() > 1 && text.starts_with('0') { 8 } else { 10 };
            (digits(&text, radix).map(Token::Integer), text)
        };
        match token {
            Some(token) if !continues_word(self.peek(0)) => Ok(token),
            _ => self.fail(format!("malformed number `{text}`")),
        }
    }

    fn decimal_float(&mut self, whole: String) -> LoadResult<Token> {
        self.at += 1;
        let text = format!("{whole}.{}", self.take_while(|b| b.is_ascii_digit() || b == b'e' || b == b'E'));
        match text.parse::<f64>() {
            Ok(value) => Ok(Token::F64(value.to_bits())),
            Err(_) => self.fail(format!("malformed number `{text}`")),
        }
    }

    /// `U` marks an unsigned literal; all literals are 64-bit patterns here, so it changes nothing.
    fn skip_suffix(&mut self) {
        if self.peek(0) == b'U' {
            self.at += 1;
        }
    }
}
