//! Matrix product for wasm SIMD128: packed panels, and a kernel of 4 × 8 sums in registers.
//!
//! The scheme of Goto and van de Geijn (2008, <https://doi.org/10.1145/1356052.1356053>): a block of B and a block of A are
//! copied into panels that the kernel reads in order, each panel from a cache that it fits into. Operands in any layout cost
//! the same, because only the copying sees it. Natively the same code runs on plain arrays, for the tests.

use std::cell::RefCell;

/// Rows and columns of the kernel: 8 registers of sums, 2 of B, 1 of A, of the 16 that x86 has.
const ROWS: usize = 4;
const COLUMNS: usize = 8;
/// Extent along k of a block: a panel of B (8 KiB) stays in the first-level cache.
const DEPTH: usize = 256;
/// Rows of a block of A (128 KiB) and columns of a block of B (at most 1 MiB), for the second-level cache.
const BLOCK_ROWS: usize = 128;
const BLOCK_COLUMNS: usize = 1024;

thread_local! {
    /// The panels of one block of A and one of B, kept from call to call.
    static PANELS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// C ← A·B + beta·C; see [`Real::gemm`](super::Real::gemm).
///
/// # Safety
/// Every index that the extents and strides span lies within the allocations behind the pointers, and nothing else
/// accesses C meanwhile.
pub(crate) unsafe fn gemm(
    [m, k, n]: [usize; 3],
    (a, [a_row, a_column]): (*const f32, [isize; 2]),
    (b, [b_row, b_column]): (*const f32, [isize; 2]),
    beta: f32,
    (c, c_strides @ [c_row, c_column]): (*mut f32, [isize; 2]),
) {
    let depth = k.min(DEPTH);
    let a_len = m.min(BLOCK_ROWS).next_multiple_of(ROWS) * depth;
    let b_len = n.min(BLOCK_COLUMNS).next_multiple_of(COLUMNS) * depth;
    PANELS.with_borrow_mut(|panels| {
        panels.resize(panels.len().max(a_len + b_len), 0.0);
        let (a_panels, b_panels) = panels.split_at_mut(a_len);
        for j in (0..n).step_by(BLOCK_COLUMNS) {
            let columns = BLOCK_COLUMNS.min(n - j);
            for l in (0..k.max(1)).step_by(DEPTH) {
                let depth = DEPTH.min(k - l);
                // The first block along k meets beta, the others add to what it left.
                let beta = if l == 0 { beta } else { 1.0 };
                // SAFETY (here and below): the caller's promise; blocks lie within their matrices.
                let from = unsafe { b.offset(l as isize * b_row + j as isize * b_column) };
                unsafe { pack::<COLUMNS>(from, [columns, depth], [b_column, b_row], b_panels) };
                for i in (0..m).step_by(BLOCK_ROWS) {
                    let rows = BLOCK_ROWS.min(m - i);
                    let from = unsafe { a.offset(i as isize * a_row + l as isize * a_column) };
                    unsafe { pack::<ROWS>(from, [rows, depth], [a_row, a_column], a_panels) };
                    let to = unsafe { c.offset(i as isize * c_row + j as isize * c_column) };
                    unsafe { block([rows, depth, columns], a_panels, b_panels, beta, (to, c_strides)) };
                }
            }
        }
    });
}

/// Copies rows (or columns) of a matrix into panels of `W` of them, the elements of equal k side by side; zeros fill
/// the last panel.
unsafe fn pack<const W: usize>(
    from: *const f32,
    [extent, depth]: [usize; 2],
    [step, step_k]: [isize; 2],
    panels: &mut [f32],
) {
    for (p, panel) in panels.chunks_exact_mut(W * depth.max(1)).take(extent.div_ceil(W)).enumerate() {
        let from = unsafe { from.offset((p * W) as isize * step) };
        let width = W.min(extent - p * W);
        for (k, slot) in panel.chunks_exact_mut(W).take(depth).enumerate() {
            let slot: &mut [f32; W] = slot.try_into().expect("a slot has W elements");
            let from = unsafe { from.offset(k as isize * step_k) };
            if width == W && step == 1 {
                *slot = unsafe { from.cast::<[f32; W]>().read_unaligned() };
            } else if width == W {
                (0..W).for_each(|i| slot[i] = unsafe { *from.offset(i as isize * step) });
            } else {
                (0..W).for_each(|i| {
                    slot[i] = if i < width { unsafe { *from.offset(i as isize * step) } } else { 0.0 }
                });
            }
        }
    }
}

/// One block of C from packed panels.
unsafe fn block(
    [rows, depth, columns]: [usize; 3],
    a_panels: &[f32],
    b_panels: &[f32],
    beta: f32,
    (c, [c_row, c_column]): (*mut f32, [isize; 2]),
) {
    for j in (0..columns).step_by(COLUMNS) {
        for i in (0..rows).step_by(ROWS) {
            let sums =
                kernel(&a_panels[i * depth..][..ROWS * depth], &b_panels[j * depth..][..COLUMNS * depth]);
            let extent = [ROWS.min(rows - i), COLUMNS.min(columns - j)];
            let to = unsafe { c.offset(i as isize * c_row + j as isize * c_column) };
            unsafe { store(&sums, extent, beta, (to, [c_row, c_column])) };
        }
    }
}

type Sums = [[F32x4; 2]; ROWS];

/// The products of one panel of A and one of B, summed in the order of k.
#[inline(always)]
fn kernel(a: &[f32], b: &[f32]) -> Sums {
    let mut c = [[F32x4::splat(0.0); 2]; ROWS];
    for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(COLUMNS)) {
        let (b0, b1) = (F32x4::load(&b[..4]), F32x4::load(&b[4..]));
        for (c, &a) in c.iter_mut().zip(a) {
            let a = F32x4::splat(a);
            c[0] = c[0].add(a.mul(b0));
            c[1] = c[1].add(a.mul(b1));
        }
    }
    c
}

unsafe fn store(
    sums: &Sums,
    [rows, columns]: [usize; 2],
    beta: f32,
    (c, [c_row, c_column]): (*mut f32, [isize; 2]),
) {
    for (i, row) in sums.iter().enumerate().take(rows) {
        let c = unsafe { c.offset(i as isize * c_row) };
        let mut values = [0.0; COLUMNS];
        row[0].store(&mut values[..4]);
        row[1].store(&mut values[4..]);
        if c_column == 1 && columns == COLUMNS {
            let c = unsafe { &mut *c.cast::<[f32; COLUMNS]>() };
            match beta {
                0.0 => *c = values,
                _ => c.iter_mut().zip(values).for_each(|(c, v)| *c = v + beta * *c),
            }
        } else {
            for (j, v) in values.into_iter().enumerate().take(columns) {
                let c = unsafe { &mut *c.offset(j as isize * c_column) };
                *c = if beta == 0.0 { v } else { v + beta * *c };
            }
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use portable::F32x4;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use wasm::F32x4;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm {
    use core::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, v128, v128_load, v128_store};

    /// Four floats in one register.
    #[derive(Clone, Copy)]
    pub struct F32x4(v128);

    impl F32x4 {
        #[inline(always)]
        pub fn splat(x: f32) -> Self {
            F32x4(f32x4_splat(x))
        }
        #[inline(always)]
        pub fn load(x: &[f32]) -> Self {
            assert!(x.len() >= 4);
            // SAFETY: four elements are there; unaligned loads are allowed.
            F32x4(unsafe { v128_load(x.as_ptr().cast()) })
        }
        #[inline(always)]
        pub fn store(self, y: &mut [f32]) {
            assert!(y.len() >= 4);
            // SAFETY: as in `load`.
            unsafe { v128_store(y.as_mut_ptr().cast(), self.0) }
        }
        #[inline(always)]
        pub fn add(self, other: Self) -> Self {
            F32x4(f32x4_add(self.0, other.0))
        }
        #[inline(always)]
        pub fn mul(self, other: Self) -> Self {
            F32x4(f32x4_mul(self.0, other.0))
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod portable {
    /// Four floats.
    #[derive(Clone, Copy)]
    pub struct F32x4([f32; 4]);

    impl F32x4 {
        #[inline(always)]
        pub fn splat(x: f32) -> Self {
            F32x4([x; 4])
        }
        #[inline(always)]
        pub fn load(x: &[f32]) -> Self {
            F32x4([x[0], x[1], x[2], x[3]])
        }
        #[inline(always)]
        pub fn store(self, y: &mut [f32]) {
            y.copy_from_slice(&self.0);
        }
        #[inline(always)]
        pub fn add(self, other: Self) -> Self {
            F32x4(std::array::from_fn(|i| self.0[i] + other.0[i]))
        }
        #[inline(always)]
        pub fn mul(self, other: Self) -> Self {
            F32x4(std::array::from_fn(|i| self.0[i] * other.0[i]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, stream_id};

    /// The product of matrices with gaps between their elements, against sums in f64.
    fn check([m, k, n]: [usize; 3], [a_steps, b_steps, c_steps]: [[usize; 2]; 3], beta: f32) {
        let span = |rows: usize, columns: usize, [r, c]: [usize; 2]| {
            (rows.max(1) - 1) * r + (columns.max(1) - 1) * c + 1
        };
        let mut rng = Rng::new(3, stream_id(&format!("gemm {m} {k} {n}")));
        let mut random = |len: usize| (0..len).map(|_| rng.normal()).collect::<Vec<f32>>();
        let (a, b) = (random(span(m, k, a_steps)), random(span(k, n, b_steps)));
        let before = random(span(m, n, c_steps));
        let mut after = before.clone();
        let signed = |s: [usize; 2]| s.map(|s| s as isize);
        // SAFETY: the buffers span the matrices.
        unsafe {
            gemm(
                [m, k, n],
                (a.as_ptr(), signed(a_steps)),
                (b.as_ptr(), signed(b_steps)),
                beta,
                (after.as_mut_ptr(), signed(c_steps)),
            );
        }
        let mut expected: Vec<f64> = before.iter().map(|&x| x as f64).collect();
        for i in 0..m {
            for j in 0..n {
                let products = (0..k).map(|l| {
                    a[i * a_steps[0] + l * a_steps[1]] as f64 * b[l * b_steps[0] + j * b_steps[1]] as f64
                });
                let at = i * c_steps[0] + j * c_steps[1];
                expected[at] = products.sum::<f64>() + beta as f64 * expected[at];
            }
        }
        for (at, (found, expected)) in after.iter().zip(&expected).enumerate() {
            let close = (*found as f64 - expected).abs() <= 2e-5 * (1.0 + (k as f64).sqrt());
            assert!(close, "{m}x{k}x{n}, element {at}: {found}, expected {expected}");
        }
    }

    #[test]
    fn products_of_all_sizes_and_layouts() {
        let plain = |[m, k, n]: [usize; 3]| {
            let _ = m;
            [[k, 1], [n, 1], [n, 1]]
        };
        for dims in [[1, 1, 1], [4, 8, 8], [5, 3, 9], [131, 257, 17], [7, 600, 1030], [64, 0, 3], [0, 4, 4]] {
            check(dims, plain(dims), 0.0);
        }
        let [m, k, n] = [37, 300, 41];
        check([m, k, n], [[1, m], [n, 1], [n, 1]], 0.0); // A transposed
        check([m, k, n], [[k, 1], [1, k], [n, 1]], 1.0); // B transposed, added to C
        check([m, k, n], [[2 * k, 2], [3, 3 * k], [1, m]], 0.5); // gaps; C transposed
    }
}
