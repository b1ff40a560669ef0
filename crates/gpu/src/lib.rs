//! wgpu for Cloche: adapter, buffers, pipelines, one submission, readback, timing.
//!
//! This crate knows nothing of tensors. It makes WebGPU small enough to hold in the head, natively (Vulkan,
//! Metal, D3D12) and in browsers:
//!
//! - [`Gpu`] is an open device. Opening, reading back and checking are asynchronous; nothing else is.
//! - [`Buffer`] is memory that counts itself; [`Kernel`] is a compiled shader; [`BindGroup`] joins the two.
//! - [`Gpu::submit`] records dispatches into one compute pass and submits it once; a [`Pace`] says how many at a time.
//! - Errors arrive late, as WebGPU's do: the call that caused one returns, and the next [`Gpu::check`] or
//!   [`Gpu::read`] reports it with the label of the guilty thing. A lost device is never a panic: every later
//!   call returns [`GpuError::Lost`] or does nothing.
//!
//! ```
//! # use cloche_gpu::*;
//! # pollster::block_on(async {
//! # let Ok(gpu) = Gpu::open(OpenOptions { allow_software: true, ..Default::default() }).await else { return };
//! let double = gpu.kernel(&KernelSpec {
//!     label: "double".into(),
//!     source: (PRELUDE.to_owned()
//!         + "@group(0) @binding(1) var<storage, read_write> x: array<f32>;
//!            @compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
//!                x[id.x] *= run_f32(0u);
//!            }")
//!     .into(),
//!     entry: "main",
//!     constants: vec![],
//!     bindings: vec![Access::Uniform, Access::ReadWrite],
//! });
//! let (run, x) = (gpu.uniform("run", RUN_BYTES).unwrap(), gpu.buffer("x", 16).unwrap());
//! gpu.write(&run, 0, &2f32.to_le_bytes());
//! gpu.write(&x, 0, bytemuck::bytes_of(&[1f32, 2., 3., 4.]));
//! let group = gpu.bind(&double, &[run.whole(), x.whole()]);
//! gpu.submit(|pass| pass.dispatch(&double, &group, [1, 1, 1]));
//! assert_eq!(gpu.read(&x, 0, 16).await.unwrap(), bytemuck::bytes_of(&[2f32, 4., 6., 8.]));
//! # });
//! ```

mod device;
mod buffer;
mod kernel;
mod queue;
mod pace;
mod profile;
mod error;
mod scope;
#[cfg(target_arch = "wasm32")]
mod web;

pub use buffer::{Buffer, BufferBinding, MemoryUse};
pub use device::{AdapterClass, AdapterFeatures, AdapterInfo, Gpu, Limits, OpenOptions};
pub use error::GpuError;
pub use kernel::{Access, BindGroup, Kernel, KernelSpec, grid};
pub use pace::Pace;
pub use profile::{Profile, Timing};
pub use queue::Pass;

/// `shaders/prelude.wgsl`, which stands in front of every shader of the engine.
pub const PRELUDE: &str = include_str!("../../../shaders/prelude.wgsl");

/// Size of the uniform block at binding 0: the 64 per-run values of 32 bits that the prelude declares.
pub const RUN_BYTES: u64 = 256;
