//! An attention of one query whose keys were cut into parts, and the product that reads it, which adds up the parts: for GPUs.
//! One workgroup for each head leaves most of a large card idle where there are many keys. Nobody records it: see
//! [`Op::split`](crate::ops::Op::split).

use crate::check::{Range, Sample};
use crate::dtype::DType;
use crate::ops::prologue::{POSSIBLE, Possible};
use crate::ops::quantized_matmul::PANEL;
use crate::ops::{Bind, Dispatch, OpEntry, Shader};
use crate::shader;

/// Registry row. Its samples are products of what a cache's attention gives.
pub const ENTRY: OpEntry = OpEntry { name: "parts_row", samples, shader: Some(SHADER) };

pub(super) const SHADER: Shader = shader!("matmul_row", "parts_row");

/// An attention in parts: y (B, 1, H, parts, D), each divided by its own sum of exponentials; the logarithms of those, (B, H,
/// parts).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    pub(super) count: usize,
    /// Keys of each, but the last: a multiple of 256.
    pub(super) span: usize,
    pub(super) d: usize,
    possible: Possible,
}

/// So many keys are one part: more workgroups would each have too little to do.
const FEW: usize = 512;
/// Keys that a workgroup treats at a time.
const KEYS: usize = 256;
/// The more parts, the more there is to add up for each workgroup of the product.
const MOST: usize = 16;
/// Heads, of all sequences, that keep a large card busy by themselves.
const BUSY: usize = 128;
/// The longest row that fits into workgroup memory beside what the product has there.
const LONGEST: usize = 2048;

impl Parts {
    /// The parts of so many keys of so many heads, in all and for each sequence; `None` where one is best.
    pub(super) fn of(keys: usize, all_heads: usize, heads: usize, d: usize) -> Option<Parts> {
        let possible = POSSIBLE?;
        let worth = keys > FEW && all_heads < BUSY && heads * d <= LONGEST;
        let span = keys.div_ceil(MOST).next_multiple_of(KEYS);
        worth.then(|| Parts { count: keys.div_ceil(span), span, d, possible })
    }

    /// See [`Prologue::prepare`](super::prologue::Prologue::prepare).
    pub(super) fn prepare(&self, dispatch: &mut Dispatch) {
        dispatch.constants.extend([("PARTS", self.count as f64), ("D4", (self.d / 4) as f64)]);
        dispatch.bindings.push(Bind::Input(1));
    }
}

/// The newest token's heads and the product behind them, as a model has them, of `b` sequences on caches of `s` places, of which
/// some are in use, up to `seen`. Rows of codes may also be parts of a sequence's.
fn samples() -> Vec<Sample> {
    let sample =
        |name: &str, [b, s, seen]: [usize; 3], [h, g, d]: [usize; 3], bits: Option<usize>, cut: usize| {
            let (n, k) = (Range::Normal, h * d / cut);
            let (rows, cache) = ([b, 1, (h + 2 * g) * d], [b, s, 2 * g, d]);
            let (weights, beside, range) = match bits {
                None => (vec![1, k, 76], vec![76], n),
                Some(bits) => (vec![2, k / 32, bits * PANEL], vec![2, k / 32, PANEL], Range::Ids(u32::MAX)),
            };
            let inputs: [(&[usize], Range); 5] =
                [(&rows, n), (&cache, n), (&[b], Range::Ids(seen as u32)), (&weights, range), (&beside, n)];
            Sample::new(name, &inputs, move |x| {
                let cache = x[0].graph().state("cache", (b, s, 2 * g, d), DType::F32).assign(&x[1]);
                let qkv = x[0].reshape((b, 1, h + 2 * g, d));
                let heads = cache.cache_write(&qkv.slice(2, h, h + 2 * g), &x[2]).chunk(2, 2);
                let y = qkv.slice(2, 0, h).attention(&heads[0], &heads[1], Some(&x[2]));
                vec![match bits {
                    None => (y.reshape((1, 1, k)).matmul(&x[3]) + &x[4]).gelu(),
                    Some(_) => y.reshape((b * cut, k)).quantized_matmul(&x[3], &x[4], PANEL + 12),
                }]
            })
            .forward_only()
        };
    vec![
        sample("three parts", [1, 600, 600], [3, 3, 16], None, 1),
        sample("one part has keys", [1, 600, 3], [3, 3, 16], None, 1),
        sample("heads share keys", [1, 1030, 1030], [4, 2, 64], None, 1),
        sample("ten parts of two rounds", [1, 5000, 5000], [2, 1, 8], None, 1),
        sample("8 bits", [1, 700, 700], [4, 4, 8], Some(8), 1),
        sample("half a head a row", [1, 700, 700], [2, 2, 64], Some(8), 4),
        sample("three sequences, 4 bits", [3, 700, 700], [6, 2, 64], Some(4), 1),
    ]
}
