//! Adapter folders: PEFT's are opened here and compute what PyTorch does; ours survive the way out and back; what belongs
//! to another base is refused. Merging.
//!
//! The golden folders and the program that made them are in `tests/golden`.

mod adapter;

use adapter::on_the_gpu;
use std::path::{Path, PathBuf};

use cloche_models::config::{ModelConfig, preset};
use cloche_models::peft::{CONFIG_FILE, WEIGHTS_FILE};
use cloche_models::{
    Adapter, AdapterError, Base, LoraConfig, Network, Pass, forward_logits, logits, score, score_specs, specs,
};
use cloche_nn::checkpoint::Checkpoint;
use cloche_nn::{HostWeights, Weights};
use cloche_tensor::check::compare;
use cloche_tensor::{Device, Graph, Tensor};
use pollster::block_on;

const TOLERANCE: f64 = 1e-5;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(path)
}

/// A golden model, and its name as a base.
fn base(device: &Device, name: &str) -> (Network, Base) {
    let json = std::fs::read_to_string(golden(name).join("config.json")).unwrap();
    let config = ModelConfig::from_hf_json(&json).unwrap();
    let mut checkpoint = Checkpoint::open_folder(&golden(name)).unwrap();
    let weights = Weights::load(device, &specs(&config), &mut checkpoint, &config.extras()).unwrap();
    let base = Base::new(name, &block_on(weights.read()).unwrap());
    (Network::new(config, weights), base)
}

fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let read = |name: &str| (name.to_string(), std::fs::read(golden(folder).join(name)).unwrap());
    vec![read(CONFIG_FILE), read(WEIGHTS_FILE)]
}

fn replaced(mut files: Vec<(String, Vec<u8>)>, from: &str, to: &str) -> Vec<(String, Vec<u8>)> {
    let json = String::from_utf8(files[0].1.clone()).unwrap();
    assert!(json.contains(from), "{json}");
    files[0].1 = json.replace(from, to).into_bytes();
    files
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x as f64).collect()
}

fn assert_close(what: &str, want: &[f32], found: &[f32]) {
    compare(&wide(want), &wide(found), TOLERANCE).unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// An adapter in which no factor is 0, and the head that comes with it.
fn learnt(device: &Device, base: &Network, config: LoraConfig) -> Network {
    let adapter = Adapter::new(device, &base.config, config, 3).unwrap();
    let mut specs = adapter.weights.specs().to_vec();
    specs.iter_mut().for_each(|s| s.init = cloche_nn::Init::Normal { std: 0.2 });
    adapter.weights.write(&block_on(Weights::init(device, &specs, 3).unwrap().read()).unwrap());
    base.with_adapter(adapter)
}

fn adapters_of_peft(device: &Device) {
    for (case, folder) in [("list", "gpt2"), ("regex", "llama"), ("score", "gpt2")] {
        let (network, base) = base(device, folder);
        let config = &network.config;
        let adapter = Adapter::from_peft(device, config, &base, files(&format!("peft/{case}"))).unwrap();
        let network = network.with_adapter(adapter);
        let bytes = std::fs::read(golden("peft").join(case).join("golden.safetensors")).unwrap();
        let mut expected = Checkpoint::from_bytes(vec![("golden.safetensors".into(), bytes)]).unwrap();
        let (shape, ids) = expected.ids("ids").unwrap();

        let graph = Graph::new();
        let p = network.params(&graph);
        let ids = graph.data((shape[0], shape[1]), ids.iter().map(|&id| id as u32).collect::<Vec<_>>());
        let y = match case {
            "score" => score(config, &p, &ids, &Pass::eval()).slice(1, shape[1] - 1, shape[1]),
            _ => logits(config, &p, &ids, &Pass::eval()),
        };
        let loss = (&y * &y).sum_all() * (1.0 / y.shape().numel() as f64);
        let tensors = p.trained().tensors();
        let grads = graph.grad(&loss, &tensors.iter().collect::<Vec<_>>());
        let paths: Vec<String> = p.trained().specs().iter().map(|s| format!("grad/{}", s.path)).collect();
        let mut outputs: Vec<(&str, &Tensor)> = vec![("y", &y)];
        outputs.extend(paths.iter().map(String::as_str).zip(&grads));
        assert_eq!(outputs.len(), expected.names().count() - 1, "{case}: as many factors as PyTorch has");
        let mut program = device.compile(&graph, &outputs, &network.states()).unwrap();
        program.run();
        for (name, _) in outputs {
            let found = block_on(program.read(name)).unwrap();
            assert_close(&format!("{case}: {name}"), &expected.tensor(name).unwrap().1, found.f32());
        }
    }
}

#[test]
fn adapters_of_peft_compute_what_pytorch_does_on_the_cpu() {
    adapters_of_peft(&Device::cpu());
}

#[test]
fn adapters_of_peft_compute_what_pytorch_does_on_the_gpu() {
    on_the_gpu(adapters_of_peft);
}

#[test]
fn what_peft_says_is_understood() {
    let device = Device::cpu();
    let open = |case: &str, folder: &str| {
        let (network, base) = base(&device, folder);
        Adapter::from_peft(&device, &network.config, &base, files(&format!("peft/{case}"))).unwrap().config
    };
    let list = open("list", "gpt2");
    assert_eq!((list.rank, list.alpha, list.targets.len()), (3, 6.0, 2));
    assert_eq!(list.targets, ["c_attn", "mlp.c_proj"]);
    let regex = open("regex", "llama");
    let names = ["mlp.down_proj", "self_attn.q_proj", "self_attn.v_proj"];
    assert_eq!(regex.targets, names.map(|name| format!("model.layers.1.{name}")));
    let score = open("score", "gpt2");
    assert_eq!(
        (score.targets.len(), score.whole),
        (8, vec!["score".to_string()]),
        "PEFT adds \"classifier\""
    );
}

#[test]
fn a_folder_survives_the_way_out_and_back() {
    let device = Device::cpu();
    for folder in ["gpt2", "llama"] {
        let (network, base) = base(&device, folder);
        let lora = LoraConfig { rank: 5, alpha: 2.5, whole: vec!["score".into()], ..Default::default() };
        let network = learnt(&device, &network, lora);
        let adapter = network.adapter.as_ref().unwrap();
        let files = block_on(adapter.to_peft(&network.config, &base)).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [CONFIG_FILE, WEIGHTS_FILE]);
        let back = Adapter::from_peft(&device, &network.config, &base, files.clone()).unwrap();
        let read = |a: &Adapter| block_on(a.weights.read()).unwrap();
        assert_eq!(read(&back), read(adapter));
        assert_eq!((back.config.rank, back.config.alpha), (5, 2.5));
        assert_eq!(block_on(back.to_peft(&network.config, &base)).unwrap(), files);
    }
}

#[test]
fn an_adapter_for_another_base_is_refused_by_both_names() {
    let device = Device::cpu();
    let (network, own) = base(&device, "gpt2");
    let adapted = learnt(&device, &network, LoraConfig::default());
    let files = block_on(adapted.adapter.as_ref().unwrap().to_peft(&network.config, &own)).unwrap();
    // 1. The same shape, other weights.
    let other = Weights::init(&device, &specs(&network.config), 1).unwrap();
    let other = Base::new("another", &block_on(other.read()).unwrap());
    let error = Adapter::from_peft(&device, &network.config, &other, files.clone()).err().unwrap();
    let (ours, theirs) = (&own.fingerprint[..12], &other.fingerprint[..12]);
    assert_eq!(
        error.to_string(),
        format!(
            "the adapter belongs to \"gpt2\" (SHA-256 {ours}…), the model is \"another\" (SHA-256 {theirs}…)"
        )
    );
    // 2. Another architecture.
    let (llama, base_of_llama) = base(&device, "llama");
    let error = Adapter::from_peft(&device, &llama.config, &base_of_llama, files).err().unwrap();
    assert!(matches!(error, AdapterError::OtherBase { .. }), "{error}");
    // 3. Another architecture, where nothing but the names of layers tells.
    let error = Adapter::from_peft(&device, &llama.config, &base_of_llama, self::files("peft/list"));
    let error = error.err().unwrap().to_string();
    let expected = "targets: \"transformer.h.0.attn.c_attn\" matches nothing, the model has q_proj, k_proj";
    assert!(error.starts_with(expected), "{error}");
    // 4. The fingerprint is that of the body: with another head it is the same base.
    let judge = block_on(network.scoring(&device, 1)).unwrap();
    assert_eq!(Base::new("gpt2", &block_on(judge.weights.read()).unwrap()), own);
}

#[test]
fn what_we_do_not_implement_is_refused() {
    let device = Device::cpu();
    let (network, base) = base(&device, "gpt2");
    let error = |files| Adapter::from_peft(&device, &network.config, &base, files).err().unwrap().to_string();
    let with = |from: &str, to: &str| error(replaced(files("peft/list"), from, to));
    let changes = "expected nothing: it changes what the adapter computes";
    for (from, to, expected) in [
        (r#""LORA""#, r#""IA3""#, r#"adapter_config.json: peft_type: found "IA3", expected "LORA""#.to_string()),
        (
            r#""bias": "none""#,
            r#""bias": "all""#,
            r#"adapter_config.json: bias: found "all", expected "none""#.to_string(),
        ),
        (
            r#""use_dora": false"#,
            r#""use_dora": true"#,
            format!("adapter_config.json: use_dora: found true, {changes}"),
        ),
        (
            r#""alpha_pattern": {}"#,
            r#""alpha_pattern": {"c_attn": 1}"#,
            format!("adapter_config.json: alpha_pattern: found {{\"c_attn\":1}}, {changes}"),
        ),
        (
            r#""init_lora_weights": true"#,
            r#""init_lora_weights": "pissa""#,
            "adapter_config.json: init_lora_weights: found \"pissa\", expected an initialisation that leaves the base as \
             it is"
                .to_string(),
        ),
        (
            r#""r": 3"#,
            r#""r": 300"#,
            "rank: found 300, expected 1 to 16, the width of transformer.h.0.attn.c_attn".to_string(),
        ),
        (
            r#""r": 3"#,
            r#""rank": 3"#,
            "adapter_config.json: r: found nothing, expected a whole number".to_string(),
        ),
    ] {
        assert_eq!(with(from, to), expected);
    }
    let shape = with(r#""r": 3"#, r#""r": 2"#);
    assert!(shape.contains("file has (3, 16), model needs (2, 16)"), "{shape}");
    let missing = error(files("peft/list")[1..].to_vec());
    assert!(missing.contains(CONFIG_FILE), "{missing}");
    let missing = error(files("peft/list")[..1].to_vec());
    assert!(missing.contains(WEIGHTS_FILE), "{missing}");
    let pickle = vec![files("peft/list")[0].clone(), ("adapter_model.bin".into(), vec![0])];
    let pickle = error(pickle);
    assert!(pickle.contains("pickle"), "{pickle}");
}

#[test]
fn merged_equals_unmerged_and_the_base_stays() {
    let device = Device::cpu();
    let ids = [3, 1, 4, 1, 5, 9, 2, 6];
    for folder in ["gpt2", "llama", "llama-tied"] {
        let (base, _) = base(&device, folder);
        // Square matrices too, which the shape alone would let stand either way.
        let network = learnt(&device, &base, LoraConfig { rank: 4, alpha: 3.0, ..Default::default() });
        let before = block_on(base.weights.read()).unwrap();
        let merged = block_on(network.merged(&device)).unwrap();
        let logits = |network: &Network| block_on(forward_logits(&device, network, &ids)).unwrap();
        let unmerged = logits(&network);
        assert_close(folder, &unmerged, &logits(&merged));
        let moved = unmerged.iter().zip(&logits(&base)).any(|(a, b)| (a - b).abs() > 0.1);
        assert!(moved, "{folder}: the adapter does something");
        assert_eq!(block_on(base.weights.read()).unwrap(), before);
        assert_eq!(logits(&network), unmerged);
        assert!(merged.adapter.is_none() && merged.weights.specs() == base.weights.specs());
    }
}

#[test]
fn a_judge_is_made_of_a_model() {
    let device = Device::cpu();
    let config = ModelConfig { tied: false, ..preset("llama-tiny").unwrap().model };
    let base = Network::new(config, Weights::init(&device, &specs(&config), 1).unwrap());
    let lora = LoraConfig { whole: vec!["score".into()], ..Default::default() };
    let network = learnt(&device, &base, lora);
    let read = |network: &Network| block_on(network.weights.read()).unwrap();
    // 1. Of a plain model: the body as it is, a head that follows from the seed.
    let judge = block_on(base.scoring(&device, 1)).unwrap();
    assert_eq!(judge.weights.specs(), score_specs(&config));
    let head = |host: &HostWeights| host.get("score.weight").unwrap().to_vec();
    let (own, judged) = (read(&base), read(&judge));
    for tensor in judged.tensors().iter().filter(|t| t.name != "score.weight") {
        assert_eq!(own.get(tensor.name), judged.get(tensor.name), "{}", tensor.name);
    }
    assert_ne!(head(&judged), head(&read(&block_on(base.scoring(&device, 2)).unwrap())));
    // 2. Of an adapter that brings a head: that one, and the scores stay.
    let judge = block_on(network.scoring(&device, 1)).unwrap();
    assert_eq!(head(&read(&judge)), head(&block_on(network.trained().read()).unwrap()));
    let scores = |network: &Network| {
        let graph = Graph::new();
        let ids = graph.data((1, 5), vec![3u32, 1, 4, 1, 5]);
        let y = score(&config, &network.params(&graph), &ids, &Pass::eval());
        let mut program = device.compile(&graph, &[("score", &y)], &network.states()).unwrap();
        program.run();
        block_on(program.read("score")).unwrap().f32().to_vec()
    };
    assert_close("scores", &scores(&network), &scores(&judge));
}
