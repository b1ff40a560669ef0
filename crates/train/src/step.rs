//! One optimizer step: the programs that compute it, and the states that they change.

use std::rc::Rc;

use cloche_models::{GenerateSettings, Generator, Network, Pass, Sampling};
use cloche_nn::optim::{self, Moments};
use cloche_nn::{ParamSpec, Params, Weights, loss};
use cloche_tensor::{Cost, DType, Data, Device, Graph, LOG_RUNS, Plan, Program, Timing};

use crate::checkpoint::{MODEL, Parts};
use crate::data::{Batches, Tokens};
use crate::error::Error;
use crate::events::KernelTime;
use crate::settings::{Activations, Settings};

/// The programs of a step, planned, before anything is allocated for them.
pub(crate) struct StepPlan {
    specs: Vec<ParamSpec>,
    /// Forward and backward; with the update where a step is one batch.
    batch: Plan,
    /// The update by itself, where gradients are accumulated.
    update: Option<Plan>,
    micro_batches: u64,
    /// Blocks, from the first one on, that the backward pass computes again.
    pub recomputed_layers: usize,
}

impl StepPlan {
    /// Records and plans: batch → logits → loss → gradients (→ update).
    pub fn new(device: &Device, settings: &Settings, recomputed_layers: usize) -> StepPlan {
        let config = &settings.model;
        let graph = Graph::new();
        if settings.activations == Activations::F16 {
            graph.keep_halves();
        }
        let p = Params::new(&graph);
        let shape = (settings.batch_size, config.context_len);
        let x = graph.input("x", shape, DType::U32); // (B, T)
        let y = graph.input("y", shape, DType::U32); // (B, T)
        let pass = Pass::train(&graph, config.dropout).recomputing(recomputed_layers);
        let logits = cloche_models::logits(config, &p, &x, &pass); // (B, T, V)
        let mean = loss::mean(&loss::token_losses(&logits, &y)).named("loss"); // ()
        if settings.grad_accumulation == 1 {
            let stats = optim::step(&p, &mean, &settings.optimizer());
            let batch = device.plan(&graph, &[("loss", &mean), ("stats", &stats)]);
            return StepPlan { specs: p.specs(), batch, update: None, micro_batches: 1, recomputed_layers };
        }
        // Every micro-batch has the same number of targets, so the mean of their means is the mean.
        optim::accumulate(&p, &(&mean * (1.0 / settings.grad_accumulation as f64)));
        let batch = device.plan(&graph, &[("loss", &mean)]);
        let graph = Graph::new();
        let stats = optim::apply(&graph, &p, &settings.optimizer());
        let update = Some(device.plan(&graph, &[("stats", &stats)]));
        let micro_batches = settings.grad_accumulation as u64;
        StepPlan { specs: p.specs(), batch, update, micro_batches, recomputed_layers }
    }

    /// Forward and backward.
    pub fn batch(&self) -> &Plan {
        &self.batch
    }

    /// Bytes of the largest buffer.
    pub fn largest_buffer(&self) -> u64 {
        self.batch.largest_buffer().max(self.update.as_ref().map_or(0, Plan::largest_buffer))
    }

    /// Bytes of the programs of a step together; arithmetic, traffic and dispatches of one step.
    pub fn cost(&self) -> Cost {
        let n = self.micro_batches;
        let (batch, update) = (self.batch.cost(), self.update.as_ref().map(Plan::cost).unwrap_or_default());
        // The programs share their states; the update binds all of them.
        let state_bytes = batch.state_bytes.max(update.state_bytes);
        let own = |cost: Cost| cost.peak_bytes - cost.state_bytes;
        Cost {
            peak_bytes: own(batch) + own(update) + state_bytes,
            state_bytes,
            flops: n * batch.flops + update.flops,
            bytes_moved: n * batch.bytes_moved + update.bytes_moved,
            dispatches: n * batch.dispatches + update.dispatches,
        }
    }
}

/// The parameters, the optimizer's moments, and the compiled programs of a step.
pub(crate) struct Trainer {
    device: Device,
    pub network: Network,
    pub moments: Moments,
    batches: Batches<Rc<dyn Tokens>>,
    batch: Program,
    update: Option<Program>,
    x: Vec<u32>,
    y: Vec<u32>,
    /// Losses of micro-batches that were read before their step was.
    losses: Vec<f32>,
    /// Made when the model is first asked to speak.
    generator: Option<Generator>,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub loss: f32,
    pub grad_norm: f32,
    pub finite: bool,
}

impl Trainer {
    /// Allocates; the weights are drawn, or put back from a checkpoint.
    pub fn new(
        device: &Device,
        settings: &Settings,
        plan: StepPlan,
        tokens: Rc<dyn Tokens>,
        saved: Option<&mut Parts>,
    ) -> Result<Self, Error> {
        let config = &settings.model;
        let batches = Batches::new(tokens, settings.batch_size, config.context_len, settings.seed)?;
        let moments = Moments::new(device, &plan.specs)?;
        let weights = match saved {
            None => Weights::init(device, &plan.specs, settings.seed)?,
            Some(saved) => saved.restore(device, MODEL, (&plan.specs, &config.extras()), &moments)?,
        };
        let grads = plan.update.is_some().then(|| optim::zero_grads(device, &plan.specs)).transpose()?;
        let network = Network::new(*config, weights);
        let mut states = network.states();
        states.extend(moments.states());
        states.extend(grads.iter().map(|grads| ("grads", grads)));
        let batch = device.load(plan.batch, &states)?;
        let update = plan.update.map(|update| device.load(update, &states)).transpose()?;
        let numel = settings.batch_size * config.context_len;
        Ok(Trainer {
            device: device.clone(),
            batches,
            batch,
            update,
            x: vec![0; numel],
            y: vec![0; numel],
            losses: Vec::new(),
            network,
            moments,
            generator: None,
        })
    }

    /// Runs step `step`, counted from 1. What it came to is read by [`outcomes`](Self::outcomes). A step that is `timed` says
    /// where its time went, as far as the device has a clock.
    pub async fn step(
        &mut self,
        step: u64,
        settings: &Settings,
        timed: bool,
    ) -> Result<Vec<KernelTime>, Error> {
        let n = settings.grad_accumulation as u64;
        let mut times = Vec::new();
        for micro in (step - 1) * n..step * n {
            self.batches.fill(micro, &mut self.x, &mut self.y)?;
            self.batch.write("x", &self.x);
            self.batch.write("y", &self.y);
            settings.optimizer().set(&mut self.batch, step as u32, settings.lr_at(step));
            // What dropout draws its masks from: another one for each micro-batch.
            self.batch.set_u32("seed", settings.seed_u32());
            self.batch.set_u32("step", (micro + 1) as u32);
            run(&mut self.batch, timed, &mut times).await;
            self.batch.throttle().await;
            // The log holds a limited number of runs.
            if self.update.is_some() && (micro + 1).is_multiple_of(LOG_RUNS as u64) {
                self.read_losses().await?;
            }
        }
        if let Some(update) = &mut self.update {
            settings.optimizer().set(update, step as u32, settings.lr_at(step));
            run(update, timed, &mut times).await;
        }
        let mut slowest_first: Vec<KernelTime> = Vec::with_capacity(times.len());
        for time in times {
            let place = slowest_first.partition_point(|other| other.seconds > time.seconds);
            slowest_first.insert(place, time);
        }
        Ok(slowest_first)
    }

    /// What all steps since the last call came to, at most [`LOG_RUNS`] of them.
    pub async fn outcomes(&mut self, settings: &Settings) -> Result<Vec<Outcome>, Error> {
        let Some(update) = &mut self.update else {
            let rows = self.batch.drain().await?;
            return Ok(rows.iter().map(|row| outcome(row[0].f32()[0], &row[1])).collect());
        };
        let stats = update.drain().await?;
        self.read_losses().await?;
        let losses = std::mem::take(&mut self.losses);
        let n = settings.grad_accumulation;
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / n as f32;
        Ok(losses.chunks_exact(n).zip(stats).map(|(losses, row)| outcome(mean(losses), &row[0])).collect())
    }

    async fn read_losses(&mut self) -> Result<(), Error> {
        let rows = self.batch.drain().await?;
        self.losses.extend(rows.iter().map(|row| row[0].f32()[0]));
        Ok(())
    }

    /// What the model says after `step` steps, prompt included.
    pub async fn sample(&mut self, step: u64, settings: &Settings) -> Result<Vec<u32>, Error> {
        // Another text at every step, the same one in every run.
        let seed = settings.seed.wrapping_add(step);
        let wanted = GenerateSettings {
            sampling: Sampling { temperature: settings.sample_temperature, seed, ..Sampling::default() },
            max_tokens: settings.sample_len,
            stop_ids: settings.eot.into_iter().collect(),
            slide: true,
        };
        let generator = match self.generator.take() {
            Some(generator) => generator,
            None => Generator::new(&self.device, &self.network, 1, wanted.clone())?,
        };
        let generator = self.generator.insert(generator);
        generator.settings = wanted;
        generator.start(std::slice::from_ref(&settings.sample_prompt))?;
        while generator.next().await?.is_some() {}
        Ok(generator.tokens(0).to_vec())
    }
}

/// Runs a program; if it is `timed`, adds to `times` what its kernels took, by the operation that they begin with.
async fn run(program: &mut Program, timed: bool, times: &mut Vec<KernelTime>) {
    // A device without a clock refuses before it runs anything.
    let Some(profile) = (if timed { program.profile().await.ok() } else { None }) else {
        return program.run();
    };
    for Timing { label, count, seconds } in profile {
        let name = label.split(['+', '.']).next().unwrap_or_default();
        match times.iter_mut().find(|time| time.name == name) {
            Some(time) => (time.count, time.seconds) = (time.count + count, time.seconds + seconds),
            None => times.push(KernelTime { name: name.into(), count, seconds }),
        }
    }
}

fn outcome(loss: f32, stats: &Data) -> Outcome {
    let stats = stats.f32();
    Outcome { loss, grad_norm: stats[0], finite: stats[2] == 0.0 }
}
