//! Looking inside: what a head attends to, what each layer would say next, how strongly each parameter is pulled.
//!
//! A look records the model once more, with nothing dropped, and asks for tensors that it names. Training does not know.

use cloche_nn::loss::{mean, token_losses};
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
    /// How long the gradients are.
    pub gradients: bool,
}

/// What a look has shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Log-probabilities of the token after the last one, in nats, `(R, V)`: after the last layer, or in R = L + 1 rows after
    /// the embedding and each layer.
    pub log_probs: Vec<f32>,
    /// How much each position (a row) attends to each, `(T, T)`; a row adds up to 1. Empty where it was not asked for.
    pub attention: Vec<f32>,
    /// The path of each trained parameter, and the Euclidean norm of the gradient of the mean loss of the text itself.
    pub gradients: Vec<(String, f32)>,
}

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
        let (config, t) = (&network.config, ids.len());
        assert!(
            t > 0 && ids.iter().all(|&id| (id as usize) < config.vocab_size),
            "look: found unknown ids, or none"
        );
        // 1. The model, and what is asked of it.
        let graph = Graph::new();
        let p = network.params(&graph);
        let input = graph.input("ids", (1, t), DType::U32);
        let x = hidden(config, &p, &input, &Pass::eval()); // (1, T, C)
        let named = |name: &str| graph.probe(name).expect("the model names it");
        let model = Model::of(config);
        let say = |x: &Tensor| (model.head)(config, &p, x);
        let last = |x: &Tensor| x.slice(1, t - 1, t); // (1, 1, C)
        let mut asked = vec![("next".to_owned(), say(&last(&x)))];
        if self.lens {
            let layers = (0..config.n_layer).map(|layer| format!("h.{layer}"));
            let layers = ["embedding".to_owned()].into_iter().chain(layers);
            asked = layers
                .map(|name| (model.norm)(config, &p, &last(&named(&name))))
                .map(|x| say(&x))
                .enumerate()
                .map(|(i, logits)| (format!("lens {i}"), logits))
                .collect();
        }
        let n_rows = asked.len();
        if let Some((layer, head)) = self.attention {
            let qkv = named(&format!("h.{layer}.qkv")).reshape((
                t,
                config.n_head + 2 * config.n_kv_head,
                config.d_head,
            ));
            let part = |head: usize| qkv.slice(1, head, head + 1).reshape((t, config.d_head)); // (T, D)
            let key = config.n_head + head / (config.n_head / config.n_kv_head);
            asked.push(("scores".into(), part(head).matmul(&part(key).t()))); // (T, T)
        }
        let trained = network.trained().specs();
        if self.gradients {
            let logits = say(&x.slice(1, 0, t - 1));
            let loss = mean(&token_losses(&logits, &input.slice(1, 1, t)));
            asked.push(("gradients".into(), graph.grad(&loss, &[&p.trained().flat()]).remove(0)));
        }
        // 2. One run.
        let outputs: Vec<(&str, &Tensor)> = asked.iter().map(|(name, y)| (&**name, y)).collect();
        let mut program = device.compile(&graph, &outputs, &network.states())?;
        program.write("ids", ids);
        program.run();
        // 3. Scores and logits become shares here, where there is nothing to hurry for.
        let mut seen = Seen::default();
        for (name, _) in &asked[..n_rows] {
            let logits = program.read(name).await?;
            let total = log_sum_exp(logits.f32());
            seen.log_probs.extend(logits.f32().iter().map(|x| x - total));
        }
        if self.attention.is_some() {
            let scores = program.read("scores").await?;
            seen.attention = causal_softmax(scores.f32(), t, 1.0 / (config.d_head as f32).sqrt());
        }
        if self.gradients {
            let flat = program.read("gradients").await?;
            let norm =
                |dw: &[f32]| dw.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt() as f32;
            let of = |spec: &cloche_nn::ParamSpec| norm(&flat.f32()[spec.offset..spec.end()]);
            seen.gradients = trained.iter().map(|spec| (spec.path.clone(), of(spec))).collect();
        }
        Ok(seen)
    }
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
        let total = log_sum_exp(&scaled);
        row.iter_mut().zip(scaled).for_each(|(w, s)| *w = (s - total).exp());
    }
    weights
}
