//! The CPU device: the truth that kernels are tested against, and the fallback where a page has no WebGPU.
//!
//! Operations see their operands through [`CpuIo`] and are written once, generic over [`Real`] (f32, and f64 for
//! gradient checks). Pieces of work share no sum, or do not depend on the number of threads, so the results do not either.

#[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
mod codes;
mod expr;
#[cfg(target_arch = "x86_64")]
mod few;
mod gemm;
mod gemv;
mod heads;
mod io;
mod parallel;
mod real;
mod row;
mod softmax;
#[cfg(all(target_arch = "wasm32", feature = "few"))]
mod streams;
#[cfg(target_arch = "wasm32")]
pub mod team;
mod wide;

/// Whether this build computes in f64 at all. What goes to a page does not: only the harness asks for it, and every
/// operation would be there twice. The module that browsers are tested with has the feature `f64`.
pub const HAS_F64: bool = cfg!(any(not(target_arch = "wasm32"), feature = "f64"));

pub use cloche_gemm::Triangle;
#[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
pub(crate) use codes::RowsInDigits;
pub(crate) use expr::run_expr;
#[cfg(target_arch = "x86_64")]
pub(crate) use few::{FewKernels, few_kernels};
#[cfg(target_arch = "wasm32")]
use gemm::products;
#[cfg(target_arch = "wasm32")]
pub use gemm::{Products, set_products};
pub(crate) use gemv::{FEW_ROWS, gemv, suits};
pub(crate) use heads::{HeadRows, dot};
pub use io::{CpuIn, CpuIo, CpuOut};
pub(crate) use parallel::{GRAIN, SendPtr, run_among_threads};
pub use parallel::{
    for_each_index, join_chunks, join_chunks_with, split_chunks, split_chunks2, split_rows, split_rows2,
    threads,
};
pub use real::Real;
pub use row::{row_max, row_sum, row_sums};
pub(crate) use softmax::{MOST_QUERIES, QUERIES, queries, softmax_columns};
pub(crate) use wide::{Kernel, add_product, wide, wide_fn};
