//! What the command line of an example asks for.

use cloche_tensor::{Device, DeviceKind};

/// `[gpu] [PRESET…]`: the device, the CPU where `gpu` is not said, and the presets.
pub fn device_and_presets() -> (Device, Vec<String>) {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let on_gpu = names.first().is_some_and(|name| name == "gpu");
    let device = match on_gpu {
        true => pollster::block_on(Device::open(DeviceKind::Gpu)).expect("an adapter"),
        false => Device::cpu(),
    };
    names.drain(..usize::from(on_gpu));
    (device, names)
}
