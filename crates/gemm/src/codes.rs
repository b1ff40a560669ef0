//! A few rows times a matrix of codes, small whole numbers of which a group along k shares a scale.
//!
//! A row is whole numbers as well: each group of it is what one f32 makes of numbers of 24 bits, in digits that processors
//! multiply several at a time. The sum of each digit's products is exact for a group, and becomes a float with the other digits'.
//! What is lost by that and by rounding the row to 24 bits of its group's largest number is no more than a sum of floats loses.

#[cfg(target_arch = "x86_64")]
mod bytes;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod pairs;

#[cfg(target_arch = "x86_64")]
use bytes::{DIGITS, Digit};
#[cfg(target_arch = "x86_64")]
pub use bytes::{digits, multiply};
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use pairs::{DIGITS, Digit};
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub use pairs::{digits, multiply};

/// Neighbours along k that share a scale.
pub const GROUP: usize = 32;

/// Columns of a panel.
pub const PANEL: usize = 64;

/// The largest number of a group in whole ones: three digits from −128 to 127 reach a little further, and two of 12 bits.
const MOST: f32 = 8e6;

/// Where all numbers are smaller, they count as 0, whose reciprocal need not be finite.
const LEAST: f32 = 1e-30;

/// A group of a row of X: `scale` · Σᵢ digits[i]·bⁱ, where b is how many values a digit has.
#[derive(Clone, Copy)]
pub struct Digits {
    /// Each digit of all numbers, in the order in which they meet codes.
    digits: [[Digit; GROUP]; DIGITS],
    /// What makes good for codes that stand for numbers so much smaller: −2^(bits − 1) times the sum of each digit.
    offsets: [i32; DIGITS],
    /// What 1 is.
    scale: f32,
}

/// Some rows Y of a panel of columns: Y ← Y + X·B.
pub struct Panel<'a> {
    /// The rows of X, group by group: (M, groups).
    pub rows: &'a [Digits],
    /// (groups·bits, PANEL): of a column's codes, the lower k in the lower bits.
    pub codes: &'a [u32],
    /// (groups, PANEL)
    pub scales: &'a [f32],
    /// (M, PANEL)
    pub y: &'a mut [f32],
}

impl Panel<'_> {
    /// How many groups there are.
    ///
    /// # Panics
    /// When the extents do not belong together.
    fn groups(&self, bits: usize) -> usize {
        let groups = self.scales.len() / PANEL;
        assert!(
            self.codes.len() == groups * bits * PANEL && self.rows.len() * PANEL == groups * self.y.len(),
            "rows and codes of {groups} groups"
        );
        groups
    }
}
