//! Shapes, and layouts: how a shape lies in a buffer.

use std::fmt;
use std::ops::Deref;

/// The extents of a tensor, outermost first: `(B, T, C)`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// Number of elements: the product of all extents, 1 for a scalar `()`.
    pub fn numel(&self) -> usize {
        self.0.iter().product()
    }

    /// The extents as a slice.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// The strides of a row-major tensor of this shape, in elements.
    pub fn row_major(&self) -> Vec<usize> {
        let mut strides = vec![1; self.0.len()];
        for d in (1..self.0.len()).rev() {
            strides[d - 1] = strides[d] * self.0[d];
        }
        strides
    }

    /// The shape that both broadcast to (NumPy's rule), or `None` when an extent differs and neither is 1.
    ///
    /// ```
    /// use cloche_tensor::Shape;
    /// assert_eq!(Shape::from((4, 1)).broadcast(&Shape::from((3,))), Some(Shape::from((4, 3))));
    /// ```
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.len().max(other.len());
        let extent = |s: &Shape, d: usize| if d + s.len() < rank { 1 } else { s[d + s.len() - rank] };
        (0..rank)
            .map(|d| match (extent(self, d), extent(other, d)) {
                (a, b) if a == b => Some(a),
                (1, b) => Some(b),
                (a, 1) => Some(a),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Shape)
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extents: Vec<String> = self.0.iter().map(usize::to_string).collect();
        match extents.as_slice() {
            [one] => write!(f, "({one},)"),
            many => write!(f, "({})", many.join(", ")),
        }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<()> for Shape {
    fn from(_: ()) -> Self {
        Shape(Vec::new())
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Shape(dims.to_vec())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Shape(dims)
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        shape.clone()
    }
}

macro_rules! shape_from_tuple {
    ($($d:ident),+) => {
        impl From<($(shape_from_tuple!(@usize $d),)+)> for Shape {
            fn from(($($d,)+): ($(shape_from_tuple!(@usize $d),)+)) -> Self { Shape(vec![$($d),+]) }
        }
    };
    (@usize $d:ident) => { usize };
}
shape_from_tuple!(a);
shape_from_tuple!(a, b);
shape_from_tuple!(a, b, c);
shape_from_tuple!(a, b, c, d);
shape_from_tuple!(a, b, c, d, e);

/// Where the elements of a tensor lie in its buffer: element `(i, j, …)` is at `offset + i·strides[0] + j·strides[1] + …`.
///
/// Slicing, permuting, broadcasting and most reshaping only change the layout; no data move.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Extents.
    pub shape: Shape,
    /// Distance, in elements, between neighbours along each dimension; 0 where broadcast.
    pub strides: Vec<usize>,
    /// Index of the first element.
    pub offset: usize,
}

impl Layout {
    /// Row-major, from the start of the buffer.
    pub fn contiguous(shape: impl Into<Shape>) -> Self {
        Self::row_major(shape.into())
    }

    /// Apart from [`Layout::contiguous`], so that it is compiled once, not for every way to write a shape.
    #[inline(never)]
    fn row_major(shape: Shape) -> Self {
        Layout { strides: shape.row_major(), shape, offset: 0 }
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.numel()
    }

    /// Whether the elements lie one after another, in order, from `offset` on.
    pub fn is_contiguous(&self) -> bool {
        let mut row_major = 1;
        let mut dims = self.shape.iter().zip(&self.strides).rev();
        self.numel() == 0
            || dims.all(|(&n, &stride)| {
                let lies = n == 1 || stride == row_major;
                row_major *= n;
                lies
            })
    }

    /// One past the highest index that this layout touches.
    pub fn end(&self) -> usize {
        if self.numel() == 0 {
            return self.offset;
        }
        self.offset + self.shape.iter().zip(&self.strides).map(|(n, s)| (n - 1) * s).sum::<usize>() + 1
    }

    /// Dimension `d` of the result is dimension `order[d]` of this one.
    pub fn permute(&self, order: &[usize]) -> Layout {
        Layout {
            shape: order.iter().map(|&d| self.shape[d]).collect::<Vec<_>>().into(),
            strides: order.iter().map(|&d| self.strides[d]).collect(),
            offset: self.offset,
        }
    }

    /// The part `start..end` of dimension `dim`.
    pub fn slice(&self, dim: usize, start: usize, end: usize) -> Layout {
        let mut dims = self.shape.to_vec();
        dims[dim] = end - start;
        Layout {
            shape: dims.into(),
            strides: self.strides.clone(),
            offset: self.offset + start * self.strides[dim],
        }
    }

    /// Broadcast to `shape`: repeated dimensions get stride 0. The caller has checked that the shapes agree.
    pub fn expand(&self, shape: &Shape) -> Layout {
        let new = shape.len() - self.shape.len();
        let strides = (0..shape.len())
            .map(|d| {
                if d < new || (self.shape[d - new] == 1 && shape[d] != 1) { 0 } else { self.strides[d - new] }
            })
            .collect();
        Layout { shape: shape.clone(), strides, offset: self.offset }
    }

    /// The same elements under another shape of equal size, or `None` when that needs a copy.
    ///
    /// Works dimension group by dimension group: old dimensions that are split or merged must lie row-major
    /// among themselves.
    pub fn reshape(&self, shape: &Shape) -> Option<Layout> {
        let old: Vec<(usize, usize)> =
            self.shape.iter().copied().zip(self.strides.iter().copied()).filter(|&(n, _)| n != 1).collect();
        let mut strides = vec![0; shape.len()];
        let (mut i, mut j) = (0, 0);
        while i < old.len() {
            // 1. Take the smallest group of old and of new dimensions with equal products.
            let (first_i, first_j) = (i, j);
            let (mut n_old, mut n_new) = (old[i].0, 1);
            i += 1;
            while n_old != n_new {
                if n_new < n_old {
                    n_new *= *shape.get(j)?;
                    j += 1;
                } else {
                    n_old *= old.get(i)?.0;
                    i += 1;
                }
            }
            // 2. The old group must be mergeable into one run.
            if (first_i..i - 1).any(|d| old[d].1 != old[d + 1].0 * old[d + 1].1) {
                return None;
            }
            // 3. Split the run among the new dimensions, innermost first.
            let mut stride = old[i - 1].1;
            for d in (first_j..j).rev() {
                strides[d] = stride;
                stride *= shape[d];
            }
        }
        Some(Layout { shape: shape.clone(), strides, offset: self.offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_splits_and_merges_what_lies_in_order() {
        // (B, T, 3C) → the middle third → (B, T, H, D): a view
        let qkv = Layout::contiguous((2, 5, 24));
        let k = qkv.slice(2, 8, 16).reshape(&(2, 5, 4, 2).into()).unwrap();
        assert_eq!((k.strides.as_slice(), k.offset), ([120, 24, 2, 1].as_slice(), 8));
        // merging the sliced rows would need a copy
        assert_eq!(qkv.slice(2, 8, 16).reshape(&(2, 40).into()), None);
        // a transposed matrix cannot be flattened in place
        assert_eq!(Layout::contiguous((2, 3)).permute(&[1, 0]).reshape(&(6,).into()), None);
        assert!(Layout::contiguous((1, 6)).reshape(&(3, 2, 1).into()).unwrap().is_contiguous());
    }

    #[test]
    fn broadcasting_follows_numpy() {
        let shape = |d: &[usize]| Shape::from(d);
        assert_eq!(shape(&[8, 1, 6]).broadcast(&shape(&[7, 1])), Some(shape(&[8, 7, 6])));
        assert_eq!(shape(&[2, 3]).broadcast(&shape(&[4])), None);
        assert_eq!(Layout::contiguous((3, 1)).expand(&(2, 3, 4).into()).strides, [0, 1, 0]);
    }
}
