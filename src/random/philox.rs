//! Philox4x32-10 (Salmon, Moraes, Dror, Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011).
//!
//! key = seed (low word, high word); counter = four words chosen by the caller. Ten rounds of
//! `(c0, c1, c2, c3) → (hi(M1·c2) ^ c1 ^ k0, lo(M1·c2), hi(M0·c0) ^ c3 ^ k1, lo(M0·c0))`, the key bumped by the Weyl
//! constants after each. Nothing is stored between calls, so a backward pass makes a mask again instead of keeping it.

const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;
const ROUNDS: usize = 10;

/// The generator of one run; cheap to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    /// Low and high word of the seed.
    pub const fn key(self) -> [u32; 2] {
        self.key
    }

    /// A generator with this key.
    pub const fn new(seed: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32] }
    }

    /// Four words of the block at `counter`.
    #[inline(always)]
    pub fn block(self, counter: [u32; 4]) -> [u32; 4] {
        self.blocks::<1>(counter).map(|word| word[0])
    }

    /// The blocks at `counter`, `counter + 1`, … in its first word (wrapping): `result[w][i]` is word w of block i.
    ///
    /// Side by side, so that the rounds become vector code where the caller is compiled for it.
    #[inline(always)]
    pub fn blocks<const N: usize>(self, counter: [u32; 4]) -> [[u32; N]; 4] {
        let mut c = counter.map(|word| [word; N]);
        for (i, word) in c[0].iter_mut().enumerate() {
            *word = word.wrapping_add(i as u32);
        }
        let [mut k0, mut k1] = self.key;
        for _ in 0..ROUNDS {
            let [c0, c1, c2, c3] = &mut c;
            for (((c0, c1), c2), c3) in c0.iter_mut().zip(c1).zip(c2).zip(c3) {
                let p0 = u64::from(M0) * u64::from(*c0);
                let p1 = u64::from(M1) * u64::from(*c2);
                *c0 = (p1 >> 32) as u32 ^ *c1 ^ k0;
                *c1 = p1 as u32;
                *c2 = (p0 >> 32) as u32 ^ *c3 ^ k1;
                *c3 = p0 as u32;
            }
            k0 = k0.wrapping_add(W0);
            k1 = k1.wrapping_add(W1);
        }
        c
    }

    /// A sequence of numbers for host-side use (shuffles, splits, initial weights), named by two words.
    pub fn stream(self, purpose: u32, index: u32) -> Stream {
        Stream { philox: self, counter: [0, index, 0, Self::HOST | purpose], words: [0; 4], used: 4 }
    }

    /// Marks counters of host-side streams, so that none meets a dropout mask.
    const HOST: u32 = 1 << 31;
}

/// Words drawn one after another from consecutive blocks.
#[derive(Clone, Debug)]
pub struct Stream {
    philox: Philox,
    counter: [u32; 4],
    words: [u32; 4],
    used: usize,
}

impl Stream {
    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.words = self.philox.block(self.counter);
            self.used = 0;
            let (low, carry) = self.counter[0].overflowing_add(1);
            self.counter[0] = low;
            self.counter[2] = self.counter[2].wrapping_add(u32::from(carry));
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// Uniform in `0..bound`, without bias (Lemire 2019, rejection form). `bound` must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Uniform in (0, 1], never 0, so that its logarithm exists.
    pub fn uniform(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box–Muller, cosine branch).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Fisher–Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors of Random123 (`kat_vectors`, philox4x32 10).
    #[test]
    fn agrees_with_the_published_vectors() {
        let of = |key: [u32; 2], counter| Philox { key }.block(counter);
        assert_eq!(of([0, 0], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(of([!0, !0], [!0; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            of([0xa409_3822, 0x299f_31d0], [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn below_is_uniform_and_in_range() {
        let mut stream = Philox::new(1).stream(0, 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&n| (9_600..10_400).contains(&n)), "{counts:?}");
    }

    #[test]
    fn streams_differ_by_purpose_and_index_and_repeat() {
        let draw = |p, i| Philox::new(3).stream(p, i).next_u64();
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(2, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
    }

    #[test]
    fn normal_has_mean_0_and_variance_1() {
        let mut stream = Philox::new(9).stream(0, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
