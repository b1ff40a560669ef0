//! The whole layer on whatever adapter there is, normally Mesa's lavapipe (package mesa-vulkan-drivers).

use cloche_gpu::*;
use pollster::block_on;

/// An open device, or `None`, loudly, where there is no adapter; in CI that is a failure.
fn open(options: OpenOptions) -> Option<Gpu> {
    match block_on(Gpu::open(OpenOptions { allow_software: true, ..options })) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "no adapter in CI: {error}");
            eprintln!("SKIPPED: {error}");
            None
        }
    }
}

/// A kernel of one read_write binding `x`, from the declaration of `x` on.
fn spec(label: &str, body: &str) -> KernelSpec {
    KernelSpec {
        label: label.into(),
        source: (PRELUDE.to_owned() + "\n@group(0) @binding(1) var<storage, read_write> x: " + body).into(),
        entry: "main",
        constants: vec![],
        bindings: vec![Access::Uniform, Access::ReadWrite],
    }
}

/// Runs a kernel over `x`, after `run` has been filled with `values`, and returns the new `x`.
fn run<T: bytemuck::Pod>(gpu: &Gpu, spec: &KernelSpec, values: &[u32], x: &[T], grid: [u32; 3]) -> Vec<T> {
    let kernel = gpu.kernel(spec);
    let uniform = gpu.uniform("run", RUN_BYTES).unwrap();
    let buffer = gpu.buffer("x", size_of_val(x) as u64).unwrap();
    gpu.write(&uniform, 0, bytemuck::cast_slice(values));
    gpu.write(&buffer, 0, bytemuck::cast_slice(x));
    let group = gpu.bind(&kernel, &[uniform.whole(), buffer.whole()]);
    gpu.submit(|pass| pass.dispatch(&kernel, &group, grid));
    let bytes = block_on(gpu.read(&buffer, 0, size_of_val(x) as u64)).unwrap();
    bytemuck::pod_collect_to_vec(&bytes)
}

const SCALE: &str = "array<f32>;
    override ADD: f32 = 0.0;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&x)) { x[id.x] = x[id.x] * run_f32(2u) + ADD; }
    }";

#[test]
fn a_kernel_sees_run_values_and_constants() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let input: Vec<f32> = (0..100).map(|i| i as f32).collect();
    let values = [0, 0, 3f32.to_bits()];
    let mut spec = spec("scale", SCALE);
    let plain = run(&gpu, &spec, &values, &input, [2, 1, 1]);
    assert_eq!(plain, input.iter().map(|x| x * 3.0).collect::<Vec<_>>());
    spec.constants = vec![("ADD", 0.5)];
    let added = run(&gpu, &spec, &values, &input, [2, 1, 1]);
    assert_eq!(added, input.iter().map(|x| x * 3.0 + 0.5).collect::<Vec<_>>());
}

#[test]
fn bindings_that_a_kernel_does_not_use_do_no_harm() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let bindings = vec![Access::Uniform, Access::ReadWrite, Access::Read, Access::ReadWrite];
    let kernel = gpu.kernel(&KernelSpec { bindings, ..spec("scale", SCALE) });
    let (uniform, x, y) =
        (gpu.uniform("run", RUN_BYTES).unwrap(), gpu.buffer("x", 4).unwrap(), gpu.buffer("y", 4).unwrap());
    let z = gpu.buffer("z", 4).unwrap();
    let group = gpu.bind(&kernel, &[uniform.whole(), x.whole(), y.whole(), z.whole()]);
    gpu.submit(|pass| pass.dispatch(&kernel, &group, [1, 1, 1]));
    assert_eq!(block_on(gpu.check()), Ok(()));
}

#[test]
fn equal_kernels_are_compiled_once() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let (one, mut two) = (spec("one", SCALE), spec("two", SCALE));
    assert!(std::rc::Rc::ptr_eq(&gpu.kernel(&one), &gpu.kernel(&two)));
    two.constants = vec![("ADD", 1.0)];
    assert!(!std::rc::Rc::ptr_eq(&gpu.kernel(&one), &gpu.kernel(&two)));
}

#[test]
fn kernels_compiled_side_by_side_are_found_afterwards() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let add = |by: f64| KernelSpec { constants: vec![("ADD", by)], ..spec(&format!("add {by}"), SCALE) };
    let known = gpu.kernel(&add(0.0));
    let again = KernelSpec { label: "the same".into(), ..add(1.0) };
    gpu.compile_all(&[add(0.0), add(1.0), again, add(2.0)]);
    assert!(std::rc::Rc::ptr_eq(&known, &gpu.kernel(&add(0.0))));
    let labels = [1.0, 2.0].map(|by| gpu.kernel(&KernelSpec { label: "late".into(), ..add(by) }));
    assert_eq!(labels.each_ref().map(|kernel| kernel.label()), ["add 1", "add 2"]);
    let two = 2f32.to_bits();
    assert_eq!(run(&gpu, &add(2.0), &[0, 0, two], &[1.0f32, 5.0], [1, 1, 1]), [4.0, 12.0]);

    gpu.compile_all([&spec("broken", "array<f32>; fn main(")]);
    let error = block_on(gpu.check()).expect_err("it is no WGSL");
    assert!(error.to_string().starts_with("kernel \"broken\": "), "{error}");
}

/// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
#[test]
fn philox_gives_the_published_numbers() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let spec = spec(
        "philox",
        "array<vec4<u32>, 3>;
         @compute @workgroup_size(1) fn main() {
             let ones = 0xffffffffu;
             x[0] = philox(vec4<u32>(), vec2<u32>());
             x[1] = philox(vec4<u32>(ones), vec2<u32>(ones));
             x[2] = philox(vec4<u32>(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u),
                           vec2<u32>(0xa4093822u, 0x299f31d0u));
         }",
    );
    let want = [
        [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
        [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
        [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ];
    assert_eq!(run(&gpu, &spec, &[], &[[0u32; 4]; 3], [1, 1, 1]), want);
}

/// erf by its Taylor series up to 3, where it converges well in f64, and as 1 - erfc by continued fraction beyond.
fn erf_f64(x: f64) -> f64 {
    let two_over_root_pi = std::f64::consts::FRAC_2_SQRT_PI;
    if x.abs() < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= -x * x / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        return two_over_root_pi * sum;
    }
    let t = x.abs();
    let fraction = (1..60).rev().fold(t, |rest, n| t + n as f64 / 2.0 / rest);
    x.signum() * (1.0 - (-t * t).exp() / fraction * two_over_root_pi / 2.0)
}

#[test]
fn erf_and_tanh_are_accurate_everywhere() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let body = |name: &str| {
        format!(
            "array<f32>;
             @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
                 if (id.x < arrayLength(&x)) {{ x[id.x] = {name}(x[id.x]); }}
             }}"
        )
    };
    let mut input: Vec<f32> = (-40_000..40_000).map(|i| i as f32 * 2.5e-4).collect();
    input.extend([1e-30, -1e-30, 1e-6, 50.0, -88.0, 1e10, -1e38, f32::INFINITY, f32::NEG_INFINITY]);
    let grid = [input.len().div_ceil(64) as u32, 1, 1];
    for (name, truth) in [("erf", erf_f64 as fn(f64) -> f64), ("safe_tanh", f64::tanh)] {
        let got = run(&gpu, &spec(name, &body(name)), &[], &input, grid);
        let mut worst = (0.0, 0.0);
        for (&x, &y) in input.iter().zip(&got) {
            let want = truth(x.into());
            let error = ((f64::from(y) - want) / if want == 0.0 { 1.0 } else { want }).abs();
            if error.is_nan() || error > worst.0 {
                worst = (error, x);
            }
        }
        println!("{name}: worst relative error {:.2e} at {}", worst.0, worst.1);
        assert!(worst.0 <= 3e-7, "{name}: {worst:?}");
        assert!(run(&gpu, &spec(name, &body(name)), &[], &[f32::NAN], [1, 1, 1])[0].is_nan(), "{name}(NaN)");
    }
}

#[test]
fn bit_tests_find_what_is_not_finite() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let spec = spec(
        "bits",
        "array<f32>;
         @compute @workgroup_size(1) fn main(@builtin(workgroup_id) id: vec3<u32>) {
             x[id.x] = select(0.0, 1.0, is_finite_bits(x[id.x])) + select(0.0, 2.0, is_nan_bits(x[id.x]));
         }",
    );
    let input = [0.0, -1.5, f32::MAX, 1e-45, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN];
    let got = run(&gpu, &spec, &[], &input, [input.len() as u32, 1, 1]);
    assert_eq!(got, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 2.0, 2.0]);
}

#[test]
fn grids_fold_beyond_the_limit_of_one_dimension() {
    assert_eq!(grid(0, 65_535), [0, 1, 1]);
    assert_eq!(grid(65_535, 65_535), [65_535, 1, 1]);
    assert_eq!(grid(65_536, 65_535), [32_768, 2, 1]);
    assert_eq!(grid(65_537, 65_535), [32_769, 2, 1]);
    assert_eq!(grid(65_535 * 65_535, 65_535), [65_535, 65_535, 1]);
    assert!(std::panic::catch_unwind(|| grid(65_535 * 65_535 + 1, 65_535)).is_err());

    let Some(gpu) = open(OpenOptions { default_limits: true, ..Default::default() }) else { return };
    let spec = spec(
        "count",
        "array<u32>;
         @compute @workgroup_size(1)
         fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) n: vec3<u32>) {
             let i = flat_id(id, n);
             if (i < arrayLength(&x)) { x[i] += i; }
         }",
    );
    let count = 70_001;
    let got =
        run(&gpu, &spec, &[], &vec![1u32; count], grid(count as u64, gpu.limits().max_workgroups_per_dim));
    assert!(got.iter().enumerate().all(|(i, &x)| x == i as u32 + 1));
}

#[test]
fn a_bad_shader_is_reported_once_by_name() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let kernel =
        gpu.kernel(&spec("crooked", "array<f32>;\n@compute @workgroup_size(1) fn main() { x[0] = y; }"));
    let (uniform, x) = (gpu.uniform("run", RUN_BYTES).unwrap(), gpu.buffer("x", 4).unwrap());
    let group = gpu.bind(&kernel, &[uniform.whole(), x.whole()]);
    gpu.submit(|pass| pass.dispatch(&kernel, &group, [1, 1, 1]));
    match block_on(gpu.read(&x, 0, 4)) {
        Err(GpuError::Shader { label, text }) => {
            assert_eq!(label, "crooked");
            assert!(text.contains("no definition in scope for identifier") && text.contains('y'), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(block_on(gpu.check()), Ok(()));
    assert_eq!(block_on(gpu.read(&x, 0, 4)), Ok(vec![0; 4]));
}

#[test]
fn an_unknown_constant_or_entry_point_is_a_shader_error() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let good = spec("scale", SCALE);
    gpu.kernel(&KernelSpec { constants: vec![("SUBTRACT", 1.0)], ..good.clone() });
    assert!(matches!(block_on(gpu.check()), Err(GpuError::Shader { .. })));
    gpu.kernel(&KernelSpec { entry: "start", ..good });
    assert!(matches!(block_on(gpu.check()), Err(GpuError::Shader { .. })));
}

#[test]
fn an_invalid_dispatch_is_reported_by_the_next_check() {
    let Some(gpu) = open(OpenOptions { default_limits: true, ..Default::default() }) else { return };
    let kernel = gpu.kernel(&spec("scale", SCALE));
    let (uniform, x) = (gpu.uniform("run", RUN_BYTES).unwrap(), gpu.buffer("x", 4).unwrap());
    let group = gpu.bind(&kernel, &[uniform.whole(), x.whole()]);
    gpu.submit(|pass| pass.dispatch(&kernel, &group, [65_536, 1, 1]));
    match block_on(gpu.check()) {
        Err(GpuError::Validation { text, .. }) => assert!(text.contains("65536"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(block_on(gpu.check()), Ok(()));
}

#[test]
fn a_buffer_beyond_the_limit_is_refused_at_once() {
    let Some(gpu) = open(OpenOptions { default_limits: true, ..Default::default() }) else { return };
    let limit = gpu.limits().max_buffer_bytes;
    assert_eq!(limit, 256 << 20);
    let error = gpu.buffer("wte.weight", limit + 4).err();
    assert_eq!(error, Some(GpuError::TooLarge { label: "wte.weight".into(), bytes: limit + 4, limit }));
    assert_eq!(gpu.memory(), MemoryUse::default());
}

#[test]
fn a_device_gets_the_limits_of_its_adapter() {
    let (Some(full), Some(least)) =
        (open(OpenOptions::default()), open(OpenOptions { default_limits: true, ..Default::default() }))
    else {
        return;
    };
    assert_eq!(least.limits().max_binding_bytes, 128 << 20);
    assert_eq!(least.info().features, AdapterFeatures::default());
    assert!(full.limits().max_binding_bytes >= least.limits().max_binding_bytes);
    println!("{:?}\n{:?}", full.info(), full.limits());
}

#[test]
fn memory_is_counted_until_its_last_user_is_gone() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let kernel = gpu.kernel(&spec("scale", SCALE));
    let (uniform, x) = (gpu.uniform("run", RUN_BYTES).unwrap(), gpu.buffer("x", 1001).unwrap());
    let counted = |gpu: &Gpu| (gpu.memory().buffers, gpu.memory().bytes);
    assert_eq!(counted(&gpu), (2, 256 + 1004));
    let group = gpu.bind(&kernel, &[uniform.whole(), x.whole()]);
    drop((uniform, x));
    assert_eq!(counted(&gpu), (2, 256 + 1004), "the bind group needs them");
    gpu.submit(|pass| pass.dispatch(&kernel, &group, [4, 1, 1]));
    drop(group);
    assert_eq!(counted(&gpu), (0, 0));
    block_on(gpu.wait());
    assert_eq!(block_on(gpu.check()), Ok(()));
}

#[test]
fn readback_takes_any_range_and_its_pool_does_not_grow() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let bytes: Vec<u8> = (0..=255).collect();
    let (a, b) = (gpu.buffer("a", 256).unwrap(), gpu.buffer("b", 256).unwrap());
    gpu.write(&a, 0, &bytes);
    gpu.submit(|pass| pass.copy(&a, 64, &b, 0, 64));
    assert_eq!(block_on(gpu.read(&a, 5, 6)).unwrap(), &bytes[5..11]);
    assert_eq!(block_on(gpu.read(&a, 255, 1)).unwrap(), [255]);
    assert_eq!(block_on(gpu.read(&a, 256, 0)).unwrap(), []);
    let staging = gpu.memory().staging_bytes;
    for _ in 0..20 {
        let parts = [a.whole(), BufferBinding { buffer: &b, offset: 1, bytes: 66 }];
        let got = block_on(gpu.read_all(&parts)).unwrap();
        assert_eq!(got[0], bytes);
        assert_eq!(got[1], [&bytes[65..128], &[0; 3]].concat());
    }
    assert!(gpu.memory().staging_bytes <= staging + 512);
    let out = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| gpu.write(&a, 252, &[0; 8])));
    assert!(out.is_err());
}

#[test]
fn submissions_run_in_order_under_back_pressure() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let kernel = gpu.kernel(&spec("scale", SCALE));
    let (uniform, x) = (gpu.uniform("run", RUN_BYTES).unwrap(), gpu.buffer("x", 4).unwrap());
    let group = gpu.bind(&kernel, &[uniform.whole(), x.whole()]);
    gpu.write(&x, 0, &1f32.to_le_bytes());
    for step in 0..50 {
        block_on(gpu.throttle());
        let factor = if step % 2 == 0 { 2f32 } else { 0.5 };
        gpu.write(&uniform, 8, &factor.to_le_bytes());
        gpu.submit(|pass| {
            pass.dispatch(&kernel, &group, [1, 1, 1]);
            pass.dispatch(&kernel, &group, [1, 1, 1]);
        });
    }
    block_on(gpu.wait());
    assert_eq!(block_on(gpu.read(&x, 0, 4)), Ok(1f32.to_le_bytes().to_vec()));
}

#[test]
fn a_profile_names_each_dispatch() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let kernel = gpu.kernel(&spec("scale", SCALE));
    let other = gpu.kernel(&KernelSpec { constants: vec![("ADD", 1.0)], ..spec("shift", SCALE) });
    let (uniform, x) = (gpu.uniform("run", RUN_BYTES).unwrap(), gpu.buffer("x", 1 << 20).unwrap());
    let group = gpu.bind(&kernel, &[uniform.whole(), x.whole()]);
    let profile = block_on(gpu.profile(|pass| {
        for kernel in [&kernel, &other, &kernel] {
            pass.dispatch(kernel, &group, [4096, 1, 1]);
        }
    }));
    if !gpu.info().features.timestamps {
        assert_eq!(profile, Err(GpuError::Unsupported { feature: "timestamp-query" }));
        return;
    }
    let profile = profile.unwrap();
    let labels: Vec<_> = profile.timings.iter().map(|timing| timing.label.as_str()).collect();
    assert_eq!(labels, ["scale", "shift", "scale"]);
    let sums = profile.by_kernel();
    assert_eq!(sums.iter().map(|sum| sum.count).sum::<usize>(), 3);
    let seconds: f64 = sums.iter().map(|sum| sum.seconds).sum();
    assert!(seconds > 0.0 && seconds <= profile.wall_seconds, "{profile:?}");
}

#[test]
fn a_lost_device_answers_every_call_and_never_panics() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    let kernel = gpu.kernel(&spec("scale", SCALE));
    let (uniform, x) = (gpu.uniform("run", RUN_BYTES).unwrap(), gpu.buffer("x", 4).unwrap());
    let group = gpu.bind(&kernel, &[uniform.whole(), x.whole()]);
    gpu.submit(|pass| pass.dispatch(&kernel, &group, [1, 1, 1]));
    gpu.destroy();
    let lost = GpuError::Lost { reason: "destroyed".into() };
    gpu.write(&x, 0, &[0; 4]);
    gpu.submit(|pass| pass.dispatch(&kernel, &group, [1, 1, 1]));
    block_on(gpu.throttle());
    block_on(gpu.wait());
    assert_eq!(gpu.buffer("late", 4).err(), Some(lost.clone()));
    let late = gpu.kernel(&spec("late", SCALE));
    gpu.bind(&late, &[uniform.whole(), x.whole()]);
    assert_eq!(block_on(gpu.read(&x, 0, 4)), Err(lost.clone()));
    if gpu.info().features.timestamps {
        assert_eq!(block_on(gpu.profile(|_| ())), Err(lost.clone()));
    }
    assert_eq!(block_on(gpu.check()), Err(lost.clone()));
    drop((group, x, uniform));
    assert_eq!(gpu.memory().buffers, 0);
    assert_eq!(block_on(gpu.check()), Err(lost), "for ever");
}

#[test]
fn adapters_are_listed() {
    let Some(gpu) = open(OpenOptions::default()) else { return };
    assert!(block_on(Gpu::adapters()).contains(gpu.info()));
    if gpu.info().class != AdapterClass::Hardware {
        let refused = block_on(Gpu::open(OpenOptions::default())).err();
        assert!(matches!(refused, Some(GpuError::NoAdapter { .. })), "{refused:?}");
    }
}

#[test]
fn the_prelude_stands_by_itself() {
    use wgpu::naga::{
        front::wgsl,
        valid::{Capabilities, ValidationFlags, Validator},
    };
    let module = wgsl::parse_str(PRELUDE).unwrap_or_else(|error| panic!("{}", error.emit_to_string(PRELUDE)));
    Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module).unwrap();
    assert!(PRELUDE.lines().count() <= 150);
}
