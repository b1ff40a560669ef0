//! Codes of 4 bits times bytes: relaxed SIMD multiplies sixteen bytes and adds the products in fours. Where one of the two has
//! no more than seven bits, no sum on its way overflows and every processor finds the same; the other has eight and a sign.

use super::whole::{total, whole};
use super::{ACROSS, Digits, MOST, ROOM, STRIP};
use core::arch::wasm32::*;

/// Digits of a number.
pub(super) const DIGITS: usize = 3;
pub(super) type Digit = i8;

const _: () = assert!(size_of::<Digits>() <= ROOM);

/// SAFETY: a group of numbers is there, and room for its digits.
pub(super) unsafe fn digits<const BITS: usize>(x: *const f32, to: *mut Digits) {
    const { assert!(BITS == 4) };
    // SAFETY: as above.
    let ((mut rest, scale), row) = unsafe { (whole(x, MOST), &mut *to) };
    for (digits, offset) in row.digits.iter_mut().zip(&mut row.offsets) {
        let digit = rest.map(|x| i32x4_shr(i32x4_shl(x, 24), 24));
        for (rest, digit) in rest.iter_mut().zip(digit) {
            *rest = i32x4_shr(i32x4_sub(*rest, digit), 8);
        }
        let mut store = |i: usize, [a, b, c, d]: [v128; 4]| {
            let bytes = i8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d));
            // SAFETY: there is room for sixteen, twice.
            unsafe { v128_store(digits.as_mut_ptr().add(16 * i).cast(), in_halves(bytes)) };
        };
        let [a, b, c, d, e, f, g, h] = digit;
        store(0, [a, b, c, d]);
        store(1, [e, f, g, h]);
        *offset = -8 * total(digit.into_iter().fold(i32x4_splat(0), |sum, x| i32x4_add(sum, x)));
    }
    row.scale = scale;
    row.half = 0x0F0F_0F0F;
}

/// Sixteen digits in the order in which they meet codes: four that follow each other meet the lower halves of the bytes of a
/// word, and the next four the upper ones.
fn in_halves(x: v128) -> v128 {
    i8x16_shuffle::<0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15>(x, x)
}

/// SAFETY (of all loads and stores): a strip is there, of codes also the other words of the group.
#[inline(always)]
pub(super) unsafe fn columns<const BITS: usize>(
    row: &Digits,
    codes: *const u32,
    scales: *const f32,
    y: *mut f32,
) {
    const { assert!(BITS == 4) };
    let mut parts = row.offsets.map(|offset| [i32x4_splat(offset); ACROSS]);
    let half = unsafe { v128_load32_splat(&raw const row.half) };
    // Not unrolled: LLVM would read all words first, and sums would go to the stack.
    for word in 0..BITS {
        let x = row.digits.each_ref().map(|digits| unsafe {
            let four = digits.as_ptr().add(8 * word);
            [v128_load32_splat(four.cast()), v128_load32_splat(four.add(4).cast())]
        });
        for c in 0..ACROSS {
            let codes = unsafe { v128_load(codes.add(word * STRIP + 4 * c).cast()) };
            let [lower, upper] = [v128_and(codes, half), v128_and(u16x8_shr(codes, 4), half)];
            for (part, x) in parts.iter_mut().zip(x) {
                let sum = i32x4_relaxed_dot_i8x16_i7x16_add(x[0], lower, part[c]);
                part[c] = i32x4_relaxed_dot_i8x16_i7x16_add(x[1], upper, sum);
            }
        }
    }
    let [ones, tens, hundreds] = parts;
    let scale = f32x4_splat(row.scale);
    for c in 0..ACROSS {
        let tens = i32x4_add(i32x4_shl(tens[c], 8), i32x4_shl(hundreds[c], 16));
        let whole = f32x4_convert_i32x4(i32x4_add(ones[c], tens));
        unsafe {
            let step = f32x4_mul(v128_load(scales.add(4 * c).cast()), scale);
            let y = y.add(4 * c).cast();
            v128_store(y, f32x4_relaxed_madd(whole, step, v128_load(y)));
        }
    }
}
