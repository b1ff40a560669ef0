//! Products of which a part is zero, or wanted by nobody, beside a diagonal.

use core::ops::Range;

/// What need not be computed of C ← A·B + beta·C. It is left out where it fills a tile, so that attention to earlier keys only
/// costs little more than what it sees; computing it is right as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triangle {
    /// Everything counts.
    Whole,
    /// A is lower triangular: zero where l > i + this, for a row i and an l along k (BLAS: `trmm`).
    Lower(isize),
    /// A is upper triangular: zero where l < i + this.
    Upper(isize),
    /// C is wanted where j ≥ i + this, for a row i and a column j, and may be anything elsewhere (BLAS: `gemmt`).
    Wanted(isize),
}

impl Triangle {
    /// The same for a block from row i, column j of C and l along k on.
    #[inline(always)]
    pub(crate) fn from(self, [i, l, j]: [usize; 3]) -> Triangle {
        let [i, l, j] = [i, l, j].map(|n| n as isize);
        match self {
            Triangle::Whole => Triangle::Whole,
            Triangle::Lower(by) => Triangle::Lower(by + i - l),
            Triangle::Upper(by) => Triangle::Upper(by + i - l),
            Triangle::Wanted(by) => Triangle::Wanted(by + i - j),
        }
    }

    /// What counts along k for a tile of C at (i, j), which may be nothing; or nobody wants the tile.
    #[inline(always)]
    pub(crate) fn along_k(
        self,
        [i, j]: [usize; 2],
        [rows, depth, columns]: [usize; 3],
    ) -> Option<Range<usize>> {
        let within = |l: isize| l.clamp(0, depth as isize) as usize;
        match self {
            Triangle::Whole => Some(0..depth),
            Triangle::Lower(by) => Some(0..within((i + rows) as isize + by)),
            Triangle::Upper(by) => Some(within(i as isize + by)..depth),
            Triangle::Wanted(by) => ((j + columns) as isize > i as isize + by).then_some(0..depth),
        }
    }
}
