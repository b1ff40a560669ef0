//! Several floats in one register.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use wasm::F32x4;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{F32x4, F32x8, F32x16, Total};

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128"))))]
pub(crate) use portable::F32x4;

/// What the kernel computes with.
///
/// SAFETY of all its functions: the numbers are there, and the processor has the registers. Nothing needs to be aligned.
pub(crate) trait Register: Copy {
    /// Floats in a register.
    const LEN: usize;
    /// Whether the first few of its floats can be loaded and stored.
    const MASKED: bool = false;

    /// Zeros.
    unsafe fn zero() -> Self;
    /// One number in all places.
    unsafe fn splat(x: *const f32) -> Self;
    unsafe fn load(x: *const f32) -> Self;
    unsafe fn store(self, y: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn scaled(self, factor: f32) -> Self;
    /// self + a · b
    unsafe fn add_product(self, a: Self, b: Self) -> Self;

    /// The first `n` numbers, or as many as there are; only where [`MASKED`](Self::MASKED).
    unsafe fn load_first(x: *const f32, _n: usize) -> Self {
        unsafe { Self::load(x) }
    }
    /// The same, stored.
    unsafe fn store_first(self, y: *mut f32, _n: usize) {
        unsafe { self.store(y) }
    }
}

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
    }

    impl super::Register for F32x4 {
        const LEN: usize = 4;

        #[inline(always)]
        unsafe fn zero() -> Self {
            F32x4(f32x4(0.0, 0.0, 0.0, 0.0))
        }
        #[inline(always)]
        unsafe fn splat(x: *const f32) -> Self {
            F32x4(unsafe { v128_load32_splat(x.cast()) })
        }
        #[inline(always)]
        unsafe fn load(x: *const f32) -> Self {
            F32x4(unsafe { v128_load(x.cast()) })
        }
        #[inline(always)]
        unsafe fn store(self, y: *mut f32) {
            unsafe { v128_store(y.cast(), self.0) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            F32x4(f32x4_add(self.0, other.0))
        }
        #[inline(always)]
        unsafe fn scaled(self, factor: f32) -> Self {
            F32x4(f32x4_mul(self.0, f32x4_splat(factor)))
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            #[cfg(target_feature = "relaxed-simd")]
            return F32x4(f32x4_relaxed_madd(a.0, b.0, self.0));
            #[cfg(not(target_feature = "relaxed-simd"))]
            return F32x4(f32x4_add(self.0, f32x4_mul(a.0, b.0)));
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Register;
    use core::arch::x86_64::*;

    /// Part of every x86-64.
    #[derive(Clone, Copy)]
    pub(crate) struct F32x4(__m128);

    impl F32x4 {
        /// The first two.
        #[inline(always)]
        pub(crate) unsafe fn store_half(self, y: *mut f32) {
            unsafe { _mm_storel_epi64(y.cast(), _mm_castps_si128(self.0)) }
        }
        /// Columns in place of rows.
        #[inline(always)]
        pub(crate) fn transpose([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            // SAFETY: these instructions are part of every x86-64.
            unsafe {
                let low = [_mm_unpacklo_ps(a.0, b.0), _mm_unpacklo_ps(c.0, d.0)];
                let high = [_mm_unpackhi_ps(a.0, b.0), _mm_unpackhi_ps(c.0, d.0)];
                let first = |[ab, cd]: [__m128; 2]| F32x4(_mm_movelh_ps(ab, cd));
                let second = |[ab, cd]: [__m128; 2]| F32x4(_mm_movehl_ps(cd, ab));
                [first(low), second(low), first(high), second(high)]
            }
        }
    }

    impl Register for F32x4 {
        const LEN: usize = 4;

        #[inline(always)]
        unsafe fn zero() -> Self {
            F32x4(unsafe { _mm_setzero_ps() })
        }
        #[inline(always)]
        unsafe fn splat(x: *const f32) -> Self {
            F32x4(unsafe { _mm_set1_ps(*x) })
        }
        #[inline(always)]
        unsafe fn load(x: *const f32) -> Self {
            F32x4(unsafe { _mm_loadu_ps(x) })
        }
        #[inline(always)]
        unsafe fn store(self, y: *mut f32) {
            unsafe { _mm_storeu_ps(y, self.0) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            F32x4(unsafe { _mm_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn scaled(self, factor: f32) -> Self {
            F32x4(unsafe { _mm_mul_ps(self.0, _mm_set1_ps(factor)) })
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            F32x4(unsafe { _mm_add_ps(self.0, _mm_mul_ps(a.0, b.0)) })
        }
    }

    /// A register whose floats can be added up.
    pub(crate) trait Total: Register {
        /// Their sum, as a tree of halves. SAFETY: that of [`Register`].
        unsafe fn total(self) -> f32;
    }

    /// Needs `avx2` and `fma`.
    #[derive(Clone, Copy)]
    pub(crate) struct F32x8(__m256);

    impl Total for F32x8 {
        #[inline(always)]
        unsafe fn total(self) -> f32 {
            unsafe {
                let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }
    }

    impl F32x8 {
        /// A mask of the first `n`.
        #[inline(always)]
        unsafe fn first(n: usize) -> __m256i {
            static ONES_ZEROS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
            unsafe { _mm256_loadu_si256(ONES_ZEROS.as_ptr().add(8 - n.min(8)).cast()) }
        }
    }

    impl Register for F32x8 {
        const LEN: usize = 8;
        const MASKED: bool = true;

        #[inline(always)]
        unsafe fn zero() -> Self {
            F32x8(unsafe { _mm256_setzero_ps() })
        }
        #[inline(always)]
        unsafe fn splat(x: *const f32) -> Self {
            F32x8(unsafe { _mm256_set1_ps(*x) })
        }
        #[inline(always)]
        unsafe fn load(x: *const f32) -> Self {
            F32x8(unsafe { _mm256_loadu_ps(x) })
        }
        #[inline(always)]
        unsafe fn store(self, y: *mut f32) {
            unsafe { _mm256_storeu_ps(y, self.0) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            F32x8(unsafe { _mm256_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn scaled(self, factor: f32) -> Self {
            F32x8(unsafe { _mm256_mul_ps(self.0, _mm256_set1_ps(factor)) })
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            F32x8(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn load_first(x: *const f32, n: usize) -> Self {
            F32x8(unsafe { _mm256_maskload_ps(x, Self::first(n)) })
        }
        #[inline(always)]
        unsafe fn store_first(self, y: *mut f32, n: usize) {
            unsafe { _mm256_maskstore_ps(y, Self::first(n), self.0) }
        }
    }

    /// Needs `avx512f`.
    #[derive(Clone, Copy)]
    pub(crate) struct F32x16(__m512);

    impl Total for F32x16 {
        #[inline(always)]
        unsafe fn total(self) -> f32 {
            unsafe {
                let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0));
                let eight = _mm256_add_ps(_mm512_castps512_ps256(self.0), _mm256_castpd_ps(high));
                F32x8(eight).total()
            }
        }
    }

    impl F32x16 {
        /// A mask of the first `n`.
        #[inline(always)]
        fn first(n: usize) -> __mmask16 {
            ((1_u32 << n.min(16)) - 1) as __mmask16
        }
    }

    impl Register for F32x16 {
        const LEN: usize = 16;
        const MASKED: bool = true;

        #[inline(always)]
        unsafe fn zero() -> Self {
            F32x16(unsafe { _mm512_setzero_ps() })
        }
        #[inline(always)]
        unsafe fn splat(x: *const f32) -> Self {
            F32x16(unsafe { _mm512_set1_ps(*x) })
        }
        #[inline(always)]
        unsafe fn load(x: *const f32) -> Self {
            F32x16(unsafe { _mm512_loadu_ps(x) })
        }
        #[inline(always)]
        unsafe fn store(self, y: *mut f32) {
            unsafe { _mm512_storeu_ps(y, self.0) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            F32x16(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn scaled(self, factor: f32) -> Self {
            F32x16(unsafe { _mm512_mul_ps(self.0, _mm512_set1_ps(factor)) })
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            F32x16(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn load_first(x: *const f32, n: usize) -> Self {
            F32x16(unsafe { _mm512_maskz_loadu_ps(Self::first(n), x) })
        }
        #[inline(always)]
        unsafe fn store_first(self, y: *mut f32, n: usize) {
            unsafe { _mm512_mask_storeu_ps(y, Self::first(n), self.0) }
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128"))))]
mod portable {
    #[derive(Clone, Copy)]
    pub(crate) struct F32x4([f32; 4]);

    impl F32x4 {
        #[inline(always)]
        pub(crate) unsafe fn store_half(self, y: *mut f32) {
            unsafe { y.cast::<[f32; 2]>().write_unaligned([self.0[0], self.0[1]]) }
        }
        #[inline(always)]
        pub(crate) fn transpose(rows: [Self; 4]) -> [Self; 4] {
            core::array::from_fn(|i| F32x4(rows.map(|row| row.0[i])))
        }
    }

    impl super::Register for F32x4 {
        const LEN: usize = 4;

        #[inline(always)]
        unsafe fn zero() -> Self {
            F32x4([0.0; 4])
        }
        #[inline(always)]
        unsafe fn splat(x: *const f32) -> Self {
            F32x4([unsafe { *x }; 4])
        }
        #[inline(always)]
        unsafe fn load(x: *const f32) -> Self {
            F32x4(unsafe { x.cast::<[f32; 4]>().read_unaligned() })
        }
        #[inline(always)]
        unsafe fn store(self, y: *mut f32) {
            unsafe { y.cast::<[f32; 4]>().write_unaligned(self.0) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            F32x4(core::array::from_fn(|i| self.0[i] + other.0[i]))
        }
        #[inline(always)]
        unsafe fn scaled(self, factor: f32) -> Self {
            F32x4(self.0.map(|x| x * factor))
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            F32x4(core::array::from_fn(|i| self.0[i] + a.0[i] * b.0[i]))
        }
    }
}
