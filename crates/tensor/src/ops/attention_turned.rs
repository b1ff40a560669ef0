//! Heads of the newest token that turn by their position as an attention reads them: for GPUs, a kernel of
//! [`super::attention_cached`].

use crate::check::{Range, Sample};
use crate::dtype::DType;
use crate::ops::rope::inverse_frequencies;
use crate::ops::{OpEntry, Shader};
use crate::shader;

/// Registry row. Its samples are heads as a model has them, and the product behind them.
pub const ENTRY: OpEntry = OpEntry { name: "attention_turned", samples, shader: Some(SHADER) };

pub(super) const SHADER: Shader = shader!("attention_few", "attention_cached", "cos_sin", "attention_turned");

/// The newest token of `b` sequences on caches of `s` places, of which some are in use, up to `seen`.
fn samples() -> Vec<Sample> {
    let sample = |[b, s, seen]: [usize; 3], [h, g, d]: [usize; 3]| {
        let (n, rows) = (Range::Normal, [b, 1, (h + 2 * g) * d]);
        let inputs: [(&[usize], Range); 4] =
            [(&rows, n), (&[b, s, 2 * g, d], n), (&[b], Range::Ids(seen as u32)), (&[h * d, 20], n)];
        Sample::new(format!("{b} of {h} heads, {g} of keys, {s} places, D {d}"), &inputs, move |x| {
            let cache = x[0].graph().state("cache", (b, s, 2 * g, d), DType::F32).assign(&x[1]);
            let all = x[0].reshape((b, 1, h + 2 * g, d));
            let all = all.rope_heads(Some(&x[2]), &inverse_frequencies(d, 1e4), h + g);
            let heads = cache.cache_write(&all.slice(2, h, h + 2 * g), &x[2]).chunk(2, 2);
            let y = all.slice(2, 0, h).attention(&heads[0], &heads[1], Some(&x[2]));
            vec![y.reshape((b, h * d)).matmul(&x[3])]
        })
        .forward_only()
    };
    vec![
        sample([1, 5, 5], [2, 2, 8]),
        sample([3, 300, 300], [6, 2, 64]),
        sample([2, 40, 41], [4, 1, 256]),
        sample([1, 600, 600], [3, 3, 16]),
    ]
}
