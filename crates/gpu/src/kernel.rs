//! Compiled shaders and what they are bound to.

use std::{borrow::Cow, cell::OnceCell, num::NonZeroU64, rc::Rc};

#[cfg(not(target_arch = "wasm32"))]
use rayon::prelude::*;

#[cfg(not(target_arch = "wasm32"))]
use crate::scope::native::guarded;
use crate::{
    buffer::{Buffer, BufferBinding},
    device::Gpu,
    error::Subject,
};

/// What a kernel does with a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<uniform>`
    Uniform,
    /// `var<storage, read>`: dispatches that only read a buffer need no barrier between them.
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
}

/// All that makes one kernel.
#[derive(Debug, Clone)]
pub struct KernelSpec {
    /// Its name in errors and profiles.
    pub label: String,
    /// The whole WGSL text, beginning with [`crate::PRELUDE`].
    pub source: Cow<'static, str>,
    /// The function to run.
    pub entry: &'static str,
    /// Values for the `override`s of the source. Those of another entry point's alone are allowed too.
    pub constants: Vec<(&'static str, f64)>,
    /// Bindings 0, 1, 2 … of group 0. Binding 0 is the uniform block of per-run values. The source need not use
    /// them all, because the layout comes from here and not from the source.
    pub bindings: Vec<Access>,
}

/// A compiled kernel, made by [`Gpu::kernel`].
pub struct Kernel {
    pub(crate) label: String,
    pub(crate) pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    bindings: usize,
}

/// Buffers in the places where a kernel expects them. It keeps them alive.
pub struct BindGroup {
    pub(crate) raw: wgpu::BindGroup,
    _buffers: Vec<Buffer>,
}

/// What has been compiled so far. Models repeat their layers, and so their kernels.
#[derive(Default)]
pub(crate) struct Kernels {
    kernels: Known<KernelKey, Rc<Kernel>>,
    modules: Known<Rc<str>, wgpu::ShaderModule>,
    layouts: Known<Vec<Access>, (wgpu::BindGroupLayout, wgpu::PipelineLayout)>,
}

/// A few dozen things by key: a list is searched in no time, and a page need not download three hash tables.
struct Known<K, V>(Vec<(K, V)>);

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Known(Vec::new())
    }
}

impl<K: PartialEq, V> Known<K, V> {
    fn place(&self, key: &K) -> Option<usize> {
        self.0.iter().position(|(known, _)| known == key)
    }

    fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &V {
        let place = self.place(&key).unwrap_or_else(|| {
            self.0.push((key, make()));
            self.0.len() - 1
        });
        &self.0[place].1
    }
}

#[derive(PartialEq)]
struct KernelKey {
    source: Rc<str>,
    entry: &'static str,
    constants: Vec<(&'static str, u64)>, // the bits of the values
    bindings: Vec<Access>,
}

impl Kernels {
    #[track_caller]
    fn key(&self, spec: &KernelSpec) -> KernelKey {
        let uniform_first = spec.bindings.first() == Some(&Access::Uniform);
        assert!(uniform_first, "kernel \"{}\": binding 0 must be the uniform block", spec.label);
        let source = match self.modules.0.iter().find(|(source, _)| **source == *spec.source) {
            Some((source, _)) => source.clone(),
            None => Rc::from(&*spec.source),
        };
        KernelKey {
            source,
            entry: spec.entry,
            constants: spec.constants.iter().map(|(name, value)| (*name, value.to_bits())).collect(),
            bindings: spec.bindings.clone(),
        }
    }
}

/// The grid of a dispatch that needs `workgroups` in a row, folded into two dimensions where the row is longer
/// than `limit` ([`crate::Limits::max_workgroups_per_dim`]). The shader unfolds it with `flat_id`, and guards
/// against the few workgroups too many: `grid(65536, 65535)` is `[32768, 2, 1]`, `grid(65537, 65535)` is
/// `[32769, 2, 1]`, one more than needed.
///
/// # Panics
/// If even a square of `limit` is too small, or if `flat_id` could not count them in 32 bits.
#[track_caller]
pub fn grid(workgroups: u64, limit: u32) -> [u32; 3] {
    let rows = workgroups.div_ceil(limit.into()).max(1);
    let columns = workgroups.div_ceil(rows);
    let countable = rows * columns <= u32::MAX.into();
    assert!(rows <= limit.into() && countable, "{workgroups} workgroups do not fit in {limit} × {limit}");
    [columns as u32, rows as u32, 1]
}

impl Gpu {
    /// Compiles a kernel, or finds it among those compiled before. The label of the first one stays.
    ///
    /// What is wrong with the source is reported as [`crate::GpuError::Shader`] by the next [`Gpu::check`] or
    /// [`Gpu::read`], natively from the moment this returns; until then dispatches of it do nothing.
    ///
    /// # Panics
    /// If binding 0 is not [`Access::Uniform`].
    #[track_caller]
    pub fn kernel(&self, spec: &KernelSpec) -> Rc<Kernel> {
        let known = &mut *self.inner.kernels.borrow_mut();
        let key = known.key(spec);
        let source = key.source.clone();
        let make = || {
            let made = Rc::new(OnceCell::new());
            let subject = Subject::Kernel { label: spec.label.clone(), module: made.clone() };
            Rc::new(self.guarded(subject, || {
                let compile = || self.compile(&spec.label, &spec.source);
                let module = known.modules.get_or_insert_with(source, compile);
                let _ = made.set(module.clone());
                let arrange = || self.layout(&spec.bindings);
                let layouts = known.layouts.get_or_insert_with(spec.bindings.clone(), arrange);
                link(&self.inner.device, spec, module, layouts)
            }))
        };
        known.kernels.get_or_insert_with(key, make).clone()
    }

    /// Compiles what [`kernel`](Self::kernel) will then find, side by side: a driver compiles on the thread that asks it.
    ///
    /// # Panics
    /// If binding 0 of one is not [`Access::Uniform`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn compile_all<'a>(&self, specs: impl IntoIterator<Item = &'a KernelSpec>) {
        let known = &mut *self.inner.kernels.borrow_mut();
        let subject =
            |spec: &KernelSpec| Subject::Kernel { label: spec.label.clone(), module: Rc::default() };
        let mut new = Known::default();
        for spec in specs {
            let key = known.key(spec);
            if known.kernels.place(&key).is_some() {
                continue;
            }
            let compile = || self.guarded(subject(spec), || self.compile(&spec.label, &spec.source));
            let module = known.modules.get_or_insert_with(key.source.clone(), compile);
            let arrange = || self.guarded(subject(spec), || self.layout(&spec.bindings));
            let layouts = known.layouts.get_or_insert_with(spec.bindings.clone(), arrange);
            new.get_or_insert_with(key, || (spec, module.clone(), layouts.clone()));
        }
        let (keys, new): (Vec<_>, Vec<_>) = new.0.into_iter().unzip();
        let (device, faults) = (&self.inner.device, &self.inner.faults);
        // The first error is that of the first kernel, whichever is done first.
        let numbers: Vec<u64> = new.iter().map(|_| faults.number()).collect();
        let linked = new.par_iter().zip(numbers).map(|((spec, module, layouts), number)| {
            guarded(device, faults, number, subject(spec), || link(device, spec, module, layouts))
        });
        let linked: Vec<Kernel> = linked.collect();
        known.kernels.0.extend(keys.into_iter().zip(linked.into_iter().map(Rc::new)));
    }

    fn compile(&self, label: &str, source: &str) -> wgpu::ShaderModule {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        };
        // The counter that wgpu would add to each loop keeps drivers from unrolling it and has been seen to cost
        // a factor of 100 (gfx-rs/wgpu#7698). Browsers ignore this and keep their own protection.
        let checks =
            wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
        // SAFETY: all sources are the engine's own, and their loops run to bounds fixed before they start.
        // Checks of bounds and divisions stay on.
        unsafe { self.inner.device.create_shader_module_trusted(descriptor, checks) }
    }

    fn layout(&self, bindings: &[Access]) -> (wgpu::BindGroupLayout, wgpu::PipelineLayout) {
        let entry = |(binding, access): (usize, &Access)| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match access {
                    Access::Uniform => wgpu::BufferBindingType::Uniform,
                    Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
                    Access::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let entries: Vec<_> = bindings.iter().enumerate().map(entry).collect();
        let device = &self.inner.device;
        let group = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            bind_group_layouts: &[Some(&group)],
            ..Default::default()
        });
        (group, pipeline)
    }

    /// Puts buffers into the places of a kernel, `resources[i]` at binding `i`.
    ///
    /// # Panics
    /// If there are more or fewer of them than the kernel has bindings, or if one leaves its buffer or is empty.
    #[track_caller]
    pub fn bind<'a>(&self, kernel: &Kernel, resources: &[BufferBinding<'a>]) -> BindGroup {
        let (label, given, wanted) = (&kernel.label, resources.len(), kernel.bindings);
        assert!(given == wanted, "kernel \"{label}\" has {wanted} bindings, was given {given}");
        let entry = |(binding, part): (usize, &BufferBinding<'a>)| {
            part.assert_inside();
            let size = NonZeroU64::new(part.bytes);
            assert!(size.is_some(), "kernel \"{label}\": binding {binding} is empty");
            let part = wgpu::BufferBinding { buffer: &part.buffer.memory.raw, offset: part.offset, size };
            wgpu::BindGroupEntry { binding: binding as u32, resource: wgpu::BindingResource::Buffer(part) }
        };
        let entries: Vec<_> = resources.iter().enumerate().map(entry).collect();
        let descriptor =
            wgpu::BindGroupDescriptor { label: Some(label), layout: &kernel.layout, entries: &entries };
        let subject = Subject::Call { label: label.clone().into() };
        let raw = self.guarded(subject, || self.inner.device.create_bind_group(&descriptor));
        BindGroup { raw, _buffers: resources.iter().map(|part| part.buffer.clone()).collect() }
    }
}

fn link(
    device: &wgpu::Device,
    spec: &KernelSpec,
    module: &wgpu::ShaderModule,
    (group, pipeline): &(wgpu::BindGroupLayout, wgpu::PipelineLayout),
) -> Kernel {
    let descriptor = wgpu::ComputePipelineDescriptor {
        label: Some(&spec.label),
        layout: Some(pipeline),
        module,
        entry_point: Some(spec.entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &spec.constants,
            // Kernels write workgroup memory before they read it. Browsers clear it all the same.
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    };
    Kernel {
        label: spec.label.clone(),
        pipeline: device.create_compute_pipeline(&descriptor),
        layout: group.clone(),
        bindings: spec.bindings.len(),
    }
}

impl Kernel {
    /// Its name in errors and profiles.
    pub fn label(&self) -> &str {
        &self.label
    }
}
