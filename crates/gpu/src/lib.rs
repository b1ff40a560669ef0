//! wgpu for Cloche: adapter, buffers, pipelines, one submission, readback, timing.
