//! Where the time goes: each dispatch between two timestamps of the device.

use crate::{buffer::Buffer, device::Gpu, error::GpuError, queue::Pass};

/// WebGPU's limit on the size of a query set, two queries a dispatch.
const MAX_DISPATCHES: usize = 2048;

/// The times of one submission.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// Each dispatch in its order; only the first 2,048 of a submission are timed.
    pub timings: Vec<Timing>,
    /// From before recording until the device was done, by the host's clock.
    pub wall_seconds: f64,
}

/// The time of one dispatch, or of several of one kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The kernel's label.
    pub label: String,
    /// How many dispatches.
    pub count: usize,
    /// Their time on the device. Browsers round it, to 0.1 ms in Chromium.
    pub seconds: f64,
}

impl Gpu {
    /// Submits like [`Gpu::submit`], waits, and says how long each dispatch took.
    ///
    /// Each dispatch gets a pass of its own, because timestamps are taken where passes begin and end. That costs
    /// some microseconds a dispatch: trust the shares more than the sum.
    ///
    /// # Errors
    /// [`GpuError::Unsupported`] where the device has no timestamps, and as [`Gpu::read`].
    pub async fn profile(&self, record: impl FnOnce(&mut Pass)) -> Result<Profile, GpuError> {
        if !self.info().features.timestamps {
            return Err(GpuError::Unsupported { feature: "timestamp-query" });
        }
        self.wait().await;
        let clock = Clock::new(self)?;
        let start = web_time::Instant::now();
        let clock = self.submit_timed(Some(clock), || (), record);
        self.wait().await;
        let wall_seconds = start.elapsed().as_secs_f64();
        let Some(Clock { labels, ticks, .. }) = clock else {
            return Err(self.inner.faults.take().expect_err("only a lost device takes no submission"));
        };
        let ticks = self.read(&ticks, 0, labels.len() as u64 * 16).await?;
        let period = f64::from(self.inner.queue.get_timestamp_period()) * 1e-9;
        let span = |tick: &[u8]| {
            let [start, end] = [0, 8].map(|at| u64::from_le_bytes(tick[at..at + 8].try_into().unwrap()));
            // Some drivers let the counter step back between passes.
            end.saturating_sub(start) as f64 * period
        };
        let timing = |(label, tick): (String, &[u8])| Timing { label, count: 1, seconds: span(tick) };
        Ok(Profile {
            timings: labels.into_iter().zip(ticks.chunks_exact(16)).map(timing).collect(),
            wall_seconds,
        })
    }
}

impl Profile {
    /// One line per kernel, the most expensive first.
    pub fn by_kernel(&self) -> Vec<Timing> {
        let mut sums: Vec<Timing> = Vec::new();
        for timing in &self.timings {
            match sums.iter_mut().find(|sum| sum.label == timing.label) {
                Some(sum) => {
                    sum.count += timing.count;
                    sum.seconds += timing.seconds;
                }
                None => sums.push(timing.clone()),
            }
        }
        // A few dozen kernels need no more than this; a sort of the standard library would be 1.5 KB of a page.
        let mut sorted: Vec<Timing> = Vec::with_capacity(sums.len());
        for sum in sums {
            let place = sorted.partition_point(|other| other.seconds > sum.seconds);
            sorted.insert(place, sum);
        }
        sorted
    }
}

/// Timestamps of one submission while it is recorded.
pub(crate) struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    ticks: Buffer,
    labels: Vec<String>,
}

impl Clock {
    fn new(gpu: &Gpu) -> Result<Clock, GpuError> {
        let bytes = MAX_DISPATCHES as u64 * 16;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        Ok(Clock {
            queries: gpu.inner.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count: MAX_DISPATCHES as u32 * 2,
            }),
            resolved: gpu.create_raw("profile", bytes, usage),
            ticks: gpu.buffer("profile", bytes)?,
            labels: Vec::new(),
        })
    }

    /// The two timestamps of the next dispatch, as long as there are any.
    pub(crate) fn next(&mut self, label: &str) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let at = self.labels.len();
        (at < MAX_DISPATCHES).then(|| {
            self.labels.push(label.into());
            wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(at as u32 * 2),
                end_of_pass_write_index: Some(at as u32 * 2 + 1),
            }
        })
    }

    /// Records that the timestamps become readable.
    pub(crate) fn resolve(&mut self, encoder: &mut wgpu::CommandEncoder) {
        let count = self.labels.len() as u32 * 2;
        if count > 0 {
            encoder.resolve_query_set(&self.queries, 0..count, &self.resolved, 0);
            let bytes = u64::from(count) * 8;
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.ticks.memory.raw, 0, bytes);
        }
    }
}
