//! Low-rank adapters: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models",
//! <https://arxiv.org/abs/2106.09685>.
//!
//! A linear layer with weight w `(n, K)` that an adapter targets computes
//!
//! ```text
//!   y = x·wᵀ + (dropout(x)·Aᵀ·Bᵀ) · alpha / rank        A (rank, K), B (n, rank)
//! ```
//!
//! and only A and B are trained: (K + n)·rank numbers in place of K·n. B begins at 0, so that an adapted model begins as
//! the model itself. Names, initial values and the meaning of targets are those of Hugging Face's PEFT.

use cloche_tensor::{Graph, Tensor};
use serde::{Deserialize, Serialize};

use crate::dropout::Dropout;
use crate::found::Found;
use crate::init::Init;
use crate::params::{ParamSpec, Params};
use crate::weights::HostWeights;

/// The target that stands for every linear layer but the heads.
pub const ALL_LINEAR: &str = "all-linear";

/// What an adapter changes, and how much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rows of A and columns of B.
    pub rank: usize,
    /// What the adapter adds is scaled by `alpha / rank`, so that another rank needs no other learning rate.
    pub alpha: f32,
    /// The share of the adapter's inputs that is dropped in training.
    pub dropout: f32,
    /// The linear layers that are adapted: paths, or ends of paths such as `c_attn` or `attn.c_proj`, or [`ALL_LINEAR`].
    pub targets: Vec<String>,
    /// Modules that are trained whole beside the factors, such as a `score` head that the base does not have.
    pub whole: Vec<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        LoraConfig { rank: 8, alpha: 16.0, dropout: 0.0, targets: vec![ALL_LINEAR.into()], whole: Vec::new() }
    }
}

/// A linear layer of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Where it is; its weight is at `path.weight`.
    pub path: String,
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Whether the weight is stored as `(K, n)`, like GPT-2's, and not as `(n, K)`.
    pub transposed: bool,
}

/// An adapter that no model can have.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    /// A value out of its range.
    #[error("{key}: found {found}, expected {expected}")]
    Value {
        /// The name of the setting.
        key: &'static str,
        /// What it says.
        found: String,
        /// What it could say.
        expected: String,
    },
    /// A name that matches no module.
    #[error("{key}: {found:?} matches nothing, the model has {available}")]
    NoMatch {
        /// The name of the setting.
        key: &'static str,
        /// What it says.
        found: String,
        /// The names that would match.
        available: String,
    },
}

impl LoraConfig {
    /// What the adapter adds is multiplied by this.
    pub fn scale(&self) -> f32 {
        self.alpha / self.rank as f32
    }

    /// The parameters of the adapter for a model of these `layers` and `specs`.
    ///
    /// # Errors
    /// A target that matches no linear layer, a rank of 0 or beyond a layer's own, numbers out of range.
    pub fn specs(&self, layers: &[Layer], specs: &[ParamSpec]) -> Result<Vec<ParamSpec>, LoraError> {
        let adapted = self.adapted(layers)?;
        let graph = Graph::new();
        let p = Params::new(&graph);
        for layer in &adapted {
            let p = p.at(&layer.path);
            // Kaiming's uniform with a = √5 (He et al. 2015), which PyTorch gives to every linear layer: 1 / √K.
            let bound = 1.0 / (layer.k as f32).sqrt();
            p.at("lora_A").param("weight", (self.rank, layer.k), Init::Uniform { bound });
            p.at("lora_B").param("weight", (layer.n, self.rank), Init::Zeros);
        }
        for name in &self.whole {
            let mut found = specs.iter().filter(|s| names(module(&s.path), name)).peekable();
            if found.peek().is_none() {
                let available = ends(specs.iter().map(|s| module(&s.path)));
                return Err(LoraError::NoMatch { key: "whole", found: name.clone(), available });
            }
            found.for_each(|s| drop(p.declare(&s.path, s.shape.clone(), s.init, s.kind)));
        }
        Ok(p.specs())
    }

    /// Those of `layers` that the adapter changes.
    ///
    /// # Errors
    /// As [`specs`](Self::specs).
    pub fn adapted<'a>(&self, layers: &'a [Layer]) -> Result<Vec<&'a Layer>, LoraError> {
        let value = |key, found: String, expected: String| Err(LoraError::Value { key, found, expected });
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return value("alpha", self.alpha.shown(), "a number above 0".into());
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return value("dropout", self.dropout.shown(), "at least 0 and less than 1".into());
        }
        for target in &self.targets {
            if !layers.iter().any(|layer| layer.is_target(target)) {
                let available = format!("{}, or {ALL_LINEAR}", ends(layers.iter().map(|l| l.path.as_str())));
                return Err(LoraError::NoMatch { key: "targets", found: target.clone(), available });
            }
        }
        let adapted: Vec<&Layer> =
            layers.iter().filter(|layer| self.targets.iter().any(|t| layer.is_target(t))).collect();
        let Some(narrowest) = adapted.iter().min_by_key(|layer| layer.n.min(layer.k)) else {
            return value("targets", "nothing".into(), "at least one name".into());
        };
        let most = narrowest.n.min(narrowest.k);
        if self.rank == 0 || self.rank > most {
            let expected = format!("1 to {most}, the width of {}", narrowest.path);
            return value("rank", self.rank.to_string(), expected);
        }
        Ok(adapted)
    }
}

impl Layer {
    fn is_target(&self, target: &str) -> bool {
        // Heads are the layers that lie in no module.
        if target == ALL_LINEAR { self.path.contains('.') } else { names(&self.path, target) }
    }
}

/// The path of the module that a parameter belongs to.
fn module(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(module, _)| module)
}

/// Whether `name` is `path` or its end, behind a point.
fn names(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The last parts of some paths, each once.
fn ends<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let mut ends: Vec<&str> = Vec::new();
    for path in paths {
        let end = path.rsplit('.').next().unwrap_or(path);
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    ends.join(", ")
}

/// The weights of a base with what an adapter adds to them: `w + B·A · alpha / rank` in each adapted layer. Modules that
/// the adapter holds whole take the place of the base's, or stand behind them.
///
/// `layers` are those of the model that the adapter was made for.
pub fn merge(
    layers: &[Layer],
    config: &LoraConfig,
    base: &HostWeights,
    adapter: &HostWeights,
) -> HostWeights {
    // 1. Everything that is not a factor, the adapter's before the base's.
    let p = Params::new(&Graph::new());
    let whole = adapter.specs().iter().filter(|s| !s.path.contains(".lora_"));
    base.specs().iter().chain(whole).for_each(|s| drop(p.declare(&s.path, s.shape.clone(), s.init, s.kind)));
    let specs = p.specs();
    let mut flat = vec![0.0; p.numel()];
    for spec in &specs {
        let values = adapter.get(&spec.path).or(base.get(&spec.path)).expect("declared by one of them");
        flat[spec.offset..spec.end()].copy_from_slice(values);
    }
    // 2. The products, each number rounded once.
    let scale = config.scale() as f64;
    for layer in layers {
        let factor = |name: &str| adapter.get(&format!("{}.{name}.weight", layer.path));
        let (Some(a), Some(b)) = (factor("lora_A"), factor("lora_B")) else { continue };
        let Some(spec) = specs.iter().find(|s| module(&s.path) == layer.path && s.shape.len() == 2) else {
            continue;
        };
        let w = &mut flat[spec.offset..spec.end()];
        for (i, row) in b.chunks_exact(config.rank).enumerate() {
            for j in 0..layer.k {
                let column = a[j..].iter().step_by(layer.k); // A[·, j]
                let sum: f64 = row.iter().zip(column).map(|(b, a)| *b as f64 * *a as f64).sum();
                let place = if layer.transposed { j * layer.n + i } else { i * layer.k + j };
                w[place] = (w[place] as f64 + scale * sum) as f32;
            }
        }
    }
    HostWeights::new(&specs, flat)
}

/// An adapter in a recording.
#[derive(Clone)]
pub(crate) struct Lora {
    /// Its parameters: factors, and modules that it holds whole.
    pub own: Params,
    scale: f32,
    share: f32,
    dropout: Dropout,
}

/// What an adapter has for one layer.
pub(crate) struct LayerFactors {
    a: Tensor,
    b: Tensor,
    scale: f32,
    dropout: Dropout,
}

impl Lora {
    pub fn new(config: &LoraConfig, own: Params) -> Self {
        Lora { own, scale: config.scale(), share: config.dropout, dropout: Dropout::off() }
    }

    pub fn training(&self, dropout: &Dropout) -> Self {
        Lora { dropout: dropout.with_share(self.share), ..self.clone() }
    }

    pub fn factors(&self, path: &str) -> Option<LayerFactors> {
        let a = self.own.known(&format!("{path}.lora_A.weight"))?;
        let b = self.own.known(&format!("{path}.lora_B.weight"))?;
        Some(LayerFactors { a, b, scale: self.scale, dropout: self.dropout.clone() })
    }
}

/// `y + (dropout(x)·Aᵀ·Bᵀ) · alpha / rank` where an adapter targets the linear layer at `p`, else `y`.
///
/// # Shapes
/// x `(…, K)`, y `(…, n)` → `(…, n)`
pub(crate) fn adapt(p: &Params, x: &Tensor, y: Tensor, transposed: bool) -> Tensor {
    match p.linear_layer(y.last_dim(), x.last_dim(), transposed) {
        None => y,
        Some(LayerFactors { a, b, scale, dropout }) => {
            // Scaled where it is narrow.
            let h = dropout.apply(x.clone()).matmul(&a.t()) * scale as f64; // (…, rank)
            y + h.matmul(&b.t())
        }
    }
}
