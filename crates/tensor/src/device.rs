//! Where programs run, and the persistent states that they share.

use std::cell::RefCell;
use std::rc::Rc;

use cloche_gpu::{AdapterClass, Gpu, GpuError, OpenOptions};

use crate::cpu::HAS_F64;
use crate::dtype::DType;
use crate::error::Error;
use crate::graph::{Data, Graph};
use crate::memory::{Held, InUse, Memory, Work};
use crate::plan::{Plan, Target};
use crate::program::Program;
use crate::program::cpu::{CpuBuffer, CpuProgram};
use crate::program::gpu::GpuProgram;
use crate::tensor::Tensor;
use crate::tune::Choices;

/// Which device is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceKind {
    /// WebGPU where the adapter is real hardware, else the CPU, which is faster than an adapter in software.
    #[default]
    Auto,
    /// WebGPU, also on an adapter in software.
    Gpu,
    /// The CPU.
    Cpu,
}

/// Where programs run. Cloning is cheap and yields the same device.
#[derive(Clone)]
pub struct Device {
    pub(crate) engine: Engine,
    pub(crate) memory: Memory,
    pub(crate) choices: Rc<RefCell<Choices>>,
    pub(crate) reason: Rc<str>,
}

#[derive(Clone)]
pub(crate) enum Engine {
    Cpu,
    /// Double precision, for gradient checks.
    Cpu64,
    Gpu(Gpu),
}

impl Device {
    /// Opens a device. Asking for `Auto` never fails: without a usable adapter it yields the CPU and says why.
    ///
    /// # Errors
    /// `Gpu` without an adapter, or when the adapter refuses a device.
    pub async fn open(kind: DeviceKind) -> Result<Device, Error> {
        let options = OpenOptions { allow_software: true, ..Default::default() };
        match kind {
            DeviceKind::Cpu => Ok(Self::cpu()),
            DeviceKind::Gpu => Ok(Self::from_gpu(Gpu::open(options).await?)),
            DeviceKind::Auto => Ok(match Gpu::open(options).await {
                Ok(gpu) if gpu.info().class == AdapterClass::Hardware => Self::from_gpu(gpu),
                Ok(gpu) => Self::with(
                    Engine::Cpu,
                    format!("the CPU, because the adapter \"{}\" is software and slower", gpu.info().name),
                ),
                Err(GpuError::NoAdapter { reason }) => {
                    Self::with(Engine::Cpu, format!("the CPU, because there is no WebGPU: {reason}"))
                }
                Err(error) => Self::with(Engine::Cpu, format!("the CPU, because WebGPU failed: {error}")),
            }),
        }
    }

    /// The CPU.
    pub fn cpu() -> Device {
        Self::with(Engine::Cpu, "the CPU, as asked".into())
    }

    /// The CPU in double precision: slow, and the truth for gradient checks.
    ///
    /// # Panics
    /// In a build for pages, which has no f64.
    pub fn cpu64() -> Device {
        if !HAS_F64 {
            panic!("this build has no f64; cloche-tensor's feature `f64` adds it");
        }
        Self::with(Engine::Cpu64, "the CPU in f64, as asked".into())
    }

    /// A GPU that is already open.
    pub fn from_gpu(gpu: Gpu) -> Device {
        let reason = format!("WebGPU on \"{}\"", gpu.info().name);
        Self::with(Engine::Gpu(gpu), reason)
    }

    fn with(engine: Engine, reason: String) -> Device {
        Device { engine, memory: Memory::default(), choices: Rc::default(), reason: reason.into() }
    }

    /// Which device it is, and why, in words for the user.
    pub fn describe(&self) -> &str {
        &self.reason
    }

    /// `"cpu"` or `"webgpu"`.
    pub fn name(&self) -> &'static str {
        match self.engine {
            Engine::Gpu(_) => "webgpu",
            _ => "cpu",
        }
    }

    /// The GPU behind the device, if there is one.
    pub fn gpu(&self) -> Option<&Gpu> {
        match &self.engine {
            Engine::Gpu(gpu) => Some(gpu),
            _ => None,
        }
    }

    /// The memory that states and programs of this device and its clones hold now.
    pub fn in_use(&self) -> InUse {
        self.memory.in_use()
    }

    /// What the programs of this device and its clones have computed since it was opened.
    pub fn work(&self) -> Work {
        self.memory.work()
    }

    /// Refuses, from now on, what would bring the memory in use above so many bytes: before anything of it is allocated,
    /// where a system would only say later, by ending the process, that there was not enough.
    pub fn limit_memory(&self, bytes: u64) {
        self.memory.limit(bytes);
    }

    /// Plans the computation of `outputs`; allocates nothing.
    pub fn plan(&self, graph: &Graph, outputs: &[(&str, &Tensor)]) -> Plan {
        let target = match &self.engine {
            // A dispatch costs an adapter that is a CPU little, and work done twice much.
            Engine::Gpu(gpu) => Target { merges: gpu.info().class == AdapterClass::Hardware, ..Target::GPU },
            _ => Target::CPU,
        };
        Plan::new(graph, outputs, target)
    }

    /// Allocates what a plan needs, binds its states by name, and prepares its kernels.
    ///
    /// # Errors
    /// A state that is missing or of the wrong size; a buffer that the device cannot hold; more than the memory that it may
    /// give. On a GPU, exhausted memory and refused kernels are reported by the next read.
    pub fn load(&self, plan: Plan, states: &[(&str, &State)]) -> Result<Program, Error> {
        Program::new(self, plan, states)
    }

    /// [`plan`](Self::plan) and [`load`](Self::load).
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn compile(
        &self,
        graph: &Graph,
        outputs: &[(&str, &Tensor)],
        states: &[(&str, &State)],
    ) -> Result<Program, Error> {
        self.load(self.plan(graph, outputs), states)
    }

    /// A persistent buffer of `numel` zeros.
    ///
    /// # Errors
    /// When the device cannot hold it.
    pub fn state(&self, name: &str, numel: usize, dtype: DType) -> Result<State, Error> {
        let bytes = (numel as u64).saturating_mul(dtype.bytes() as u64);
        let held = self.memory.hold(|| format!("the state {name:?}"), InUse { buffers: 1, bytes })?;
        let buffer = match &self.engine {
            Engine::Cpu => StateBuffer::Cpu(Rc::new(CpuBuffer::new(numel, dtype))),
            Engine::Cpu64 => StateBuffer::Cpu64(Rc::new(CpuBuffer::new(numel, dtype))),
            Engine::Gpu(gpu) => {
                StateBuffer::Gpu(gpu.clone(), Rc::new(gpu.buffer(name, bytes.max(dtype.bytes() as u64))?))
            }
        };
        Ok(State { numel, dtype, buffer, _held: Rc::new(held) })
    }

    /// A persistent buffer that holds `data`.
    ///
    /// # Errors
    /// As [`state`](Self::state).
    pub fn state_from(&self, name: &str, data: &Data) -> Result<State, Error> {
        let state = self.state(name, data.len(), data.dtype())?;
        state.write(data);
        Ok(state)
    }

    pub(crate) fn executor(&self, plan: &Plan, states: &[&State]) -> Result<Executor, Error> {
        Ok(match &self.engine {
            Engine::Cpu => Executor::Cpu(CpuProgram::new(plan, states.iter().map(|s| s.cpu()).collect())),
            Engine::Cpu64 => {
                Executor::Cpu64(CpuProgram::new(plan, states.iter().map(|s| s.cpu64()).collect()))
            }
            Engine::Gpu(gpu) => {
                let states = states.iter().map(|s| s.gpu()).collect();
                Executor::Gpu(GpuProgram::new(gpu, plan, states, &self.choices.borrow())?)
            }
        })
    }
}

/// A program's device-dependent half.
pub(crate) enum Executor {
    Cpu(CpuProgram<f32>),
    Cpu64(CpuProgram<f64>),
    Gpu(GpuProgram),
}

/// A persistent buffer on a device: parameters, moments, a key/value cache. Programs bind it by name.
#[derive(Clone)]
pub struct State {
    numel: usize,
    dtype: DType,
    buffer: StateBuffer,
    _held: Rc<Held>,
}

#[derive(Clone)]
enum StateBuffer {
    Cpu(Rc<CpuBuffer<f32>>),
    Cpu64(Rc<CpuBuffer<f64>>),
    Gpu(Gpu, Rc<cloche_gpu::Buffer>),
}

impl State {
    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.numel
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Overwrites all elements.
    ///
    /// # Panics
    /// When the length or the element type differs.
    #[track_caller]
    pub fn write(&self, data: &Data) {
        assert_eq!(
            (data.len(), data.dtype()),
            (self.numel, self.dtype),
            "state: data of another length or type"
        );
        match &self.buffer {
            StateBuffer::Cpu(buffer) => buffer.write(data),
            StateBuffer::Cpu64(buffer) => buffer.write(data),
            StateBuffer::Gpu(gpu, buffer) => gpu.write(buffer, 0, crate::program::gpu::bytes_of(data)),
        }
    }

    /// Reads all elements back.
    ///
    /// # Errors
    /// A lost device, or an error of earlier work on it.
    pub async fn read(&self) -> Result<Data, Error> {
        Ok(match &self.buffer {
            StateBuffer::Cpu(buffer) => buffer.read(self.dtype, 0, self.numel),
            StateBuffer::Cpu64(buffer) => buffer.read(self.dtype, 0, self.numel),
            StateBuffer::Gpu(gpu, buffer) => {
                let bytes = gpu.read(buffer, 0, (self.numel * self.dtype.bytes()) as u64).await?;
                crate::program::gpu::data_of(&bytes, self.dtype)
            }
        })
    }

    fn cpu(&self) -> Rc<CpuBuffer<f32>> {
        match &self.buffer {
            StateBuffer::Cpu(buffer) => buffer.clone(),
            _ => panic!("a state of another device was bound to a CPU program"),
        }
    }

    fn cpu64(&self) -> Rc<CpuBuffer<f64>> {
        match &self.buffer {
            StateBuffer::Cpu64(buffer) => buffer.clone(),
            _ => panic!("a state of another device was bound to an f64 program"),
        }
    }

    fn gpu(&self) -> Rc<cloche_gpu::Buffer> {
        match &self.buffer {
            StateBuffer::Gpu(_, buffer) => buffer.clone(),
            _ => panic!("a state of another device was bound to a GPU program"),
        }
    }
}
