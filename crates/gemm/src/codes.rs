//! A few rows times a matrix of codes, small whole numbers of which a group along k shares a scale.
//!
//! A row is whole numbers as well: each group of it is a scale in f32 and numbers of 24 bits, or of 21 and a sign (`dots`), in
//! digits that processors multiply several at a time. The sum of each digit's products is exact for a group, and becomes a float
//! with the other digits'. A number is off by 2⁻²⁴ or 2⁻²² of its group's largest one at most: where those of a group are of
//! like size, products lose about what a sum of floats loses.

#[cfg(target_arch = "x86_64")]
mod bytes;
#[cfg(all(target_arch = "wasm32", not(target_feature = "relaxed-simd")))]
mod pairs;
#[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
mod dots;
#[cfg(target_arch = "wasm32")]
mod whole;

#[cfg(target_arch = "x86_64")]
use bytes::{DIGITS, Digit, OFFSETS};
#[cfg(target_arch = "x86_64")]
pub use bytes::{digits, multiply};
#[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
use dots as here;
#[cfg(target_arch = "wasm32")]
use here::{ACROSS, DIGITS, Digit, OFFSETS};
#[cfg(all(target_arch = "wasm32", not(target_feature = "relaxed-simd")))]
use pairs as here;

/// Neighbours along k that share a scale.
pub const GROUP: usize = 32;

/// Columns of a panel.
pub const PANEL: usize = 64;

/// Columns of a panel whose words of a group lie together.
pub const STRIP: usize = 16;

/// The largest number of a group in whole ones, but for codes of 8 bits in `dots`: three digits of a byte reach a little further,
/// and so do two of 12 bits. Times 32 codes from −8 to 7 it is a number of 32 bits.
const MOST: f32 = 8e6;
const _: () = assert!((MOST as u64) * 8 * (GROUP as u64) < 1 << 31);

/// Where all numbers are smaller, they count as 0, whose reciprocal need not be finite.
const LEAST: f32 = 1e-30;

/// Bytes that the digits of a group take in WebAssembly's engine. Another module's take no more.
#[cfg(target_arch = "wasm32")]
const ROOM: usize = 140;

/// A group of a row of X: `scale` · Σᵢ digits[i]·bⁱ, where b is how many values a digit has, and the sign of `masks` where there is
/// one.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Digits {
    /// Each digit of all numbers, in the order in which they meet codes.
    digits: [[Digit; GROUP]; DIGITS],
    /// What sums of products begin with: it makes good for what codes are counted from, or for the signs of numbers.
    offsets: [i32; OFFSETS],
    /// What 1 is.
    scale: f32,
    /// For codes of 4 bits the lower half of each byte of a word, since V8 would write a constant anew wherever it is used; for
    /// codes of 8 bits which bits of each word are turned round.
    #[cfg(target_feature = "relaxed-simd")]
    masks: [u32; GROUP / 4],
}

/// Some rows Y of panels of columns that follow each other: Y ← Y + X·B, as one module passes it to the other.
#[repr(C)]
pub struct Panels {
    /// How many there are.
    pub panels: usize,
    /// How many rows there are.
    pub rows: usize,
    /// Groups of a row.
    pub groups: usize,
    /// The rows of X, group by group: (rows, groups).
    pub x: *const Digits,
    /// (panels, groups, PANEL / STRIP, bits, STRIP): of a column's codes, the lower k in the lower bits.
    pub codes: *const u32,
    /// (panels, groups, PANEL)
    pub scales: *const f32,
    /// (panels, rows, PANEL)
    pub y: *mut f32,
}

/// In WebAssembly: so many groups of a row as digits, from an address on, that meet codes of 4 or 8 bits.
///
/// # Safety
/// The numbers are there, and room for as many `Digits`.
#[cfg(target_arch = "wasm32")]
pub type ToDigits = unsafe extern "C" fn(x: *const f32, groups: usize, bits: usize, to: *mut Digits);

/// In WebAssembly: the product of panels with codes of 4 or 8 bits.
///
/// # Safety
/// Digits, codes, scales and Y are there, and nothing else accesses Y meanwhile. The same module made the digits, for codes of
/// as many bits.
#[cfg(target_arch = "wasm32")]
pub type Multiply = unsafe extern "C" fn(panels: &Panels, bits: usize);

/// See [`ToDigits`].
///
/// # Safety
/// That of [`ToDigits`].
#[cfg(target_arch = "wasm32")]
pub unsafe extern "C" fn digits(x: *const f32, groups: usize, bits: usize, to: *mut Digits) {
    for group in 0..groups {
        // SAFETY: the caller's promise.
        unsafe {
            let (x, to) = (x.add(group * GROUP), to.add(group));
            if bits == 4 { here::digits::<4>(x, to) } else { here::digits::<8>(x, to) }
        }
    }
}

/// See [`Multiply`].
///
/// # Safety
/// That of [`Multiply`].
#[cfg(target_arch = "wasm32")]
pub unsafe extern "C" fn multiply(panels: &Panels, bits: usize) {
    // SAFETY: the caller's promise.
    unsafe { if bits < 8 { multiply_codes::<4>(panels, bits) } else { multiply_codes::<8>(panels, bits) } }
}

/// SAFETY: that of [`Multiply`].
#[cfg(target_arch = "wasm32")]
unsafe fn multiply_codes<const BITS: usize>(all: &Panels, bits: usize) {
    let &Panels { panels, rows, groups, x, codes, scales, y } = all;
    for panel in 0..panels {
        for row in 0..rows {
            for group in 0..groups {
                let place = panel * groups + group;
                for j in (0..PANEL).step_by(4 * ACROSS) {
                    // SAFETY: the caller's promise, and a strip has a whole number of such parts.
                    unsafe {
                        let x = &*x.add(row * groups + group);
                        let codes = codes.add((place * PANEL + j / STRIP * STRIP) * BITS + j % STRIP);
                        let (scales, y) =
                            (scales.add(place * PANEL + j), y.add((panel * rows + row) * PANEL + j));
                        here::columns::<BITS>(x, bits, codes, scales, y);
                    }
                }
            }
        }
    }
}
