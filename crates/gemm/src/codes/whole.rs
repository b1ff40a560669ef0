//! Floats as whole numbers, in registers of WebAssembly.

use super::{GROUP, LEAST};
use core::arch::wasm32::*;

/// A group of numbers as whole ones of which the largest is `most`, and what 1 is. Where a number is not finite, that is
/// not a number.
///
/// SAFETY: the numbers are there.
#[inline(always)]
pub(super) unsafe fn whole(x: *const f32, most: f32) -> ([v128; GROUP / 4], f32) {
    let x: [v128; GROUP / 4] = core::array::from_fn(|i| unsafe { v128_load(x.add(4 * i).cast()) });
    let largest = x.iter().fold(f32x4_splat(0.0), |most, &x| f32x4_pmax(most, f32x4_abs(x)));
    let nothing = x.iter().fold(f32x4_splat(0.0), |sum, &x| f32x4_add(sum, f32x4_mul(x, f32x4_splat(0.0))));
    let largest = f32x4_pmax(largest, i32x4_shuffle::<2, 3, 0, 1>(largest, largest));
    let nothing = f32x4_add(nothing, i32x4_shuffle::<2, 3, 0, 1>(nothing, nothing));
    let [first, second] = [f32x4_extract_lane::<0>(largest), f32x4_extract_lane::<1>(largest)];
    let largest = if first < second { second } else { first };
    let (each, one) = if largest < LEAST { (0.0, 0.0) } else { (most / largest, largest / most) };
    let whole = x.map(|x| whole_of(f32x4_nearest(f32x4_mul(x, f32x4_splat(each)))));
    (whole, one + f32x4_extract_lane::<0>(nothing) + f32x4_extract_lane::<1>(nothing))
}

/// Whatever becomes of numbers that are not finite.
#[inline(always)]
fn whole_of(x: v128) -> v128 {
    #[cfg(target_feature = "relaxed-simd")]
    return i32x4_relaxed_trunc_f32x4(x);
    #[cfg(not(target_feature = "relaxed-simd"))]
    i32x4_trunc_sat_f32x4(x)
}

/// The sum of four whole numbers.
#[inline(always)]
pub(super) fn total(x: v128) -> i32 {
    let halves = i32x4_add(x, i32x4_shuffle::<2, 3, 0, 1>(x, x));
    i32x4_extract_lane::<0>(halves) + i32x4_extract_lane::<1>(halves)
}
