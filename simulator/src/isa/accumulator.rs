//! The sign of a sum of products of f64, exactly: all of it fits one fixed-point number of 4,352 bits (Kulisch's
//! accumulator).
//!
//! Only roundings other than to nearest come here, which compilers hardly emit; so it is simple rather than fast.

const WORDS: usize = 68;
/// The weight of bit 0 is that of the smallest product's last bit: two subnormals make 2^-2148.
const LOWEST: i32 = -2148;

/// Two's complement, least significant word first.
struct Accumulator([u64; WORDS]);

/// A finite f64 as a signed integer times a power of two.
fn parts(x: f64) -> (i64, i32) {
    let bits = x.to_bits();
    let (field, fraction) = ((bits >> 52 & 0x7ff) as i32, (bits & ((1 << 52) - 1)) as i64);
    let magnitude = if field == 0 { fraction } else { fraction | 1 << 52 };
    (if bits >> 63 == 1 { -magnitude } else { magnitude }, field.max(1) - 1075)
}

impl Accumulator {
    /// Adds `value · 2^exponent`.
    fn add(&mut self, value: i128, exponent: i32) {
        let shift = (exponent - LOWEST) as usize;
        let (word, bit) = (shift / 64, shift % 64);
        let magnitude = value.unsigned_abs();
        // The shifted magnitude takes up to three words.
        let low = magnitude << bit;
        let high = if bit == 0 { 0 } else { magnitude >> (128 - bit) };
        let pieces = [low as u64, (low >> 64) as u64, high as u64];
        let mut carry = false;
        for k in word..WORDS {
            let piece = pieces.get(k - word).copied().unwrap_or(0);
            let (sum, over) =
                if value < 0 { self.0[k].overflowing_sub(piece) } else { self.0[k].overflowing_add(piece) };
            let (sum, again) =
                if value < 0 { sum.overflowing_sub(u64::from(carry)) } else { sum.overflowing_add(u64::from(carry)) };
            self.0[k] = sum;
            carry = over || again;
            if k >= word + 2 && !carry {
                break;
            }
        }
    }

    fn sign(&self) -> f64 {
        if self.0[WORDS - 1] >> 63 == 1 {
            -1.0
        } else if self.0.iter().all(|&word| word == 0) {
            0.0
        } else {
            1.0
        }
    }
}

/// −1, 0 or 1 for the sum of the products of finite pairs.
pub fn sign_of_sum(products: &[(f64, f64)]) -> f64 {
    let mut sum = Accumulator([0; WORDS]);
    for &(x, y) in products {
        let ((a, ea), (b, eb)) = (parts(x), parts(y));
        sum.add(i128::from(a) * i128::from(b), ea + eb);
    }
    sum.sign()
}

#[cfg(test)]
mod tests {
    use super::sign_of_sum;

    #[test]
    fn what_f64_cannot_see_has_a_sign() {
        let (least, most) = (f64::from_bits(1), f64::MAX);
        assert_eq!(sign_of_sum(&[(least, least), (0.0, 1.0)]), 1.0);
        assert_eq!(sign_of_sum(&[(most, most), (-most, most), (-least, least)]), -1.0);
        assert_eq!(sign_of_sum(&[(most, most), (-least, least), (most, -most)]), -1.0);
        assert_eq!(sign_of_sum(&[(0.1, 0.2), (-0.2, 0.1)]), 0.0);
        // 0.1 · 10 is not quite 1.
        assert_eq!(sign_of_sum(&[(0.1, 10.0), (-1.0, 1.0)]), 1.0);
    }
}
