//! Memory of the device: allocated, written, read back, and counted.

use std::{cell::Cell, pin::Pin, rc::Rc};

use crate::{
    device::Gpu,
    error::{GpuError, Subject},
    queue::Signal,
};

/// Memory on the device. Clones are handles of the same memory, which is freed with the last of them; a
/// [`crate::BindGroup`] holds one of each buffer that it binds.
#[derive(Clone)]
pub struct Buffer {
    pub(crate) memory: Rc<Allocation>,
}

pub(crate) struct Allocation {
    pub(crate) raw: wgpu::Buffer,
    label: String,
    bytes: u64,
    total: Rc<Cell<MemoryUse>>,
}

/// Part of a buffer, as a kernel or a readback sees it.
#[derive(Clone, Copy)]
pub struct BufferBinding<'a> {
    /// The buffer.
    pub buffer: &'a Buffer,
    /// Where the part begins; for a kernel a multiple of [`crate::Limits::offset_alignment`].
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

/// What lives on a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Buffers made by [`Gpu::buffer`] and [`Gpu::uniform`] and not yet dropped.
    pub buffers: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the pool that readbacks pass through, which comes on top.
    pub staging_bytes: u64,
}

/// Staging buffers that no readback is using, smallest first.
#[derive(Default)]
pub(crate) struct Staging {
    free: Vec<wgpu::Buffer>,
}

/// A pool beyond these sizes costs more than making a buffer anew.
const POOLED: usize = 4;
const POOLED_BYTES: u64 = 1 << 20;

/// What is answered later.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, GpuError>> + 'a>>;

impl Gpu {
    /// Memory for kernels, filled with zeros. `bytes` is rounded up to a multiple of 4.
    ///
    /// # Errors
    /// [`GpuError::TooLarge`] at once, if this device can never allow so large a buffer, and [`GpuError::Lost`].
    /// That there is no room is reported as [`GpuError::OutOfMemory`] by the next [`Gpu::check`] or
    /// [`Gpu::read`]: check after allocating and before computing with what may be nothing.
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer, GpuError> {
        self.allocate(label, bytes, wgpu::BufferUsages::STORAGE)
    }

    /// A small block of values that a kernel sees as `var<uniform>`, filled with zeros.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn uniform(&self, label: &str, bytes: u64) -> Result<Buffer, GpuError> {
        self.allocate(label, bytes, wgpu::BufferUsages::UNIFORM)
    }

    fn allocate(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Buffer, GpuError> {
        self.inner.faults.lost()?;
        let limit = self.limits().max_buffer_bytes;
        if bytes > limit {
            return Err(GpuError::TooLarge { label: label.into(), bytes, limit });
        }
        let bytes = bytes.max(4).next_multiple_of(4);
        let usage = usage | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let total = self.inner.memory.clone();
        let raw = self.create_raw(label, bytes, usage);
        let now = total.get();
        total.set(MemoryUse { buffers: now.buffers + 1, bytes: now.bytes + bytes, ..now });
        Ok(Buffer { memory: Rc::new(Allocation { raw, label: label.into(), bytes, total }) })
    }

    pub(crate) fn create_raw(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let descriptor =
            wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        let subject = Subject::Memory { label: label.into(), bytes: size };
        self.guarded(subject, || self.inner.device.create_buffer(&descriptor))
    }

    /// Copies `data` into a buffer, ahead of everything submitted later.
    ///
    /// # Panics
    /// If the range leaves the buffer, or if its ends are not multiples of 4, which WebGPU requires.
    #[track_caller]
    pub fn write(&self, buffer: &Buffer, offset: u64, data: &[u8]) {
        let part = BufferBinding { buffer, offset, bytes: data.len() as u64 };
        part.assert_inside();
        part.assert_aligned();
        if self.inner.faults.lost().is_ok() && !data.is_empty() {
            self.inner.queue.write_buffer(&buffer.memory.raw, offset, data);
        }
    }

    /// Copies part of a buffer back, after everything submitted so far.
    ///
    /// # Errors
    /// Whatever [`Gpu::check`] would report: data that came about through an error is not handed out.
    ///
    /// # Panics
    /// If the range leaves the buffer.
    pub async fn read(&self, buffer: &Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>, GpuError> {
        let parts = [BufferBinding { buffer, offset, bytes }];
        Ok(self.boxed_read_all(&parts).await?.swap_remove(0))
    }

    /// In a box, so that the code for it is there once and not in each crate that reads.
    fn boxed_read_all<'a>(&'a self, parts: &'a [BufferBinding<'a>]) -> Boxed<'a, Vec<Vec<u8>>> {
        Box::pin(self.read_all(parts))
    }

    /// Copies several parts back in one round trip, which is what takes the time when they are small.
    ///
    /// # Errors, Panics
    /// As [`Gpu::read`].
    pub async fn read_all(&self, parts: &[BufferBinding<'_>]) -> Result<Vec<Vec<u8>>, GpuError> {
        self.inner.faults.lost()?;
        parts.iter().for_each(BufferBinding::assert_inside);
        // Copies begin and end at multiples of 4; what is too much is cut off again below.
        let spans: Vec<(u64, u64)> = parts
            .iter()
            .map(|part| (part.offset / 4 * 4, (part.offset + part.bytes).next_multiple_of(4)))
            .collect();
        let bytes: u64 = spans.iter().map(|(start, end)| end - start).sum();
        if bytes == 0 {
            return self.check().await.map(|()| vec![Vec::new(); parts.len()]);
        }
        let staging = self.take_staging(bytes);
        let mut encoder = self.inner.device.create_command_encoder(&Default::default());
        let mut at = 0;
        for (part, (start, end)) in parts.iter().zip(&spans).filter(|(_, (start, end))| end > start) {
            encoder.copy_buffer_to_buffer(&part.buffer.memory.raw, *start, &staging, at, end - start);
            at += end - start;
        }
        let index = self.inner.queue.submit([encoder.finish()]);
        let mapped = Signal::new();
        let answer = mapped.clone();
        staging.map_async(wgpu::MapMode::Read, ..bytes, move |result| answer.set(result));
        let mapped = self.settle(index, mapped).await;

        let view = match mapped {
            Some(Ok(())) => staging.get_mapped_range(..bytes).ok(),
            _ => None,
        };
        let copied = view.map(|view| {
            let mut at = 0;
            let cut = |(part, (start, end)): (&BufferBinding<'_>, &(u64, u64))| {
                let from = at + (part.offset - start);
                at += end - start;
                copy_out(&view, from as usize..(from + part.bytes) as usize)
            };
            parts.iter().zip(&spans).map(cut).collect::<Vec<_>>()
        });
        staging.unmap();
        self.give_staging(staging);
        #[cfg(target_arch = "wasm32")]
        if copied.is_none() {
            // Usually the first sign of a lost device, in Firefox up to 100 ms ahead of the event.
            crate::web::sleep(200).await;
        }
        self.check().await?;
        copied.ok_or_else(|| GpuError::Validation {
            label: parts[0].buffer.label().into(),
            text: "the device did not let the host see the data".into(),
        })
    }

    /// What lives on this device now.
    pub fn memory(&self) -> MemoryUse {
        self.inner.memory.get()
    }

    fn take_staging(&self, bytes: u64) -> wgpu::Buffer {
        let mut staging = self.inner.staging.borrow_mut();
        if let Some(found) = staging.free.iter().position(|buffer| buffer.size() >= bytes) {
            return staging.free.remove(found);
        }
        drop(staging);
        // Powers of two, so that the pool serves requests of similar sizes; large ones are never pooled.
        let size = if bytes > POOLED_BYTES { bytes } else { bytes.next_power_of_two().max(256) };
        self.count_staging(size as i64);
        self.create_raw("readback", size, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
    }

    fn give_staging(&self, buffer: wgpu::Buffer) {
        let free = &mut self.inner.staging.borrow_mut().free;
        if buffer.size() > POOLED_BYTES || free.len() == POOLED {
            self.count_staging(-(buffer.size() as i64));
            buffer.destroy();
        } else {
            let place = free.partition_point(|other| other.size() < buffer.size());
            free.insert(place, buffer);
        }
    }

    fn count_staging(&self, change: i64) {
        let now = self.inner.memory.get();
        let staging_bytes = now.staging_bytes.saturating_add_signed(change);
        self.inner.memory.set(MemoryUse { staging_bytes, ..now });
    }
}

/// Bytes of a mapped buffer. In browsers the view itself would first copy all of it into wasm memory.
fn copy_out(view: &wgpu::BufferView, range: std::ops::Range<usize>) -> Vec<u8> {
    #[cfg(target_arch = "wasm32")]
    return view.as_uint8array().subarray(range.start as u32, range.end as u32).to_vec();
    #[cfg(not(target_arch = "wasm32"))]
    view[range].to_vec()
}

impl Buffer {
    /// The name given when it was made.
    pub fn label(&self) -> &str {
        &self.memory.label
    }

    /// Its size, a multiple of 4.
    pub fn bytes(&self) -> u64 {
        self.memory.bytes
    }

    /// All of it.
    pub fn whole(&self) -> BufferBinding<'_> {
        BufferBinding { buffer: self, offset: 0, bytes: self.bytes() }
    }
}

impl BufferBinding<'_> {
    #[track_caller]
    pub(crate) fn assert_inside(&self) {
        let (start, end) = (self.offset, self.offset.saturating_add(self.bytes));
        let (label, bytes) = (self.buffer.label(), self.buffer.bytes());
        assert!(end <= bytes, "bytes {start}..{end} are not inside buffer \"{label}\" of {bytes} bytes");
    }

    #[track_caller]
    pub(crate) fn assert_aligned(&self) {
        let (start, end) = (self.offset, self.offset + self.bytes);
        let aligned = start.is_multiple_of(4) && end.is_multiple_of(4);
        assert!(aligned, "bytes {start}..{end} of buffer \"{}\": not multiples of 4", self.buffer.label());
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // In browsers a forgotten buffer would keep its memory until the next garbage collection.
        self.raw.destroy();
        let now = self.total.get();
        self.total.set(MemoryUse { buffers: now.buffers - 1, bytes: now.bytes - self.bytes, ..now });
    }
}
