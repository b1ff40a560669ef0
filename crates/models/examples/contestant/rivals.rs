//! Libraries that compute some of the cases as well, in the same process and from the same numbers.

use cloche_tensor::bench::{COPY, Case, Copied, Product, numbers, samples};
use cloche_tensor::check::compare;
use pollster::block_on;

/// A library on one case.
pub(crate) struct Rival {
    pub(crate) name: &'static str,
    work: Work,
}

enum Work {
    Copy(Copied),
    Product(Operands, fn(&mut Operands)),
}

/// The operands of a product, and the strides of rows and of columns of each.
struct Operands {
    dims: [usize; 3],
    a: (Vec<f32>, [isize; 2]),
    b: (Vec<f32>, [isize; 2]),
    c: Vec<f32>,
}

impl Rival {
    /// All that know the case. Each has run once.
    pub(crate) fn of(case: &Case) -> Vec<Rival> {
        let mut rivals = Vec::new();
        if case.name == COPY {
            rivals.push(Rival { name: "memcpy", work: Work::Copy(Copied::new()) });
        }
        if let Some(product) = case.product {
            let by = |name, run| Rival { name, work: Work::Product(Operands::new(product), run) };
            rivals.extend([by("gemm", gemm_crate), by("matrixmultiply", matrixmultiply_crate)]);
        }
        rivals.iter_mut().for_each(|rival| rival.run(1));
        rivals
    }

    pub(crate) fn is_product(&self) -> bool {
        matches!(self.work, Work::Product(..))
    }

    /// Holds the result to ours, which has been held to f64.
    pub(crate) fn check(&self, want: &[f64]) -> Result<(), String> {
        match &self.work {
            Work::Copy(copied) if copied.is_right() => Ok(()),
            Work::Copy(_) => Err("the copy differs".into()),
            Work::Product(operands, _) => {
                let got: Vec<f64> = operands.c.iter().map(|&x| f64::from(x)).collect();
                compare(want, &got, 2e-5)
            }
        }
    }

    /// As [`cloche_tensor::bench::Opened::time`].
    pub(crate) fn time(&mut self, seconds: f64) -> Vec<f64> {
        block_on(samples(seconds, async |runs| self.run(runs)))
    }

    fn run(&mut self, runs: usize) {
        (0..runs).for_each(|_| match &mut self.work {
            Work::Copy(copied) => copied.run(),
            Work::Product(operands, product) => product(operands),
        });
    }
}

impl Operands {
    fn new(Product { dims, transposed }: Product) -> Operands {
        let [m, k, n] = dims;
        let strides =
            |t: bool, rows: usize, cols: usize| if t { [1, rows as isize] } else { [cols as isize, 1] };
        Operands {
            dims,
            a: (numbers(0, m * k), strides(transposed[0], m, k)),
            b: (numbers(1, k * n), strides(transposed[1], k, n)),
            c: vec![0.0; m * n],
        }
    }
}

/// The crate `gemm`, with all its instructions and on as many threads as rayon has.
fn gemm_crate(Operands { dims: [m, k, n], a, b, c }: &mut Operands) {
    let threads = match rayon::current_num_threads() {
        1 => gemm::Parallelism::None,
        n => gemm::Parallelism::Rayon(n),
    };
    let [a_strides, b_strides] = [a.1, b.1];
    // SAFETY: strides and lengths are those of the dimensions.
    unsafe {
        gemm::gemm(
            *m,
            *n,
            *k,
            c.as_mut_ptr(),
            1,
            *n as isize,
            false,
            a.0.as_ptr(),
            a_strides[1],
            a_strides[0],
            b.0.as_ptr(),
            b_strides[1],
            b_strides[0],
            0.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

/// The crate `matrixmultiply`, whose own threads are off: the engine is built with it, and would change. Rows, or columns where
/// there are fewer rows, are divided among rayon's.
fn matrixmultiply_crate(Operands { dims: [m, k, n], a, b, c }: &mut Operands) {
    let [m, k, n] = [*m, *k, *n];
    let threads = rayon::current_num_threads();
    let (by_rows, len) = if m >= n { (true, m) } else { (false, n) };
    let piece = len.div_ceil(threads);
    let c = Shared(c.as_mut_ptr());
    rayon::scope(|scope| {
        for first in (0..len).step_by(piece) {
            let (a, b, c) = (&*a, &*b, &c);
            scope.spawn(move |_| {
                let count = piece.min(len - first);
                let at = first as isize;
                let (rows, cols) = if by_rows { (count, n) } else { (m, count) };
                let (i, j) = if by_rows { (at, 0) } else { (0, at) };
                // SAFETY: pieces of C do not overlap, and strides and lengths are those of the dimensions.
                unsafe {
                    let (a_at, b_at) = (a.0.as_ptr().offset(i * a.1[0]), b.0.as_ptr().offset(j * b.1[1]));
                    let c_at = c.0.offset(i * n as isize + j);
                    matrixmultiply::sgemm(
                        rows, k, cols, 1.0, a_at, a.1[0], a.1[1], b_at, b.1[0], b.1[1], 0.0, c_at,
                        n as isize, 1,
                    );
                }
            });
        }
    });
}

/// A pointer to what threads write at different places.
struct Shared(*mut f32);

// SAFETY: each thread writes to its own piece.
unsafe impl Sync for Shared {}
