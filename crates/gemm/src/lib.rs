//! Matrix products: packed panels, and a kernel whose sums stay in registers.
//!
//! The scheme of Goto and van de Geijn (2008, <https://doi.org/10.1145/1356052.1356053>): a block of B and a block of A are
//! copied into panels that the kernel reads in order, each panel from a cache that it fits into. Operands in any layout cost
//! the same, because only the copying sees it. On x86-64 with wide registers the kernel reads A where it lies instead: there
//! a number is copied in the time of eight products or more, and in the layers of a small model it takes part in few.
//!
//! For WebAssembly it is compiled twice: into the engine, for any browser, and with relaxed SIMD, whose multiply-add rounds
//! once and takes one instruction, as a module of its own (`wasm-gemm`). That module works in the engine's memory and has
//! neither stack nor data there: hence raw pointers, nothing that could panic, and no array that is not in registers. It
//! multiplies codes (`codes`) and a few rows (`streams`) as well. What is not in it may have all that: products of a few rows by
//! other processors (`few`), and their kernels.

#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128")))]
pub mod codes;
#[cfg(target_arch = "x86_64")]
pub mod few;
mod pack;
mod register;
#[cfg(any(test, target_arch = "wasm32"))]
pub mod streams;
mod triangle;

pub use triangle::Triangle;

use pack::pack;
use register::{F32x4, FUSED, Register};
#[cfg(target_arch = "x86_64")]
use register::{F32x8, F32x16};

use core::ops::Range;

/// Registers side by side in the kernel.
const ACROSS: usize = 2;
/// Rows of the kernel for WebAssembly. Of x86's 16 registers V8 keeps one for itself. Fused: 12 of sums, 2 of B, 1 of A.
/// Otherwise a product needs one more before it is added: 8 of sums are as fast there.
const ROWS: usize = if FUSED { 6 } else { FEW_ROWS };
/// Rows of a kernel for the last few: 128 are 20 times six and twice four.
const FEW_ROWS: usize = 4;
/// The same beside a kernel of twelve: 32 are twice twelve and eight.
const SOME_ROWS: usize = 8;
/// Extent along k of a block: a panel of B (8 KiB in WebAssembly) stays in the first-level cache.
const DEPTH: usize = 256;
/// Rows of a block of A (120 KiB), a multiple of what any kernel has, and columns of a block of B (at most 1 MiB), for the
/// second-level cache.
const BLOCK_ROWS: usize = 120;
const BLOCK_COLUMNS: usize = 1024;

/// Panels that are copied at once: a fiftieth faster, for some size. In the engine every kilobyte counts.
const GROUP: usize = if FUSED { 4 } else { 1 };

/// A product C ← A·B + beta·C of strided matrices A (m, k), B (k, n), C (m, n), as one module passes it to the other.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Product {
    /// Extents m, k, n.
    pub dims: [usize; 3],
    /// The first element of A.
    pub a: *const f32,
    /// Elements from a row of A to the next, and from a column to the next.
    pub a_strides: [isize; 2],
    /// The first element of B.
    pub b: *const f32,
    /// The same for B.
    pub b_strides: [isize; 2],
    /// What the old C is multiplied by; at 0 it is not read.
    pub beta: f32,
    /// The first element of C.
    pub c: *mut f32,
    /// The same for C.
    pub c_strides: [isize; 2],
    /// Room for [`panels_len`] numbers.
    pub panels: *mut f32,
    /// What need not be computed.
    pub triangle: Triangle,
}

/// [`gemm`], or what takes its place.
///
/// # Safety
/// Every index that the extents and strides span lies within the allocations behind the pointers, and nothing else
/// accesses C and the panels meanwhile.
pub type Gemm = unsafe extern "C" fn(&Product);

/// How many numbers a product keeps at `panels`: a block of A, a block of B, and one tile of sums.
pub fn panels_len([m, k, n]: [usize; 3]) -> usize {
    // Where C is written by columns, A may be what B is here.
    let [m, n] = if cfg!(target_arch = "x86_64") { [m.max(n); 2] } else { [m, n] };
    MOST_ROWS * MOST_COLUMNS + b_len(k, n) + m.min(BLOCK_ROWS).next_multiple_of(MOST_ROWS) * k.min(DEPTH)
}

fn b_len(k: usize, n: usize) -> usize {
    n.min(BLOCK_COLUMNS).next_multiple_of(MOST_COLUMNS) * k.min(DEPTH)
}

/// Rows of the kernel that has most. A block for a kernel that does not divide it has fewer.
const MOST_ROWS: usize = 12;
/// Columns of the kernel that has most.
const MOST_COLUMNS: usize = if cfg!(target_arch = "x86_64") { 32 } else { 8 };

/// Computes a product in registers of four floats.
///
/// # Safety
/// That of [`Gemm`].
pub unsafe extern "C" fn gemm(product: &Product) {
    // SAFETY: the caller's promise.
    unsafe { gemm_by::<F32x4, ROWS, { ACROSS * F32x4::LEN }>(product) }
}

/// Computes a product in registers of eight floats: 12 of 16 are sums, 2 of B, 1 of A.
///
/// # Safety
/// That of [`Gemm`], and the processor has `avx2` and `fma`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub unsafe extern "C" fn gemm_avx2(product: &Product) {
    // SAFETY: the caller's promise.
    unsafe { gemm_by_rows::<F32x8, 6, { ACROSS * F32x8::LEN }>(product) }
}

/// Computes a product in registers of sixteen floats: 24 of 32 are sums, 2 of B, and A comes with the instruction.
///
/// # Safety
/// That of [`Gemm`], and the processor has `avx512f`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
pub unsafe extern "C" fn gemm_avx512(product: &Product) {
    // SAFETY: the caller's promise.
    unsafe { gemm_by_rows::<F32x16, 12, { ACROSS * F32x16::LEN }>(product) }
}

/// Writes whole registers where only the columns of C are contiguous, too: Cᵀ = Bᵀ·Aᵀ.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn gemm_by_rows<V: Register, const R: usize, const W: usize>(p: &Product) {
    let turn = |[row, column]: [isize; 2]| [column, row];
    let [m, k, n] = p.dims;
    let mut p = *p;
    if p.c_strides[1] != 1 && p.c_strides[0] == 1 {
        p = Product {
            dims: [n, k, m],
            a: p.b,
            a_strides: turn(p.b_strides),
            b: p.a,
            b_strides: turn(p.a_strides),
            c_strides: turn(p.c_strides),
            triangle: Triangle::WHOLE,
            ..p
        };
    }
    unsafe { gemm_by::<V, R, W>(&p) }
}

/// A product with a kernel of `R` rows and `W` columns. SAFETY, here and below: the caller's promise; blocks lie within their
/// matrices.
#[inline(always)]
unsafe fn gemm_by<V: Register, const R: usize, const W: usize>(p: &Product) {
    let [m, k, n] = p.dims;
    let ([a_row, a_column], [b_row, b_column], [c_row, c_column]) = (p.a_strides, p.b_strides, p.c_strides);
    let tile = p.panels;
    let b_panels = unsafe { tile.add(MOST_ROWS * MOST_COLUMNS) };
    let a_panels = unsafe { b_panels.add(b_len(k, n)) };
    let mut j = 0;
    while j < n {
        let columns = BLOCK_COLUMNS.min(n - j);
        let mut l = 0;
        loop {
            let depth = DEPTH.min(k - l);
            // The first block along k meets beta, the others add to what it left.
            let beta = if l == 0 { p.beta } else { 1.0 };
            let b = unsafe { p.b.offset(l as isize * b_row + j as isize * b_column) };
            // For few rows copying takes longer than it saves, as long as B comes from a cache and not from memory.
            let few = V::MASKED && m <= 3 * R && k * n <= DEPTH * BLOCK_COLUMNS;
            let there = if few && b_column == 1 { columns / W * W } else { 0 };
            let rest = unsafe { b.offset(there as isize * b_column) };
            unsafe { pack::<V, W, GROUP>(rest, [columns - there, depth], [b_column, b_row], b_panels) };
            let mut i = 0;
            while i < m {
                let (rows, tile_rows) = next_rows::<R>(m - i);
                let a = unsafe { p.a.offset(i as isize * a_row + l as isize * a_column) };
                let c = unsafe { p.c.offset(i as isize * c_row + j as isize * c_column) };
                let (c_strides, triangle) = (p.c_strides, p.triangle.from([i, l, j]));
                let block = Block { a_panels, b_panels, b, b_row, there, beta, c, c_strides, tile, triangle };
                let (extent, steps) = ([rows, depth, columns], [a_row, a_column]);
                match tile_rows {
                    FEW_ROWS => unsafe { block.compute::<V, FEW_ROWS, W>(a, steps, extent) },
                    SOME_ROWS if R == MOST_ROWS => unsafe {
                        block.compute::<V, SOME_ROWS, W>(a, steps, extent)
                    },
                    _ => unsafe { block.compute::<V, R, W>(a, steps, extent) },
                }
                i += rows;
            }
            l += DEPTH;
            if l >= k {
                break;
            }
        }
        j += BLOCK_COLUMNS;
    }
}

/// How many of the rows that are left make the next block, and how many of them the kernel has that takes them: sixes and
/// fours together make every even number from four on, twelves, eights and fours every multiple of four.
#[inline(always)]
fn next_rows<const R: usize>(left: usize) -> (usize, usize) {
    if left > BLOCK_ROWS {
        return (BLOCK_ROWS, R);
    }
    // The rows that the larger kernel takes, where a smaller one follows.
    let whole = match left % R {
        1 | 2 if R == 6 => (left / R * R).saturating_sub(R),
        1..=SOME_ROWS if R == MOST_ROWS => left / R * R,
        3 | 4 if R != FEW_ROWS => left / R * R,
        _ => left,
    };
    match (whole, left) {
        (0, ..=FEW_ROWS) => (left, FEW_ROWS),
        (0, ..=SOME_ROWS) if R == MOST_ROWS => (left, SOME_ROWS),
        (0, _) => (left, FEW_ROWS),
        _ => (whole, R),
    }
}

/// A block of C, and the panels that it is the product of.
struct Block {
    a_panels: *mut f32,
    b_panels: *const f32,
    /// The block of B itself, the step to its next row, and how many of its columns are read there.
    b: *const f32,
    b_row: isize,
    there: usize,
    beta: f32,
    c: *mut f32,
    c_strides: [isize; 2],
    /// Where the sums go that do not fill a tile of C.
    tile: *mut f32,
    triangle: Triangle,
}

/// Rows of A for the kernel, which reads one number of each at a time.
#[derive(Clone, Copy)]
enum Rows {
    /// These numbers lie side by side, and the next ones so far from them.
    Together(*const f32, isize),
    /// Each row is contiguous, and the next one so far from it.
    Apart(*const f32, isize),
}

impl Block {
    /// Copies what the kernel cannot read where it lies, of the block of A that begins at `a`, and multiplies.
    #[inline(always)]
    unsafe fn compute<V: Register, const R: usize, const W: usize>(
        &self,
        a: *const f32,
        [row, column]: [isize; 2],
        [rows, depth, columns]: [usize; 3],
    ) {
        // Rows 4 KiB apart lie in one set of the first-level cache, which has room for eight.
        let readable = V::MASKED && (row == 1 || (column == 1 && row % 1024 != 0));
        let there = if readable { rows / R * R } else { 0 };
        let rest = unsafe { a.offset(there as isize * row) };
        unsafe { pack::<V, R, GROUP>(rest, [rows - there, depth], [row, column], self.a_panels) };
        let mut j = 0;
        while j < columns {
            let (b, b_step) = match j < self.there {
                true => (unsafe { self.b.add(j) }, self.b_row),
                false => (unsafe { self.b_panels.add((j - self.there) * depth) }, W as isize),
            };
            let mut next = 0;
            while next < rows {
                let i = next;
                next += R;
                let [tile_rows, tile_columns] = [R.min(rows - i), W.min(columns - j)];
                if self.triangle.passes_over(i, j + tile_columns) {
                    continue;
                }
                let Range { start, end } = self.triangle.along_k(i, tile_rows, depth);
                let a = if i >= there {
                    Rows::Together(unsafe { self.a_panels.add((i - there) * depth + start * R) }, R as isize)
                } else if row == 1 {
                    Rows::Together(unsafe { a.add(i).offset(start as isize * column) }, column)
                } else {
                    Rows::Apart(unsafe { a.offset(i as isize * row).add(start) }, row)
                };
                let b = (unsafe { b.offset(start as isize * b_step) }, b_step);
                let extent = [tile_rows, end - start, tile_columns];
                let [c_row, c_column] = self.c_strides;
                let c = unsafe { self.c.offset(i as isize * c_row + j as isize * c_column) };
                match V::MASKED && tile_columns <= V::LEN {
                    false => unsafe { self.tile::<V, R, ACROSS>(a, b, c, extent) },
                    true => unsafe { self.tile::<V, R, 1>(a, b, c, extent) },
                }
            }
            j += W;
        }
    }

    /// One tile of C, of which `rows` and `columns` are there.
    #[inline(always)]
    unsafe fn tile<V: Register, const R: usize, const C: usize>(
        &self,
        a: Rows,
        b: (*const f32, isize),
        c: *mut f32,
        [rows, depth, columns]: [usize; 3],
    ) {
        let sums: Sums<V, R, C> = match a {
            Rows::Together(a, step) => unsafe { kernel(a, [1, step], b, depth) },
            Rows::Apart(a, row) => unsafe { kernel(a, [row, 1], b, depth) },
        };
        let by_rows = self.c_strides[1] == 1;
        if [rows, columns] == [R, C * V::LEN] && by_rows {
            unsafe { self.store(&sums, c) };
        } else if V::MASKED && by_rows {
            unsafe { self.store_first(&sums, [rows, columns], c) };
        } else {
            unsafe { self.store_part(&sums, [rows, columns], c) };
        }
    }

    /// A register at a time.
    #[inline(always)]
    unsafe fn store<V: Register, const R: usize, const C: usize>(&self, sums: &Sums<V, R, C>, c: *mut f32) {
        for (i, row) in sums.iter().enumerate() {
            for (j, sum) in row.iter().enumerate() {
                unsafe {
                    let c = c.offset(i as isize * self.c_strides[0]).add(V::LEN * j);
                    match self.beta {
                        0.0 => sum.store(c),
                        beta => V::load(c).scaled(beta).add(*sum).store(c),
                    }
                }
            }
        }
    }

    /// The first numbers of the first rows.
    #[inline(always)]
    unsafe fn store_first<V: Register, const R: usize, const C: usize>(
        &self,
        sums: &Sums<V, R, C>,
        [rows, columns]: [usize; 2],
        c: *mut f32,
    ) {
        for (i, row) in sums.iter().enumerate() {
            if i == rows {
                break;
            }
            for (j, sum) in row.iter().enumerate() {
                unsafe {
                    let c = c.offset(i as isize * self.c_strides[0]).add(V::LEN * j);
                    let n = columns.saturating_sub(V::LEN * j);
                    match self.beta {
                        0.0 => sum.store_first(c, n),
                        beta => V::load_first(c, n).scaled(beta).add(*sum).store_first(c, n),
                    }
                }
            }
        }
    }

    /// One number at a time, by way of memory, because registers have no index.
    #[inline(always)]
    unsafe fn store_part<V: Register, const R: usize, const C: usize>(
        &self,
        sums: &Sums<V, R, C>,
        [rows, columns]: [usize; 2],
        c: *mut f32,
    ) {
        for (i, row) in sums.iter().enumerate() {
            for (j, sum) in row.iter().enumerate() {
                unsafe { sum.store(self.tile.add((i * C + j) * V::LEN)) };
            }
        }
        for i in 0..rows {
            for j in 0..columns {
                unsafe {
                    let sum = *self.tile.add(i * C * V::LEN + j);
                    let [c_row, c_column] = self.c_strides;
                    let c = c.offset(i as isize * c_row + j as isize * c_column);
                    *c = if self.beta == 0.0 { sum } else { sum + self.beta * *c };
                }
            }
        }
    }
}

type Sums<V, const R: usize, const C: usize> = [[V; C]; R];

/// The products of `R` rows of A and the first `C` registers of a panel of B, summed in the order of k.
#[inline(always)]
unsafe fn kernel<V: Register, const R: usize, const C: usize>(
    mut a: *const f32,
    [row, column]: [isize; 2],
    (mut b, b_row): (*const f32, isize),
    depth: usize,
) -> Sums<V, R, C> {
    let mut sums = [[unsafe { V::zero() }; C]; R];
    for _ in 0..depth {
        let bs: [V; C] = core::array::from_fn(|j| unsafe { V::load(b.add(V::LEN * j)) });
        for (i, sums) in sums.iter_mut().enumerate() {
            let a = unsafe { V::splat(a.offset(i as isize * row)) };
            for (sum, b) in sums.iter_mut().zip(bs) {
                *sum = unsafe { sum.add_product(a, b) };
            }
        }
        (a, b) = unsafe { (a.offset(column), b.offset(b_row)) };
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    unsafe extern "C" fn six_rows(product: &Product) {
        unsafe { gemm_by::<F32x4, 6, 8>(product) }
    }

    /// All that this processor can run.
    fn kernels() -> Vec<Gemm> {
        #[allow(unused_mut, reason = "other processors have no more")]
        let mut kernels: Vec<Gemm> = std::vec![gemm, six_rows];
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                kernels.push(gemm_avx2);
            }
            if std::is_x86_feature_detected!("avx512f") {
                kernels.push(gemm_avx512);
            }
        }
        kernels
    }

    fn check(dims: [usize; 3], steps: [[usize; 2]; 3], beta: f32) {
        check_but(dims, steps, beta, Triangle::WHOLE);
    }

    /// The product of matrices with gaps between their elements, by every kernel, against sums in f64.
    fn check_but(
        [m, k, n]: [usize; 3],
        [a_steps, b_steps, c_steps]: [[usize; 2]; 3],
        beta: f32,
        triangle: Triangle,
    ) {
        let span = |rows: usize, columns: usize, [r, c]: [usize; 2]| {
            (rows.max(1) - 1) * r + (columns.max(1) - 1) * c + 1
        };
        let mut state = (m * 7919 + k * 104_729 + n) as u32;
        let mut random = |len: usize| -> Vec<f32> {
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            };
            (0..len).map(|_| next()).collect()
        };
        let (mut a, b) = (random(span(m, k, a_steps)), random(span(k, n, b_steps)));
        let right_by = |i: usize, j: usize| j as isize - i as isize;
        for (i, l) in (0..m).flat_map(|i| (0..k).map(move |l| (i, l))) {
            if right_by(i, l) > triangle.lower || right_by(i, l) < triangle.upper {
                a[i * a_steps[0] + l * a_steps[1]] = 0.0;
            }
        }
        let before = random(span(m, n, c_steps));
        let mut expected: Vec<f64> = before.iter().map(|&x| x as f64).collect();
        let mut unwanted = std::vec![false; before.len()];
        for i in 0..m {
            for j in 0..n {
                let products = (0..k).map(|l| {
                    a[i * a_steps[0] + l * a_steps[1]] as f64 * b[l * b_steps[0] + j * b_steps[1]] as f64
                });
                let at = i * c_steps[0] + j * c_steps[1];
                unwanted[at] = right_by(i, j) < triangle.wanted;
                expected[at] = products.sum::<f64>() + beta as f64 * expected[at];
            }
        }
        let signed = |steps: [usize; 2]| steps.map(|step| step as isize);
        for by in kernels() {
            let (mut c, mut panels) = (before.clone(), std::vec![f32::NAN; panels_len([m, k, n])]);
            let product = Product {
                dims: [m, k, n],
                a: a.as_ptr(),
                a_strides: signed(a_steps),
                b: b.as_ptr(),
                b_strides: signed(b_steps),
                beta,
                c: c.as_mut_ptr(),
                c_strides: signed(c_steps),
                panels: panels.as_mut_ptr(),
                triangle,
            };
            // SAFETY: the buffers span the matrices.
            unsafe { by(&product) };
            for (at, (found, expected)) in c.iter().zip(&expected).enumerate() {
                let close = (*found as f64 - expected).abs() <= 2e-5 * (1.0 + (k as f64).sqrt());
                assert!(
                    close || unwanted[at],
                    "{m}x{k}x{n}, {triangle:?}, element {at}: {found}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn products_of_all_sizes_and_layouts() {
        let plain = |[_, k, n]: [usize; 3]| [[k, 1], [n, 1], [n, 1]];
        for dims in [
            [1, 1, 1],
            [4, 8, 8],
            [5, 3, 9],
            [6, 16, 16],
            [131, 257, 17],
            [7, 600, 1030],
            [128, 9, 8],
            [9, 4, 16],
            [2, 5, 8],
            [247, 3, 8],
            [64, 0, 3],
            [0, 4, 4],
        ] {
            check(dims, plain(dims), 0.0);
        }
        let [m, k, n] = [37, 300, 41];
        check([m, k, n], [[1, m], [n, 1], [n, 1]], 0.0); // A transposed
        check([m, k, n], [[k, 1], [1, k], [n, 1]], 1.0); // B transposed, added to C
        check([m, k, n], [[2 * k, 2], [3, 3 * k], [1, m]], 0.5); // gaps; C transposed
    }

    #[test]
    fn products_beside_a_diagonal() {
        for by in [-200, -7, 0, 1, 40, 500] {
            for triangle in [Triangle::lower(by), Triangle::upper(by), Triangle::wanted(by)] {
                for ([m, k, n], beta) in [([45, 30, 70], 0.0), ([256, 300, 64], 1.0), ([130, 9, 200], 0.5)] {
                    check_but([m, k, n], [[k, 1], [n, 1], [n, 1]], beta, triangle);
                    check_but([m, k, n], [[1, m], [1, k], [n, 1]], beta, triangle);
                    check_but([m, k, n], [[k, 1], [n, 1], [1, m]], beta, triangle); // C transposed
                }
            }
        }
    }

    #[test]
    fn what_nobody_wants_stays_as_it_is() {
        let (a, b, mut panels) = ([1.0; 64], [1.0; 64], std::vec![0.0; panels_len([64, 1, 64])]);
        for by in kernels() {
            let mut c = std::vec![7.0; 64 * 64];
            let product = Product {
                dims: [64, 1, 64],
                a: a.as_ptr(),
                a_strides: [1, 1],
                b: b.as_ptr(),
                b_strides: [64, 1],
                beta: 0.0,
                c: c.as_mut_ptr(),
                c_strides: [64, 1],
                panels: panels.as_mut_ptr(),
                triangle: Triangle::wanted(0),
            };
            // SAFETY: the buffers span the matrices.
            unsafe { by(&product) };
            assert_eq!((c[0], c[63 * 64 + 63], c[63 * 64]), (1.0, 1.0, 7.0));
        }
    }
}
