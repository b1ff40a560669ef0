//! Cloche tensor engine: record, differentiate, compile, replay, on WebGPU and on the CPU.
//!
//! Model code records a [`Graph`] of symbolic [`Tensor`]s. [`Graph::grad`] appends the backward pass. A [`Device`] compiles
//! the graph into a [`Program`], whose [`Cost`] is known before anything is allocated, and which replays the same short
//! list of kernels run after run.
//!
//! ```
//! use cloche_tensor::{DType, Device, Graph};
//!
//! let graph = Graph::new();
//! let x = graph.input("x", (2, 2), DType::F32);
//! let loss = (&x * &x).sum_all();
//! let dx = graph.grad(&loss, &[&x]).remove(0);
//!
//! let mut program = Device::cpu().compile(&graph, &[("loss", &loss), ("dx", &dx)], &[]).unwrap();
//! program.write("x", &[1.0f32, 2.0, 3.0, 4.0][..]);
//! program.run();
//! assert_eq!(pollster::block_on(program.read("loss")).unwrap().f32(), [30.0]);
//! assert_eq!(pollster::block_on(program.read("dx")).unwrap().f32(), [2.0, 4.0, 6.0, 8.0]);
//! ```
//!
//! Modules in reading order.

mod shape;
mod dtype;
mod tensor;
mod graph;
mod autograd;
pub mod ops;
mod plan;
mod program;
mod memory;
mod device;
mod tune;
pub mod cpu;
pub mod math;
pub mod rng;
pub mod check;
pub mod bench;
mod error;

pub use autograd::Vjp;
pub use cloche_gpu::{AdapterClass, Gpu, OpenOptions, Timing};
pub use device::{Device, DeviceKind, State};
pub use dtype::DType;
pub use error::Error;
pub use graph::{Data, Graph, ValueId};
pub use memory::{InUse, Work};
pub use ops::layout::cat;
pub use plan::{BufferId, Cost, Operand, Plan, Target};
pub use program::{Elements, LOG_NUMEL, LOG_RUNS, Program};
pub use shape::{Layout, Shape};
pub use tensor::Tensor;
pub use tune::{Candidate, Choices, Tuned};
