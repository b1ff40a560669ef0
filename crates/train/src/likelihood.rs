//! How likely a model finds answers that it did not give.

use cloche_models::{Network, Pass};
use cloche_nn::loss;
use cloche_tensor::{DType, Device, Graph, LOG_NUMEL, Program, Tensor};

use crate::error::Error;
use crate::examples::{Example, Rows};

/// What is summed up of an answer: the log-probabilities of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Total {
    /// Their sum, in nats: the answer's own.
    Sum,
    /// Their mean, in nats per token: long answers are not less likely.
    Mean,
}

impl Total {
    /// Records it: logits `(R, T, V)` and targets `(R, T)` → `(R,)`.
    pub fn record(self, logits: &Tensor, targets: &Tensor) -> Tensor {
        match self {
            Total::Sum => loss::answer_log_probs(logits, targets),
            Total::Mean => loss::mean_answer_log_probs(logits, targets),
        }
    }
}

/// Reads log-probabilities of whole answers, batch by batch.
pub(crate) struct Likelihood {
    program: Program,
    rows: Rows,
}

impl Likelihood {
    /// Prepares to read `shape.0` texts at once, or as many as a program logs, of at most `shape.1 + 1` tokens each. They are
    /// read by the weights that the network has at that time.
    ///
    /// # Errors
    /// When the device cannot hold the program.
    pub fn new(
        device: &Device,
        network: &Network,
        shape: (usize, usize),
        total: Total,
    ) -> Result<Likelihood, Error> {
        let shape = (shape.0.min(LOG_NUMEL), shape.1);
        let graph = Graph::new();
        let x = graph.input("x", shape, DType::U32); // (R, T)
        let y = graph.input("y", shape, DType::U32); // (R, T)
        let logits = cloche_models::logits(&network.config, &network.params(&graph), &x, &Pass::eval()); // (R, T, V)
        let log_probs = total.record(&logits, &y); // (R,)
        let program = device.compile(&graph, &[("log_probs", &log_probs)], &network.states())?;
        Ok(Likelihood { program, rows: Rows::new(shape.0, shape.1) })
    }

    /// ln π of what is marked in each text.
    ///
    /// # Errors
    /// A lost device.
    ///
    /// # Panics
    /// When a text is too long.
    pub async fn log_probs(&mut self, texts: &[&Example]) -> Result<Vec<f32>, Error> {
        let mut log_probs = Vec::with_capacity(texts.len());
        for texts in texts.chunks(self.rows.x.len() / self.rows.width) {
            self.rows.fill(texts.iter().copied());
            self.program.write("x", &self.rows.x);
            self.program.write("y", &self.rows.y);
            self.program.run();
            let row = self.program.drain().await?.remove(0);
            log_probs.extend_from_slice(&row[0].f32()[..texts.len()]);
        }
        Ok(log_probs)
    }
}
