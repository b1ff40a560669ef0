//! An open device: which adapter, what it can do, whether it is still there.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use crate::{
    buffer::{MemoryUse, Staging},
    error::{Faults, GpuError},
    kernel::Kernels,
    queue::Flights,
};

/// An open GPU device. Clones are handles of the same device; it stays on the thread that opened it.
#[derive(Clone)]
pub struct Gpu {
    pub(crate) inner: Rc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) faults: Faults,
    pub(crate) memory: Rc<Cell<MemoryUse>>,
    pub(crate) staging: RefCell<Staging>,
    pub(crate) kernels: RefCell<Kernels>,
    pub(crate) flights: RefCell<Flights>,
    #[cfg(target_arch = "wasm32")]
    pub(crate) scopes: crate::web::Scopes,
    info: AdapterInfo,
    limits: Limits,
}

/// What kind of device to open. The default is a hardware adapter with all that it offers.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Accept an adapter that is a program on the CPU (lavapipe, SwiftShader, WARP) if there is no other.
    pub allow_software: bool,
    /// Stay within WebGPU's default limits and take no optional feature: what every device can do. For tests.
    pub default_limits: bool,
    /// Treat the adapter as one of this class, whatever it is. For tests of all families of kernels on one adapter.
    pub class: Option<AdapterClass>,
}

/// Whether an adapter is a GPU or a program that plays one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdapterClass {
    /// Silicon. Kernels use workgroup memory and barriers.
    Hardware,
    /// A CPU behind WebGPU: barriers are ruinous, and plain SIMD code without WebGPU is usually faster.
    Software,
    /// The same, and it loads each number by itself, guarded: SwiftShader.
    Scalar,
}

/// Who an adapter says it is. Browsers say little, to protect their users: expect empty strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterInfo {
    /// The product, such as "NVIDIA GeForce RTX 4070", or what comes closest.
    pub name: String,
    /// The maker, in lower case: "nvidia", "apple", "mesa" …
    pub vendor: String,
    /// The interface underneath: "vulkan", "metal", "dx12" or "webgpu".
    pub backend: &'static str,
    /// Driver and version; in browsers the architecture, such as "ampere".
    pub driver: String,
    /// Hardware or software.
    pub class: AdapterClass,
    /// Optional features, as far as wgpu can request them.
    pub features: AdapterFeatures,
    /// Threads of a subgroup, where all have as many; browsers do not tell.
    pub lanes: Option<u32>,
}

/// The optional features that the engine can make use of. [`Gpu::open`] turns on those that are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct AdapterFeatures {
    /// `shader-f16`: half-precision arithmetic in shaders.
    pub f16: bool,
    /// `subgroups`: operations across the lanes of a subgroup.
    pub subgroups: bool,
    /// `timestamp-query`: what [`Gpu::profile`] needs.
    pub timestamps: bool,
}

/// The limits of an open device that bear on compute, in bytes or counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest range of a buffer that a kernel can see.
    pub max_binding_bytes: u64,
    /// The largest buffer.
    pub max_buffer_bytes: u64,
    /// Workgroups along one dimension of a dispatch; [`crate::grid`] folds longer rows.
    pub max_workgroups_per_dim: u32,
    /// `var<workgroup>` memory of one kernel.
    pub max_workgroup_bytes: u32,
    /// Threads of one workgroup.
    pub max_workgroup_invocations: u32,
    /// Storage buffers of one kernel.
    pub max_storage_buffers: u32,
    /// What the offset of a binding must be a multiple of.
    pub offset_alignment: u32,
}

impl Gpu {
    /// Opens the fastest adapter there is.
    ///
    /// The device gets the adapter's own limits, without which no buffer could be bound beyond 128 MiB, and
    /// those features of [`AdapterFeatures`] that the adapter offers.
    ///
    /// # Errors
    /// [`GpuError::NoAdapter`] if there is none, if it is software and `allow_software` is off, or if it gives
    /// no device.
    pub async fn open(options: OpenOptions) -> Result<Gpu, GpuError> {
        let (adapter, mut info) = find_adapter(options.allow_software).await?;
        info.class = options.class.unwrap_or(info.class);
        let mut required_features = wgpu::Features::empty();
        let mut required_limits = wgpu::Limits::default();
        if options.default_limits {
            info.features = AdapterFeatures::default();
            info.lanes = None;
        } else {
            required_features.set(wgpu::Features::SHADER_F16, info.features.f16);
            required_features.set(wgpu::Features::SUBGROUP, info.features.subgroups);
            required_features.set(wgpu::Features::TIMESTAMP_QUERY, info.features.timestamps);
            raise_limits(&mut required_limits, &adapter.limits());
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("cloche"),
            required_features,
            required_limits,
            // Few buffers, made once: blocks sized for games would only waste memory.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        #[cfg(not(target_arch = "wasm32"))]
        let request = adapter.request_device(&descriptor);
        #[cfg(target_arch = "wasm32")]
        let request = match info.features.subgroups {
            true => crate::web::with_subgroups(|| adapter.request_device(&descriptor)),
            false => adapter.request_device(&descriptor),
        };
        let (device, queue) = request.await.map_err(|error| GpuError::NoAdapter {
            reason: format!("adapter \"{}\" gave no device: {error}", info.name),
        })?;
        #[cfg(target_arch = "wasm32")]
        {
            info.features.subgroups &= crate::web::has_subgroups(&device);
        }
        let faults = Faults::default();
        crate::scope::listen(&device, &faults);
        let limits = Limits::of(&device.limits());
        let inner = Inner {
            device,
            queue,
            faults,
            memory: Rc::default(),
            staging: RefCell::default(),
            kernels: RefCell::default(),
            flights: RefCell::default(),
            #[cfg(target_arch = "wasm32")]
            scopes: Default::default(),
            info,
            limits,
        };
        Ok(Gpu { inner: Rc::new(inner) })
    }

    /// All adapters of this machine, for a listing. In browsers, which show one at a time, at most one.
    pub async fn adapters() -> Vec<AdapterInfo> {
        #[cfg(target_arch = "wasm32")]
        return Vec::from_iter(crate::web::describe_adapter(false).await);
        #[cfg(not(target_arch = "wasm32"))]
        native_instance()
            .enumerate_adapters(wgpu::Backends::all())
            .await
            .iter()
            .map(AdapterInfo::of)
            .collect()
    }

    /// The adapter of this device.
    pub fn info(&self) -> &AdapterInfo {
        &self.inner.info
    }

    /// What this device allows.
    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    /// Reports the first error since the last call of `check` or `read`, and forgets those that followed from it.
    ///
    /// # Errors
    /// [`GpuError::Lost`] once the device is lost, always; otherwise what [`Gpu::buffer`], [`Gpu::kernel`],
    /// [`Gpu::bind`], [`Gpu::submit`] and the rest have caused.
    pub async fn check(&self) -> Result<(), GpuError> {
        #[cfg(target_arch = "wasm32")]
        self.inner.scopes.settle().await;
        self.inner.faults.take()
    }

    /// Gives the device back, with all its memory, now. Every later call reports [`GpuError::Lost`].
    pub fn destroy(&self) {
        self.inner.faults.lose("destroyed".into());
        self.inner.device.destroy();
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn native_instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        // Without this a debug build would load the Vulkan validation layers, where they are installed.
        flags: wgpu::InstanceFlags::empty().with_env(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

/// The preferred adapter, or the fallback adapter if there is no other and software is allowed.
async fn find_adapter(allow_software: bool) -> Result<(wgpu::Adapter, AdapterInfo), GpuError> {
    #[cfg(target_arch = "wasm32")]
    let instance = if crate::web::has_webgpu() {
        wgpu::Instance::default()
    } else {
        return Err(crate::web::no_webgpu());
    };
    #[cfg(not(target_arch = "wasm32"))]
    let instance = native_instance();

    let mut reason = String::new();
    // Browsers keep their software adapter for those who ask for it by `force_fallback_adapter`.
    for force_fallback_adapter in if allow_software { &[false, true][..] } else { &[false] } {
        let request = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            force_fallback_adapter: *force_fallback_adapter,
            ..Default::default()
        };
        match instance.request_adapter(&request).await {
            Ok(adapter) => {
                let info = AdapterInfo::of(&adapter);
                #[cfg(target_arch = "wasm32")]
                let info = crate::web::describe_adapter(*force_fallback_adapter).await.unwrap_or(info);
                if info.class == AdapterClass::Hardware || allow_software {
                    return Ok((adapter, info));
                }
                reason = format!("the only adapter, \"{}\", is software and slower than the CPU", info.name);
            }
            // In a page this lists the drivers that wgpu has natively, which tells a reader nothing.
            Err(_) if cfg!(target_arch = "wasm32") => {
                reason = "this browser finds no graphics adapter".into()
            }
            Err(error) => reason = error.to_string(),
        }
    }
    Err(GpuError::NoAdapter { reason })
}

/// Raises what compute can use to what the adapter has. The other limits, for textures and vertices, stay low.
fn raise_limits(limits: &mut wgpu::Limits, adapter: &wgpu::Limits) {
    macro_rules! raise {
        ($($name:ident)*) => { $(limits.$name = adapter.$name;)* };
    }
    raise!(
        max_storage_buffer_binding_size max_buffer_size max_storage_buffers_per_shader_stage
        max_compute_workgroup_storage_size max_compute_invocations_per_workgroup
        max_compute_workgroup_size_x max_compute_workgroup_size_y max_compute_workgroup_size_z
        max_compute_workgroups_per_dimension min_storage_buffer_offset_alignment
    );
}

impl Limits {
    fn of(limits: &wgpu::Limits) -> Limits {
        Limits {
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            max_workgroups_per_dim: limits.max_compute_workgroups_per_dimension,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            offset_alignment: limits.min_storage_buffer_offset_alignment,
        }
    }
}

impl AdapterClass {
    /// A CPU if a flag says so, or if one of the known programs is named in `words`.
    pub(crate) fn from_words(flag: bool, words: &str) -> AdapterClass {
        const PROGRAMS: [&str; 4] = ["llvmpipe", "lavapipe", "softpipe", "microsoft basic render"];
        let words = words.to_ascii_lowercase();
        if names(&words, "swiftshader") {
            AdapterClass::Scalar
        } else if flag || PROGRAMS.iter().any(|program| names(&words, program)) {
            AdapterClass::Software
        } else {
            AdapterClass::Hardware
        }
    }
}

/// Whether a short text contains a word. `str::contains` is made for long ones, and brings 3 KB along.
fn names(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|part| part == word.as_bytes())
}

impl AdapterInfo {
    fn of(adapter: &wgpu::Adapter) -> AdapterInfo {
        let info = adapter.get_info();
        let vendor = match info.vendor {
            0x1002 => "amd",
            0x1010 => "imagination",
            0x106b => "apple",
            0x10de => "nvidia",
            0x13b5 => "arm",
            0x1414 => "microsoft",
            0x1ae0 => "google",
            0x5143 => "qualcomm",
            0x8086 => "intel",
            0x10005 => "mesa",
            _ => "",
        };
        let features = adapter.features();
        AdapterInfo {
            class: AdapterClass::from_words(info.device_type == wgpu::DeviceType::Cpu, &info.name),
            name: info.name,
            vendor: vendor.into(),
            backend: info.backend.to_str(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
            features: AdapterFeatures {
                f16: features.contains(wgpu::Features::SHADER_F16),
                subgroups: features.contains(wgpu::Features::SUBGROUP),
                timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            },
            lanes: (info.subgroup_min_size == info.subgroup_max_size).then_some(info.subgroup_max_size),
        }
    }
}
