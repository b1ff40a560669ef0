//! Interprets a fused element-wise chain, block by block.
//!
//! A block is short enough for all registers of a chain to stay in the first-level cache, and long enough for the
//! cost of interpretation to vanish.

use crate::cpu::io::{CpuIn, CpuOut};
use crate::cpu::parallel::{GRAIN, for_each_index, for_each_run, split_rows, threads};
use crate::cpu::real::Real;
use crate::ops::elementwise::{Expr, Function, Instr};
use crate::shape::Layout;

const BLOCK: usize = 512;

/// A loop of so many operations is worth a second thread in a page, also where it has few elements.
const HEAVY: u64 = 32 * 1024;

/// How the elements of an operand are found from a row-major index into the output's shape.
enum Access<'a, F> {
    /// At the same index.
    Direct(&'a [F]),
    /// The same element everywhere.
    Splat(F),
    /// Whole numbers, made floats beforehand.
    Converted(Vec<F>),
    /// By their layout. If that repeats a contiguous row, the row is there, too.
    Strided { data: &'a [F], layout: &'a Layout, row: &'a [F] },
}

impl<'a, F: Real> Access<'a, F> {
    fn new(input: &'a CpuIn<'a, F>) -> Self {
        match input {
            CpuIn::Scalar(bits) => Access::Splat(F::of(f32::from_bits(*bits) as f64)),
            CpuIn::Uint(data, layout) => {
                let mut values = Vec::with_capacity(layout.numel());
                for_each_index(layout, |i| values.push(F::of(data[i] as f64)));
                Access::Converted(values)
            }
            CpuIn::Float(data, layout) => Self::float(data, layout),
            CpuIn::InPlace(_) => unreachable!("expressions do not update in place"),
        }
    }

    fn float(data: &'a [F], layout: &'a Layout) -> Self {
        let rank = layout.shape.len();
        if layout.is_contiguous() {
            return Access::Direct(&data[..layout.numel()]);
        }
        // Leading dimensions are broadcast, the rest is a contiguous row.
        let first = (0..rank).position(|d| layout.strides[d] != 0 && layout.shape[d] != 1).unwrap_or(rank);
        let inner = Layout {
            shape: layout.shape[first..].into(),
            strides: layout.strides[first..].to_vec(),
            offset: 0,
        };
        let row = if inner.is_contiguous() { &data[..inner.numel()] } else { &[] };
        Access::Strided { data, layout, row }
    }

    /// The `n` elements from index `start` on, where they lie side by side.
    #[inline(never)]
    fn rows(&self, start: usize, n: usize) -> Option<&[F]> {
        match self {
            Access::Direct(data) => Some(&data[start..start + n]),
            Access::Converted(data) => Some(&data[start..start + n]),
            Access::Strided { row, .. } => row.get(start.checked_rem(row.len())?..)?.get(..n),
            Access::Splat(_) => None,
        }
    }

    /// Fills `block` with the elements from index `start` on.
    #[inline(never)]
    fn fill(&self, start: usize, block: &mut [F]) {
        match self {
            Access::Direct(_) | Access::Converted(_) => {
                block.copy_from_slice(self.rows(start, block.len()).expect("they lie side by side"));
            }
            Access::Splat(value) => block.fill(*value),
            Access::Strided { data, layout, .. } => {
                let mut done = 0;
                for_each_run(layout, start..start + block.len(), |from, stride, n| {
                    let to = &mut block[done..done + n];
                    match stride {
                        1 => to.copy_from_slice(&data[from..from + n]),
                        _ => to.iter_mut().enumerate().for_each(|(i, y)| *y = data[from + i * stride]),
                    }
                    done += n;
                });
            }
        }
    }
}

/// Picks the column of the table that belongs to `F`.
trait Evaluate: Real {
    fn apply(f: &Function, x: [&[Self]; 3], y: &mut [Self]);
}

impl Evaluate for f32 {
    fn apply(f: &Function, x: [&[f32]; 3], y: &mut [f32]) {
        (f.f32)(x, y)
    }
}

impl Evaluate for f64 {
    fn apply(f: &Function, x: [&[f64]; 3], y: &mut [f64]) {
        (f.f64)(x, y)
    }
}

/// Runs `expr` on operands that are broadcast to the output's shape.
#[allow(private_bounds)]
pub(crate) fn run_expr<F: Evaluate>(expr: &Expr, inputs: &[CpuIn<F>], mut output: CpuOut<F>) {
    let loads: Vec<Access<F>> = inputs.iter().map(Access::new).collect();
    let run = |y: &mut [F]| {
        let heavy = cfg!(target_arch = "wasm32") && y.len() as u64 * expr.flops() >= HEAVY;
        let share = if heavy { y.len().div_ceil(BLOCK * threads()) } else { usize::MAX };
        let blocks = share.min(GRAIN / BLOCK);
        split_rows((y, BLOCK), GRAIN / blocks, |first, y| evaluate(expr, &loads, first * BLOCK, y));
    };
    match &mut output {
        CpuOut::Float(y, layout) if layout.is_contiguous() => run(y),
        &mut (CpuOut::Float(_, layout) | CpuOut::Uint(_, layout)) => {
            let mut values = vec![F::ZERO; layout.numel()];
            run(&mut values);
            let mut values = values.into_iter();
            for_each_index(layout, |i| {
                let value = values.next().expect("one value for each element");
                match &mut output {
                    CpuOut::Float(y, _) => y[i] = value,
                    CpuOut::Uint(y, _) => y[i] = value.f64() as u32,
                }
            });
        }
    }
}

/// Evaluates the chain for the elements from index `start` on. What lies in memory as it is needed is read where it is, and
/// the last value of the chain is written where it belongs.
fn evaluate<F: Evaluate>(expr: &Expr, loads: &[Access<F>], start: usize, y: &mut [F]) {
    let last = expr.code.len() - 1;
    let mut registers = vec![F::ZERO; last * BLOCK];
    for (r, instr) in expr.code[..last].iter().enumerate() {
        if let Instr::Constant(c) = instr {
            registers[r * BLOCK..][..BLOCK].fill(F::of(*c));
        }
    }
    for (b, block) in y.chunks_mut(BLOCK).enumerate() {
        let (n, start) = (block.len(), start + b * BLOCK);
        for (r, instr) in expr.code.iter().enumerate() {
            let (earlier, rest) = registers.split_at_mut(r * BLOCK);
            let out = if r == last { &mut *block } else { &mut rest[..n] };
            match instr {
                Instr::Load(i) if r == last || loads[*i].rows(start, n).is_none() => {
                    loads[*i].fill(start, out)
                }
                Instr::Load(_) => {}
                Instr::Constant(c) if r == last => out.fill(F::of(*c)),
                Instr::Constant(_) => {}
                Instr::Stored => unreachable!("the CPU device fuses no epilogues"),
                Instr::Apply(f, args) => {
                    let value = |a: usize| match expr.code[a] {
                        Instr::Load(i) => loads[i].rows(start, n),
                        _ => None,
                    };
                    F::apply(f, args.map(|a| value(a).unwrap_or(&earlier[a * BLOCK..][..n])), out);
                }
            }
        }
    }
}
