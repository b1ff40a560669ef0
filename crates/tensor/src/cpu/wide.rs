//! Loops compiled twice: for any processor, and for the wide registers that most have.

use super::Real;

/// A loop and what it works on. `run` must be `#[inline(always)]`, and so must what it calls, or that is compiled for any
/// processor after all.
pub(crate) trait Kernel {
    /// Does the work; `FUSED` is for [`add_product`].
    fn run<const FUSED: bool>(self);
}

/// Runs a kernel in registers of eight floats, with fused multiply-add, where the processor has both (Intel since 2013, AMD
/// since 2015), else as everything else is compiled.
///
/// The choice is the same in every run on one machine, and so are the bits.
pub(crate) fn wide(kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        #[target_feature(enable = "avx2,fma")]
        fn fused(kernel: impl Kernel) {
            kernel.run::<true>();
        }
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { fused(kernel) };
    }
    // On 64-bit ARM multiplication and addition are one instruction on every processor.
    #[cfg(target_arch = "aarch64")]
    kernel.run::<true>();
    #[cfg(not(target_arch = "aarch64"))]
    kernel.run::<false>();
}

/// `sum + a·b`, rounded once where that is one instruction, else twice.
#[inline(always)]
pub(crate) fn add_product<F: Real, const FUSED: bool>(sum: F, a: F, b: F) -> F {
    if FUSED { a.mul_add(b, sum) } else { sum + a * b }
}

/// Defines a function `fn name<F: Real>(…)` that is compiled three times, the third for registers of sixteen floats, and chosen
/// as by [`wide`]. What computes there stands in loops: a closure that an iterator is given may end up outside, compiled for any
/// processor. Its body may ask whether it is `FUSED`, for [`Real::coefficients`]; its results are the same to the bit in
/// registers of eight floats and of sixteen.
macro_rules! wide_fn {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<$F:ident: Real>($($x:ident: $X:ty),+ $(,)?) $(-> $Y:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name<$F: Real>($($x: $X),+) $(-> $Y)? {
            #[inline(always)]
            fn plain<const FUSED: bool, $F: Real>($($x: $X),+) $(-> $Y)? $body
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512vl")
                && std::arch::is_x86_feature_detected!("avx512dq")
                && std::arch::is_x86_feature_detected!("fma")
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,fma")]
                fn widest<$F: Real>($($x: $X),+) $(-> $Y)? {
                    plain::<true, $F>($($x),+)
                }
                // SAFETY: the processor has what the function is compiled for.
                return unsafe { widest($($x),+) };
            } else if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                #[target_feature(enable = "avx2,fma")]
                fn wide<$F: Real>($($x: $X),+) $(-> $Y)? {
                    plain::<true, $F>($($x),+)
                }
                // SAFETY: the processor has what the function is compiled for.
                return unsafe { wide($($x),+) };
            }
            plain::<{ cfg!(target_arch = "aarch64") }, $F>($($x),+)
        }
    };
}
pub(crate) use wide_fn;
