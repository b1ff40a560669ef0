//! Products of bytes: relaxed SIMD multiplies sixteen of them and adds the products in fours. Where one of two has no more than
//! seven bits, no sum on its way overflows and every processor finds the same; the other has eight and a sign.
//!
//! Codes of 4 bits meet digits of eight bits with a sign. Codes of 8 bits have the sign themselves, and meet digits of seven bits
//! of what a number is without its own: −c·|x| = |x|·(−c − 1) + |x|, where −c − 1 are the bits of c turned round, which takes no
//! instruction more than it takes to give c its sign. Both are three digits, of 24 bits and of 21 beside the sign.

use super::whole::{total, whole};
use super::{Digits, GROUP, MOST, ROOM, STRIP};
use core::arch::wasm32::*;
use core::mem::offset_of;
use core::{array, ptr};

/// Digits of a number.
pub(super) const DIGITS: usize = 3;
pub(super) type Digit = i8;

/// Sums that do not begin with 0: of the lowest digit, and of the highest.
pub(super) const OFFSETS: usize = 2;

/// Registers side by side whose sums stay in registers for a group: of twice as many V8 keeps some in memory, where each addition
/// waits for the one before to be written.
pub(super) const ACROSS: usize = 2;

/// Bits of a digit that meets codes of 8 bits.
const SHORT: u32 = 7;

const _: () = assert!(size_of::<Digits>() <= ROOM);

/// SAFETY: a group of numbers is there, and room for its digits.
pub(super) unsafe fn digits<const BITS: usize>(x: *const f32, to: *mut Digits) {
    const { assert!(BITS == 4 || BITS == 8) };
    let most = if BITS == 4 { MOST } else { ((1 << (3 * SHORT)) - 1) as f32 };
    // SAFETY: as above.
    let ((whole, scale), row) = unsafe { (whole(x, most), &mut *to) };
    row.scale = scale;
    if BITS == 4 {
        row.offsets = [sum(whole).wrapping_mul(-8), 0];
        row.masks = [0x0F0F_0F0F; GROUP / 4];
        let mut rest = whole;
        for digits in &mut row.digits {
            let digit = rest.map(|x| i32x4_shr(i32x4_shl(x, 24), 24));
            rest = array::from_fn(|i| i32x4_shr(i32x4_sub(rest[i], digit[i]), 8));
            // SAFETY: there is room for a group.
            unsafe { store(digits.as_mut_ptr(), digit, in_halves) };
        }
    } else {
        let signs = whole.map(|x| i32x4_shr(x, 31));
        let mut rest = whole.map(|x| i32x4_abs(x));
        let [digit, two] = [SHORT, 2 * SHORT].map(|bits| i32x4_splat((1 << bits) - 1));
        let negative: [v128; 8] = array::from_fn(|i| v128_and(rest[i], signs[i]));
        row.offsets =
            [sum(negative.map(|x| v128_and(x, two))), sum(negative.map(|x| i32x4_shr(x, 2 * SHORT)))];
        // SAFETY: as above.
        unsafe {
            store(row.masks.as_mut_ptr().cast(), signs.map(|sign| v128_xor(sign, i32x4_splat(-128))), |x| x)
        };
        for digits in &mut row.digits {
            // SAFETY: as above.
            unsafe { store(digits.as_mut_ptr(), rest.map(|x| v128_and(x, digit)), |x| x) };
            rest = rest.map(|x| i32x4_shr(x, SHORT));
        }
    }
}

/// The sum of a group of whole numbers.
#[inline(always)]
fn sum(x: [v128; 8]) -> i32 {
    total(x.into_iter().fold(i32x4_splat(0), |sum, x| i32x4_add(sum, x)))
}

/// Stores a group of numbers as bytes, each sixteen in an order.
///
/// SAFETY: there is room for them.
#[inline(always)]
unsafe fn store(to: *mut i8, [a, b, c, d, e, f, g, h]: [v128; 8], order: impl Fn(v128) -> v128) {
    let bytes = |a, b, c, d| order(i8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d)));
    // SAFETY: as above.
    unsafe {
        v128_store(to.cast(), bytes(a, b, c, d));
        v128_store(to.add(16).cast(), bytes(e, f, g, h));
    }
}

/// Sixteen digits in the order in which they meet codes of 4 bits: four that follow each other meet the lower halves of the
/// bytes of a word, and the next four the upper ones.
fn in_halves(x: v128) -> v128 {
    i8x16_shuffle::<0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15>(x, x)
}

/// Columns side by side, `ACROSS` registers of them, times a group of a row, of whose codes a column has so many words.
///
/// SAFETY (of all loads and stores): they are there, of codes also the other words of the group.
#[inline(always)]
pub(super) unsafe fn columns<const BITS: usize>(
    row: &Digits,
    words: usize,
    mut codes: *const u32,
    scales: *const f32,
    y: *mut f32,
) {
    let [lowest, highest] = row.offsets.map(|offset| i32x4_splat(offset));
    let mut parts = [lowest, i32x4_splat(0), highest].map(|sum| [sum; ACROSS]);
    // What meets a word lies as far from its digits of the first kind in every step: one address for all.
    let mut at = ptr::from_ref(row).cast::<i8>();
    let splat = |at: *const i8| unsafe { v128_load32_splat(at.cast()) };
    let masks = offset_of!(Digits, masks);
    let half = splat(unsafe { at.add(masks) }); // of each byte, where codes have 4 bits
    // A number that LLVM does not know: it would unroll the loop and read all words first, and sums would go to the stack.
    for _ in 0..words {
        let four = |i: usize| array::from_fn::<_, DIGITS, _>(|d| splat(unsafe { at.add(d * GROUP + 4 * i) }));
        let words = |c: usize| unsafe { v128_load(codes.add(4 * c).cast()) };
        if BITS == 4 {
            let x = [four(0), four(1)];
            for c in 0..ACROSS {
                let words = words(c);
                let [lower, upper] = [v128_and(words, half), v128_and(u16x8_shr(words, 4), half)];
                for (d, part) in parts.iter_mut().enumerate() {
                    let sum = i32x4_relaxed_dot_i8x16_i7x16_add(x[0][d], lower, part[c]);
                    part[c] = i32x4_relaxed_dot_i8x16_i7x16_add(x[1][d], upper, sum);
                }
            }
        } else {
            let (x, sign) = (four(0), splat(unsafe { at.add(masks) }));
            for c in 0..ACROSS {
                let codes = v128_xor(words(c), sign);
                for (part, x) in parts.iter_mut().zip(x) {
                    part[c] = i32x4_relaxed_dot_i8x16_i7x16_add(codes, x, part[c]);
                }
            }
        }
        (at, codes) = unsafe { (at.add(32 / BITS), codes.add(STRIP)) };
    }
    let scale = f32x4_splat(row.scale);
    for c in 0..ACROSS {
        let [ones, tens, hundreds] = parts.map(|part| part[c]);
        let whole = if BITS == 4 {
            let tens = i32x4_add(i32x4_shl(tens, 8), i32x4_shl(hundreds, 16));
            f32x4_convert_i32x4(i32x4_add(ones, tens))
        } else {
            let low = f32x4_convert_i32x4(i32x4_add(ones, i32x4_shl(tens, SHORT)));
            let base = f32x4_splat((1 << (2 * SHORT)) as f32);
            f32x4_relaxed_madd(f32x4_convert_i32x4(hundreds), base, low)
        };
        unsafe {
            let step = f32x4_mul(v128_load(scales.add(4 * c).cast()), scale);
            let y = y.add(4 * c).cast();
            v128_store(y, f32x4_relaxed_madd(whole, step, v128_load(y)));
        }
    }
}
