//! Products of bytes, four of which and their sum are one instruction (AVX-512 VNNI): a row in three digits of a byte.

use super::{Digits, GROUP, LEAST, MOST, PANEL, Panels, STRIP};
use core::arch::x86_64::*;

/// Digits of a number, of 256 values each.
pub(super) const DIGITS: usize = 3;
pub(super) type Digit = i8;

/// Sums that do not begin with 0.
pub(super) const OFFSETS: usize = DIGITS;

/// Where the digits of the `k`-th number of a group lie, so that four that follow each other meet the bytes of a word: codes of
/// 8 bits are bytes already, of 4 bits first the lower halves of all four bytes and then the upper ones.
const fn place(bits: usize, k: usize) -> usize {
    match bits {
        4 => k / 8 * 8 + k % 2 * 4 + k % 8 / 2,
        _ => k,
    }
}

/// Which of sixteen numbers comes where.
const fn order(bits: usize) -> [i32; 16] {
    let (mut order, mut k) = ([0; 16], 0);
    while k < 16 {
        order[place(bits, k)] = k as i32;
        k += 1;
    }
    order
}

/// What a group of a row is in digits, for codes of `BITS` bits. Where a number is not finite, nothing that comes of it is.
///
/// # Safety
/// The processor has `avx512f`.
#[target_feature(enable = "avx512f")]
pub unsafe fn digits<const BITS: usize>(x: &[f32; GROUP]) -> Digits {
    // SAFETY: 16 numbers are there, twice, and so is the order of 16.
    let order = unsafe { _mm512_loadu_si512(const { order(BITS) }.as_ptr().cast()) };
    let x = [0, 16].map(|at| unsafe { _mm512_permutexvar_ps(order, _mm512_loadu_ps(x.as_ptr().add(at))) });
    let most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(x[0]), _mm512_abs_ps(x[1])));
    let (each, scale) = if most < LEAST { (0.0, 0.0) } else { (MOST / most, most / MOST) };
    let [first, second] = x.map(|x| _mm512_mul_ps(x, _mm512_setzero_ps()));
    let nothing = _mm512_add_ps(first, second);
    let mut row = Digits {
        digits: [[0; GROUP]; DIGITS],
        offsets: [0; DIGITS],
        scale: scale + _mm512_reduce_add_ps(nothing),
    };
    let mut rest = x.map(|x| _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(each))));
    for (digits, offset) in row.digits.iter_mut().zip(&mut row.offsets) {
        let digit = rest.map(|rest| _mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(rest)));
        rest = [0, 1].map(|i| _mm512_srai_epi32::<8>(_mm512_sub_epi32(rest[i], digit[i])));
        for (digits, digit) in digits.chunks_exact_mut(16).zip(digit) {
            // SAFETY: sixteen bytes are there.
            unsafe { _mm_storeu_si128(digits.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(digit)) };
        }
        *offset = -(1 << (BITS - 1)) * _mm512_reduce_add_epi32(_mm512_add_epi32(digit[0], digit[1]));
    }
    row
}

/// Groups whose codes stay in the first-level cache while they meet row after row: 16 KiB of the larger codes.
const AT_ONCE: usize = 8;

/// How far ahead codes are fetched, in registers.
const AHEAD: usize = 64;

/// Registers side by side in a panel.
const ACROSS: usize = PANEL / STRIP;

/// Computes the product with codes of `BITS` bits, 4 or 8.
///
/// # Safety
/// The processor has `avx512f` and `avx512vnni`; digits, codes, scales and Y are there, and nothing else accesses Y meanwhile.
#[target_feature(enable = "avx512f,avx512vnni")]
pub unsafe fn multiply<const BITS: usize>(all: &Panels) {
    let &Panels { panels, rows, groups, x, codes, scales, y } = all;
    for (panel, from) in
        (0..panels).flat_map(|panel| (0..groups).step_by(AT_ONCE).map(move |from| (panel, from)))
    {
        for row in 0..rows {
            let mut sums = [_mm512_setzero_ps(); ACROSS];
            let y = |c: usize| y.wrapping_add((panel * rows + row) * PANEL + 16 * c);
            for (c, sum) in sums.iter_mut().enumerate() {
                // SAFETY (of all loads and stores): a panel has ACROSS registers in a row, and the rest is promised.
                *sum = unsafe { _mm512_loadu_ps(y(c)) };
            }
            for group in from..groups.min(from + AT_ONCE) {
                let place = panel * groups + group;
                unsafe {
                    let (x, codes) = (&*x.add(row * groups + group), codes.add(place * BITS * PANEL));
                    one_group::<BITS>(x, codes, scales.add(place * PANEL), &mut sums);
                }
            }
            for (c, sum) in sums.iter().enumerate() {
                unsafe { _mm512_storeu_ps(y(c), *sum) };
            }
        }
    }
}

/// SAFETY: that of [`multiply`]; a group of codes and scales is there.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn one_group<const BITS: usize>(
    row: &Digits,
    codes: *const u32,
    scales: *const f32,
    sums: &mut [__m512; ACROSS],
) {
    let mut parts = row.offsets.map(|offset| [_mm512_set1_epi32(offset); ACROSS]);
    for word in 0..BITS {
        let at = |c: usize| codes.wrapping_add((c * BITS + word) * STRIP);
        for c in 0..ACROSS {
            _mm_prefetch::<_MM_HINT_T1>(at(c).wrapping_add(16 * AHEAD).cast());
        }
        let words: [__m512i; ACROSS] = core::array::from_fn(|c| unsafe { _mm512_loadu_si512(at(c).cast()) });
        if BITS == 8 {
            add_products(row, word, words, &mut parts);
        } else {
            let half = _mm512_set1_epi32(0x0F0F_0F0F);
            add_products(row, 2 * word, words.map(|w| _mm512_and_si512(w, half)), &mut parts);
            let upper = words.map(|w| _mm512_and_si512(_mm512_srli_epi32::<4>(w), half));
            add_products(row, 2 * word + 1, upper, &mut parts);
        }
    }
    let (base, scale) = (_mm512_set1_ps(256.0), _mm512_set1_ps(row.scale));
    for (c, sum) in sums.iter_mut().enumerate() {
        let [ones, tens, most] = parts.map(|part| _mm512_cvtepi32_ps(part[c]));
        let whole = _mm512_fmadd_ps(_mm512_fmadd_ps(most, base, tens), base, ones);
        let scale = unsafe { _mm512_mul_ps(_mm512_loadu_ps(scales.add(16 * c)), scale) };
        *sum = _mm512_fmadd_ps(whole, scale, *sum);
    }
}

/// Adds the products of the bytes of some words, which have no sign, with the `four`-th four digits of each kind.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn add_products(
    row: &Digits,
    four: usize,
    bytes: [__m512i; ACROSS],
    parts: &mut [[__m512i; ACROSS]; DIGITS],
) {
    for (part, digits) in parts.iter_mut().zip(&row.digits) {
        let x: [i8; 4] = core::array::from_fn(|i| digits[4 * four + i]);
        let x = _mm512_set1_epi32(i32::from_ne_bytes(x.map(|x| x as u8)));
        for (sum, bytes) in part.iter_mut().zip(bytes) {
            *sum = _mm512_dpbusd_epi32(*sum, bytes, x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn panels(
        [panels, rows, groups]: [usize; 3],
        x: &[Digits],
        codes: &[u32],
        scales: &[f32],
        y: &mut [f32],
    ) -> Panels {
        let (x, codes, scales) = (x.as_ptr(), codes.as_ptr(), scales.as_ptr());
        Panels { panels, rows, groups, x, codes, scales, y: y.as_mut_ptr() }
    }

    fn check<const BITS: usize>([n, m, groups]: [usize; 3]) {
        let word = |i: usize| (i as u32).wrapping_mul(2_654_435_761).rotate_left(7);
        let codes: Vec<u32> = (0..n * groups * BITS * PANEL).map(word).collect();
        let scales: Vec<f32> = (0..n * groups * PANEL).map(|i| (i % 13) as f32 / 8.0 - 0.7).collect();
        let x = |i: usize| ((i * 37) % 211) as f32 / 1e4 - 0.01;
        // SAFETY: the caller has asked the processor.
        let group = |i: usize| unsafe { digits::<BITS>(&core::array::from_fn(|k| x(i * GROUP + k))) };
        let rows: Vec<Digits> = (0..m * groups).map(group).collect();
        let before: Vec<f32> = (0..n * m * PANEL).map(|i| i as f32 / 700.0).collect();
        let mut y = before.clone();
        // SAFETY: as above.
        unsafe { multiply::<BITS>(&panels([n, m, groups], &rows, &codes, &scales, &mut y)) };
        for (at, (found, before)) in y.iter().zip(before).enumerate() {
            let (panel, r, j) = (at / PANEL / m, at / PANEL % m, at % PANEL);
            let term = |k: usize| {
                let group = panel * groups + k / GROUP;
                let (strip, word) = (group * PANEL / STRIP + j / STRIP, k % GROUP * BITS / 32);
                let word = codes[(strip * BITS + word) * STRIP + j % STRIP];
                let code = (word >> (k * BITS % 32)) & ((1 << BITS) - 1);
                let step = f64::from(scales[group * PANEL + j]);
                f64::from(x(r * groups * GROUP + k)) * step * (f64::from(code) - f64::from(1 << (BITS - 1)))
            };
            let terms = || (0..groups * GROUP).map(term);
            let (expected, size) =
                (f64::from(before) + terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
            let off = (f64::from(*found) - expected).abs();
            assert!(
                off < 2e-7 * (1.0 + size),
                "{n} panels, {m}×{groups}, {BITS} bits: {found}, expected {expected}"
            );
        }
    }

    fn ready() -> bool {
        std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vnni")
    }

    #[test]
    fn products_with_codes_are_right() {
        for extents in [[1, 1, 1], [2, 1, 9], [3, 3, 8], [1, 8, 24]].into_iter().filter(|_| ready()) {
            check::<4>(extents);
            check::<8>(extents);
        }
    }

    #[test]
    fn what_is_not_finite_or_next_to_nothing_is_no_number_or_none() {
        let product = |x: f32| {
            let (codes, scales, mut y) = ([0xFF; 8 * PANEL], [1.0; PANEL], [0.0; PANEL]);
            let numbers = core::array::from_fn(|k| if k == 5 { x } else { 0.0 });
            // SAFETY: the processor has been asked.
            unsafe {
                let rows = [digits::<8>(&numbers)];
                multiply::<8>(&panels([1, 1, 1], &rows, &codes, &scales, &mut y));
            }
            y[0]
        };
        if ready() {
            assert!([f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().all(|x| product(x).is_nan()));
            assert!([0.0, 1e-40, -1e-40].into_iter().all(|x| product(x) == 0.0));
            assert!((product(1e30) / -128e30 - 1.0).abs() < 1e-6, "{}", product(1e30));
            // SAFETY: the processor has been asked.
            assert!(unsafe { digits::<8>(&[f32::MAX; GROUP]) }.scale.is_finite());
        }
    }
}
