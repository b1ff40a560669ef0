//! A plan with memory and kernels: the same short list of steps, replayed run after run.

pub(crate) mod cpu;
pub(crate) mod gpu;
mod wgsl;

use cloche_gpu::Timing;

use crate::device::{Device, Executor, State};
use crate::error::Error;
use crate::graph::Data;
use crate::memory::{Held, InUse};
use crate::plan::{Cost, Operand, Plan, Port, Step};

/// Runs whose small outputs a program remembers between two calls of [`Program::drain`].
pub const LOG_RUNS: usize = 32;

/// Outputs of at most this many elements are logged.
pub const LOG_NUMEL: usize = 64;

/// A compiled program on a device.
///
/// Write inputs, set scalars, run; read outputs when they are wanted. Only reading is asynchronous.
pub struct Program {
    executor: Executor,
    cost: Cost,
    inputs: Vec<Port>,
    scalars: Vec<(String, crate::DType)>,
    outputs: Vec<(String, Operand)>,
    labels: Vec<String>,
    held: Held,
}

impl Program {
    pub(crate) fn new(device: &Device, plan: Plan, states: &[(&str, &State)]) -> Result<Program, Error> {
        let bound = plan.states.iter().map(|port| bind(port, states)).collect::<Result<Vec<_>, _>>()?;
        let cost = plan.cost();
        let buffers = plan.slots.len() + plan.inputs.len() + plan.data.len();
        let wanted = InUse { buffers, bytes: cost.peak_bytes - cost.state_bytes };
        let held = device.memory.hold(|| "a program".into(), wanted)?;
        Ok(Program {
            executor: device.executor(&plan, &bound)?,
            cost,
            labels: plan.steps.iter().map(Step::label).collect(),
            inputs: plan.inputs,
            scalars: plan.scalars,
            outputs: plan.outputs,
            held,
        })
    }

    /// Memory, arithmetic and dispatches of one run.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// What each step computes: the operation's name, and what is fused to its end.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Writes an input.
    ///
    /// # Panics
    /// When the program has no such input, or its size or element type differs: both are bugs of the caller.
    #[track_caller]
    pub fn write<'a>(&mut self, name: &str, data: impl Into<Elements<'a>>) {
        let data = data.into();
        let i = self.inputs.iter().position(|p| p.name == name);
        let i = i.unwrap_or_else(|| {
            panic!("input {name:?}: the program has {}", names(self.inputs.iter().map(|p| &p.name)))
        });
        let port = &self.inputs[i];
        assert!(
            data.len() == port.shape.numel() && data.dtype() == port.dtype,
            "input {name:?}: found {} of {}, the program needs {} of {}",
            data.len(),
            data.dtype(),
            port.shape,
            port.dtype
        );
        match &mut self.executor {
            Executor::Cpu(p) => p.write(i, data),
            Executor::Cpu64(p) => p.write(i, data),
            Executor::Gpu(p) => p.write(i, data),
        }
    }

    /// Whether the program has an input or a scalar of this name. Unused ones are dropped when a graph is compiled.
    pub fn has(&self, name: &str) -> bool {
        self.inputs.iter().any(|p| p.name == name) || self.scalars.iter().any(|(s, _)| s == name)
    }

    /// Sets a per-run f32. Scalars that the program does not use are ignored.
    pub fn set(&mut self, name: &str, value: f32) {
        self.set_bits(name, value.to_bits());
    }

    /// Sets a per-run u32. Scalars that the program does not use are ignored.
    pub fn set_u32(&mut self, name: &str, value: u32) {
        self.set_bits(name, value);
    }

    fn set_bits(&mut self, name: &str, bits: u32) {
        let Some(k) = self.scalars.iter().position(|(s, _)| s == name) else { return };
        match &mut self.executor {
            Executor::Cpu(p) => p.set(k, bits),
            Executor::Cpu64(p) => p.set(k, bits),
            Executor::Gpu(p) => p.set(k, bits),
        }
    }

    /// Runs all steps: on the CPU at once, on a GPU by one submission that this call does not wait for, or by several where
    /// one would keep the device for long.
    pub fn run(&mut self) {
        self.held.ran(&self.cost);
        match &mut self.executor {
            Executor::Cpu(p) => p.run(self.cost.flops),
            Executor::Cpu64(p) => p.run(self.cost.flops),
            Executor::Gpu(p) => p.run(),
        }
    }

    /// Runs once and says how long each kernel took, the most expensive first. Later runs are as fast as before.
    ///
    /// # Errors
    /// A GPU without timestamps, a lost device.
    pub async fn profile(&mut self) -> Result<Vec<Timing>, Error> {
        let profile = match &mut self.executor {
            Executor::Cpu(p) => p.profile(self.cost.flops, &self.labels),
            Executor::Cpu64(p) => p.profile(self.cost.flops, &self.labels),
            Executor::Gpu(p) => p.profile().await?,
        };
        Ok(profile.by_kernel())
    }

    /// Waits until the device has room for another submission; at most two are in flight.
    pub async fn throttle(&self) {
        if let Executor::Gpu(p) = &self.executor {
            p.gpu.throttle().await;
        }
    }

    /// Reads an output of the latest run.
    ///
    /// # Errors
    /// An unknown name, a lost device, or an error of earlier work on it.
    pub async fn read(&self, name: &str) -> Result<Data, Error> {
        let found = self.outputs.iter().find(|(n, _)| n == name);
        let (_, operand) = found.ok_or_else(|| Error::Unknown {
            kind: "output",
            name: name.into(),
            known: names(self.outputs.iter().map(|(n, _)| n)),
        })?;
        Ok(match &self.executor {
            Executor::Cpu(p) => p.read(operand),
            Executor::Cpu64(p) => p.read(operand),
            Executor::Gpu(p) => p.read(operand).await?,
        })
    }

    /// Reads a float output in full precision of the f64 device; elsewhere widened from f32.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_f64(&self, name: &str) -> Result<Vec<f64>, Error> {
        if let (Executor::Cpu64(p), Some((_, operand))) =
            (&self.executor, self.outputs.iter().find(|(n, _)| n == name))
        {
            return Ok(p.read_exact(operand));
        }
        Ok(self.read(name).await?.f32().iter().map(|&x| x as f64).collect())
    }

    /// The small outputs (up to 64 elements) of every run since the last call, oldest first, each in the order of the
    /// program's outputs. At most the latest [`LOG_RUNS`] runs are kept.
    ///
    /// # Errors
    /// A lost device, or an error of earlier work on it.
    pub async fn drain(&mut self) -> Result<Vec<Vec<Data>>, Error> {
        Ok(match &mut self.executor {
            Executor::Cpu(p) => p.drain(),
            Executor::Cpu64(p) => p.drain(),
            Executor::Gpu(p) => p.drain().await?,
        })
    }
}

/// The outputs that every run appends to the log.
pub(crate) fn logged(outputs: &[(String, Operand)]) -> Vec<Operand> {
    let small = |y: &&Operand| y.layout.numel() <= LOG_NUMEL && y.buffer.scalar().is_none();
    outputs.iter().map(|(_, y)| y).filter(small).cloned().collect()
}

fn bind<'a>(port: &Port, states: &[(&str, &'a State)]) -> Result<&'a State, Error> {
    let Some((_, state)) = states.iter().find(|(name, _)| *name == port.name) else {
        let known = names(states.iter().map(|(n, _)| n));
        return Err(Error::Unknown { kind: "state", name: port.name.clone(), known });
    };
    // A state may be longer than the program's view of it (parameters padded to a common length), never shorter.
    if state.numel() < port.shape.numel() || state.dtype() != port.dtype {
        return Err(Error::Mismatch {
            kind: "state",
            name: port.name.clone(),
            found: format!("{} of {}", state.numel(), state.dtype()),
            expected: format!("{} of {}", port.shape.numel(), port.dtype),
        });
    }
    Ok(state)
}

fn names<S: AsRef<str>>(names: impl Iterator<Item = S>) -> String {
    let names: Vec<String> = names.map(|n| format!("{:?}", n.as_ref())).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Borrowed host data of either element type.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// f32 elements.
    F32(&'a [f32]),
    /// u32 elements.
    U32(&'a [u32]),
}

impl Elements<'_> {
    fn len(&self) -> usize {
        match self {
            Elements::F32(v) => v.len(),
            Elements::U32(v) => v.len(),
        }
    }
    fn dtype(&self) -> crate::DType {
        match self {
            Elements::F32(_) => crate::DType::F32,
            Elements::U32(_) => crate::DType::U32,
        }
    }
}

impl<'a> From<&'a [f32]> for Elements<'a> {
    fn from(v: &'a [f32]) -> Self {
        Elements::F32(v)
    }
}

impl<'a> From<&'a [u32]> for Elements<'a> {
    fn from(v: &'a [u32]) -> Self {
        Elements::U32(v)
    }
}

impl<'a> From<&'a Vec<f32>> for Elements<'a> {
    fn from(v: &'a Vec<f32>) -> Self {
        Elements::F32(v)
    }
}

impl<'a> From<&'a Vec<u32>> for Elements<'a> {
    fn from(v: &'a Vec<u32>) -> Self {
        Elements::U32(v)
    }
}

impl<'a> From<&'a Data> for Elements<'a> {
    fn from(data: &'a Data) -> Self {
        match data {
            Data::F32(v) => Elements::F32(v),
            Data::U32(v) => Elements::U32(v),
        }
    }
}
