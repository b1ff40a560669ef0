//! The device to compute on, and whether what is asked for fits into its memory.

use anyhow::{Result, anyhow, bail};
use clap::ValueEnum;
use cloche_gpu::AdapterClass;
use cloche_tensor::{Device, DeviceKind};
use cloche_train::cost::BUDGET;
use cloche_train::{Error, bytes_in_words};

use crate::kernels;

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// The GPU where it is real hardware, else the CPU.
    #[default]
    Auto,
    /// WebGPU, also on an adapter in software.
    Gpu,
    /// The CPU.
    Cpu,
}

impl Choice {
    /// What one types.
    pub fn name(self) -> &'static str {
        match self {
            Choice::Auto => "auto",
            Choice::Gpu => "gpu",
            Choice::Cpu => "cpu",
        }
    }
}

/// Opens a device, which from then on gives no more memory than there is.
///
/// # Errors
/// When a GPU was asked for and there is none.
pub fn open(choice: Choice) -> Result<Device> {
    let kind = match choice {
        Choice::Auto => DeviceKind::Auto,
        Choice::Gpu => DeviceKind::Gpu,
        Choice::Cpu => DeviceKind::Cpu,
    };
    let device = pollster::block_on(Device::open(kind))?;
    if let Some(available) = available_bytes(&device) {
        device.limit_memory(available);
    }
    kernels::recall(&device);
    Ok(device)
}

/// Refuses what the machine's memory cannot hold, before the system has to kill the process for it.
///
/// The memory of a graphics card cannot be asked for; what does not fit there is reported by the card itself.
///
/// # Errors
/// With the bytes needed and those available.
pub fn require_memory(device: &Device, what: &str, needed: u64) -> Result<()> {
    match available_bytes(device) {
        Some(available) if needed > available => bail!(
            "{what} does not fit in memory: needs {needed} bytes ({}), available are {available} ({})",
            bytes_in_words(needed),
            bytes_in_words(available)
        ),
        _ => Ok(()),
    }
}

/// Adds to the error of a memory budget that is too small what exactly is enough.
pub fn in_bytes(error: Error) -> anyhow::Error {
    match error {
        Error::Memory { what: BUDGET, needed, .. } => {
            anyhow!("{error} ({needed} bytes are enough; a smaller --batch-size takes less)")
        }
        error => error.into(),
    }
}

/// Bytes that can be allocated without swapping, where the system says so (Linux) and the device uses them.
pub fn available_bytes(device: &Device) -> Option<u64> {
    if device.gpu().is_some_and(|gpu| gpu.info().class == AdapterClass::Hardware) {
        return None;
    }
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_is_refused() {
        require_memory(&Device::cpu(), "a byte", 1).unwrap();
        if available_bytes(&Device::cpu()).is_some() {
            let error = require_memory(&Device::cpu(), "the model", 1 << 60).unwrap_err().to_string();
            assert!(
                error.starts_with("the model does not fit in memory: needs 1152921504606846976 bytes"),
                "{error}"
            );
        }
    }
}
