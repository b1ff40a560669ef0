//! Checks on the adapter there is.

use cloche_tensor::{Device, DeviceKind};

/// Runs a check on the adapter; without one, a loud word, and in CI a failure.
pub fn on_the_gpu(check: fn(&Device)) {
    match pollster::block_on(Device::open(DeviceKind::Gpu)) {
        Ok(device) => check(&device),
        Err(error) => {
            assert!(std::env::var("CI").is_err(), "no adapter: {error}");
            eprintln!("SKIPPED: no adapter: {error}");
        }
    }
}
