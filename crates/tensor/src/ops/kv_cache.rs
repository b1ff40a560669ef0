//! Writing keys and values into a cache, in place.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::shader;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "kv_cache", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("kv_cache");

/// (cache (B, S, G, D), k (B, T, G, D), position (B)) → cache
#[derive(Debug)]
struct CacheWrite;

impl Op for CacheWrite {
    fn name(&self) -> &'static str {
        "kv_cache"
    }
    /// A cache serves generation, which is not differentiated.
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        vec![None, None, None]
    }
    fn flops(&self, _: &Operands) -> u64 {
        0
    }
    fn strided_input(&self, i: usize) -> bool {
        i < 2
    }
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let (k, cache) = (&io.inputs[1].layout, &io.outputs[0].layout);
        let mut constants = vec![("S", cache.shape[1] as f64)];
        constants.extend(["B", "T", "G", "D"].into_iter().zip(k.shape.iter().map(|&n| n as f64)));
        for (offset, names, layout) in [
            ("K_OFFSET", ["K_B", "K_T", "K_G", "K_D"], k),
            ("CACHE_OFFSET", ["CACHE_B", "CACHE_S", "CACHE_G", "CACHE_D"], cache),
        ] {
            constants.push((offset, layout.offset as f64));
            constants.extend(names.into_iter().zip(layout.strides.iter().map(|&s| s as f64)));
        }
        vec![Dispatch {
            shader: SHADER,
            entry: "write",
            constants,
            bindings: vec![Bind::Input(1), Bind::Input(2), Bind::Output(0)],
            workgroups: groups(k.numel(), 64),
        }]
    }
}

impl CacheWrite {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (k, lk, position) = (io.x(1), io.layout(1), io.ids(2));
        let &[batch, t_len, heads, d] = io.dims(1) else { unreachable!() };
        let (cache, lc) = io.take_strided(0);
        for (b, t) in (0..batch).flat_map(|b| (0..t_len).map(move |t| (b, t))) {
            let s = position[b] as usize + t;
            if s >= lc.shape[1] {
                continue;
            }
            for g in 0..heads {
                let at = |l: &Layout, row: usize| b * l.strides[0] + row * l.strides[1] + g * l.strides[2];
                let (to, from) = (&mut cache[at(lc, s)..], &k[at(lk, t)..]);
                match [lc, lk].map(|l| l.strides[3]) {
                    [1, 1] => to[..d].copy_from_slice(&from[..d]),
                    steps => (0..d).for_each(|i| to[i * steps[0]] = from[i * steps[1]]),
                }
            }
        }
    }
}

impl Tensor {
    /// Writes `k` into this cache, in place: row t of sequence b becomes row `position[b] + t` of the cache. Rows beyond the
    /// cache's end are dropped. Returns the updated cache; read that, not this tensor, from here on.
    ///
    /// # Shapes
    /// `cache (B, S, G, D)`, a state or a view of one; `k (B, T, G, D)`, which may be a slice; `position (B,)` of u32
    /// → `(B, S, G, D)`. Keys and values packed side by side, `(B, S, 2·G, D)`, need one write.
    ///
    /// # Gradient
    /// None.
    ///
    /// # Panics
    /// When the shapes do not agree.
    #[track_caller]
    pub fn cache_write(&self, k: &Tensor, position: &Tensor) -> Tensor {
        expect_dtype("kv_cache", self, DType::F32);
        expect_dtype("kv_cache", k, DType::F32);
        expect_dtype("kv_cache", position, DType::U32);
        let agree = self.shape().len() == 4
            && k.shape().len() == 4
            && [0, 2, 3].iter().all(|&d| self.dim(d) == k.dim(d))
            && *position.dims() == [self.dim(0)];
        assert!(
            agree,
            "kv_cache: a cache {} takes no k {} at position {}",
            self.shape(),
            k.shape(),
            position.shape()
        );
        self.graph().record(CacheWrite, &[self, k, position], &[(self.shape().clone(), DType::F32)]).remove(0)
    }
}

fn samples() -> Vec<Sample> {
    let (n, ids) = (Range::Normal, Range::Ids);
    let cache = |x: &[Tensor], b: usize, s: usize, g: usize, d: usize| {
        x[0].graph().state("cache", (b, s, g, d), DType::F32)
    };
    vec![
        Sample::new("prefill, some rows beyond the end", &[(&[3, 5, 2, 4], n), (&[3], ids(7))], move |x| {
            vec![cache(x, 3, 8, 2, 4).cache_write(&x[0], &x[1]) * 1.0]
        })
        .forward_only(),
        Sample::new("one token from a packed matrix", &[(&[2, 1, 48], n), (&[2], ids(9))], move |x| {
            let kv = x[0].slice(2, 16, 48).reshape((2, 1, 4, 8));
            vec![cache(x, 2, 9, 4, 8).cache_write(&kv, &x[1]) * 1.0]
        })
        .forward_only(),
        Sample::new("a view of the cache", &[(&[2, 3, 2, 4], n), (&[2], ids(5))], move |x| {
            let whole = cache(x, 2, 6, 4, 4);
            let updated = whole.slice(2, 2, 4).cache_write(&x[0], &x[1]);
            vec![updated * 2.0]
        })
        .forward_only(),
    ]
}
