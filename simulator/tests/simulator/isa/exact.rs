//! An oracle for floating-point instructions: exact rational arithmetic, rounded once to a format.
//!
//! Nothing here uses the machine's floating point but to take operands apart, so it shares no mistake with code that
//! does.

use num_bigint::BigInt;

/// A binary format: significand bits with the hidden one, exponents of the smallest and largest normal numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Format {
    pub bits: u32,
    precision: i64,
    min_exponent: i64,
    max_exponent: i64,
    /// The ISA's NaN, where it names one.
    pub nan: Option<u64>,
}

pub const F16: Format = Format { bits: 16, precision: 11, min_exponent: -14, max_exponent: 15, nan: Some(0x7fff) };
pub const BF16: Format = Format { bits: 16, precision: 8, min_exponent: -126, max_exponent: 127, nan: Some(0x7fff) };
pub const F32: Format =
    Format { bits: 32, precision: 24, min_exponent: -126, max_exponent: 127, nan: Some(0x7fff_ffff) };
pub const F64: Format = Format { bits: 64, precision: 53, min_exponent: -1022, max_exponent: 1023, nan: None };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Nearest,
    Zero,
    Down,
    Up,
}

pub const MODES: [(&str, Mode); 4] = [("rn", Mode::Nearest), ("rz", Mode::Zero), ("rm", Mode::Down), ("rp", Mode::Up)];

/// What bits of a format stand for.
#[derive(Clone, Debug)]
pub enum Number {
    Nan,
    Infinite { negative: bool },
    Zero { negative: bool },
    Finite(Exact),
}

/// `numerator / denominator · 2^exponent`, not zero; the denominator is positive.
#[derive(Clone, Debug)]
pub struct Exact {
    numerator: BigInt,
    denominator: BigInt,
    exponent: i64,
}

fn is_negative(n: &BigInt) -> bool {
    n.sign() == num_bigint::Sign::Minus
}

fn power(n: i64) -> BigInt {
    BigInt::from(1) << n as usize
}

impl Exact {
    fn new(numerator: BigInt, exponent: i64) -> Self {
        Self { numerator, denominator: BigInt::from(1), exponent }
    }

    /// The integer that is `self · 2^-exponent` for a lower exponent.
    fn at(&self, exponent: i64) -> BigInt {
        &self.numerator << (self.exponent - exponent) as usize
    }
}

impl Format {
    pub fn read(self, bits: u64) -> Number {
        let fraction_bits = self.precision - 1;
        let exponent_bits = i64::from(self.bits) - 1 - fraction_bits;
        let negative = bits >> (self.bits - 1) & 1 == 1;
        let field = (bits >> fraction_bits & ((1 << exponent_bits) - 1)) as i64;
        let fraction = bits & ((1 << fraction_bits) - 1);
        if field == (1 << exponent_bits) - 1 {
            return if fraction == 0 { Number::Infinite { negative } } else { Number::Nan };
        }
        if field == 0 && fraction == 0 {
            return Number::Zero { negative };
        }
        let significand = if field == 0 { fraction } else { fraction | 1 << fraction_bits };
        let exponent = field.max(1) - 1 + self.min_exponent - fraction_bits;
        let magnitude = BigInt::from(significand);
        Number::Finite(Exact::new(if negative { -magnitude } else { magnitude }, exponent))
    }

    /// As [`Self::read`], with subnormal numbers as zeros.
    pub fn read_flushed(self, bits: u64) -> Number {
        self.read(self.flush(bits))
    }

    pub fn flush(self, bits: u64) -> u64 {
        let exponent_field = ((1 << (i64::from(self.bits) - self.precision)) - 1) << (self.precision - 1);
        if bits & exponent_field == 0 { bits & 1 << (self.bits - 1) } else { bits }
    }

    fn sign(self, negative: bool) -> u64 {
        u64::from(negative) << (self.bits - 1)
    }

    pub fn zero(self, negative: bool) -> u64 {
        self.sign(negative)
    }

    pub fn infinity(self, negative: bool) -> u64 {
        let field = (1 << (i64::from(self.bits) - self.precision)) - 1;
        self.sign(negative) | field << (self.precision - 1)
    }

    fn largest(self, negative: bool) -> u64 {
        self.infinity(negative) - 1
    }

    /// Rounds a number that is not zero.
    pub fn round(self, x: &Exact, mode: Mode) -> u64 {
        let negative = is_negative(&x.numerator);
        let magnitude = BigInt::from(x.numerator.magnitude().clone());
        // The exponent of the leading bit, within one of the difference of lengths.
        let lengths = magnitude.bits() as i64 - x.denominator.bits() as i64;
        let floor = |exponent: i64| {
            let shift = x.exponent - exponent;
            let (n, d) = if shift >= 0 {
                (&magnitude << shift as usize, x.denominator.clone())
            } else {
                (magnitude.clone(), &x.denominator << (-shift) as usize)
            };
            (&n / &d, (&n % &d) * BigInt::from(2), d)
        };
        let mut leading = lengths + x.exponent;
        if floor(leading).0 == BigInt::from(0) {
            leading -= 1;
        }
        let quantum = leading.max(self.min_exponent) - self.precision + 1;
        let (mut quotient, twice_rest, divisor) = floor(quantum);
        let inexact = twice_rest != BigInt::from(0);
        let odd = quotient.bit(0);
        let up = match mode {
            Mode::Nearest => twice_rest > divisor || twice_rest == divisor && odd,
            Mode::Zero => false,
            Mode::Down => negative && inexact,
            Mode::Up => !negative && inexact,
        };
        if up {
            quotient += 1;
        }
        let (mut quotient, mut quantum) = (quotient, quantum);
        if quotient == power(self.precision) {
            quotient >>= 1;
            quantum += 1;
        }
        let significand: u64 = quotient.iter_u64_digits().next().unwrap_or(0);
        let hidden = 1u64 << (self.precision - 1);
        if significand < hidden {
            return self.sign(negative) | significand;
        }
        let exponent = quantum + self.precision - 1;
        if exponent > self.max_exponent {
            let to_infinity = match mode {
                Mode::Nearest => true,
                Mode::Zero => false,
                Mode::Down => negative,
                Mode::Up => !negative,
            };
            return if to_infinity { self.infinity(negative) } else { self.largest(negative) };
        }
        let field = (exponent - self.min_exponent + 1) as u64;
        self.sign(negative) | field << (self.precision - 1) | (significand - hidden)
    }
}

impl Number {
    pub fn negative(&self) -> bool {
        match self {
            Self::Nan => false,
            Self::Infinite { negative } | Self::Zero { negative } => *negative,
            Self::Finite(x) => is_negative(&x.numerator),
        }
    }

    pub fn negate(self) -> Self {
        match self {
            Self::Nan => Self::Nan,
            Self::Infinite { negative } => Self::Infinite { negative: !negative },
            Self::Zero { negative } => Self::Zero { negative: !negative },
            Self::Finite(x) => Self::Finite(Exact { numerator: -x.numerator, ..x }),
        }
    }

    pub fn of_integer(n: i128) -> Self {
        if n == 0 { Self::Zero { negative: false } } else { Self::Finite(Exact::new(BigInt::from(n), 0)) }
    }

    /// The integer a finite number rounds to.
    pub fn to_integer(&self, mode: Mode) -> BigInt {
        let Self::Finite(x) = self else { return BigInt::from(0) };
        let (n, d) = if x.exponent >= 0 {
            (&x.numerator << x.exponent as usize, x.denominator.clone())
        } else {
            (x.numerator.clone(), &x.denominator << (-x.exponent) as usize)
        };
        let (towards_zero, rest) = (&n / &d, &n % &d);
        let away = towards_zero.clone() + if is_negative(&n) { -1 } else { 1 };
        let twice = BigInt::from(rest.magnitude().clone()) * 2;
        let take_away = match mode {
            Mode::Nearest => twice > d || twice == d && towards_zero.bit(0),
            Mode::Zero => false,
            Mode::Down => is_negative(&n) && twice != BigInt::from(0),
            Mode::Up => !is_negative(&n) && twice != BigInt::from(0),
        };
        if take_away { away } else { towards_zero }
    }

    /// As bits of a format; `None` is NaN.
    pub fn write(&self, format: Format, mode: Mode) -> Option<u64> {
        match self {
            Self::Nan => None,
            Self::Infinite { negative } => Some(format.infinity(*negative)),
            Self::Zero { negative } => Some(format.zero(*negative)),
            Self::Finite(x) => Some(format.round(x, mode)),
        }
    }
}

/// The sum; one that is exactly zero takes its sign from the mode.
pub fn sum(a: &Number, b: &Number, mode: Mode) -> Number {
    use Number::{Finite, Infinite, Nan, Zero};
    match (a, b) {
        (Nan, _) | (_, Nan) => Nan,
        (Infinite { negative: x }, Infinite { negative: y }) if x != y => Nan,
        (Infinite { .. }, _) => a.clone(),
        (_, Infinite { .. }) => b.clone(),
        (Zero { negative: x }, Zero { negative: y }) => Zero { negative: if x == y { *x } else { mode == Mode::Down } },
        (Zero { .. }, Finite(_)) => b.clone(),
        (Finite(_), Zero { .. }) => a.clone(),
        (Finite(x), Finite(y)) => {
            let exponent = x.exponent.min(y.exponent);
            let total = x.at(exponent) + y.at(exponent);
            if total == BigInt::from(0) {
                Zero { negative: mode == Mode::Down }
            } else {
                Finite(Exact::new(total, exponent))
            }
        }
    }
}

pub fn product(a: &Number, b: &Number) -> Number {
    use Number::{Finite, Infinite, Nan, Zero};
    let negative = a.negative() != b.negative();
    match (a, b) {
        (Nan, _) | (_, Nan) | (Infinite { .. }, Zero { .. }) | (Zero { .. }, Infinite { .. }) => Nan,
        (Infinite { .. }, _) | (_, Infinite { .. }) => Infinite { negative },
        (Zero { .. }, _) | (_, Zero { .. }) => Zero { negative },
        (Finite(x), Finite(y)) => Finite(Exact::new(&x.numerator * &y.numerator, x.exponent + y.exponent)),
    }
}

pub fn quotient(a: &Number, b: &Number) -> Number {
    use Number::{Finite, Infinite, Nan, Zero};
    let negative = a.negative() != b.negative();
    match (a, b) {
        (Nan, _) | (_, Nan) | (Infinite { .. }, Infinite { .. }) | (Zero { .. }, Zero { .. }) => Nan,
        (Infinite { .. }, _) | (_, Zero { .. }) => Infinite { negative },
        (_, Infinite { .. }) | (Zero { .. }, _) => Zero { negative },
        (Finite(x), Finite(y)) => {
            let sign = if is_negative(&y.numerator) { -1 } else { 1 };
            Finite(Exact {
                numerator: &x.numerator * sign,
                denominator: BigInt::from(y.numerator.magnitude().clone()),
                exponent: x.exponent - y.exponent,
            })
        }
    }
}

/// The root, with a last bit that stands for all that follows: enough for any rounding to a format here.
pub fn square_root(a: &Number) -> Number {
    match a {
        Number::Nan | Number::Zero { .. } => a.clone(),
        Number::Infinite { negative: false } => a.clone(),
        Number::Infinite { .. } => Number::Nan,
        Number::Finite(x) if is_negative(&x.numerator) => Number::Nan,
        Number::Finite(x) => {
            const DIGITS: i64 = 200;
            let exponent = (x.exponent - DIGITS).div_euclid(2) * 2;
            let scaled = x.at(exponent);
            let root = scaled.sqrt();
            let sticky = if &root * &root == scaled { 0 } else { 1 };
            Number::Finite(Exact::new((root << 1usize) + sticky, exponent / 2 - 1))
        }
    }
}

/// Interesting bits of a format: zeros, subnormals, neighbours of 1, halves, large and largest numbers, infinities,
/// NaNs.
pub fn edges(format: Format) -> Vec<u64> {
    let hidden = 1u64 << (format.precision - 1);
    let one = ((1 - format.min_exponent) as u64) << (format.precision - 1);
    let infinity = format.infinity(false);
    let power = |n: i64| (one as i64 + n * hidden as i64) as u64;
    let positive = [
        0,
        1,
        2,
        hidden / 2 + 1,
        hidden - 1,
        hidden,
        hidden + 1,
        one - 1,
        one,
        one + 1,
        one + 2,
        one + hidden / 2,
        one + hidden / 2 + 1,
        one + hidden - 1,
        power(1),
        power(1) + hidden / 4,
        power(-1),
        power(-2),
        power(-format.precision),
        power(-format.precision) + 1,
        power(-format.precision - 1),
        power(format.precision - 1) + 1,
        power(5) + hidden / 3,
        power(-5) + hidden / 3,
        power(format.max_exponent / 2),
        power(format.max_exponent / 2) + 1,
        power(format.min_exponent / 2) + 1,
        infinity - hidden,
        infinity - 1,
        infinity,
        infinity + 1,
        infinity + hidden / 2,
        infinity + hidden - 1,
    ];
    positive.iter().flat_map(|&bits| [bits, bits | format.zero(true)]).collect()
}
