//! Every shader of the engine, as text: naga accepts it with the prelude in front, for each entry point.

use cloche_tensor::ops::{ELEMENTWISE, NEED_EIGHTS, NEED_SUBGROUPS, OPS, PRELUDE, SHADER_PARTS, Shader};
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// What the planner writes in front of a kernel: the identity, and a chain that ends it.
const EPILOGUES: [&str; 2] = [
    "fn epilogue(i: u32, v: f32) -> f32 { return v; }",
    "@group(0) @binding(30) var<storage, read> e30: array<f32>;
     fn epilogue(i: u32, v: f32) -> f32 { return safe_tanh(v + e30[i % 5u]) + run_f32(2u); }",
];

/// The text of a kernel, or what naga says against it. Only `beyond` what WebGPU has everywhere is allowed.
fn validate(shader: Shader, generated: &str, beyond: Capabilities) -> Result<naga::Module, String> {
    let known = "alias Known1 = array<f32, 64>; alias Known2 = array<f32, 96>;";
    let source = format!("{PRELUDE}\n{known}\n{generated}\n{}", shader.source);
    let explain = |text: String| format!("{}.wgsl: {text}", shader.stem);
    let module = naga::front::wgsl::parse_str(&source).map_err(|e| explain(e.emit_to_string(&source)))?;
    Validator::new(ValidationFlags::all(), beyond)
        .validate(&module)
        .map_err(|e| explain(e.emit_to_string(&source)))?;
    Ok(module)
}

#[test]
fn naga_accepts_every_shader() {
    let everywhere = OPS.iter().filter_map(|op| op.shader).map(|shader| (shader, Capabilities::empty()));
    let subgroups = NEED_SUBGROUPS.into_iter().chain(NEED_EIGHTS);
    for (shader, beyond) in everywhere.chain(subgroups.map(|shader| (shader, Capabilities::SUBGROUP))) {
        for generated in EPILOGUES {
            let module = validate(shader, generated, beyond).unwrap_or_else(|error| panic!("{error}"));
            assert!(!module.entry_points.is_empty(), "{}.wgsl has no entry point", shader.stem);
        }
    }
    for store in [
        "alias Out = f32; fn place(i: u32) -> u32 { return i; }",
        "alias Out = u32; fn place(i: u32) -> u32 { return 2u * i + 1u; }",
    ] {
        let generated = format!("{store}\n{}", EPILOGUES[1]);
        validate(ELEMENTWISE, &generated, Capabilities::empty()).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_shader_file_belongs_to_an_operation() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shaders");
    let known: Vec<&str> =
        OPS.iter().filter_map(|op| op.shader).map(|s| s.stem).chain(SHADER_PARTS).collect();
    for file in std::fs::read_dir(folder).expect("the folder of shaders") {
        let name = file.expect("a file of it").file_name().into_string().expect("an ASCII name");
        let stem = name.strip_suffix(".wgsl").unwrap_or_else(|| panic!("shaders/{name} is not WGSL"));
        assert!(known.contains(&stem), "shaders/{name} belongs to no row of OPS");
    }
}

#[test]
fn shaders_are_ascii() {
    // Some drivers' compilers stop at the first byte beyond.
    for shader in
        OPS.iter().filter_map(|op| op.shader).chain([ELEMENTWISE]).chain(NEED_SUBGROUPS).chain(NEED_EIGHTS)
    {
        let line = shader.source.lines().position(|line| !line.is_ascii());
        assert!(line.is_none(), "{}.wgsl, line {}", shader.stem, line.unwrap_or(0) + 1);
    }
}
