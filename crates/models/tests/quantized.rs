//! Quantised networks: close to the whole one, with cache = without cache, refused where a width does not fit.

use cloche_models::config::{ModelConfig, TokenIds, preset, quantization};
use cloche_models::{
    Adapter, GenerateSettings, Generator, LoraConfig, Network, Pass, Precision, QuantizeError,
    QuantizedModel, Sampling, forward_logits, logits, specs,
};
use cloche_nn::checkpoint::{Checkpoint, write};
use cloche_nn::{HostQuantized, Weights};
use cloche_tensor::{AdapterClass, DType, Device, Gpu, Graph, OpenOptions};
use pollster::block_on;

const BOTH: [Precision; 2] = [Precision::Int8, Precision::Int4];

/// Both architectures, heads tied and not.
fn networks(device: &Device) -> [Network; 3] {
    let model = |name: &str| ModelConfig { vocab_size: 29, init_std: 0.1, ..preset(name).unwrap().model };
    let models = [model("tiny"), ModelConfig { tied: false, ..model("tiny") }, model("llama-nano")];
    models.map(|model| Network::new(model, Weights::init(device, &specs(&model), 7).unwrap()))
}

/// The root of the mean square of the differences, of that of `a`.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let squares = |terms: &mut dyn Iterator<Item = f32>| terms.map(|x| x * x).sum::<f32>();
    (squares(&mut a.iter().zip(b).map(|(a, b)| a - b)) / squares(&mut a.iter().copied())).sqrt()
}

fn check(device: &Device) {
    for network in networks(device) {
        let ids: Vec<u32> = (0..20).map(|i| (i * i + 3) % 29).collect();
        let whole = block_on(forward_logits(device, &network, &ids)).unwrap();
        for (precision, most) in BOTH.into_iter().zip([0.04, 0.6]) {
            let quantized = block_on(network.quantized(device, precision)).unwrap();
            assert!(quantized.weights.specs().len() < network.weights.specs().len(), "matrices are gone");
            let error = apart(&whole, &block_on(forward_logits(device, &quantized, &ids)).unwrap());
            assert!(error > 0.0 && error < most, "{precision:?}: {error} of the logits");
            let sampling = Sampling::greedy();
            let settings = GenerateSettings { sampling, max_tokens: 12, ..Default::default() };
            let generator = |network| Generator::new(device, network, 1, settings.clone()).unwrap();
            let kernels = |network| generator(network).decode_program().cost().dispatches;
            assert!(kernels(&quantized) <= kernels(&network), "{precision:?}: a token takes more kernels");
            let mut generator = generator(&quantized);
            generator.start(std::slice::from_ref(&ids)).unwrap();
            let mut log_probs = Vec::new();
            while let Some(tokens) = block_on(generator.next()).unwrap() {
                log_probs.extend(tokens.iter().map(|token| (token.id, token.log_prob)));
            }
            let all = block_on(forward_logits(device, &quantized, generator.tokens(0))).unwrap();
            for (row, (id, log_prob)) in all.chunks(29).skip(ids.len() - 1).zip(log_probs) {
                let sum: f32 = row.iter().map(|x| x.exp()).sum();
                let without = row[id as usize] - sum.ln();
                assert!((log_prob - without).abs() < 1e-4, "{log_prob} with a cache, {without} without");
            }
        }
    }
}

#[test]
fn a_quantized_network_is_close_to_the_whole_one_on_the_cpu() {
    check(&Device::cpu());
}

#[test]
fn a_quantized_network_is_close_to_the_whole_one_on_a_gpu() {
    // Its own kernels, and those for graphics cards.
    for class in [None, Some(AdapterClass::Hardware)] {
        match block_on(Gpu::open(OpenOptions { allow_software: true, class, ..Default::default() })) {
            Ok(gpu) => check(&Device::from_gpu(gpu)),
            Err(error) => {
                assert!(std::env::var("CI").is_err(), "no adapter: {error}");
                eprintln!("SKIPPED: no adapter: {error}");
            }
        }
    }
}

#[test]
fn an_adapter_is_merged_before_weights_are_rounded() {
    let device = Device::cpu();
    let [network, ..] = networks(&device);
    let ids = [1, 5, 9];
    let adapter = Adapter::new(&device, &network.config, LoraConfig::default(), 1).unwrap();
    let mut values = block_on(adapter.weights.read()).unwrap().flat().to_vec();
    let some = |i: usize| (i * 37 % 101) as f32 / 101.0 - 0.5;
    values.iter_mut().enumerate().filter(|(_, x)| **x == 0.0).for_each(|(i, x)| *x = 0.1 * some(i));
    let weights = Weights::from_flat(&device, adapter.weights.specs(), values).unwrap();
    let adapted = network.with_adapter(Adapter { weights, ..adapter });
    let quantized = block_on(adapted.quantized(&device, Precision::Int8)).unwrap();
    let logits = |network| block_on(forward_logits(&device, network, &ids)).unwrap();
    assert!(apart(&logits(&adapted), &logits(&quantized)) < 0.04);
    assert!(apart(&logits(&network), &logits(&quantized)) > 0.1, "the adapter changes what the model says");
}

#[test]
fn a_width_that_is_no_multiple_of_the_group_is_refused_by_name() {
    let device = Device::cpu();
    let model = ModelConfig { d_ff: 40, vocab_size: 29, ..preset("tiny").unwrap().model };
    let network = Network::new(model, Weights::init(&device, &specs(&model), 7).unwrap());
    let error = block_on(network.quantized(&device, Precision::Int4)).err().unwrap().to_string();
    let expected = "layer \"transformer.h.0.mlp.c_proj\": found 40 inputs, expected a multiple of 32, which share a scale";
    assert_eq!(error, expected);
}

/// The files of a quantised network, opened again.
fn reopened(
    device: &Device,
    config: &ModelConfig,
    precision: Precision,
    files: Vec<(String, Vec<u8>)>,
) -> Result<Network, QuantizeError> {
    let mut checkpoint = Checkpoint::from_bytes(files)?;
    Ok(QuantizedModel::load(config, precision, &mut checkpoint)?.upload(device)?)
}

fn files_of(network: &Network) -> Vec<(String, Vec<u8>)> {
    let stored = block_on(QuantizedModel::read(network)).unwrap().expect("a quantised network");
    stored.files(&TokenIds::default()).unwrap()
}

#[test]
fn a_quantized_network_is_the_same_after_it_was_in_a_file() {
    let device = Device::cpu();
    let ids = [3, 1, 4, 1, 5];
    for network in networks(&device) {
        for precision in BOTH {
            let quantized = block_on(network.quantized(&device, precision)).unwrap();
            let files = files_of(&quantized);
            let json = &files.iter().find(|(name, _)| name == "config.json").unwrap().1;
            assert_eq!(quantization(str::from_utf8(json).unwrap()).unwrap(), Some(precision));
            let reopened = reopened(&device, &network.config, precision, files.clone()).unwrap();
            let logits = |network| block_on(forward_logits(&device, network, &ids)).unwrap();
            assert_eq!(logits(&quantized), logits(&reopened), "{precision:?}");
            assert!(files_of(&reopened) == files, "{precision:?}: the same file once more");
        }
    }
}

#[test]
fn what_a_quantized_file_lacks_is_named() {
    let device = Device::cpu();
    let [_, _, network] = networks(&device);
    let config = &network.config;
    let quantized = block_on(network.quantized(&device, Precision::Int4)).unwrap();
    let file = files_of(&quantized).into_iter().find(|(name, _)| name == "model.safetensors").unwrap().1;
    let refused = |file: &[u8], precision| {
        let files = vec![("model.safetensors".to_string(), file.to_vec())];
        reopened(&device, config, precision, files).err().expect("this must be refused").to_string()
    };
    // The file with the first such text behind a name replaced. The header's length must not change.
    let with = |name: &str, was: &str, is: &str| {
        assert_eq!(was.len(), is.len());
        let find = |part: &str, from: usize| {
            let place = file[from..].windows(part.len()).position(|found| found == part.as_bytes());
            from + place.unwrap_or_else(|| panic!("{part} is not there"))
        };
        let (mut changed, at) = (file.clone(), find(was, find(name, 0)));
        changed[at..][..is.len()].copy_from_slice(is.as_bytes());
        refused(&changed, Precision::Int4)
    };
    let scale = "model.layers.0.self_attn.q_proj.weight_scale";
    let (c, groups) = (config.d_model, config.d_model / 32);
    let error = with(scale, "scale", "zcale");
    assert!(
        error.contains(&format!("{scale:?}: missing from the file, model needs ({c}, {groups})")),
        "{error}"
    );
    // The scales of groups of 64 would be half as many.
    let was = format!("[{c},{groups}]");
    let error = with(scale, &was, &format!("[{},{}]", 2 * c, groups / 2));
    let found = format!("file has ({}, {}), model needs ({c}, {groups})", 2 * c, groups / 2);
    assert_eq!(error, format!("tensor {scale:?}: {found}"));
    // Codes of four bits where the configuration says eight.
    let error = refused(&file, Precision::Int8);
    assert!(error.contains("q_proj.weight_packed\": file has"), "{error}");
    let error = with("model.norm.weight", "norm", "mist");
    assert!(
        error.contains("\"model.norm.weight\": missing") && error.contains("\"model.mist.weight\""),
        "{error}"
    );
    // Numbers where codes should be.
    let error = with("model.layers.0.self_attn.q_proj.weight_packed", "I32", "F32");
    assert!(error.contains("q_proj.weight_packed\": file has F32, needed is I32 or U32"), "{error}");
}

#[test]
fn a_layer_that_a_file_holds_whole_stays_whole_and_is_said_to_be() {
    let device = Device::cpu();
    let [_, network, _] = networks(&device);
    let (graph, config) = (Graph::new(), &network.config);
    let p = network.params(&graph);
    logits(config, &p, &graph.input("ids", (1, 1), DType::U32), &Pass::eval());
    let rounded: Vec<_> = p.layers().into_iter().filter(|layer| layer.path != "lm_head").collect();
    let weights = block_on(network.weights.read()).unwrap();
    let mut layers = HostQuantized::default();
    layers.quantize(Precision::Int8, &rounded, &weights).unwrap();
    let (stored, rest) = (layers.stored(&rounded), weights.without(&rounded));
    let tensors = [stored.iter().flat_map(|layer| layer.tensors()).collect(), rest.tensors()].concat();
    let opened = reopened(&device, config, Precision::Int8, write(&tensors, &[], None).unwrap()).unwrap();
    assert_eq!(block_on(opened.weights.read()).unwrap().get("lm_head.weight"), weights.get("lm_head.weight"));
    let files = files_of(&opened);
    let json = &files.iter().find(|(name, _)| name == "config.json").unwrap().1;
    let ignored =
        serde_json::from_slice::<serde_json::Value>(json).unwrap()["quantization_config"]["ignore"].take();
    assert_eq!(ignored, serde_json::json!(["lm_head"]));
    assert!(files_of(&reopened(&device, config, Precision::Int8, files.clone()).unwrap()) == files);

    let whole = config.weight_files(&weights).unwrap();
    let error =
        reopened(&device, config, Precision::Int8, whole).err().expect("it must be refused").to_string();
    assert_eq!(error, "found no layer that is quantised, expected some, as config.json says");
}
