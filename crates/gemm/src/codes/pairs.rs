//! Products of numbers of 16 bits, two of which and their sum are one instruction of WebAssembly: a row in two digits of 12.

use super::whole::{total, whole};
use super::{Digits, MOST, ROOM, STRIP};
use core::arch::wasm32::*;

/// Digits of a number, and the bits of one.
pub(super) const DIGITS: usize = 2;
pub(super) type Digit = i16;
const DIGIT_BITS: u32 = 12;

/// Registers side by side whose sums stay in registers for a group.
pub(super) const ACROSS: usize = STRIP / 4;

/// Sums that do not begin with 0.
pub(super) const OFFSETS: usize = DIGITS;

const _: () = assert!(size_of::<Digits>() == ROOM);

/// Eight numbers in the order in which they meet codes: two that follow each other meet those in the same places of a word's
/// lower and upper half.
fn in_pairs<const BITS: usize>(x: v128) -> v128 {
    match BITS {
        4 => i16x8_shuffle::<0, 4, 1, 5, 2, 6, 3, 7>(x, x),
        _ => i16x8_shuffle::<0, 2, 1, 3, 4, 6, 5, 7>(x, x),
    }
}

/// SAFETY: a group of numbers is there, and room for its digits.
pub(super) unsafe fn digits<const BITS: usize>(x: *const f32, to: *mut Digits) {
    // SAFETY: as above.
    let ((whole, scale), row) = unsafe { (whole(x, MOST), &mut *to) };
    let mut sums = [i32x4_splat(0); DIGITS];
    for (i, whole) in whole.as_chunks::<2>().0.iter().enumerate() {
        let low = whole.map(|whole| i32x4_shr(i32x4_shl(whole, 32 - DIGIT_BITS), 32 - DIGIT_BITS));
        let high = [0, 1].map(|i| i32x4_shr(i32x4_sub(whole[i], low[i]), DIGIT_BITS));
        for (d, [first, second]) in [low, high].into_iter().enumerate() {
            sums[d] = i32x4_add(sums[d], i32x4_add(first, second));
            let digits = in_pairs::<BITS>(i16x8_narrow_i32x4(first, second));
            // SAFETY: there is room for eight numbers.
            unsafe { v128_store(row.digits[d].as_mut_ptr().add(8 * i).cast(), digits) };
        }
    }
    row.offsets = sums.map(|sum| -(total(sum) << (BITS - 1)));
    row.scale = scale;
}

/// Columns side by side, `ACROSS` registers of them, times a group of a row, of whose codes a column has so many words.
///
/// SAFETY (of all loads and stores): they are there, of codes also the other words of the group.
#[inline(always)]
pub(super) unsafe fn columns<const BITS: usize>(
    row: &Digits,
    words: usize,
    codes: *const u32,
    scales: *const f32,
    y: *mut f32,
) {
    let mut parts = row.offsets.map(|offset| [i32x4_splat(offset); ACROSS]);
    // As a constant V8 would write it into each instruction's place anew.
    let lowest = u16x8_splat(core::hint::black_box((1 << BITS) - 1));
    for word in 0..words {
        for pair in 0..16 / BITS {
            let at = (word * (16 / BITS) + pair) * 2;
            let x = row
                .digits
                .each_ref()
                .map(|digits| unsafe { v128_load32_splat(digits.as_ptr().add(at).cast()) });
            for c in 0..ACROSS {
                let words = unsafe { v128_load(codes.add(word * STRIP + 4 * c).cast()) };
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
