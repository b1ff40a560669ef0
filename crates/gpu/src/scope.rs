//! Error scopes and the two device-wide listeners, natively. In browsers [`crate::web`] does the same on the raw
//! JavaScript device, because wgpu's own versions panic on an internal error.

use crate::{
    device::Gpu,
    error::{Faults, Subject},
};

impl Gpu {
    /// Runs `create` inside error scopes; what they catch is reported, as an error about `subject`, by the next
    /// [`Gpu::check`].
    pub(crate) fn guarded<T>(&self, subject: Subject, create: impl FnOnce() -> T) -> T {
        #[cfg(target_arch = "wasm32")]
        return self.inner.scopes.guarded(&self.inner.device, &self.inner.faults, subject, create);
        #[cfg(not(target_arch = "wasm32"))]
        {
            let faults = &self.inner.faults;
            native::guarded(&self.inner.device, faults, faults.number(), subject, create)
        }
    }
}

/// Lets the device's loss, and every error outside a scope, fall into `faults`.
pub(crate) fn listen(device: &wgpu::Device, faults: &Faults) {
    #[cfg(target_arch = "wasm32")]
    crate::web::listen(device, faults);
    #[cfg(not(target_arch = "wasm32"))]
    native::listen(device, faults);
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod native {
    use std::{
        future::Future,
        pin::pin,
        sync::Arc,
        task::{Context, Poll, Waker},
    };

    use crate::error::{Faults, Kind, Subject};

    /// [`Gpu::guarded`](crate::Gpu::guarded), on whichever thread: each has its own scopes. `number` is from [`Faults::number`].
    pub(crate) fn guarded<T>(
        device: &wgpu::Device,
        faults: &Faults,
        number: u64,
        subject: Subject,
        create: impl FnOnce() -> T,
    ) -> T {
        let filters =
            [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory];
        let mut scopes: Vec<_> = filters.map(|filter| device.push_error_scope(filter)).into();
        let made = create();
        while let Some(scope) = scopes.pop() {
            // wgpu-core answers at once, so that one poll of the future is enough.
            let answer = pin!(scope.pop()).poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(Some(error)) = answer {
                let (kind, text) = describe(&error);
                faults.scoped(number, subject.error(kind, text));
            }
        }
        made
    }

    pub(super) fn listen(device: &wgpu::Device, faults: &Faults) {
        let loss = faults.clone();
        device.set_device_lost_callback(move |_, message| loss.lose(message));
        let stray = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            let (kind, text) = describe(&error);
            stray.unscoped(kind, text);
        }));
    }

    fn describe(error: &wgpu::Error) -> (Kind, String) {
        let kind = match error {
            wgpu::Error::OutOfMemory { .. } => Kind::OutOfMemory,
            wgpu::Error::Validation { .. } => Kind::Validation,
            wgpu::Error::Internal { .. } => Kind::Internal,
        };
        (kind, error.to_string())
    }
}
