//! The gradient of [`super::attention`], which recomputes the weights from the log-sum-exp.

use std::ops::Range;

use crate::autograd::Vjp;
use crate::cpu::{
    CpuIo, HeadRows, MOST_QUERIES, QUERIES, Real, Triangle, add_product, dot, join_chunks_with, queries,
    wide_fn,
};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::attention::{Bounds, Heads, OUT_PLACES, Seen, block_len, pairs, vec4_places};
use crate::ops::{
    Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, attention_grad_rows, attention_rows,
    attention_tiles,
};
use crate::shader;
use crate::shape::{Layout, Shape};
use crate::tensor::Tensor;

/// Registry row. The samples of `attention` ask for gradients, so there are none of its own.
pub const ENTRY: OpEntry = OpEntry { name: "attention_grad", samples: Vec::new, shader: Some(SHADER) };

const SHADER: Shader = shader!("attention_product", "attention_grad");

/// (q, k, v, [bounds], dy (B, T, H, D), y, lse (B, H, T)) → (dq (B, T, H, D), dkv (B, S, 2, G, D)), or
/// (qkv, [bounds], dy, y, lse) → dqkv (B, T, (H + 2·G)·D). Behind them δ (B, H, T): room for kernels that keep it,
/// which is there for all.
///
/// With p the weights and δ = Σ dy·y (which equals Σₛ pₛ·(dy·vₛ)):
/// ds = p·(dy·v − δ)/√D, dq = Σₛ ds·k, dk = Σₜ ds·q, dv = Σₜ p·dy (Dao et al. 2022, appendix B.2).
#[derive(Debug)]
pub(super) struct AttentionGrad(Heads);

impl AttentionGrad {
    /// Records the gradients of the inputs of an attention.
    pub fn record(heads: Heads, vjp: &Vjp) -> Vec<Option<Tensor>> {
        // The log-sum-exp is not given out, so only y has a gradient.
        let (y, lse, dy) = (vjp.y(0), vjp.y(1), vjp.dy(0));
        let [q, k, _] = heads.inputs().map(|i| vjp.x(i));
        let n_inputs = heads.inputs()[2] + 1;
        let mut inputs: Vec<&Tensor> = (0..n_inputs).map(|i| vjp.x(i)).collect();
        inputs.extend(heads.bounds_input().map(|i| vjp.x(i)));
        inputs.extend([dy, y, lse]);
        let (like, delta) = (|x: &Tensor| (x.shape().clone(), DType::F32), (lse.shape().clone(), DType::F32));
        let record = |shapes: &[(Shape, DType)]| dy.graph().record(AttentionGrad(heads), &inputs, shapes);
        let mut grads = if heads.packed {
            vec![Some(record(&[like(q), delta]).remove(0))]
        } else {
            let &[b, s, g, d] = k.dims() else { unreachable!() };
            let both = record(&[like(q), ((b, s, 2, g, d).into(), DType::F32), delta]);
            let part = |i: usize| both[1].slice(2, i, i + 1).reshape((b, s, g, d));
            vec![Some(both[0].clone()), Some(part(0)), Some(part(1))]
        };
        grads.extend(heads.bounds_input().map(|_| None));
        grads
    }

    /// How dq, dk and dv lie in the outputs, and in which.
    fn places(&self, outputs: &[&Layout]) -> [(usize, Layout); 3] {
        if self.0.packed {
            return self.0.views(outputs).map(|layout| (0, layout));
        }
        let shape = &outputs[1].shape;
        let part = |i: usize| {
            let part = outputs[1].slice(2, i, i + 1);
            part.reshape(&(shape[0], shape[1], shape[3], shape[4]).into()).expect("a dimension of extent 1")
        };
        [(0, outputs[0].clone()), (1, part(0)), (1, part(1))]
    }

    /// The first input behind q, k, v and bounds: dy, then y and lse.
    fn dy(&self) -> usize {
        self.0.inputs()[2] + 1 + usize::from(self.0.bounds != Bounds::Causal)
    }
}

impl Op for AttentionGrad {
    fn name(&self) -> &'static str {
        "attention_grad"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        panic!("attention: second gradients are not supported")
    }
    fn flops(&self, io: &Operands) -> u64 {
        // Each of the two kernels recomputes two products; three more give dq, dk and dv.
        14 * pairs(&self.0, io)
    }
    fn dispatches(&self, _: &Operands) -> u64 {
        2
    }
    fn strided_input(&self, i: usize) -> bool {
        !self.0.packed && i < 3
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let outputs: Vec<&Layout> = io.outputs.iter().map(|y| &y.layout).collect();
        let [dq, dk, dv] = self.places(&outputs);
        let (&[b, t, h, d], &[_, s, g, _]) = (&dq.1.shape[..], &dk.1.shape[..]) else { unreachable!() };
        if io.software() || d > 128 {
            return self.by_rows(io, [&dq, &dk], dv.1.offset - dk.1.offset);
        }
        let mut bindings = self.0.bindings();
        bindings.extend([0, 1, 2].map(|i| Bind::Input(self.dy() + i)));
        let constants = self.0.constants(io.inputs);
        let dispatch = |entry, output: usize, layout: &Layout, heads: usize, rows: usize| {
            let (tile, workgroups) = attention_tiles::tiles(b * heads, rows, d);
            let (constants, bindings) = (constants.clone(), bindings.clone());
            let mut dispatch = Dispatch { shader: SHADER, entry, constants, bindings, workgroups };
            dispatch.constants.push(("ROWS", tile as f64));
            dispatch.constants.extend(vec4_places(OUT_PLACES, layout));
            dispatch.constants.push(("OUT_DV", (dv.1.offset - dk.1.offset) as f64 / 4.0));
            dispatch.bindings.push(Bind::Output(output));
            dispatch
        };
        vec![dispatch("dq", dq.0, &dq.1, h, t), dispatch("dkv", dk.0, &dk.1, g, s)]
    }
}

impl AttentionGrad {
    /// One kernel for the rows of dq, and the same for those of dk and dv, which lie `apart`: own rows stand in the places of
    /// q and dy, those that they meet in the places of k and v.
    fn by_rows(&self, io: &GpuIo, out: [&(usize, Layout); 2], apart: usize) -> Vec<Dispatch> {
        let [q, k, v] = self.0.operands(io.inputs);
        let dy = Layout::contiguous(q.shape.clone());
        let lengths = [q.shape[1], k.shape[1]];
        let ([qi, ki, vi], bounds) = (self.0.inputs(), self.0.bounds_input().unwrap_or(0));
        let [dyi, y, lse] = [0, 1, 2].map(|i| self.dy() + i);
        let sums = |keys: usize| q.shape[3] * (1 + keys);
        // Both or none, although one might do alone: what the first keeps, in a ninth buffer, the second reads.
        let eights = io.limits.max_storage_buffers > 8
            && [0, 1].iter().all(|&keys| attention_rows::suits_eights(io, lengths[keys], sums(keys)));
        let dispatch = |keys: usize| {
            let (own, met, heads) = match keys == 1 {
                true => ([(ki, &k), (vi, &v)], [(qi, &q), (dyi, &dy)], self.0.g),
                false => ([(qi, &q), (dyi, &dy)], [(ki, &k), (vi, &v)], self.0.h),
            };
            let mut constants = self.0.constants_of(lengths, [own[0].1, met[0].1, met[1].1]);
            constants.extend(vec4_places(["U_OFFSET", "U_B", "U_T", "U_H"], own[1].1));
            constants.extend(vec4_places(OUT_PLACES, &out[keys].1));
            constants.extend([("OUT_DV", apart as f64 / 4.0), ("KEYS", keys as f64)]);
            let mut bindings = [own[0].0, met[0].0, met[1].0, bounds].map(Bind::Input).to_vec();
            bindings.push(Bind::Output(out[keys].0));
            bindings.extend([own[1].0, y, lse].map(Bind::Input));
            let shader = attention_grad_rows::SHADER;
            let rows = [q.shape[0] * heads, lengths[keys], sums(keys)];
            let (shader, workgroups) = attention_rows::rows(io, shader, eights, rows, &mut constants);
            if eights {
                bindings.push(Bind::Output(io.outputs.len() - 1));
            }
            Dispatch { shader, entry: "gradient", constants, bindings, workgroups }
        };
        [0, 1].map(dispatch).into()
    }
}

/// What the threads of a gradient share.
struct Job<'a, F> {
    heads: Heads,
    qkv: [HeadRows<'a, F>; 3],
    grads: [HeadRows<'a, F>; 3],
    dy: HeadRows<'a, F>,
    y: HeadRows<'a, F>,
    lse: &'a [F],
    seen: Seen<'a>,
    t_len: usize,
    s_len: usize,
}

impl AttentionGrad {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let heads = self.0;
        let (qkv, places) = heads.read(&io);
        let seen = heads.seen(&io, places[0].shape[1]);
        let first = self.dy();
        let [dy, y] = [first, first + 1].map(|i| HeadRows::read(io.x(i), io.layout(i)));
        let lse = io.x(first + 2);
        let mut outputs = vec![io.take_strided(0)];
        if !heads.packed {
            outputs.push(io.take_strided(1));
        }
        let layouts: Vec<&Layout> = outputs.iter().map(|(_, layout)| *layout).collect();
        let places_out = self.places(&layouts);
        let memory: Vec<(*mut F, usize)> =
            outputs.iter_mut().map(|(y, _)| (y.as_mut_ptr(), y.len())).collect();
        let grads = places_out.map(|(k, layout)| HeadRows::part(memory[k].0, memory[k].1, &layout));
        let (batch, t_len, s_len) = (places[0].shape[0], places[0].shape[1], places[1].shape[1]);
        let job = Job { heads, qkv, grads, dy, y, lse, seen, t_len, s_len };
        join_chunks_with(batch * heads.g, |unit, scratch| job.group(unit / heads.g, unit % heads.g, scratch));
    }
}

/// Memory that a thread uses again for each block of each head.
#[derive(Default)]
struct Scratch<F> {
    /// Weights and the gradients of the scores: (keys, rows), so that products read keys and values where they lie, each row
    /// as long as [`QUERIES`] wants it.
    p: Vec<F>,
    ds: Vec<F>,
}

impl<F: Real> Job<'_, F> {
    /// The gradients of one key/value head, and of the query heads that share it.
    fn group(&self, b: usize, g: usize, scratch: &mut Scratch<F>) {
        let Heads { h: n_head, g: n_kv_head, d, .. } = self.heads;
        let n = n_head / n_kv_head;
        // The last queries come first: in most cases they see all keys, whose gradients then begin with what these give.
        let rows = block_len(self.t_len);
        let last = (self.t_len - 1) / rows * rows;
        let mut beta = F::ZERO;
        if self.seen.by_some([b, last], self.t_len - last, self.s_len) != (0..self.s_len) {
            for s in 0..self.s_len {
                // SAFETY: each pair (b, g) writes rows of its own.
                self.grads[1..].iter().for_each(|dkv| unsafe { dkv.row_mut([b, s, g], d) }.fill(F::ZERO));
            }
            beta = F::ONE;
        }
        for h in g * n..(g + 1) * n {
            for t0 in (0..=last).rev().step_by(rows) {
                self.block([b, t0, h], g, beta, scratch);
                beta = F::ONE;
            }
        }
    }

    /// What one block of queries gives to dq, and to dk and dv of head `g`, whose old values are multiplied by `beta`.
    fn block(&self, at_q: [usize; 3], g: usize, beta: F, Scratch { p, ds }: &mut Scratch<F>) {
        let ([b, t0, _], d) = (at_q, self.heads.d);
        let ([q, k, v], [dq, dk, dv]) = (&self.qkv, &self.grads);
        let rows = block_len(self.t_len).min(self.t_len - t0);
        let Range { start: from, end: to } = self.seen.by_some([b, t0], rows, self.s_len);
        let (keys, at_k) = (to - from, [b, from, g]);
        let last = self.seen.last([b, t0], from..to);
        let [above, below] = [last as isize, -(last as isize)];
        // 1. Scores, and the products of dy with the values.
        let stride = rows.next_multiple_of(QUERIES);
        p.resize(keys * stride, F::ZERO);
        ds.resize(keys * stride, F::ZERO);
        let (by_key, by_query) = ([stride as isize, 1], [1, stride as isize]);
        // SAFETY (of all products): the rows are within their tensors, the extents are those of the buffers, and only
        // this thread writes these rows of dq, dk and dv.
        unsafe {
            let dims = [keys, d, rows];
            let (wanted, p, ds) =
                (Triangle::wanted(below), (p.as_mut_ptr(), by_key), (ds.as_mut_ptr(), by_key));
            F::gemm(wanted, dims, k.rows(at_k), q.columns(at_q), F::ZERO, p);
            F::gemm(wanted, dims, v.rows(at_k), self.dy.columns(at_q), F::ZERO, ds);
        }
        // 2. Weights, and the gradients of the scores.
        self.seen.hide(p, stride, [b, t0], rows, from..to);
        slopes(p, ds, last + QUERIES, F::of(self.heads.scale()), &self.of_queries(at_q, rows)[..stride]);
        // 3. What they give to q, k and v.
        let dims = [keys, rows, d];
        unsafe {
            let (lower, upper) = (Triangle::lower(above), Triangle::upper(below));
            let (p, ds, turned) = ((p.as_ptr(), by_key), (ds.as_ptr(), by_key), (ds.as_ptr(), by_query));
            F::gemm(lower, [rows, keys, d], turned, k.rows(at_k), F::ZERO, dq.matrix(at_q));
            F::gemm(upper, dims, ds, q.rows(at_q), beta, dk.matrix(at_k));
            F::gemm(upper, dims, p, self.dy.rows(at_q), beta, dv.matrix(at_k));
        }
    }

    /// The log-sum-exp and δ of some queries.
    fn of_queries(&self, [b, t0, h]: [usize; 3], rows: usize) -> [[F; 2]; MOST_QUERIES] {
        let lse = &self.lse[(b * self.heads.h + h) * self.t_len + t0..][..rows];
        let mut found = [[F::ZERO; 2]; MOST_QUERIES];
        for (i, (found, &lse)) in found.iter_mut().zip(lse).enumerate() {
            let (at, d) = ([b, t0 + i, h], self.heads.d);
            // SAFETY: the row is within dy and y, which nobody writes.
            *found = [lse, unsafe { dot(self.dy.row(at, d), self.y.row(at, d)) }];
        }
        found
    }
}

wide_fn! {
    /// Scores (keys, queries), MASKED where a query does not see a key, become weights p, and products dy·v become
    /// ds = p·(dy·v − δ)/√D. `met` says, as to [`softmax_columns`](crate::cpu::softmax_columns), beyond which keys both are 0.
    fn slopes<F: Real>(p: &mut [F], ds: &mut [F], met: usize, scale: F, of_queries: &[[F; 2]]) {
        let (stride, by) = (of_queries.len(), &F::coefficients::<FUSED>());
        for (k, of_queries) in of_queries.as_chunks::<QUERIES>().0.iter().enumerate() {
            let [lse, delta] = [0, 1].map(|i| of_queries.map(|numbers| numbers[i]));
            for (key, (p, ds)) in p.chunks_exact_mut(stride).zip(ds.chunks_exact_mut(stride)).enumerate() {
                let (p, ds) = (queries(p, k), queries(ds, k));
                if key >= met + k * QUERIES {
                    p.fill(F::ZERO);
                    ds.fill(F::ZERO);
                    continue;
                }
                for i in 0..QUERIES {
                    p[i] = add_product::<F, FUSED>(-lse[i], p[i], scale).exp(by);
                    ds[i] = p[i] * (ds[i] - delta[i]) * scale;
                }
            }
        }
    }
}
