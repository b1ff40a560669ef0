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
        f32x4, f32x4_add, f32x4_mul, f32x4_splat, i32x4_shuffle, i64x2_shuffle, v128, v128_load,
        v128_load32_splat, v128_store, v128_store64_lane,
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
        /// The first two.
        #[inline(always)]
        pub(crate) unsafe fn store_half(self, y: *mut f32) {
            unsafe { v128_store64_lane::<0>(self.0, y.cast()) }
        }
        /// Columns in place of rows.
        #[inline(always)]
        pub(crate) fn transpose([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            let low = [i32x4_shuffle::<0, 4, 1, 5>(a.0, b.0), i32x4_shuffle::<0, 4, 1, 5>(c.0, d.0)];
            let high = [i32x4_shuffle::<2, 6, 3, 7>(a.0, b.0), i32x4_shuffle::<2, 6, 3, 7>(c.0, d.0)];
            let first = |[ab, cd]: [v128; 2]| F32x4(i64x2_shuffle::<0, 2>(ab, cd));
            let second = |[ab, cd]: [v128; 2]| F32x4(i64x2_shuffle::<1, 3>(ab, cd));
            [first(low), second(low), first(high), second(high)]
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
        pub(crate) unsafe fn store_half(self, y: *mut f32) {
            unsafe { y.cast::<[f32; 2]>().write_unaligned([self.0[0], self.0[1]]) }
        }
        #[inline(always)]
        pub(crate) fn transpose(rows: [Self; 4]) -> [Self; 4] {
            core::array::from_fn(|i| F32x4(rows.map(|row| row.0[i])))
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
