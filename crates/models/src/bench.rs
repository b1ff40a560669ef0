//! The training steps that `cargo xtask bench` measures: model, weights, batches and optimizer are fixed, so that others can
//! make the same step and be held to the same losses.

use std::cell::Cell;

use cloche_nn::checkpoint::{NamedTensor, write};
use cloche_nn::loss::{mean, token_losses};
use cloche_nn::optim::{Moments, Settings, step};
use cloche_nn::{Params, Weights, WeightsError};
use cloche_tensor::bench::{Case, Limit, Prepared};
use cloche_tensor::rng::{Rng, stream_id};
use cloche_tensor::{DType, Device, Error, Graph, Program};

use crate::config::{ModelConfig, preset};
use crate::{Pass, logits, specs};

/// A model and the batch it is trained with.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// What it is called in tables, and behind `--model`.
    pub name: &'static str,
    /// The model.
    pub model: ModelConfig,
    /// Rows of a step, `B`.
    pub batch_size: usize,
}

/// Steps whose losses are compared, and different batches: the first comes again after the last.
pub const BATCHES: usize = 4;

/// The learning rate, without a warm-up: so large a step shows in the next loss.
pub const LR: f32 = 1e-3;

const SEED: u64 = 1337;

/// What is trained.
pub fn workloads() -> [Workload; 2] {
    let nano = preset("nano").expect("a preset").model;
    let small = ModelConfig {
        n_layer: 6,
        n_head: 6,
        n_kv_head: 6,
        d_model: 192,
        d_head: 32,
        d_ff: 768,
        vocab_size: 512,
        context_len: 128,
        ..nano
    };
    [
        Workload { name: "nano", model: nano, batch_size: 12 },
        Workload { name: "small", model: small, batch_size: 8 },
    ]
}

/// What is trained on graphics cards besides `nano`: GPT-2 as nanoGPT has it, 124M parameters without biases.
pub fn large_workload() -> Workload {
    let gpt2 = preset("gpt2").expect("a preset").model;
    let [nano, _] = workloads();
    let model = ModelConfig { bias: false, activation: nano.model.activation, dropout: 0.0, ..gpt2 };
    Workload { name: "gpt2", model, batch_size: 4 }
}

impl Workload {
    /// A step as nanoGPT makes it: forward, cross-entropy, backward, clipping, AdamW.
    pub fn training_step(self) -> Case {
        let settings = Settings::default();
        self.case(format!("training step of {}", self.name), settings)
    }

    /// A step as the smallest optimizer of every library makes it: without clipping and without decay.
    pub fn adam_step(self) -> Case {
        let settings = Settings { weight_decay: 0.0, max_grad_norm: 1e9, ..Settings::default() };
        self.case(format!("training step of {} by Adam", self.name), settings)
    }

    fn case(self, name: String, settings: Settings) -> Case {
        let prepare = move |device: &Device| self.prepare(device, settings);
        let mut case = Case::new(name, Limit::Arithmetic, prepare);
        (case.runs, case.tolerance) = (BATCHES, 1e-4);
        case
    }

    fn prepare(self, device: &Device, settings: Settings) -> Result<Prepared, Error> {
        let (config, graph) = (self.model, Graph::new());
        // 1. Record.
        let p = Params::new(&graph);
        let shape = (self.batch_size, config.context_len);
        let (ids, targets) =
            (graph.input("ids", shape, DType::U32), graph.input("targets", shape, DType::U32));
        let logits = logits(&config, &p, &ids, &Pass::train(&graph, config.dropout));
        let loss = mean(&token_losses(&logits, &targets));
        let stats = step(&p, &loss, &settings);
        // 2. Compile.
        let weights = Weights::init(device, &p.specs(), SEED)?;
        let moments = Moments::new(device, &p.specs())?;
        let mut states = vec![("params", weights.state())];
        states.extend(moments.states());
        let program = device.compile(&graph, &[("y", &loss), ("stats", &stats)], &states)?;
        // 3. Before each run, the next batch.
        let (batches, steps) = (self.batches(), Cell::new(0));
        let before = move |program: &mut Program| {
            let [ids, targets] = &batches[steps.get() as usize % BATCHES];
            program.write("ids", &ids[..]);
            program.write("targets", &targets[..]);
            steps.set(steps.get() + 1);
            settings.set(program, steps.get(), LR);
        };
        Ok(Prepared { program, outputs: vec!["y"], states: Vec::new(), before: Box::new(before) })
    }

    /// Ids and targets of each batch: any, since speed does not depend on them.
    fn batches(self) -> Vec<[Vec<u32>; 2]> {
        let mut rng = Rng::new(SEED, stream_id("bench batches"));
        let (rows, vocab) = (self.batch_size * self.model.context_len, self.model.vocab_size as u64);
        (0..BATCHES).map(|_| [0, 1].map(|_| (0..rows).map(|_| rng.below(vocab) as u32).collect())).collect()
    }

    /// The initial weights and the batches for others to begin with, as files of safetensors: `model.safetensors`, under
    /// Hugging Face's names, and `batches.safetensors`, which holds `ids` and `targets` as whole numbers in f32.
    ///
    /// # Errors
    /// None that weights of our own could cause.
    pub async fn export(self) -> Result<Vec<(String, Vec<u8>)>, WeightsError> {
        let weights = Weights::init(&Device::cpu(), &specs(&self.model), SEED)?;
        let mut files = write(&weights.read().await?.tensors(), &[], None)?;
        let batches = self.batches();
        let all = |which: usize| batches.iter().flat_map(|b| b[which].iter().map(|&id| id as f32)).collect();
        let [ids, targets]: [Vec<f32>; 2] = [all(0), all(1)];
        let shape = [BATCHES, self.batch_size, self.model.context_len];
        let named = [("ids", &ids), ("targets", &targets)];
        let tensors = named.map(|(name, data)| NamedTensor::new(name, &shape, data));
        let (_, bytes) = write(&tensors, &[], None)?.remove(0);
        files.push(("batches.safetensors".into(), bytes));
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloche_nn::HostWeights;
    use cloche_nn::checkpoint::Checkpoint;

    #[test]
    fn sizes_are_those_that_tables_name() {
        let [nano, small] = workloads();
        small.model.validate().unwrap();
        assert_eq!([nano.model.n_params(), small.model.n_params()], [804_096, 2_779_584]);
    }

    #[test]
    fn what_is_exported_is_what_is_trained() {
        let [nano, _] = workloads();
        let files = pollster::block_on(nano.export()).unwrap();
        let mut batches = Checkpoint::from_bytes(vec![files[1].clone()]).unwrap();
        let (shape, ids) = batches.tensor("ids").unwrap();
        assert_eq!(shape, [BATCHES, 12, 64]);
        assert_eq!(ids[..768], nano.batches()[0][0].iter().map(|&id| id as f32).collect::<Vec<_>>());
        let mut weights = Checkpoint::from_bytes(vec![files[0].clone()]).unwrap();
        let host = HostWeights::load(&specs(&nano.model), "", &mut weights, &Default::default()).unwrap();
        let made = Weights::init(&Device::cpu(), &specs(&nano.model), SEED).unwrap();
        assert_eq!(pollster::block_on(made.read()).unwrap(), host);
    }
}
