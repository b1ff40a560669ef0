//! Looking inside: what a head attends to, what each layer would say next, how numbers are spread.
//!
//! A look records the model once more, with nothing dropped, and asks for tensors that it names. Training does not know.

use cloche_nn::loss::{mean, token_losses};
use cloche_nn::{ParamSpec, Params};
use cloche_tensor::{DType, Device, Error, Graph, Tensor};

use crate::network::Network;
use crate::{Model, Pass, hidden};

/// What is asked for, beside the next token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// The attention weights of a layer and one of its heads.
    pub attention: Option<(usize, usize)>,
    /// What each layer would say, were it the last one: nostalgebraist 2020, "interpreting GPT: the logit lens".
    pub lens: bool,
    /// How trained parameters are spread.
    pub weights: bool,
    /// How their gradients are, of the mean loss of the text itself, which needs two tokens.
    pub gradients: bool,
    /// How what layers add up to is.
    pub activations: bool,
}

/// What a look has shown. What was not asked for is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Log-probabilities of the token after the last one, in nats, `(R, V)`: after the last layer, or in R = L + 1 rows after
    /// the embedding and each layer.
    pub log_probs: Vec<f32>,
    /// How much each position (a row) attends to each, `(T, T)`; a row adds up to 1.
    pub attention: Vec<f32>,
    /// By the paths of the parameters.
    pub weights: Vec<(String, Spread)>,
    /// By the paths of the parameters.
    pub gradients: Vec<(String, Spread)>,
    /// By `embedding`, `h.0`, `h.1` … and `hidden`, which is behind the last norm.
    pub activations: Vec<(String, Spread)>,
}

/// How numbers are spread.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// The square root of the sum of their squares.
    pub norm: f32,
    /// The smallest.
    pub low: f32,
    /// The largest.
    pub high: f32,
    /// How many lie in each of equal parts of what is between the two.
    pub counts: [u32; BINS],
}

/// Parts of a histogram.
pub const BINS: usize = 32;

impl Look {
    /// Reads `ids` with the weights of this moment.
    ///
    /// # Errors
    /// When the device cannot hold the model, or was lost.
    ///
    /// # Panics
    /// Where there are no ids, more than the context holds, or unknown ones; where the model has no such layer or head;
    /// where gradients are asked of a single id.
    pub async fn at(&self, device: &Device, network: &Network, ids: &[u32]) -> Result<Seen, Error> {
        let known = |&id: &u32| (id as usize) < network.config.vocab_size;
        assert!(!ids.is_empty() && ids.iter().all(known), "look: found unknown ids, or none");
        let graph = Graph::new();
        let asked = self.record(&graph, network, ids.len());
        let outputs: Vec<(&str, &Tensor)> = asked.iter().map(|(name, y)| (&**name, y)).collect();
        let mut program = device.compile(&graph, &outputs, &network.states())?;
        program.write("ids", ids);
        program.run();
        // Scores and logits become shares here, where there is nothing to hurry for.
        let mut seen = Seen::default();
        for (name, y) in &asked {
            let data = program.read(name).await?;
            let data = data.f32();
            match name.split_once(' ') {
                Some(("logits", _)) => seen.log_probs.extend(log_softmax(data)),
                Some(("scores", _)) => {
                    let scale = 1.0 / (network.config.d_head as f32).sqrt();
                    seen.attention = causal_softmax(data, y.dim(0), scale);
                }
                Some(("gradients", _)) => seen.gradients = spreads(network.trained().specs(), data),
                _ => seen.activations.push((name.clone(), Spread::of(data))),
            }
        }
        if self.weights {
            let weights = network.trained().read().await?;
            seen.weights = spreads(network.trained().specs(), weights.flat());
        }
        Ok(seen)
    }

    /// The model on `t` ids, and what is asked of it: `logits …`, `scores …`, `gradients …`, and activations by their names.
    fn record(&self, graph: &Graph, network: &Network, t: usize) -> Vec<(String, Tensor)> {
        let config = &network.config;
        let p = network.params(graph);
        let ids = graph.input("ids", (1, t), DType::U32);
        let x = hidden(config, &p, &ids, &Pass::eval()); // (1, T, C)
        let named = |name: &String| graph.probe(name).expect("the model names it");
        let layers = (0..config.n_layer).map(|layer| format!("h.{layer}"));
        let residual: Vec<String> = ["embedding".to_owned()].into_iter().chain(layers).collect();
        // 1. What comes next, by the last layer or by each.
        let model = Model::of(config);
        let say = |p: &Params, x: &Tensor| (model.head)(config, p, x);
        let last = |x: &Tensor| x.slice(1, t - 1, t); // (1, 1, C)
        let mut asked: Vec<(String, Tensor)> = match self.lens {
            false => vec![("logits next".into(), say(&p, &last(&x)))],
            true => {
                let lens = |name| say(&p, &(model.norm)(config, &p, &last(&named(name))));
                residual.iter().map(|name| (format!("logits {name}"), lens(name))).collect()
            }
        };
        // 2. Scores of a head's queries (rows) for its keys.
        if let Some((layer, head)) = self.attention {
            let heads = config.n_head + 2 * config.n_kv_head;
            let qkv = named(&format!("h.{layer}.qkv")).reshape((t, heads, config.d_head));
            let part = |head: usize| qkv.slice(1, head, head + 1).reshape((t, config.d_head)); // (T, D)
            let key = config.n_head + head / (config.n_head / config.n_kv_head);
            asked.push(("scores of a head".into(), part(head).matmul(&part(key).t()))); // (T, T)
        }
        // 3. The pull of the text on the parameters.
        if self.gradients {
            let loss = mean(&token_losses(&say(&p, &x.slice(1, 0, t - 1)), &ids.slice(1, 1, t)));
            let gradients = graph.grad(&loss, &[&p.trained().flat()]).remove(0);
            asked.push(("gradients of all".into(), gradients));
        }
        // 4. What stands between the layers.
        if self.activations {
            asked.extend(residual.iter().map(|name| (name.clone(), named(name))));
            asked.push(("hidden".into(), x));
        }
        asked
    }
}

impl Spread {
    /// Of numbers, at least one.
    pub fn of(x: &[f32]) -> Spread {
        let (mut low, mut high, mut squares) = (f32::INFINITY, f32::NEG_INFINITY, 0.0);
        for &x in x {
            (low, high) = (low.min(x), high.max(x));
            squares += f64::from(x) * f64::from(x);
        }
        let mut counts = [0; BINS];
        let scale = if high > low { BINS as f32 / (high - low) } else { 0.0 };
        for &x in x {
            counts[(((x - low) * scale) as usize).min(BINS - 1)] += 1;
        }
        Spread { norm: squares.sqrt() as f32, low, high, counts }
    }
}

/// Of each parameter in a flat buffer.
fn spreads(specs: &[ParamSpec], flat: &[f32]) -> Vec<(String, Spread)> {
    let of = |spec: &ParamSpec| Spread::of(&flat[spec.offset..spec.end()]);
    specs.iter().map(|spec| (spec.path.clone(), of(spec))).collect()
}

fn log_softmax(logits: &[f32]) -> impl Iterator<Item = f32> + '_ {
    let total = log_sum_exp(logits);
    logits.iter().map(move |x| x - total)
}

/// The logarithm of a sum of exponentials, with the largest taken out so that none overflows.
fn log_sum_exp(x: &[f32]) -> f32 {
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    largest + x.iter().map(|x| (x - largest).exp()).sum::<f32>().ln()
}

/// The softmax of each row of `scale · scores` up to the diagonal, and 0 behind it.
fn causal_softmax(scores: &[f32], t: usize, scale: f32) -> Vec<f32> {
    let mut weights = vec![0.0; t * t];
    for (i, row) in weights.chunks_mut(t).enumerate() {
        let scaled: Vec<f32> = scores[i * t..][..=i].iter().map(|s| s * scale).collect();
        row.iter_mut().zip(log_softmax(&scaled)).for_each(|(w, s)| *w = s.exp());
    }
    weights
}
