//! Writes the generated part of a shader: an epilogue with its operands, and where a stored element goes.
//!
//! This text stands between the prelude and the shader file; nothing is spliced into the file itself.

use std::fmt::Write;

use crate::dtype::DType;
use crate::plan::{BufferId, Operand};
use crate::shape::Layout;

/// The buffer index of element `i` (row-major, within the layout's shape) as a WGSL expression of the variable `i`.
///
/// Neighbouring dimensions that lie in order are merged first, so that contiguous parts cost nothing.
pub(super) fn index(layout: &Layout) -> String {
    // 1. Merge: dimension d and the one inside it form one when stepping over the inner one's end continues.
    let mut dims: Vec<(usize, usize)> = Vec::new(); // (extent, stride), innermost first
    for (&n, &stride) in layout.shape.iter().zip(&layout.strides).rev().filter(|(n, _)| **n != 1) {
        match dims.last_mut() {
            Some((inner_n, inner_stride)) if stride == *inner_n * *inner_stride => *inner_n *= n,
            _ => dims.push((n, stride)),
        }
    }
    // 2. One term for each dimension: (i / extents inside it) % its extent · its stride.
    let mut inside = 1;
    let mut terms: Vec<String> = Vec::new();
    let outermost = dims.len().saturating_sub(1);
    for (d, (n, stride)) in dims.into_iter().enumerate() {
        if stride != 0 {
            let quotient = if inside == 1 { "i".to_string() } else { format!("i / {inside}u") };
            let remainder = if d == outermost { quotient } else { format!("({quotient}) % {n}u") };
            terms.push(if stride == 1 {
                format!("({remainder})")
            } else {
                format!("({remainder}) * {stride}u")
            });
        }
        inside *= n;
    }
    if layout.offset != 0 || terms.is_empty() {
        terms.push(format!("{}u", layout.offset));
    }
    terms.join(" + ")
}

/// `e3[index]` as f32, or a value of the uniform block.
fn load(binding: Option<usize>, operand: &Operand) -> String {
    match (operand.buffer, binding) {
        (BufferId::Scalar(k), _) if operand.dtype == DType::U32 => format!("f32(run_u32({k}u))"),
        (BufferId::Scalar(k), _) => format!("run_f32({k}u)"),
        (_, Some(b)) => format!("f32(e{b}[{}])", index(&operand.layout)),
        (_, None) => unreachable!("tensors are bound"),
    }
}

/// What the generated text of a kernel is made from.
pub(super) struct Chain<'a> {
    pub expr: &'a crate::ops::elementwise::Expr,
    /// Operands of the chain, offsets relative to what is bound.
    pub operands: &'a [Operand],
    /// `@binding` of the first of them that is a tensor.
    pub first_binding: usize,
    /// Where the value before the chain is stored too.
    pub kept: Option<&'a Operand>,
}

impl Chain<'_> {
    /// Declarations of the operands and `fn epilogue(i, v) -> f32`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut bindings = Vec::new();
        let mut next = self.first_binding;
        for operand in self.operands {
            if operand.buffer.scalar().is_some() {
                bindings.push(None);
                continue;
            }
            let ty = wgsl_type(operand.dtype);
            let _ = writeln!(text, "@group(0) @binding({next}) var<storage, read> e{next}: array<{ty}>;");
            bindings.push(Some(next));
            next += 1;
        }
        let mut body = self.expr.wgsl(|i| load(bindings[i], &self.operands[i]));
        if let Some(kept) = self.kept {
            let _ = writeln!(text, "@group(0) @binding({next}) var<storage, read_write> kept: array<f32>;");
            let _ = writeln!(body, "    kept[{}] = v;", index(&kept.layout));
        }
        let last = self.expr.code.len() - 1;
        let _ = write!(text, "fn epilogue(i: u32, v: f32) -> f32 {{\n{body}    return r{last};\n}}\n");
        text
    }
}

/// Stands in front of operations without a chain.
pub(crate) const NO_EPILOGUE: &str = "fn epilogue(i: u32, v: f32) -> f32 {\n    return v;\n}\n";

/// `alias Out` and `fn place(i)`, which say how `elementwise.wgsl` stores its result.
pub(super) fn store(y: &Operand) -> String {
    format!(
        "alias Out = {};\nfn place(i: u32) -> u32 {{\n    return {};\n}}\n",
        wgsl_type(y.dtype),
        index(&y.layout)
    )
}

/// `alias Known1` and `Known2`: the first two bindings with as many numbers as are bound, for a kernel whose indices a
/// compiler is to see inside.
pub(super) fn known([a, b]: [usize; 2]) -> String {
    format!("alias Known1 = array<f32, {a}>;\nalias Known2 = array<f32, {b}>;\n")
}

fn wgsl_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::U32 => "u32",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_as_simple_as_the_layout() {
        assert_eq!(index(&Layout::contiguous((2, 3, 4))), "(i)");
        assert_eq!(index(&Layout::contiguous((4,)).expand(&(3, 4).into())), "((i) % 4u)");
        assert_eq!(index(&Layout::contiguous((3, 1)).expand(&(3, 4).into())), "(i / 4u)");
        assert_eq!(index(&Layout::contiguous((2, 3)).permute(&[1, 0])), "((i) % 2u) * 3u + (i / 2u)");
        assert_eq!(index(&Layout::contiguous((5, 8)).slice(1, 2, 6)), "((i) % 4u) + (i / 4u) * 8u + 2u");
        assert_eq!(index(&Layout::contiguous(()).expand(&(3, 4).into())), "0u");
    }
}
