//! Elementary functions in f64 whose bits are the same on every platform, and which weigh a tenth of the standard library's:
//! polynomials in `+ − × ÷`, which IEEE 754 defines to the last bit.

/// Natural logarithm of a positive, normal f64; within 3 units of the last place, the same bits everywhere.
///
/// `x = m · 2ᵉ` with `m` in `[√½, √2)`, then `ln m = 2 artanh s` with `s = (m − 1) / (m + 1)`, `|s| ≤ 0.172`, as the
/// series `2 (s + s³/3 + s⁵/5 + …)`, whose eleventh term is below 2⁻⁵⁵ of the first.
pub fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut e = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits(bits & MANTISSA | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        e += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    // Horner's rule from the smallest term to the largest.
    let mut series = 0.0;
    for odd in (1..=21).rev().step_by(2) {
        series = series * z + 1.0 / odd as f64;
    }
    e as f64 * std::f64::consts::LN_2 + 2.0 * s * series
}

/// `cos(2π t)` of an angle in turns, |t| < 2²⁹; within 1e-15, the same bits everywhere. The reduction to an eighth of a turn
/// is exact. The sine is `cos_turn(t − ¼)`.
pub fn cos_turn(t: f64) -> f64 {
    // The nearest quarter turn, and what is left of it, in ±⅛ turn.
    let quarter = (4.0 * t + 0.5).floor();
    let angle = (t - 0.25 * quarter) * std::f64::consts::TAU;
    match quarter as i32 & 3 {
        0 => cos_eighth(angle),
        1 => -sin_eighth(angle),
        2 => -cos_eighth(angle),
        _ => sin_eighth(angle),
    }
}

/// Taylor's series of the cosine for `|x| ≤ π/4`; the first term left out is below 2⁻⁵⁵.
fn cos_eighth(x: f64) -> f64 {
    let z = x * x;
    let mut sum = 1.0;
    for n in (1..=8).rev() {
        sum = 1.0 - sum * z / ((2 * n - 1) * (2 * n)) as f64;
    }
    sum
}

/// Taylor's series of the sine for `|x| ≤ π/4`; the first term left out is below 2⁻⁵⁵ of the sum.
fn sin_eighth(x: f64) -> f64 {
    let z = x * x;
    let mut sum = 1.0;
    for n in (1..=8).rev() {
        sum = 1.0 - sum * z / ((2 * n) * (2 * n + 1)) as f64;
    }
    x * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn they_agree_with_the_platform() {
        let mut rng = Rng::new(2, 2);
        for _ in 0..100_000 {
            let x = rng.uniform_f64() + 1e-12;
            assert!((ln(x) - x.ln()).abs() <= 1e-15 * (1.0 + x.ln().abs()), "ln {x}");
            let t = 2.0 * rng.uniform_f64() - 1.0;
            let angle = t * std::f64::consts::TAU;
            assert!((cos_turn(t) - angle.cos()).abs() < 1e-15, "cos {angle}");
            assert!((cos_turn(t - 0.25) - angle.sin()).abs() < 1e-15, "sin {angle}");
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!([-0.25, 0.0, 0.25, 0.5, 0.75, 1.0].map(cos_turn), [0.0, 1.0, 0.0, -1.0, 0.0, 1.0]);
    }
}
