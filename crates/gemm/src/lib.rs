//! Matrix product for WebAssembly: packed panels, and a kernel whose sums stay in registers.
//!
//! The scheme of Goto and van de Geijn (2008, <https://doi.org/10.1145/1356052.1356053>): a block of B and a block of A are
//! copied into panels that the kernel reads in order, each panel from a cache that it fits into. Operands in any layout cost
//! the same, because only the copying sees it. Natively the same code runs on plain arrays, for the tests.
//!
//! It is compiled twice: into the engine, for any browser, and with relaxed SIMD, whose multiply-add rounds once and takes
//! one instruction, as a module of its own (`wasm-gemm`). That module works in the engine's memory and has neither stack nor
//! data there: hence raw pointers, nothing that could panic, and no array that is not in registers.

#![no_std]

#[cfg(test)]
extern crate std;

mod register;

use register::F32x4;

/// Columns of the kernel: two registers.
const COLUMNS: usize = 8;
/// Rows of the kernel. Of x86's 16 registers V8 keeps one for itself. Fused: 12 of sums, 2 of B, 1 of A. Otherwise a
/// product needs one more before it is added: 8 of sums are as fast there.
const ROWS: usize = if register::FUSED { 6 } else { FEW_ROWS };
/// Rows of a kernel for the last few: 128 are 20 times six and twice four.
const FEW_ROWS: usize = 4;
/// Extent along k of a block: a panel of B (8 KiB) stays in the first-level cache.
const DEPTH: usize = 256;
/// Rows of a block of A (120 KiB), a multiple of [`ROWS`] either way, and columns of a block of B (at most 1 MiB), for the
/// second-level cache.
const BLOCK_ROWS: usize = 120;
const BLOCK_COLUMNS: usize = 1024;

/// Panels that are copied at once: a fiftieth faster, for some size. In the engine every kilobyte counts.
const GROUP: usize = if register::FUSED { 4 } else { 1 };

/// A product C ← A·B + beta·C of strided matrices A (m, k), B (k, n), C (m, n), as one module passes it to the other.
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
}

/// [`gemm`], or what takes its place.
///
/// # Safety
/// Every index that the extents and strides span lies within the allocations behind the pointers, and nothing else
/// accesses C and the panels meanwhile.
pub type Gemm = unsafe extern "C" fn(&Product);

/// How many numbers a product keeps at `panels`: a block of A, a block of B, and one tile of sums.
pub fn panels_len([m, k, n]: [usize; 3]) -> usize {
    a_len(m, k) + n.min(BLOCK_COLUMNS).next_multiple_of(COLUMNS) * k.min(DEPTH) + ROOM * COLUMNS
}

/// Either number of rows divides this one, so that the room is the same for both.
const ROOM: usize = 12;

fn a_len(m: usize, k: usize) -> usize {
    m.min(BLOCK_ROWS).next_multiple_of(ROOM) * k.min(DEPTH)
}

/// Computes a product.
///
/// # Safety
/// That of [`Gemm`].
pub unsafe extern "C" fn gemm(product: &Product) {
    // SAFETY: the caller's promise.
    unsafe { gemm_by::<ROWS>(product) }
}

/// The same with a kernel of `R` rows. SAFETY, here and below: the caller's promise; blocks lie within their matrices.
#[inline(always)]
unsafe fn gemm_by<const R: usize>(p: &Product) {
    let [m, k, n] = p.dims;
    let ([a_row, a_column], [b_row, b_column], [c_row, c_column]) = (p.a_strides, p.b_strides, p.c_strides);
    let tile = p.panels;
    let a_panels = unsafe { tile.add(ROOM * COLUMNS) };
    let b_panels = unsafe { a_panels.add(a_len(m, k)) };
    let mut j = 0;
    while j < n {
        let columns = BLOCK_COLUMNS.min(n - j);
        let mut l = 0;
        loop {
            let depth = DEPTH.min(k - l);
            // The first block along k meets beta, the others add to what it left.
            let beta = if l == 0 { p.beta } else { 1.0 };
            let from = unsafe { p.b.offset(l as isize * b_row + j as isize * b_column) };
            unsafe { pack::<COLUMNS>(from, [columns, depth], [b_column, b_row], b_panels) };
            let mut i = 0;
            while i < m {
                let (rows, few) = next_rows::<R>(m - i);
                let a = unsafe { p.a.offset(i as isize * a_row + l as isize * a_column) };
                let c = unsafe { p.c.offset(i as isize * c_row + j as isize * c_column) };
                let block = Block { a_panels, b_panels, beta, c, c_strides: p.c_strides, tile };
                let (extent, steps) = ([rows, depth, columns], [a_row, a_column]);
                match few {
                    false => unsafe { block.compute::<R>(a, steps, extent) },
                    true => unsafe { block.compute::<FEW_ROWS>(a, steps, extent) },
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

/// How many of the rows that are left make the next block, and whether the kernel for few rows takes them: sixes and fours
/// together make every even number from four on.
#[inline(always)]
fn next_rows<const R: usize>(left: usize) -> (usize, bool) {
    if left > BLOCK_ROWS {
        return (BLOCK_ROWS, false);
    }
    // The rows that sixes take, where four or twice four follow.
    let whole = match left % R {
        _ if R == FEW_ROWS => left,
        1 | 2 => (left / R * R).saturating_sub(R),
        3 | 4 => left / R * R,
        _ => left,
    };
    if whole > 0 { (whole, false) } else { (left, true) }
}

/// Copies rows (or columns) of a matrix into panels of `W` of them, the elements of equal k side by side; zeros fill
/// the last panel.
#[inline(always)]
unsafe fn pack<const W: usize>(
    from: *const f32,
    [extent, depth]: [usize; 2],
    [step, step_k]: [isize; 2],
    to: *mut f32,
) {
    let mut start = 0;
    // What lies in memory as the panels want it is read in its own order, a few panels at a time.
    if step == 1 {
        while start + GROUP * W <= extent {
            unsafe { copy::<W, GROUP>(from.add(start), depth, step_k, to.add(start * depth)) };
            start += GROUP * W;
        }
    }
    while start < extent {
        let (from, to) = unsafe { (from.offset(start as isize * step), to.add(start * depth)) };
        let width = W.min(extent - start);
        let mut done = 0;
        if GROUP > 1 && width == W && step == 1 {
            unsafe { copy::<W, 1>(from, depth, step_k, to) };
            done = depth;
        } else if width == W && step_k == 1 {
            done = depth / 4 * 4;
            unsafe { transpose::<W>(from, done, step, to) };
        }
        unsafe { gather::<W>(from, (width, done..depth), [step, step_k], to) };
        start += W;
    }
}

/// Panels whose elements of equal k already lie side by side.
#[inline(always)]
unsafe fn copy<const W: usize, const PANELS: usize>(
    mut from: *const f32,
    depth: usize,
    step_k: isize,
    mut to: *mut f32,
) {
    let end = unsafe { to.add(W * depth) };
    while to != end {
        for panel in 0..PANELS {
            let (from, to) = unsafe { (from.add(panel * W), to.add(panel * W * depth)) };
            unsafe { to.cast::<[f32; W]>().write_unaligned(from.cast::<[f32; W]>().read_unaligned()) };
        }
        (from, to) = (from.wrapping_offset(step_k), unsafe { to.add(W) });
    }
}

/// A panel whose rows lie in memory one after the other, four columns at a time; `depth` is a multiple of four.
#[inline(always)]
unsafe fn transpose<const W: usize>(from: *const f32, depth: usize, step: isize, to: *mut f32) {
    let mut l = 0;
    while l < depth {
        let row = |i: usize| unsafe { F32x4::load(from.offset(i as isize * step).add(l)) };
        let column = |l: usize, i: usize| unsafe { to.add(l * W + i) };
        for i in (0..W).step_by(4) {
            // Two rows are left where there are six: they come twice, and only half of what they give is kept.
            let [second, third] = if i + 2 < W { [i + 2, i + 3] } else { [i, i + 1] };
            let columns = F32x4::transpose([row(i), row(i + 1), row(second), row(third)]);
            for (k, x) in columns.iter().enumerate() {
                match i + 2 < W {
                    true => unsafe { x.store(column(l + k, i)) },
                    false => unsafe { x.store_half(column(l + k, i)) },
                }
            }
        }
        l += 4;
    }
}

/// Any panel, or what the others leave of theirs, one number at a time.
#[inline(always)]
unsafe fn gather<const W: usize>(
    from: *const f32,
    (width, depth): (usize, core::ops::Range<usize>),
    [step, step_k]: [isize; 2],
    to: *mut f32,
) {
    for l in depth {
        for i in 0..W {
            let x = if i < width {
                unsafe { *from.offset(i as isize * step + l as isize * step_k) }
            } else {
                0.0
            };
            unsafe { *to.add(l * W + i) = x };
        }
    }
}

/// A block of C, and the panels that it is the product of.
struct Block {
    a_panels: *mut f32,
    b_panels: *const f32,
    beta: f32,
    c: *mut f32,
    c_strides: [isize; 2],
    /// Where the sums go that do not fill a tile of C.
    tile: *mut f32,
}

impl Block {
    /// Copies the block of A as well, which begins at `a`.
    #[inline(always)]
    unsafe fn compute<const R: usize>(
        &self,
        a: *const f32,
        steps: [isize; 2],
        [rows, depth, columns]: [usize; 3],
    ) {
        unsafe { pack::<R>(a, [rows, depth], steps, self.a_panels) };
        let [c_row, c_column] = self.c_strides;
        let mut j = 0;
        while j < columns {
            let mut i = 0;
            while i < rows {
                let a = unsafe { self.a_panels.add(i * depth) };
                let b = unsafe { self.b_panels.add(j * depth) };
                let c = unsafe { self.c.offset(i as isize * c_row + j as isize * c_column) };
                let sums = unsafe { kernel::<R>(a, b, depth) };
                let extent = [R.min(rows - i), COLUMNS.min(columns - j)];
                if extent == [R, COLUMNS] && c_column == 1 {
                    unsafe { self.store(&sums, c) };
                } else {
                    unsafe { self.store_part(&sums, extent, c) };
                }
                i += R;
            }
            j += COLUMNS;
        }
    }

    /// Four numbers of a row at a time.
    #[inline(always)]
    unsafe fn store<const R: usize>(&self, sums: &Sums<R>, c: *mut f32) {
        for (i, row) in sums.iter().enumerate() {
            for (j, sum) in row.iter().enumerate() {
                unsafe {
                    let c = c.offset(i as isize * self.c_strides[0]).add(4 * j);
                    match self.beta {
                        0.0 => sum.store(c),
                        beta => F32x4::load(c).scaled(beta).add(*sum).store(c),
                    }
                }
            }
        }
    }

    /// One number at a time, by way of memory, because registers have no index.
    #[inline(always)]
    unsafe fn store_part<const R: usize>(&self, sums: &Sums<R>, [rows, columns]: [usize; 2], c: *mut f32) {
        for (i, row) in sums.iter().enumerate() {
            for (j, sum) in row.iter().enumerate() {
                unsafe { sum.store(self.tile.add(i * COLUMNS + 4 * j)) };
            }
        }
        for i in 0..rows {
            for j in 0..columns {
                unsafe {
                    let sum = *self.tile.add(i * COLUMNS + j);
                    let [c_row, c_column] = self.c_strides;
                    let c = c.offset(i as isize * c_row + j as isize * c_column);
                    *c = if self.beta == 0.0 { sum } else { sum + self.beta * *c };
                }
            }
        }
    }
}

type Sums<const R: usize> = [[F32x4; 2]; R];

/// The products of one panel of A and one of B, summed in the order of k.
#[inline(always)]
unsafe fn kernel<const R: usize>(mut a: *const f32, mut b: *const f32, depth: usize) -> Sums<R> {
    let mut sums = [[F32x4::ZERO; 2]; R];
    for _ in 0..depth {
        let (b0, b1) = unsafe { (F32x4::load(b), F32x4::load(b.add(4))) };
        for (i, row) in sums.iter_mut().enumerate() {
            let a = unsafe { F32x4::splat(a.add(i)) };
            row[0] = row[0].add_product(a, b0);
            row[1] = row[1].add_product(a, b1);
        }
        (a, b) = unsafe { (a.add(R), b.add(COLUMNS)) };
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// The product of matrices with gaps between their elements, by kernels of four and of six rows, against sums in f64.
    fn check([m, k, n]: [usize; 3], [a_steps, b_steps, c_steps]: [[usize; 2]; 3], beta: f32) {
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
        let (a, b) = (random(span(m, k, a_steps)), random(span(k, n, b_steps)));
        let before = random(span(m, n, c_steps));
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
        let signed = |steps: [usize; 2]| steps.map(|step| step as isize);
        for by in [gemm_by::<4>, gemm_by::<6>] {
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
            };
            // SAFETY: the buffers span the matrices.
            unsafe { by(&product) };
            for (at, (found, expected)) in c.iter().zip(&expected).enumerate() {
                let close = (*found as f64 - expected).abs() <= 2e-5 * (1.0 + (k as f64).sqrt());
                assert!(close, "{m}x{k}x{n}, element {at}: {found}, expected {expected}");
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
}
