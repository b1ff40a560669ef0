//! Products of numbers of 16 bits, two of which and their sum are one instruction of WebAssembly: a row in two digits of 12.

use super::{Digits, GROUP, LEAST, MOST, PANEL, Panel};
use core::arch::wasm32::*;

/// Digits of a number, and the bits of one.
pub(super) const DIGITS: usize = 2;
pub(super) type Digit = i16;
const DIGIT_BITS: u32 = 12;

/// Eight numbers in the order in which they meet codes: two that follow each other meet those in the same places of a word's
/// lower and upper half.
fn in_pairs<const BITS: usize>(x: v128) -> v128 {
    match BITS {
        4 => i16x8_shuffle::<0, 4, 1, 5, 2, 6, 3, 7>(x, x),
        _ => i16x8_shuffle::<0, 2, 1, 3, 4, 6, 5, 7>(x, x),
    }
}

/// What a group of a row is in digits, for codes of `BITS` bits. Where a number is not finite, nothing that comes of it is.
pub fn digits<const BITS: usize>(x: &[f32; GROUP]) -> Digits {
    // SAFETY: four numbers are there.
    let x: [v128; GROUP / 4] = core::array::from_fn(|i| unsafe { v128_load(x[4 * i..].as_ptr().cast()) });
    let most = x.iter().fold(f32x4_splat(0.0), |most, &x| f32x4_max(most, f32x4_abs(x)));
    let nothing = x.iter().fold(f32x4_splat(0.0), |sum, &x| f32x4_add(sum, f32x4_mul(x, f32x4_splat(0.0))));
    let (most, [a, b, c, d]) = (floats(most), floats(nothing));
    let most = most.into_iter().fold(0.0, f32::max);
    let (each, scale) = if most < LEAST { (0.0, 0.0) } else { (MOST / most, most / MOST) };
    let mut row =
        Digits { digits: [[0; GROUP]; DIGITS], offsets: [0; DIGITS], scale: scale + (a + b + c + d) };
    let mut sums = [i32x4_splat(0); DIGITS];
    for (i, x) in x.as_chunks::<2>().0.iter().enumerate() {
        let whole = x.map(|x| i32x4_trunc_sat_f32x4(f32x4_nearest(f32x4_mul(x, f32x4_splat(each)))));
        let low = whole.map(|whole| i32x4_shr(i32x4_shl(whole, 32 - DIGIT_BITS), 32 - DIGIT_BITS));
        let high = [0, 1].map(|i| i32x4_shr(i32x4_sub(whole[i], low[i]), DIGIT_BITS));
        for (d, [first, second]) in [low, high].into_iter().enumerate() {
            sums[d] = i32x4_add(sums[d], i32x4_add(first, second));
            let digits = in_pairs::<BITS>(i16x8_narrow_i32x4(first, second));
            // SAFETY: there is room for eight numbers.
            unsafe { v128_store(row.digits[d][8 * i..].as_mut_ptr().cast(), digits) };
        }
    }
    for (offset, sum) in row.offsets.iter_mut().zip(sums) {
        let halves = i32x4_add(sum, i32x4_shuffle::<2, 3, 0, 1>(sum, sum));
        *offset = -((i32x4_extract_lane::<0>(halves) + i32x4_extract_lane::<1>(halves)) << (BITS - 1));
    }
    row
}

fn floats(x: v128) -> [f32; 4] {
    let [a, b] = [f32x4_extract_lane::<0>(x), f32x4_extract_lane::<1>(x)];
    [a, b, f32x4_extract_lane::<2>(x), f32x4_extract_lane::<3>(x)]
}

/// Registers side by side whose sums stay in registers for a group.
const ACROSS: usize = 4;

/// Computes the product with codes of `BITS` bits, 4 or 8.
///
/// # Panics
/// When the extents do not belong together.
pub fn multiply<const BITS: usize>(panel: Panel) {
    let groups = panel.groups(BITS);
    let Panel { rows, codes, scales, y } = panel;
    for (row, y) in rows.chunks_exact(groups).zip(y.chunks_exact_mut(PANEL)) {
        let groups = codes.chunks_exact(BITS * PANEL).zip(scales.chunks_exact(PANEL));
        for (row, (codes, scales)) in row.iter().zip(groups) {
            for j in (0..PANEL).step_by(4 * ACROSS) {
                // SAFETY: the columns from j on are there, of each word and of y.
                unsafe {
                    columns::<BITS>(row, codes[j..].as_ptr(), scales[j..].as_ptr(), y[j..].as_mut_ptr())
                };
            }
        }
    }
}

/// SAFETY: `4·ACROSS` columns are there, of codes also those of the other words of the group.
#[inline(always)]
unsafe fn columns<const BITS: usize>(row: &Digits, codes: *const u32, scales: *const f32, y: *mut f32) {
    let mut parts = row.offsets.map(|offset| [i32x4_splat(offset); ACROSS]);
    // As a constant V8 would write it into each instruction's place anew.
    let lowest = u16x8_splat(core::hint::black_box((1 << BITS) - 1));
    for word in 0..BITS {
        for pair in 0..16 / BITS {
            let at = (word * (16 / BITS) + pair) * 2;
            let x = row
                .digits
                .each_ref()
                .map(|digits| unsafe { v128_load32_splat(digits.as_ptr().add(at).cast()) });
            for c in 0..ACROSS {
                let words = unsafe { v128_load(codes.add(word * PANEL + 4 * c).cast()) };
                let shifted = u16x8_shr(words, (pair * BITS) as u32);
                // Nothing stands above the highest one.
                let code = if pair + 1 == 16 / BITS { shifted } else { v128_and(shifted, lowest) };
                for (part, x) in parts.iter_mut().zip(x) {
                    part[c] = i32x4_add(part[c], i32x4_dot_i16x8(code, x));
                }
            }
        }
    }
    let (base, scale) = (f32x4_splat((1 << DIGIT_BITS) as f32), f32x4_splat(row.scale));
    for c in 0..ACROSS {
        let [low, high] = parts.map(|part| f32x4_convert_i32x4(part[c]));
        let whole = f32x4_add(f32x4_mul(high, base), low);
        unsafe {
            let step = f32x4_mul(v128_load(scales.add(4 * c).cast()), scale);
            let y = y.add(4 * c).cast();
            v128_store(y, f32x4_add(v128_load(y), f32x4_mul(whole, step)));
        }
    }
}
