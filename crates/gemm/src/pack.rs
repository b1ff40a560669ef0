//! Copying into panels: `W` rows or columns of a matrix, the elements of equal k side by side.

use crate::register::{F32x4, Register};

/// Copies rows (or columns) of a matrix into panels of `W` of them, `GROUP` at once where they already lie side by side. What
/// the last panel has no rows for is anything: the sums that come of it are not used.
///
/// SAFETY, here and below: the extents and steps stay within the matrix, and there is room for the panels.
#[inline(always)]
pub(crate) unsafe fn pack<V: Register, const W: usize, const GROUP: usize>(
    from: *const f32,
    [extent, depth]: [usize; 2],
    [step, step_k]: [isize; 2],
    to: *mut f32,
) {
    let mut start = 0;
    // What lies in memory as the panels want it is read in its own order.
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
        } else if V::MASKED && step == 1 {
            unsafe { copy_first::<V, W>(from, width, depth, step_k, to) };
            done = depth;
        } else if step_k == 1 && (width == W || V::MASKED) {
            done = depth / 4 * 4;
            unsafe { transpose::<W>(from, [width, done], step, to) };
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

/// The last panel of the kind, of which only the first are there.
#[inline(always)]
unsafe fn copy_first<V: Register, const W: usize>(
    from: *const f32,
    width: usize,
    depth: usize,
    step_k: isize,
    to: *mut f32,
) {
    for l in 0..depth {
        let (from, to) = unsafe { (from.offset(l as isize * step_k), to.add(l * W)) };
        for j in (0..width).step_by(V::LEN) {
            unsafe { V::load_first(from.add(j), width - j).store_first(to.add(j), width - j) };
        }
    }
}

/// A panel whose rows lie in memory one after the other, four columns at a time; `depth` is a multiple of four. The last row
/// stands for those that are not there.
#[inline(always)]
unsafe fn transpose<const W: usize>(from: *const f32, [width, depth]: [usize; 2], step: isize, to: *mut f32) {
    let mut l = 0;
    while l < depth {
        let row = |i: usize| unsafe { F32x4::load(from.offset(i.min(width - 1) as isize * step).add(l)) };
        let column = |l: usize, i: usize| unsafe { to.add(l * W + i) };
        for i in (0..W).step_by(4) {
            if i >= width {
                break;
            }
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
        for i in 0..width {
            unsafe { *to.add(l * W + i) = *from.offset(i as isize * step + l as isize * step_k) };
        }
    }
}
