//! Element-wise functions and their fusion.
//!
//! Each function is one row of a table: its name, its WGSL text, the same on the CPU, and its gradient. A chain of them
//! becomes one [`Expr`], which the CPU device interprets block by block and from which the GPU device writes the body
//! of `shaders/elementwise.wgsl` (or the epilogue of another kernel).

use std::fmt;

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, wide_fn};
use crate::dtype::DType;
use crate::graph::Graph;
use crate::ops::{Dispatch, GpuIo, Op, OpEntry};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Registry row. The template shader is named by the planner, not by a row.
pub const ENTRY: OpEntry = OpEntry { name: "elementwise", samples, shader: None };

/// One row of the table of element-wise functions of `a`, `b` and `c`.
pub struct Function {
    /// The field's name for it.
    pub name: &'static str,
    /// How many of `a`, `b`, `c` it takes.
    pub arity: usize,
    /// A WGSL expression of them.
    pub wgsl: &'static str,
    /// On the CPU, over equally long blocks.
    pub f32: fn([&[f32]; 3], &mut [f32]),
    /// The same in f64.
    pub f64: fn([&[f64]; 3], &mut [f64]),
    /// Vector–Jacobian product; `None` where the function is flat almost everywhere.
    pub grad: fn(&Vjp) -> [Option<Tensor>; 3],
    /// Floating-point operations per element.
    pub flops: u64,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// An element-wise node: a constant, or a function of its inputs.
#[derive(Clone, Copy, Debug)]
pub enum Element {
    /// The same number everywhere.
    Constant(f64),
    /// A row of the table.
    Apply(&'static Function),
}

/// Declares table rows. `|a, b, c, by|` is the CPU text, generic over f32 and f64; `|vjp|` the gradient.
macro_rules! functions {
    ($($(#[$doc:meta])* $id:ident / $arity:literal $flops:literal : $wgsl:literal, |$a:ident, $b:ident, $c:ident $(, $by:ident)?| $cpu:expr,
       |$v:ident| $grad:expr;)+) => {
        $(
            $(#[$doc])*
            #[allow(non_upper_case_globals)]
            pub static $id: Function = {
                #[inline(always)]
                fn one<F: Real>($a: F, $b: F, $c: F, _by: &F::Coefficients) -> F {
                    let _ = ($a, $b, $c);
                    $(let $by = _by;)?
                    $cpu
                }
                wide_fn! {
                    // Unused operands alias `a`, so that one loop serves every arity and stays branch-free.
                    fn block<F: Real>(x: [&[F]; 3], y: &mut [F]) {
                        let by = &F::coefficients::<FUSED>();
                        for (((y, &a), &b), &c) in y.iter_mut().zip(x[0]).zip(x[1]).zip(x[2]) { *y = one(a, b, c, by); }
                    }
                }
                fn grad($v: &Vjp) -> [Option<Tensor>; 3] { let _ = $v; $grad }
                Function { name: stringify!($id), arity: $arity, wgsl: $wgsl, f32: block::<f32>, f64: block::<f64>, grad, flops: $flops }
            };
        )+
        /// All element-wise functions, in the order in which to read them.
        pub static FUNCTIONS: &[&Function] = &[$(&$id),+];
    };
}

const FLAT: [Option<Tensor>; 3] = [None, None, None];

/// The gradient of a function of one input.
fn d1(dx: Tensor) -> [Option<Tensor>; 3] {
    [Some(dx), None, None]
}

/// The gradients of a function of two inputs. Broadcasting is a view of its own, which sums what it had repeated.
fn d2(v: &Vjp, da: impl FnOnce() -> Tensor, db: impl FnOnce() -> Tensor) -> [Option<Tensor>; 3] {
    [v.needs(0).then(da), v.needs(1).then(db), None]
}

functions! {
    /// a + b
    add / 2 1: "a + b", |a, b, c| a + b, |v| d2(v, || v.dy(0).clone(), || v.dy(0).clone());
    /// a − b
    sub / 2 1: "a - b", |a, b, c| a - b, |v| d2(v, || v.dy(0).clone(), || -v.dy(0));
    /// a · b
    mul / 2 1: "a * b", |a, b, c| a * b, |v| d2(v, || v.dy(0) * v.x(1), || v.dy(0) * v.x(0));
    /// a / b
    div / 2 1: "a / b", |a, b, c| a / b, |v| d2(v, || v.dy(0) / v.x(1), || -(v.dy(0) * v.y(0) / v.x(1)));
    /// aᵇ for a > 0; the gradient by b needs ln a.
    pow / 2 4: "pow(a, b)", |a, b, c| a.powf(b),
        |v| d2(v, || v.dy(0) * v.x(1) * v.x(0).pow(&(v.x(1) - 1.0)), || v.dy(0) * v.y(0) * v.x(0).log());
    /// eᵃ
    exp / 1 4: "exp(a)", |a, b, c, by| a.exp(by), |v| d1(v.dy(0) * v.y(0));
    /// ln a
    log / 1 4: "log(a)", |a, b, c| a.ln(), |v| d1(v.dy(0) / v.x(0));
    /// √a
    sqrt / 1 2: "sqrt(a)", |a, b, c| a.sqrt(), |v| d1(v.dy(0) * 0.5 / v.y(0));
    /// 1/√a
    rsqrt / 1 2: "inverseSqrt(a)", |a, b, c| F::ONE / a.sqrt(), |v| d1(v.dy(0) * -0.5 * v.y(0) / v.x(0));
    /// tanh a
    tanh / 1 6: "safe_tanh(a)", |a, b, c, by| a.tanh(by), |v| d1(v.dy(0) * (1.0 - v.y(0) * v.y(0)));
    /// 1/(1 + e⁻ᵃ)
    sigmoid / 1 5: "1.0 / (1.0 + exp(-a))", |a, b, c, by| F::ONE / (F::ONE + (-a).exp(by)),
        |v| d1(v.dy(0) * v.y(0) * (1.0 - v.y(0)));
    /// a·σ(a), "swish" (Ramachandran et al. 2017, <https://arxiv.org/abs/1710.05941>)
    silu / 1 6: "a / (1.0 + exp(-a))", |a, b, c, by| a / (F::ONE + (-a).exp(by)), |v| d1(v.dy(0) * v.x(0).silu_slope());
    /// The derivative of silu: σ(a)(1 + a(1 − σ(a)))
    silu_slope / 1 8: "(1.0 + a * (1.0 - 1.0 / (1.0 + exp(-a)))) / (1.0 + exp(-a))", |a, b, c, by| { let s = F::ONE / (F::ONE + (-a).exp(by)); s * (F::ONE + a * (F::ONE - s)) }, |v| FLAT;
    /// a·Φ(a) with the error function (Hendrycks & Gimpel 2016, <https://arxiv.org/abs/1606.08415>)
    gelu / 1 12: "0.5 * a * (1.0 + erf(a * 0.70710678))",
        |a, b, c, by| F::of(0.5) * a * (F::ONE + (a * F::of(SQRT_HALF)).erf(by)), |v| d1(v.dy(0) * v.x(0).gelu_slope());
    /// The derivative of gelu: Φ(a) + a·φ(a)
    gelu_slope / 1 18: "0.5 * (1.0 + erf(a * 0.70710678)) + a * 0.39894228 * exp(-0.5 * a * a)",
        |a, b, c, by| a.gelu_slope(by), |v| FLAT;
    /// The tanh approximation of gelu, GPT-2's "gelu_new"
    gelu_tanh / 1 12: "0.5 * a * (1.0 + safe_tanh(0.79788456 * (a + 0.044715 * a * a * a)))",
        |a, b, c, by| F::of(0.5) * a * (F::ONE + (F::of(SQRT_2_PI) * (a + F::of(0.044715) * a * a * a)).tanh(by)),
        |v| d1(v.dy(0) * v.x(0).gelu_tanh_slope());
    /// The derivative of gelu_tanh
    gelu_tanh_slope / 1 20: "0.5 * (1.0 + safe_tanh(0.79788456 * (a + 0.044715 * a * a * a)))
        + 0.5 * a * (1.0 - square(safe_tanh(0.79788456 * (a + 0.044715 * a * a * a)))) * 0.79788456 * (1.0 + 0.134145 * a * a)", |a, b, c, by| {
        let t = (F::of(SQRT_2_PI) * (a + F::of(0.044715) * a * a * a)).tanh(by);
        F::of(0.5) * (F::ONE + t) + F::of(0.5) * a * (F::ONE - t * t) * F::of(SQRT_2_PI) * (F::ONE + F::of(0.134145) * a * a)
    }, |v| FLAT;
    /// max(a, 0)
    relu / 1 1: "max(a, 0.0)", |a, b, c| a.max(F::ZERO), |v| d1(v.dy(0) * v.x(0).gt(&v.x(0).graph().constant(0.0)));
    /// |a|
    abs / 1 1: "abs(a)", |a, b, c| a.abs(), |v| d1(v.dy(0) * v.x(0).sign());
    /// −1, 0 or 1
    sign / 1 1: "sign(a)", |a, b, c| if a > F::ZERO { F::ONE } else if a < F::ZERO { -F::ONE } else { F::ZERO }, |v| FLAT;
    /// The larger one. The gradient goes to `a` where both are equal.
    maximum / 2 1: "max(a, b)", |a, b, c| a.max(b),
        |v| d2(v, || v.dy(0) * v.x(0).ge(v.x(1)), || v.dy(0) * v.x(0).lt(v.x(1)));
    /// The smaller one. The gradient goes to `a` where both are equal.
    minimum / 2 1: "min(a, b)", |a, b, c| a.min(b),
        |v| d2(v, || v.dy(0) * v.x(0).le(v.x(1)), || v.dy(0) * v.x(0).gt(v.x(1)));
    /// 1 where a = b, else 0
    eq / 2 1: "f32(a == b)", |a, b, c| F::from_bool(a == b), |v| FLAT;
    /// 1 where a < b, else 0
    lt / 2 1: "f32(a < b)", |a, b, c| F::from_bool(a < b), |v| FLAT;
    /// 1 where a ≤ b, else 0
    le / 2 1: "f32(a <= b)", |a, b, c| F::from_bool(a <= b), |v| FLAT;
    /// 1 where a > b, else 0
    gt / 2 1: "f32(a > b)", |a, b, c| F::from_bool(a > b), |v| FLAT;
    /// 1 where a ≥ b, else 0
    ge / 2 1: "f32(a >= b)", |a, b, c| F::from_bool(a >= b), |v| FLAT;
    /// b where a ≠ 0, else c
    select / 3 1: "select(c, b, a != 0.0)", |a, b, c| if a != F::ZERO { b } else { c }, |v| {
        let zero = v.dy(0).graph().constant(0.0);
        [None, v.needs(1).then(|| v.x(0).select(v.dy(0), &zero)), v.needs(2).then(|| v.x(0).select(&zero, v.dy(0)))]
    };
    /// The same number; casts and copies
    identity / 1 0: "a", |a, b, c| a, |v| d1(v.dy(0).clone());
    /// Towards zero to a whole number; what a cast to u32 does
    trunc / 1 1: "trunc(a)", |a, b, c| a.trunc(), |v| FLAT;
}

const SQRT_HALF: f64 = std::f64::consts::FRAC_1_SQRT_2;
const SQRT_2_PI: f64 = 0.797_884_560_802_865_4;

/// A node that applies an [`Element`].
#[derive(Debug)]
struct Elementwise(Element);

impl Op for Elementwise {
    fn name(&self) -> &'static str {
        match self.0 {
            Element::Constant(_) => "constant",
            Element::Apply(f) => f.name,
        }
    }
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        match self.0 {
            Element::Constant(_) => Vec::new(),
            Element::Apply(f) => (f.grad)(vjp).into_iter().take(f.arity).collect(),
        }
    }
    fn element(&self) -> Option<Element> {
        Some(self.0)
    }
    // The planner turns every element-wise node into an expression, alone or fused, so these are never reached.
    fn cpu_f32(&self, _: CpuIo<f32>) {
        unreachable!("element-wise nodes run as expressions")
    }
    fn cpu_f64(&self, _: CpuIo<f64>) {
        unreachable!("element-wise nodes run as expressions")
    }
    fn gpu(&self, _: &GpuIo) -> Vec<Dispatch> {
        unreachable!("element-wise nodes run as expressions")
    }
}

impl Graph {
    /// A scalar `()` with a fixed value; it costs nothing where an element-wise operation uses it.
    pub fn constant(&self, value: f64) -> Tensor {
        self.record(Elementwise(Element::Constant(value)), &[], &[(Shape::from(()), DType::F32)]).remove(0)
    }

    /// A tensor filled with one value.
    pub fn full(&self, shape: impl Into<Shape>, value: f64) -> Tensor {
        self.constant(value).broadcast_to(&shape.into())
    }
}

#[track_caller]
fn apply(f: &'static Function, inputs: &[&Tensor], dtype: DType) -> Tensor {
    let mut shape = inputs[0].shape().clone();
    for x in &inputs[1..] {
        shape = shape.broadcast(x.shape()).unwrap_or_else(|| {
            let shapes: Vec<String> = inputs.iter().map(|x| x.shape().to_string()).collect();
            panic!("{}: shapes {} do not broadcast", f.name, shapes.join(" and "))
        });
    }
    let inputs: Vec<Tensor> = inputs.iter().map(|x| x.broadcast_to(&shape)).collect();
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    inputs[0].graph().record(Elementwise(Element::Apply(f)), &inputs, &[(shape, dtype)]).remove(0)
}

macro_rules! methods {
    (1: $($m:ident),+) => { impl Tensor { $(
        #[doc = concat!("Element-wise [`", stringify!($m), "`](static@", stringify!($m), ").")]
        #[track_caller]
        pub fn $m(&self) -> Tensor { apply(&$m, &[self], DType::F32) }
    )+ } };
    (2: $($m:ident = $f:ident),+) => { impl Tensor { $(
        #[doc = concat!("Element-wise [`", stringify!($f), "`](static@", stringify!($f), "), with broadcasting.")]
        #[track_caller]
        pub fn $m(&self, other: &Tensor) -> Tensor { apply(&$f, &[self, other], DType::F32) }
    )+ } };
}
methods!(1: exp, log, sqrt, rsqrt, tanh, sigmoid, silu, silu_slope, gelu, gelu_slope, gelu_tanh, gelu_tanh_slope, relu, abs, sign, trunc);
methods!(2: plus = add, minus = sub, times = mul, over = div, pow = pow, maximum = maximum, minimum = minimum,
            eq = eq, lt = lt, le = le, gt = gt, ge = ge);

impl Tensor {
    /// `yes` where this tensor is not 0, else `no`; all three broadcast.
    #[track_caller]
    pub fn select(&self, yes: &Tensor, no: &Tensor) -> Tensor {
        apply(&select, &[self, yes, no], DType::F32)
    }

    /// The same values as another element type. f32 → u32 rounds towards zero; values up to 2²⁴ are exact.
    pub fn cast(&self, dtype: DType) -> Tensor {
        match (self.dtype(), dtype) {
            (a, b) if a == b => self.clone(),
            (DType::U32, _) => apply(&identity, &[self], DType::F32),
            (DType::F32, _) => apply(&trunc, &[self], DType::U32),
        }
    }

    /// A contiguous copy; the tensor itself when it already is contiguous.
    pub fn contiguous(&self) -> Tensor {
        match self.layout().is_contiguous() {
            true => self.clone(),
            false => apply(&identity, &[self], self.dtype()),
        }
    }

    /// Sums over the dimensions in which `shape` was broadcast to this tensor's shape: the gradient of broadcasting.
    #[track_caller]
    pub fn sum_to(&self, shape: &Shape) -> Tensor {
        if self.shape() == shape {
            return self.clone();
        }
        let extra = self.shape().len() - shape.len();
        let mut y = self.clone();
        for d in (0..self.shape().len()).rev() {
            if d < extra || (shape[d - extra] == 1 && self.dim(d) != 1) {
                y = y.sum(d);
            }
        }
        y.reshape(shape.clone())
    }
}

/// A fused chain: loads, then instructions; the last register is the result.
#[derive(Clone, Debug, Default)]
pub struct Expr {
    /// Each register of the chain, in order of evaluation.
    pub code: Vec<Instr>,
}

/// One register of an [`Expr`].
#[derive(Clone, Copy, Debug)]
pub enum Instr {
    /// Operand `i` of the step, read with its (broadcast) layout.
    Load(usize),
    /// What the kernel is about to store: the argument of an epilogue.
    Stored,
    /// A number.
    Constant(f64),
    /// A function of earlier registers; unused arguments repeat the first.
    Apply(&'static Function, [usize; 3]),
}

impl Expr {
    /// The functions of the chain, joined by dots; "copy" or "fill" when there is none.
    pub fn label(&self) -> String {
        let names =
            self.code.iter().filter_map(|i| if let Instr::Apply(f, _) = i { Some(f.name) } else { None });
        match names.collect::<Vec<_>>() {
            names if names.is_empty() && matches!(self.code[0], Instr::Constant(_)) => "fill".into(),
            names if names.is_empty() => "copy".into(),
            names => names.join("."),
        }
    }

    /// Floating-point operations per element.
    pub fn flops(&self) -> u64 {
        self.code.iter().map(|i| if let Instr::Apply(f, _) = i { f.flops } else { 0 }).sum()
    }

    /// The chain as WGSL statements: `let r0 = …;` per register, where operand `i` is read by `load(i)`.
    pub fn wgsl(&self, load: impl Fn(usize) -> String) -> String {
        let mut text = String::new();
        for (r, instr) in self.code.iter().enumerate() {
            let value = match instr {
                Instr::Load(i) => load(*i),
                Instr::Stored => "v".to_string(),
                Instr::Constant(c) => wgsl_float(*c),
                Instr::Apply(f, args) => substitute(f, args),
            };
            text.push_str(&format!("    let r{r}: f32 = {value};\n"));
        }
        text
    }
}

/// A finite f32 literal with the same bits. It is hexadecimal: what writes decimals would cost a page 6 KB more.
fn wgsl_float(c: f64) -> String {
    let bits = (c as f32).clamp(f32::MIN, f32::MAX).to_bits();
    let minus = if bits >> 31 == 1 { "-" } else { "" };
    let (exponent, fraction) = (bits >> 23 & 0xff, (bits & 0x7f_ffff) << 1);
    // Numbers below the smallest exponent begin with 0 and share it.
    format!("{minus}0x{}.{fraction:06x}p{}f", exponent.min(1), exponent.max(1) as i32 - 127)
}

/// Replaces the words `a`, `b`, `c` of a row's text by registers.
fn substitute(f: &Function, args: &[usize; 3]) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for ch in f.wgsl.chars().chain([' ']) {
        if ch.is_alphanumeric() || ch == '_' || ch == '.' {
            word.push(ch);
            continue;
        }
        match word.as_str() {
            "a" => out.push_str(&format!("r{}", args[0])),
            "b" => out.push_str(&format!("r{}", args[1])),
            "c" => out.push_str(&format!("r{}", args[2])),
            other => out.push_str(other),
        }
        word.clear();
        out.push(ch);
    }
    out.trim_end().to_string()
}

fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for f in FUNCTIONS {
        let range = match f.name {
            "log" | "sqrt" | "rsqrt" | "pow" => Range::Positive,
            "div" => Range::AwayFromZero,
            _ => Range::Normal,
        };
        let shapes: Vec<(&[usize], Range)> = vec![(&[3, 257], range); f.arity];
        let sample = Sample::new(f.name, &shapes, move |x| {
            let refs: Vec<&Tensor> = x.iter().collect();
            vec![apply(f, &refs, DType::F32)]
        });
        // Comparisons have no gradient, and that of a slope would be a second derivative, which is not offered.
        let flat = matches!(f.name, "eq" | "lt" | "le" | "gt" | "ge" | "trunc" | "sign")
            || f.name.ends_with("_slope");
        samples.push(if flat { sample.forward_only() } else { sample });
    }
    let n = Range::Normal;
    samples.extend([
        Sample::new("broadcast row", &[(&[5, 33], n), (&[33], n)], |x| vec![&x[0] + &x[1]]),
        Sample::new("broadcast column", &[(&[5, 33], n), (&[5, 1], n)], |x| vec![&x[0] * &x[1]]),
        Sample::new("broadcast both", &[(&[4, 1, 3], n), (&[5, 1], n)], |x| vec![&x[0] - &x[1]]),
        Sample::new("scalars", &[(&[1], n), (&[], n)], |x| vec![&x[0] * &x[1] + 2.0]),
        Sample::new("transposed and sliced", &[(&[7, 9], n), (&[9, 12], n)], |x| {
            vec![x[0].t() * x[1].slice(1, 2, 9)]
        }),
        Sample::new("chain", &[(&[2, 255], n), (&[255], n)], |x| {
            let h = (&x[0] * 0.5 + &x[1]).gelu_tanh();
            vec![&h * &h.sigmoid() - &x[0]]
        }),
        Sample::new("through u32", &[(&[300], Range::Positive)], |x| {
            vec![(&x[0] * 10.0).cast(DType::U32).cast(DType::F32) + &x[0]]
        })
        .forward_only(),
        Sample::new("beyond 65535 workgroups", &[(&[65_537 * 64], n)], |x| vec![&x[0] * 2.0]).forward_only(),
    ]);
    samples
}

#[cfg(test)]
mod tests {
    use super::wgsl_float;

    #[test]
    fn literals_have_the_bits_of_their_numbers() {
        let written = [0.0, 1.0, -0.75, 1e-45, f64::MAX].map(wgsl_float);
        let known =
            ["0x0.000000p-126f", "0x1.000000p0f", "-0x1.800000p-1f", "0x0.000002p-126f", "0x1.fffffep127f"];
        assert_eq!(written, known);
    }
}
