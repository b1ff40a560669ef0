//! The loss on what is held out: on a text, over a fixed set of windows, and on answers.

use cloche_models::config::ModelConfig;
use cloche_models::{Network, Pass};
use cloche_nn::{Params, loss::token_losses};
use cloche_tensor::{DType, Device, Graph, LOG_RUNS, Plan, Program, State};

use crate::data::{Tokens, Windows};
use crate::error::Error;
use crate::examples::{Example, Rows, check_examples};
use crate::likelihood::{Likelihood, Total};

/// Computes the loss of a model on windows of a text.
pub struct Evaluator {
    program: Program,
    x: Vec<u32>,
    y: Vec<u32>,
}

/// How well a model predicts a text.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Score {
    /// Mean cross-entropy, in nats per token.
    pub nats_per_token: f64,
    /// The same in bits.
    pub bits_per_token: f64,
    /// e to the nats per token: the size of a fair die that is as hard to predict.
    pub perplexity: f64,
    /// Bits for each byte of the text: comparable between tokenizers.
    pub bits_per_byte: f64,
    /// Tokens that were predicted.
    pub tokens: u64,
}

impl Score {
    /// From the summed loss of `tokens` tokens that spell `bytes` bytes.
    ///
    /// ```
    /// use cloche_train::evaluate::Score;
    /// let score = Score::new(100.0 * std::f64::consts::LN_2, 100, 400); // one bit a token, four bytes a token
    /// assert!((score.bits_per_token - 1.0).abs() < 1e-12 && (score.perplexity - 2.0).abs() < 1e-12);
    /// assert!((score.bits_per_byte - 0.25).abs() < 1e-12);
    /// ```
    pub fn new(sum: f64, tokens: u64, bytes: u64) -> Score {
        let nats_per_token = sum / tokens as f64;
        let bits_per_token = nats_per_token / std::f64::consts::LN_2;
        let bits_per_byte = bits_per_token * tokens as f64 / bytes as f64;
        Score { nats_per_token, bits_per_token, perplexity: nats_per_token.exp(), bits_per_byte, tokens }
    }
}

impl Evaluator {
    /// An evaluator of batches of `batch_size` windows.
    ///
    /// # Errors
    /// Memory that the device does not have.
    pub fn new(device: &Device, network: &Network, batch_size: usize) -> Result<Self, cloche_tensor::Error> {
        let plan = plan(device, &network.config, &|graph| network.params(graph), batch_size);
        Self::load(device, plan, &network.states(), batch_size * network.config.context_len)
    }

    pub(crate) fn load(
        device: &Device,
        plan: Plan,
        states: &[(&str, &State)],
        numel: usize,
    ) -> Result<Self, cloche_tensor::Error> {
        let program = device.load(plan, states)?;
        Ok(Evaluator { program, x: vec![0; numel], y: vec![0; numel] })
    }

    /// The summed loss in nats over all windows, and how many tokens were predicted.
    ///
    /// # Errors
    /// The data's, or a lost device.
    ///
    /// # Panics
    /// When the windows are of another batch size or context.
    pub async fn sum<T: Tokens>(&mut self, windows: &Windows<T>) -> Result<(f64, u64), Error> {
        let (mut sum, mut targets) = (0.0, 0);
        for batch in 0..windows.len() {
            targets += windows.fill(batch, &mut self.x, &mut self.y)? as u64;
            self.program.write("x", &self.x);
            self.program.write("y", &self.y);
            self.program.run();
            self.program.throttle().await;
            // As many runs at once as the log holds: reading each by itself would wait for the device each time.
            if (batch + 1).is_multiple_of(LOG_RUNS) || batch + 1 == windows.len() {
                sum += self.program.drain().await?.iter().map(|row| row[0].f32()[0] as f64).sum::<f64>();
            }
        }
        Ok((sum, targets))
    }

    /// The mean loss over all windows, in nats per token.
    ///
    /// # Errors
    /// As [`sum`](Self::sum).
    pub async fn loss<T: Tokens>(&mut self, windows: &Windows<T>) -> Result<f32, Error> {
        let (sum, targets) = self.sum(windows).await?;
        Ok((sum / targets as f64) as f32)
    }
}

/// The summed loss in nats of what is marked in some texts, such as right answers, and how many tokens that are.
///
/// # Errors
/// Texts that the model cannot read; a device that cannot hold the program, or was lost.
pub async fn sum_of_examples(
    device: &Device,
    network: &Network,
    examples: &[Example],
) -> Result<(f64, u64), Error> {
    const ROWS: usize = 16;
    let config = &network.config;
    check_examples(examples, config.vocab_size, config.context_len)?;
    let width = Rows::width_of(examples.iter(), config.context_len);
    let mut reader = Likelihood::new(device, network, (ROWS.min(examples.len()), width), Total::Sum)?;
    let log_probs = reader.log_probs(&examples.iter().collect::<Vec<_>>()).await?;
    let tokens = examples.iter().map(|example| example.n_targets() as u64).sum();
    Ok((-log_probs.iter().map(|&x| x as f64).sum::<f64>(), tokens))
}

/// Plans one batch: ids → logits → summed loss, nothing dropped.
pub(crate) fn plan(
    device: &Device,
    config: &ModelConfig,
    params: &dyn Fn(&Graph) -> Params,
    batch_size: usize,
) -> Plan {
    let graph = Graph::new();
    let p = params(&graph);
    let shape = (batch_size, config.context_len);
    let x = graph.input("x", shape, DType::U32); // (B, T)
    let y = graph.input("y", shape, DType::U32); // (B, T)
    let logits = cloche_models::logits(config, &p, &x, &Pass::eval()); // (B, T, V)
    let sum = token_losses(&logits, &y).sum_all();
    device.plan(&graph, &[("sum", &sum)])
}
