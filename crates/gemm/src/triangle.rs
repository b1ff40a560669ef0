//! Products of which a part is zero, or wanted by nobody, beside a diagonal.

use core::ops::Range;

/// What need not be computed of C ← A·B + beta·C. It is left out where it fills a tile, so that attention to earlier keys only
/// costs little more than what it sees; computing it is right as well.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Triangle {
    /// A is zero where l > i + this, for a row i and an l along k.
    pub(crate) lower: isize,
    /// A is zero where l < i + this.
    pub(crate) upper: isize,
    /// C is wanted where j ≥ i + this, for a row i and a column j, and may be anything elsewhere.
    pub(crate) wanted: isize,
}

/// Further from the diagonal than any matrix reaches.
const FAR: isize = isize::MAX / 2;

impl Triangle {
    /// Everything counts.
    pub const WHOLE: Triangle = Triangle { lower: FAR, upper: -FAR, wanted: -FAR };

    /// A is lower triangular: zero where l > i + `by`, for a row i and an l along k (BLAS: `trmm`).
    pub fn lower(by: isize) -> Triangle {
        Triangle { lower: by, ..Triangle::WHOLE }
    }

    /// A is upper triangular: zero where l < i + `by`.
    pub fn upper(by: isize) -> Triangle {
        Triangle { upper: by, ..Triangle::WHOLE }
    }

    /// C is wanted where j ≥ i + `by`, for a row i and a column j, and may be anything elsewhere (BLAS: `gemmt`).
    pub fn wanted(by: isize) -> Triangle {
        Triangle { wanted: by, ..Triangle::WHOLE }
    }

    /// The same for a block from row i, column j of C and l along k on.
    #[inline(always)]
    pub(crate) fn from(self, [i, l, j]: [usize; 3]) -> Triangle {
        let [i, l, j] = [i, l, j].map(|n| n as isize);
        Triangle { lower: self.lower + i - l, upper: self.upper + i - l, wanted: self.wanted + i - j }
    }

    /// Whether nobody wants a tile of C from row i on whose columns end before `end`.
    #[inline(always)]
    pub(crate) fn passes_over(self, i: usize, end: usize) -> bool {
        end as isize <= i as isize + self.wanted
    }

    /// What counts along k for `rows` rows from i on, which may be nothing.
    #[inline(always)]
    pub(crate) fn along_k(self, i: usize, rows: usize, depth: usize) -> Range<usize> {
        let within = |l: isize| l.max(0).min(depth as isize) as usize;
        within(i as isize + self.upper)..within((i + rows) as isize + self.lower)
    }
}
