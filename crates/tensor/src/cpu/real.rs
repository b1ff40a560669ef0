//! The element types of CPU arithmetic, with elementary functions that vectorise.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use cloche_gemm::Triangle;

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
    /// What [`exp`](Self::exp), [`tanh`](Self::tanh) and [`erf`](Self::erf) compute with.
    type Coefficients: Copy + Send + Sync;
    /// A loop takes them once, before it begins.
    fn coefficients<const FUSED: bool>() -> Self::Coefficients;
    /// Rounds a constant to this type.
    fn of(x: f64) -> Self;
    /// A whole number, rounded to this type.
    fn from_i32(x: i32) -> Self;
    /// Widens to f64.
    fn f64(self) -> f64;
    /// eˣ
    fn exp(self, by: &Self::Coefficients) -> Self;
    /// ln x
    fn ln(self) -> Self;
    /// √x
    fn sqrt(self) -> Self;
    /// tanh x
    fn tanh(self, by: &Self::Coefficients) -> Self;
    /// The error function 2/√π ∫₀ˣ e^(−t²) dt.
    fn erf(self, by: &Self::Coefficients) -> Self;
    /// The derivative of x·Φ(x), which is Φ(x) + x·φ(x), with the normal distribution Φ(x) = ∫₋∞ˣ φ(t) dt and its density
    /// φ(x) = e^(−x²/2)/√2π.
    fn gelu_slope(self, by: &Self::Coefficients) -> Self;
    /// xʸ
    fn powf(self, y: Self) -> Self;
    /// self·b + c, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
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
    /// The numbers as what they are, if that is f32.
    #[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
    fn floats(_: &[Self]) -> Option<&[f32]> {
        None
    }
    /// The same, to be written.
    #[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
    fn floats_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
    /// C ← A·B + beta·C for strided matrices A (m, k), B (k, n), C (m, n), of which a part need not be computed.
    ///
    /// # Safety
    /// Every index that the extents and strides span lies within the allocations behind the pointers, and nothing else
    /// accesses C meanwhile.
    unsafe fn gemm(
        triangle: Triangle,
        dims: [usize; 3],
        a: (*const Self, [isize; 2]),
        b: (*const Self, [isize; 2]),
        beta: Self,
        c: (*mut Self, [isize; 2]),
    );
}

/// Constants of f32's elementary functions, the highest power first.
#[derive(Clone, Copy)]
pub struct Coefficients {
    /// Of e^x: log₂ e, 1.5·2²³, ln 2 in two parts, ½, and the ends of where e^x is a normal number.
    reduction: [f32; 7],
    exp: [f32; 5],
    tanh: [f32; 5],
    erf_above: [f32; 7],
    erf_below: [f32; 5],
    slope_above: [f32; 6],
    slope_below: [f32; 6],
    /// Where the slope of gelu has reached 1 in f32.
    slope_end: f32,
    one: f32,
    four: f32,
    /// Whether a product and a sum are one instruction where this is used, and round once.
    fused: bool,
}

/// Those of exp and tanh are Moshier's (Cephes, <https://www.netlib.org/cephes/>), those of erf from Eigen's `erf` for f32
/// (<https://eigen.tuxfamily.org>). Those of gelu's slope are fitted to (slope − ½)/x as a function of x², by least squares
/// whose weights grow where the error is largest (Lawson's method): at most 1.1e-7 before anything is rounded.
static COEFFICIENTS: Coefficients = Coefficients {
    reduction: [
        std::f32::consts::LOG2_E,
        12_582_912.0,
        0.693_359_4,
        2.121_944_4e-4,
        0.5,
        -87.336_54,
        88.722_83,
    ],
    exp: [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1],
    tanh: [-5.704_988_7e-3, 2.063_908_8e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328e-1],
    erf_above: [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ],
    erf_below: [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_474e-2],
    slope_above: [
        1.921_676_8e-7,
        3.589_931_7e-5,
        1.975_100_5e-5,
        1.422_607_1e-2,
        -3.097_537_2e-2,
        0.797_885_36,
    ],
    slope_below: [8.928_184e-6, 1.920_518e-4, 3.522_637_5e-3, 4.098_373_7e-2, 0.294_519_57, 1.0],
    slope_end: 5.6,
    one: 1.0,
    four: 4.0,
    fused: false,
};

impl Coefficients {
    /// a·b + c
    #[inline(always)]
    fn add(&self, a: f32, b: f32, c: f32) -> f32 {
        // Browsers have no such instruction that every one of them knows.
        if cfg!(not(target_arch = "wasm32")) && self.fused { a.mul_add(b, c) } else { a * b + c }
    }

    /// a·z⁴ + … + e by Estrin's scheme: what does not depend on each other goes side by side, so that fewer instructions wait.
    #[inline(always)]
    fn fourth_degree(&self, [a, b, c, d, e]: [f32; 5], z: f32) -> f32 {
        let z2 = z * z;
        self.add(self.add(a, z2, self.add(b, z, c)), z2, self.add(d, z, e))
    }

    /// a·z⁵ + … + f, likewise.
    #[inline(always)]
    fn fifth_degree(&self, [a, b, c, d, e, f]: [f32; 6], z: f32) -> f32 {
        let z2 = z * z;
        self.add(self.add(a, z, b), z2 * z2, self.add(self.add(c, z, d), z2, self.add(e, z, f)))
    }

    /// a·z⁶ + … + g, likewise.
    #[inline(always)]
    fn sixth_degree(&self, [a, b, c, d, e, f, g]: [f32; 7], z: f32) -> f32 {
        let z2 = z * z;
        let low = self.add(self.add(d, z, e), z2, self.add(f, z, g));
        self.add(self.add(a, z2, self.add(b, z, c)), z2 * z2, low)
    }
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const MASKED: f32 = -3.0e38;
    type Coefficients = Coefficients;
    /// Where the compiler knows them, it writes them into the code of the loop. Natively that is best. In wasm each would be
    /// built anew in each round, by three instructions, since V8 neither keeps vector constants nor reads them from memory.
    #[inline(always)]
    fn coefficients<const FUSED: bool>() -> Coefficients {
        match cfg!(target_arch = "wasm32") {
            true => *std::hint::black_box(&COEFFICIENTS),
            false => Coefficients { fused: FUSED, ..COEFFICIENTS },
        }
    }
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn from_i32(x: i32) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self as f64
    }
    /// Cody–Waite reduction to |r| ≤ ln 2 / 2 and a polynomial; within 2 ulp, branch-free, so that loops vectorise.
    #[inline(always)]
    fn exp(self, by: &Coefficients) -> f32 {
        let [log2_e, round, ln_2_high, ln_2_low, half, least, most] = by.reduction;
        let x = Real::max(Real::min(self, most), least);
        // Adding and subtracting 1.5·2²³ rounds to a whole number without a call, and leaves it in the lower bits.
        let shifted = by.add(x, log2_e, round);
        let n = shifted - round;
        let r = by.add(n, ln_2_low, by.add(-n, ln_2_high, x));
        let p = by.add(by.add(by.fourth_degree(by.exp, r), r, half), r * r, r) + by.one;
        // p·2ⁿ is a normal number, so n can be added to its exponent; the shift leaves nothing else of `shifted`.
        let y = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
        if self < least { 0.0 } else { y }
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
    #[inline(always)]
    fn tanh(self, by: &Coefficients) -> f32 {
        let far = 1.0 - 2.0 / (Real::exp(2.0 * Real::min(f32::abs(self), 20.0), by) + 1.0);
        let z = self * self;
        let near = by.add(by.fourth_degree(by.tanh, z), z * self, self);
        if f32::abs(self) < 0.625 { near } else { far.copysign(self) }
    }
    /// A rational function of x² on |x| ≤ 4, where erf has reached 1 in f32.
    #[inline(always)]
    fn erf(self, by: &Coefficients) -> f32 {
        let x = Real::max(Real::min(self, by.four), -by.four);
        let z = x * x;
        x * by.sixth_degree(by.erf_above, z) / by.fourth_degree(by.erf_below, z)
    }
    /// ½ and a rational function of x² times x on |x| ≤ 5.6; within 3e-7.
    #[inline(always)]
    fn gelu_slope(self, by: &Coefficients) -> f32 {
        let x = Real::max(Real::min(self, by.slope_end), -by.slope_end);
        let z = x * x;
        by.reduction[4] + x * by.fifth_degree(by.slope_above, z) / by.fifth_degree(by.slope_below, z)
    }
    #[inline(always)]
    fn powf(self, y: f32) -> f32 {
        f32::powf(self, y)
    }
    #[inline(always)]
    fn mul_add(self, b: f32, c: f32) -> f32 {
        f32::mul_add(self, b, c)
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
    #[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
    fn floats(x: &[f32]) -> Option<&[f32]> {
        Some(x)
    }
    #[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
    fn floats_mut(x: &mut [f32]) -> Option<&mut [f32]> {
        Some(x)
    }
    unsafe fn gemm(
        triangle: Triangle,
        dims: [usize; 3],
        a: (*const f32, [isize; 2]),
        b: (*const f32, [isize; 2]),
        beta: f32,
        c: (*mut f32, [isize; 2]),
    ) {
        // SAFETY: the caller's promise.
        unsafe { super::gemm::gemm(triangle, dims, a, b, beta, c) }
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const MASKED: f64 = -3.0e38;
    type Coefficients = ();
    fn coefficients<const FUSED: bool>() {}
    fn of(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn from_i32(x: i32) -> f64 {
        x.into()
    }
    fn f64(self) -> f64 {
        self
    }
    fn exp(self, (): &()) -> f64 {
        f64::exp(self)
    }
    fn ln(self) -> f64 {
        f64::ln(self)
    }
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    fn tanh(self, (): &()) -> f64 {
        f64::tanh(self)
    }
    /// Maclaurin series for |x| < 3, Lentz's continued fraction of erfc beyond; about 14 digits.
    fn erf(self, (): &()) -> f64 {
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
    fn gelu_slope(self, (): &()) -> f64 {
        let x = self * std::f64::consts::FRAC_1_SQRT_2;
        0.5 + 0.5 * Real::erf(x, &()) + self * f64::exp(-x * x) * 0.398_942_280_401_432_7
    }
    fn powf(self, y: f64) -> f64 {
        f64::powf(self, y)
    }
    #[inline(always)]
    fn mul_add(self, b: f64, c: f64) -> f64 {
        f64::mul_add(self, b, c)
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
        _: Triangle,
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
    use super::{Coefficients, Real};

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
        fast_functions(&f32::coefficients::<false>());
        fast_functions(&f32::coefficients::<true>());
    }

    fn fast_functions(by: &Coefficients) {
        assert!(worst(|x| Real::exp(x, by), f64::exp, -87.0, 88.0, 0.0) < 2.5e-7);
        assert!(worst(|x| Real::tanh(x, by), f64::tanh, -12.0, 12.0, 0.0) < 3e-7);
        assert!(worst(|x| Real::erf(x, by), |x| Real::erf(x, &()), -6.0, 6.0, 0.0) < 6e-7);
        let slope = |x| Real::gelu_slope(x, &());
        assert!(worst(|x| Real::gelu_slope(x, by), slope, -9.0, 9.0, 1.0) < 3e-7);
        assert_eq!(
            (Real::exp(-1000f32, by), Real::exp(0f32, by), Real::tanh(0f32, by), Real::erf(0f32, by)),
            (0.0, 1.0, 0.0, 0.0)
        );
        // At the clamps the exponent's field is full or all but empty.
        assert!(worst(|x| Real::exp(x, by), f64::exp, 88.722, 88.722_83, 0.0) < 2.5e-7);
        assert!(worst(|x| Real::exp(x, by), f64::exp, -87.336_54, -87.336, 0.0) < 2.5e-7);
        assert!(Real::exp(1000f32, by) > 3.4e38);
        assert!(Real::exp(f32::NAN, by).is_nan() || Real::exp(f32::NAN, by).is_finite());
    }

    #[test]
    fn erf_in_f64_has_known_values() {
        for (x, y) in
            [(0.5, 0.520_499_877_813_046_5), (1.0, 0.842_700_792_949_714_9), (3.5, 0.999_999_256_901_627_7)]
        {
            assert!((Real::erf(x, &()) - y).abs() < 1e-14, "erf({x})");
            assert!((Real::erf(-x, &()) + y).abs() < 1e-14);
        }
    }
}
