//! Four floats in one register.

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(crate) use portable::F32x4;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use wasm::F32x4;

/// Whether a product is added in one instruction.
pub(crate) const FUSED: bool = cfg!(all(target_arch = "wasm32", target_feature = "relaxed-simd"));

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm {
    #[cfg(target_feature = "relaxed-simd")]
    use core::arch::wasm32::f32x4_relaxed_madd;
    use core::arch::wasm32::{
        f32x4, f32x4_add, f32x4_mul, f32x4_splat, v128, v128_load, v128_load32_splat, v128_store,
    };

    #[derive(Clone, Copy)]
    pub(crate) struct F32x4(v128);

    impl F32x4 {
        pub(crate) const ZERO: Self = F32x4(f32x4(0.0, 0.0, 0.0, 0.0));

        /// One number, four times. SAFETY, here and below: the numbers are there; they need no alignment.
        #[inline(always)]
        pub(crate) unsafe fn splat(x: *const f32) -> Self {
            F32x4(unsafe { v128_load32_splat(x.cast()) })
        }
        #[inline(always)]
        pub(crate) unsafe fn load(x: *const f32) -> Self {
            F32x4(unsafe { v128_load(x.cast()) })
        }
        #[inline(always)]
        pub(crate) unsafe fn store(self, y: *mut f32) {
            unsafe { v128_store(y.cast(), self.0) }
        }
        #[inline(always)]
        pub(crate) fn add(self, other: Self) -> Self {
            F32x4(f32x4_add(self.0, other.0))
        }
        #[inline(always)]
        pub(crate) fn scaled(self, factor: f32) -> Self {
            F32x4(f32x4_mul(self.0, f32x4_splat(factor)))
        }
        /// self + a · b
        #[inline(always)]
        pub(crate) fn add_product(self, a: Self, b: Self) -> Self {
            #[cfg(target_feature = "relaxed-simd")]
            return F32x4(f32x4_relaxed_madd(a.0, b.0, self.0));
            #[cfg(not(target_feature = "relaxed-simd"))]
            return F32x4(f32x4_add(self.0, f32x4_mul(a.0, b.0)));
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod portable {
    #[derive(Clone, Copy)]
    pub(crate) struct F32x4([f32; 4]);

    impl F32x4 {
        pub(crate) const ZERO: Self = F32x4([0.0; 4]);

        #[inline(always)]
        pub(crate) unsafe fn splat(x: *const f32) -> Self {
            F32x4([unsafe { *x }; 4])
        }
        #[inline(always)]
        pub(crate) unsafe fn load(x: *const f32) -> Self {
            F32x4(unsafe { x.cast::<[f32; 4]>().read_unaligned() })
        }
        #[inline(always)]
        pub(crate) unsafe fn store(self, y: *mut f32) {
            unsafe { y.cast::<[f32; 4]>().write_unaligned(self.0) }
        }
        #[inline(always)]
        pub(crate) fn add(self, other: Self) -> Self {
            F32x4(core::array::from_fn(|i| self.0[i] + other.0[i]))
        }
        #[inline(always)]
        pub(crate) fn scaled(self, factor: f32) -> Self {
            F32x4(self.0.map(|x| x * factor))
        }
        #[inline(always)]
        pub(crate) fn add_product(self, a: Self, b: Self) -> Self {
            F32x4(core::array::from_fn(|i| self.0[i] + a.0[i] * b.0[i]))
        }
    }
}
