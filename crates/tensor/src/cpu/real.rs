//! The element types of CPU arithmetic, with elementary functions that vectorise.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

/// f32 or f64. Operations are generic over it, so that gradients can be checked in f64.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
    + 'static
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// What a masked score is set to: finite, so that no arithmetic on it makes a NaN.
    const MASKED: Self;
    /// Rounds a constant to this type.
    fn of(x: f64) -> Self;
    /// Widens to f64.
    fn f64(self) -> f64;
    /// eˣ
    fn exp(self) -> Self;
    /// ln x
    fn ln(self) -> Self;
    /// √x
    fn sqrt(self) -> Self;
    /// tanh x
    fn tanh(self) -> Self;
    /// The error function 2/√π ∫₀ˣ e^(−t²) dt.
    fn erf(self) -> Self;
    /// xʸ
    fn powf(self, y: Self) -> Self;
    /// |x|
    fn abs(self) -> Self;
    /// Towards zero to a whole number.
    fn trunc(self) -> Self;
    /// The larger one.
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    /// The smaller one.
    fn min(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
    /// 1 or 0.
    fn from_bool(b: bool) -> Self {
        if b { Self::ONE } else { Self::ZERO }
    }
    /// Whether the number is neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// C ← A·B + beta·C for strided matrices A (m, k), B (k, n), C (m, n).
    ///
    /// # Safety
    /// Every index that the extents and strides span lies within the allocations behind the pointers, and nothing else
    /// accesses C meanwhile.
    unsafe fn gemm(
        dims: [usize; 3],
        a: (*const Self, [isize; 2]),
        b: (*const Self, [isize; 2]),
        beta: Self,
        c: (*mut Self, [isize; 2]),
    );
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const MASKED: f32 = -3.0e38;
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self as f64
    }
    /// Cody–Waite reduction to |r| ≤ ln 2 / 2 and a polynomial; within 2 ulp, branch-free, so that loops vectorise.
    /// The polynomial's coefficients are those of Moshier's Cephes, <https://www.netlib.org/cephes/>.
    #[inline(always)]
    fn exp(self) -> f32 {
        let x = Real::max(Real::min(self, 88.722_83), -87.336_54);
        // Adding and subtracting 1.5·2²³ rounds to a whole number without a call, and leaves it in the lower bits.
        let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
        let n = shifted - 12_582_912.0;
        let exponent = (shifted.to_bits() as i32).wrapping_sub(0x4b40_0000);
        let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
        let p = 1.987_569_1e-4 * r + 1.398_199_9e-3;
        let p = ((p * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r + 1.666_666_5e-1;
        let p = (p * r + 0.5) * r * r + r + 1.0;
        // 2ⁿ in two factors: n reaches 128, which one exponent field cannot hold.
        let half = exponent >> 1;
        let two = |e: i32| f32::from_bits((e.wrapping_add(127) << 23) as u32);
        let y = p * two(half) * two(exponent.wrapping_sub(half));
        if self < -87.336_54 { 0.0 } else { y }
    }
    #[inline(always)]
    fn ln(self) -> f32 {
        f32::ln(self)
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
    /// 1 − 2/(e²ˣ + 1), and a polynomial near 0, where that would cancel.
    /// The polynomial's coefficients are those of Moshier's Cephes, <https://www.netlib.org/cephes/>.
    #[inline(always)]
    fn tanh(self) -> f32 {
        let far = 1.0 - 2.0 / (Real::exp(2.0 * Real::min(f32::abs(self), 20.0)) + 1.0);
        let z = self * self;
        let near = ((((-5.704_988_7e-3 * z + 2.063_908_8e-2) * z - 5.373_971_5e-2) * z + 1.333_144_2e-1) * z
            - 3.333_328e-1)
            * z
            * self
            + self;
        if f32::abs(self) < 0.625 { near } else { far.copysign(self) }
    }
    /// A rational function of x² on |x| ≤ 4, where erf has reached 1 in f32.
    /// Its coefficients are those of Eigen's `erf` for f32, <https://eigen.tuxfamily.org>.
    #[inline(always)]
    fn erf(self) -> f32 {
        let x = Real::max(Real::min(self, 4.0), -4.0);
        let z = x * x;
        let p = ((-2.726_142_3e-10 * z + 2.770_681_4e-8) * z - 2.101_024e-6) * z - 5.692_506_4e-5;
        let p = ((p * z - 7.349_906e-4) * z - 2.954_6e-3) * z - 1.609_603_3e-2;
        let q = ((-1.456_607_2e-5 * z - 2.133_740_6e-4) * z - 1.682_827e-3) * z - 7.373_329e-3;
        x * p / (q * z - 1.426_474e-2)
    }
    #[inline(always)]
    fn powf(self, y: f32) -> f32 {
        f32::powf(self, y)
    }
    #[inline(always)]
    fn abs(self) -> f32 {
        f32::abs(self)
    }
    #[inline(always)]
    fn trunc(self) -> f32 {
        f32::trunc(self)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
    unsafe fn gemm(
        [m, k, n]: [usize; 3],
        a: (*const f32, [isize; 2]),
        b: (*const f32, [isize; 2]),
        beta: f32,
        c: (*mut f32, [isize; 2]),
    ) {
        // SAFETY: the caller's promise.
        #[cfg(target_arch = "wasm32")]
        unsafe {
            super::gemm::gemm([m, k, n], a, b, beta, c)
        }
        #[cfg(not(target_arch = "wasm32"))]
        unsafe {
            let ([ra, ca], [rb, cb], [rc, cc]) = (a.1, b.1, c.1);
            matrixmultiply::sgemm(m, k, n, 1.0, a.0, ra, ca, b.0, rb, cb, beta, c.0, rc, cc)
        }
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const MASKED: f64 = -3.0e38;
    fn of(x: f64) -> f64 {
        x
    }
    fn f64(self) -> f64 {
        self
    }
    fn exp(self) -> f64 {
        f64::exp(self)
    }
    fn ln(self) -> f64 {
        f64::ln(self)
    }
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    fn tanh(self) -> f64 {
        f64::tanh(self)
    }
    /// Maclaurin series for |x| < 3, Lentz's continued fraction of erfc beyond; about 14 digits.
    fn erf(self) -> f64 {
        let x = f64::abs(self);
        let two_over_sqrt_pi = std::f64::consts::FRAC_2_SQRT_PI;
        if x < 3.0 {
            let (mut term, mut sum) = (x, x);
            for n in 1..100 {
                term *= -x * x / n as f64;
                sum += term / (2 * n + 1) as f64;
            }
            return two_over_sqrt_pi * sum.copysign(self);
        }
        // erfc(x) = e^(−x²)/√π · 1/(x + ½/(x + 1/(x + 3⁄2/(x + …))))
        let fraction = (1..60).rev().fold(x, |tail, n| x + n as f64 / 2.0 / tail);
        (1.0 - f64::exp(-x * x) * two_over_sqrt_pi / 2.0 / fraction).copysign(self)
    }
    fn powf(self, y: f64) -> f64 {
        f64::powf(self, y)
    }
    fn abs(self) -> f64 {
        f64::abs(self)
    }
    fn trunc(self) -> f64 {
        f64::trunc(self)
    }
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
    unsafe fn gemm(
        [m, k, n]: [usize; 3],
        a: (*const f64, [isize; 2]),
        b: (*const f64, [isize; 2]),
        beta: f64,
        c: (*mut f64, [isize; 2]),
    ) {
        let ([ra, ca], [rb, cb], [rc, cc]) = (a.1, b.1, c.1);
        // SAFETY: the caller's promise.
        unsafe { matrixmultiply::dgemm(m, k, n, 1.0, a.0, ra, ca, b.0, rb, cb, beta, c.0, rc, cc) }
    }
}

#[cfg(test)]
mod tests {
    use super::Real;

    /// The worst error of an f32 function against f64, relative to the larger of |y| and `floor`.
    fn worst(f: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64, from: f64, to: f64, floor: f64) -> f64 {
        (0..=200_000)
            .map(|i| {
                let x = (from + (to - from) * i as f64 / 200_000.0) as f32;
                let y = truth(x as f64);
                (f(x) as f64 - y).abs() / y.abs().max(floor)
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn fast_functions_stay_within_a_few_ulp() {
        assert!(worst(Real::exp, f64::exp, -87.0, 88.0, 0.0) < 2.5e-7);
        assert!(worst(Real::tanh, f64::tanh, -12.0, 12.0, 0.0) < 3e-7);
        assert!(worst(Real::erf, Real::erf, -6.0, 6.0, 0.0) < 6e-7);
        assert_eq!(
            (Real::exp(-1000f32), Real::exp(0f32), Real::tanh(0f32), Real::erf(0f32)),
            (0.0, 1.0, 0.0, 0.0)
        );
        assert!(Real::exp(f32::NAN).is_nan() || Real::exp(f32::NAN).is_finite());
    }

    #[test]
    fn erf_in_f64_has_known_values() {
        for (x, y) in
            [(0.5, 0.520_499_877_813_046_5), (1.0, 0.842_700_792_949_714_9), (3.5, 0.999_999_256_901_627_7)]
        {
            assert!((Real::erf(x) - y).abs() < 1e-14, "erf({x})");
            assert!((Real::erf(-x) + y).abs() < 1e-14);
        }
    }
}
