//! One encoder, one compute pass, one submit; and waiting for them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use crate::{
    buffer::{Buffer, BufferBinding},
    device::Gpu,
    error::Subject,
    kernel::{BindGroup, Kernel},
    profile::Clock,
};

/// How many submissions [`Gpu::throttle`] lets run at a time: one that works, and one so that the device need
/// not wait for the host. More would only make a page slow to stop.
const IN_FLIGHT: usize = 2;

/// A recording of work, open for the length of one [`Gpu::submit`].
pub struct Pass {
    encoder: wgpu::CommandEncoder,
    compute: Option<wgpu::ComputePass<'static>>,
    pub(crate) clock: Option<Clock>,
}

impl Pass {
    /// Records a run of `kernel` over a grid of workgroups, ordered after what was recorded before it.
    pub fn dispatch(&mut self, kernel: &Kernel, group: &BindGroup, [x, y, z]: [u32; 3]) {
        if self.clock.is_some() {
            self.compute = None; // timestamps are taken where a pass begins and ends
        }
        let encoder = &mut self.encoder;
        let clock = &mut self.clock;
        let compute = self.compute.get_or_insert_with(|| {
            let descriptor = wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: clock.as_mut().and_then(|clock| clock.next(&kernel.label)),
            };
            encoder.begin_compute_pass(&descriptor).forget_lifetime()
        });
        compute.set_pipeline(&kernel.pipeline);
        compute.set_bind_group(0, &group.raw, &[]);
        compute.dispatch_workgroups(x, y, z);
    }

    /// Records a copy between two buffers. It ends the compute pass: keep copies for the end of a recording.
    ///
    /// # Panics
    /// If a range leaves its buffer, or if its ends are not multiples of 4.
    #[track_caller]
    pub fn copy(&mut self, from: &Buffer, from_offset: u64, to: &Buffer, to_offset: u64, bytes: u64) {
        for (buffer, offset) in [(from, from_offset), (to, to_offset)] {
            let part = BufferBinding { buffer, offset, bytes };
            part.assert_inside();
            part.assert_aligned();
        }
        self.compute = None;
        self.encoder.copy_buffer_to_buffer(&from.memory.raw, from_offset, &to.memory.raw, to_offset, bytes);
    }
}

impl Gpu {
    /// Records work and submits it, in one encoder, one compute pass and one submission, however many dispatches.
    pub fn submit(&self, record: impl FnOnce(&mut Pass)) {
        self.submit_then(|| (), record);
    }

    /// Likewise, and calls `done` once the device has done it, or has been lost.
    pub fn submit_then(&self, done: impl FnOnce() + Send + 'static, record: impl FnOnce(&mut Pass)) {
        self.submit_timed(None, done, record);
    }

    /// Submits with a clock running, and gives the clock back.
    pub(crate) fn submit_timed(
        &self,
        clock: Option<Clock>,
        done: impl FnOnce() + Send + 'static,
        record: impl FnOnce(&mut Pass),
    ) -> Option<Clock> {
        if self.inner.faults.lost().is_err() {
            return None;
        }
        let subject = Subject::Call { label: "submission".into() };
        let (index, clock) = self.guarded(subject, || {
            let encoder = self.inner.device.create_command_encoder(&Default::default());
            let mut pass = Pass { encoder, compute: None, clock };
            record(&mut pass);
            let Pass { mut encoder, compute, mut clock } = pass;
            drop(compute);
            if let Some(clock) = &mut clock {
                clock.resolve(&mut encoder);
            }
            (self.inner.queue.submit([encoder.finish()]), clock)
        });
        let landed = Signal::new();
        let answer = landed.clone();
        self.inner.queue.on_submitted_work_done(move || {
            done();
            answer.set(());
        });
        self.inner.flights.borrow_mut().push(index, landed);
        clock
    }

    /// Waits until everything submitted so far is done.
    pub async fn wait(&self) {
        self.wait_until_in_flight(0).await;
    }

    /// Back-pressure: waits until at most one submission is in flight, so that the next makes two. Call it before
    /// each step of a loop that reads nothing back, which would otherwise queue work without end.
    pub async fn throttle(&self) {
        self.wait_until_in_flight(IN_FLIGHT - 1).await;
    }

    async fn wait_until_in_flight(&self, count: usize) {
        loop {
            let flight = self.inner.flights.borrow_mut().pop_beyond(count);
            let Some((index, done)) = flight else { return };
            self.settle(index, done).await;
        }
    }

    /// What `signal` brings once the submission `index` is done; `None` if the device is lost before that.
    pub(crate) async fn settle<T>(&self, index: wgpu::SubmissionIndex, signal: Signal<T>) -> Option<T> {
        #[cfg(target_arch = "wasm32")]
        {
            let _ = index; // the browser calls back by itself, after a loss too
            let _nudge = crate::web::Nudge::new(&self.inner.queue);
            Some(signal.wait().await)
        }
        #[cfg(not(target_arch = "wasm32"))]
        {
            self.poll(index);
            signal.take()
        }
    }

    /// Natively callbacks run only while the device is polled, here until a submission is done. wgpu panics if it
    /// finds the device lost just then, though it has told our listener; that is no reason for us to panic.
    #[cfg(not(target_arch = "wasm32"))]
    fn poll(&self, index: wgpu::SubmissionIndex) {
        if self.inner.faults.lost().is_err() {
            return;
        }
        let wait = wgpu::PollType::Wait { submission_index: Some(index), timeout: None };
        let device = &self.inner.device;
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| device.poll(wait)));
        if polled.is_err() {
            self.inner.faults.lose("the device stopped answering".into());
        }
    }
}

/// Submissions that may not be done yet, oldest first.
#[derive(Default)]
pub(crate) struct Flights(VecDeque<(wgpu::SubmissionIndex, Signal<()>)>);

impl Flights {
    fn push(&mut self, index: wgpu::SubmissionIndex, done: Signal<()>) {
        self.0.push_back((index, done));
        self.forget_done();
    }

    /// The oldest, if there are more than `count`.
    fn pop_beyond(&mut self, count: usize) -> Option<(wgpu::SubmissionIndex, Signal<()>)> {
        self.forget_done();
        if self.0.len() > count { self.0.pop_front() } else { None }
    }

    fn forget_done(&mut self) {
        while self.0.front().is_some_and(|(_, done)| done.is_set()) {
            self.0.pop_front();
        }
    }
}

/// A value that a callback will bring.
pub(crate) struct Signal<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Signal<T> {
    pub(crate) fn new() -> Signal<T> {
        Signal(Arc::new(Mutex::new((None, None))))
    }

    pub(crate) fn set(&self, value: T) {
        let waker = {
            let mut state = self.open();
            state.0 = Some(value);
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.open().0.is_some()
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn take(&self) -> Option<T> {
        self.open().0.take()
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) async fn wait(&self) -> T {
        use std::{future::poll_fn, task::Poll};
        poll_fn(|context| {
            let mut state = self.open();
            match state.0.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    state.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn open(&self) -> MutexGuard<'_, (Option<T>, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Signal<T> {
    fn clone(&self) -> Self {
        Signal(self.0.clone())
    }
}
