//! Random numbers from a seed: one counter-based generator for the whole project.
//!
//! A counter-based generator is a function and not a machine with a state: word number `i` of stream `s` under
//! seed `k` is `philox(i, s; k)`, whoever asks, in whatever order, on whichever device. That is what makes a resumed
//! run equal an uninterrupted one, and what lets a shader draw the same dropout mask as the CPU.
//!
//! Everything here is integer arithmetic or f64 `+ − × ÷ √`, which IEEE 754 defines to the last bit. The logarithm
//! and the cosine that a normal variate needs are those of [`math`](crate::math), because those of the platform's own
//! library differ by a last bit between native code and wasm.

use crate::math::{cos_turn, ln};

/// Philox4x32-10: four random words from a 128-bit counter and a 64-bit key.
///
/// Ten rounds of two 32 × 32 → 64-bit products; the key is raised by a Weyl constant each round. Salmon, Moraes,
/// Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", <https://doi.org/10.1145/2063384.2063405>.
/// The WGSL twin is `philox` in `shaders/prelude.wgsl`.
///
/// # Example
///
/// ```
/// use cloche_tensor::rng::philox;
/// assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
/// ```
#[inline]
pub const fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    let mut round = 0;
    while round < 10 {
        let p0 = PHILOX_M0 as u64 * c0 as u64;
        let p1 = PHILOX_M1 as u64 * c2 as u64;
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(PHILOX_W0);
        k1 = k1.wrapping_add(PHILOX_W1);
        round += 1;
    }
    [c0, c1, c2, c3]
}

/// The two multipliers, found by search in the paper.
const PHILOX_M0: u32 = 0xD251_1F53;
const PHILOX_M1: u32 = 0xCD9E_8D57;
/// The Weyl constants: the golden ratio and √3 − 1, as 32-bit fractions.
const PHILOX_W0: u32 = 0x9E37_79B9;
const PHILOX_W1: u32 = 0xBB67_AE85;

/// A stream of random numbers, named by a seed and a stream number; any position can be reached at once.
///
/// The key of [`philox`] is the seed. The counter is `(block number, stream)`, 64 bits each, so two streams under one
/// seed never meet. A consumer takes its stream from its own name with [`stream_id`], and then nothing that another
/// part of the program draws can shift what this one gets.
///
/// # Example
///
/// ```
/// use cloche_tensor::rng::{Rng, stream_id};
/// let mut a = Rng::new(1337, stream_id("dropout"));
/// let first: Vec<u32> = (0..9).map(|_| a.next_u32()).collect();
/// let mut b = Rng::new(1337, stream_id("dropout")).at(8);
/// assert_eq!(b.next_u32(), first[8]);
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u32; 2],
    stream: u64,
    /// Number of the next word; block `position / 4` holds it.
    position: u64,
    /// The block that `position` lies in, where one is loaded: valid whenever `position % 4 != 0`.
    block: [u32; 4],
}

impl Rng {
    /// The beginning of stream `stream` under `seed`.
    pub fn new(seed: u64, stream: u64) -> Rng {
        Rng { key: [seed as u32, (seed >> 32) as u32], stream, position: 0, block: [0; 4] }
    }

    /// The same stream, continued from word number `position`.
    pub fn at(mut self, position: u64) -> Rng {
        self.position = position;
        if !position.is_multiple_of(4) {
            self.block = self.load(position / 4);
        }
        self
    }

    /// Number of words drawn so far, which [`Rng::at`] takes back.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn load(&self, block: u64) -> [u32; 4] {
        let counter = [block as u32, (block >> 32) as u32, self.stream as u32, (self.stream >> 32) as u32];
        philox(counter, self.key)
    }

    /// 32 random bits: one word of the stream.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        let lane = (self.position % 4) as usize;
        if lane == 0 {
            self.block = self.load(self.position / 4);
        }
        self.position += 1;
        self.block[lane]
    }

    /// 64 random bits: two words, the lower half first.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let low = self.next_u32() as u64;
        low | (self.next_u32() as u64) << 32
    }

    /// A uniform number in `[0, 1)`: the upper 24 bits of one word, times 2⁻²⁴, so that each value is exact in f32.
    #[inline]
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// A uniform number in `[0, 1)` with 53 random bits; draws two words.
    #[inline]
    pub fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A standard normal number; draws two words.
    ///
    /// `√(−2 ln u) · cos(2π v)`, Box & Muller 1958, "A note on the generation of random normal deviates",
    /// <https://doi.org/10.1214/aoms/1177706645>. The sine that would give a second number is left out, so that each
    /// number depends on its own two words and can be reached directly. `u` is the middle of one of 2³² intervals,
    /// never 0, which bounds the result by 6.77.
    pub fn normal(&mut self) -> f32 {
        let u = (self.next_u32() as f64 + 0.5) * (1.0 / (1u64 << 32) as f64);
        let v = self.next_u32() as f64 * (1.0 / (1u64 << 32) as f64);
        ((-2.0 * ln(u)).sqrt() * cos_turn(v)) as f32
    }

    /// A whole number in `[0, n)`; draws two words, always two, so that positions stay predictable.
    ///
    /// The 64-bit word is multiplied by `n` and the upper half kept: no number is more likely than another by more
    /// than one part in 2⁶⁴ / n.
    ///
    /// # Panics
    ///
    /// Where `n` is 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "below: n is 0, there is no number to choose");
        ((self.next_u64() as u128 * n as u128) >> 64) as u64
    }

    /// One item, each as likely as the others.
    ///
    /// # Panics
    ///
    /// Where `items` is empty.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Puts the items into random order, each order as likely as the others (Fisher & Yates 1938; Durstenfeld 1964).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// The stream number that belongs to a name: FNV-1a in 64 bits (Fowler, Noll & Vo 1991, RFC 9923).
///
/// # Example
///
/// ```
/// assert_eq!(cloche_tensor::rng::stream_id("a"), 0xaf63dc4c8601ec8c);
/// ```
pub const fn stream_id(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The three vectors that Random123 publishes in `kat_vectors` for philox4x32 with 10 rounds.
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn any_position_is_reached_directly() {
        let mut whole = Rng::new(u64::MAX, 7);
        let words: Vec<u32> = (0..40).map(|_| whole.next_u32()).collect();
        assert_eq!(words[..4], philox([0, 0, 7, 0], [!0, !0]));
        for start in 0..40 {
            let mut part = Rng::new(u64::MAX, 7).at(start);
            assert_eq!(part.position(), start);
            for &word in &words[start as usize..] {
                assert_eq!(part.next_u32(), word);
            }
        }
    }

    #[test]
    fn seeds_and_streams_differ() {
        let first = |seed, stream| Rng::new(seed, stream).next_u64();
        let all = [first(0, 0), first(1, 0), first(0, 1), first(1 << 32, 0), first(0, 1 << 32)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
        // The published FNV-1a test values.
        assert_eq!(stream_id(""), 0xcbf29ce484222325);
        assert_eq!(stream_id("foobar"), 0x85944171f73967e8);
    }

    #[test]
    fn uniform_fills_the_unit_interval() {
        let mut rng = Rng::new(1, 1);
        let (mut bins, mut sum) = ([0u32; 16], 0.0);
        for _ in 0..160_000 {
            let x = rng.uniform();
            assert!((0.0..1.0).contains(&x));
            bins[(x * 16.0) as usize] += 1;
            let y = rng.uniform_f64();
            assert!((0.0..1.0).contains(&y));
            sum += y;
        }
        // Each bin holds 10,000 ± 97; five standard deviations never fail by chance, and the seed is fixed anyway.
        assert!(bins.iter().all(|&n| (9_515..10_485).contains(&n)), "{bins:?}");
        assert!((sum / 160_000.0 - 0.5).abs() < 0.004);
    }

    #[test]
    fn normal_has_the_moments_and_tails_of_a_normal() {
        const N: usize = 1_000_000;
        let mut rng = Rng::new(3, stream_id("normal"));
        let (mut m1, mut m2, mut m3, mut m4, mut beyond) = (0.0, 0.0, 0.0, 0.0, [0usize; 4]);
        for _ in 0..N {
            let x = rng.normal() as f64;
            assert!(x.abs() < 6.78);
            (m1, m2, m3, m4) = (m1 + x, m2 + x * x, m3 + x.powi(3), m4 + x.powi(4));
            (0..4).for_each(|k| beyond[k] += (x.abs() > (k + 1) as f64) as usize);
        }
        let n = N as f64;
        assert!(
            (m1 / n).abs() < 0.005 && (m2 / n - 1.0).abs() < 0.007,
            "mean {} variance {}",
            m1 / n,
            m2 / n
        );
        assert!((m3 / n).abs() < 0.02 && (m4 / n - 3.0).abs() < 0.05, "third {} fourth {}", m3 / n, m4 / n);
        // P(|x| > 1, 2, 3, 4), within five standard deviations of the count.
        for (k, p) in [0.317_311, 0.045_500, 0.002_700, 0.000_063].into_iter().enumerate() {
            let (expected, deviation) = (n * p, (n * p).sqrt());
            assert!((beyond[k] as f64 - expected).abs() < 5.0 * deviation, "beyond {}: {}", k + 1, beyond[k]);
        }
    }

    /// These bits must come out on each platform; they were written down from x86-64.
    #[test]
    fn normal_is_the_same_bits_everywhere() {
        let mut rng = Rng::new(1337, stream_id("init"));
        let mut hash = 0u32;
        for _ in 0..10_000 {
            hash = hash.rotate_left(5) ^ rng.normal().to_bits();
        }
        assert_eq!(hash, 0xc9f4303b, "found {hash:#010x}");
    }

    #[test]
    fn below_choose_and_shuffle_are_even() {
        let mut rng = Rng::new(4, 4);
        let (mut counts, mut firsts) = ([0u32; 7], [0u32; 4]);
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
            let mut items = [0, 1, 2, 3];
            rng.shuffle(&mut items);
            firsts[items[0]] += 1;
            items.sort_unstable();
            assert_eq!(items, [0, 1, 2, 3]);
        }
        assert!(counts.iter().all(|n| n.abs_diff(10_000) < 470), "{counts:?}");
        assert!(firsts.iter().all(|n| n.abs_diff(17_500) < 580), "{firsts:?}");
        assert_eq!((rng.below(1), *rng.choose(&["only"])), (0, "only"));
        assert!(rng.below(u64::MAX) < u64::MAX);
    }
}
