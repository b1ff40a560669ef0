//! Folders that transformers wrote: their configurations and files are read, and agree with each other.

use std::path::Path;

use cloche_models::config::{Activation, Arch, ModelConfig, TokenIds};
use cloche_nn::checkpoint::Checkpoint;

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

#[test]
fn configurations_count_the_parameters_that_the_files_hold() {
    for (name, arch, activation, n_kv_head, tied) in [
        ("gpt2", Arch::Gpt2, Activation::GeluTanh, 2, true),
        ("llama", Arch::Llama, Activation::Silu, 2, false),
        ("llama-tied", Arch::Llama, Activation::Silu, 2, true),
    ] {
        let json = std::fs::read_to_string(folder(name).join("config.json")).unwrap();
        let config = ModelConfig::from_hf_json(&json).unwrap();
        let found = (config.arch, config.activation, config.n_kv_head, config.tied, config.vocab_size);
        assert_eq!(found, (arch, activation, n_kv_head, tied, 37), "{name}");
        assert_eq!(TokenIds::from_hf_json(&json).unwrap().eos, [0]);

        let weights = std::fs::read(folder(name).join("model.safetensors")).unwrap();
        let checkpoint = Checkpoint::from_bytes(vec![("model.safetensors".into(), weights)]).unwrap();
        let held: usize =
            checkpoint.names().map(|n| checkpoint.shape(n).unwrap().iter().product::<usize>()).sum();
        assert_eq!(config.n_params(), held as u64, "{name}");
    }
}

#[test]
fn golden_files_are_read() {
    let bytes = std::fs::read(folder("gpt2").join("golden.safetensors")).unwrap();
    let mut golden = Checkpoint::from_bytes(vec![("golden.safetensors".into(), bytes)]).unwrap();
    let (shape, ids) = golden.ids("ids").unwrap();
    assert_eq!(shape, [2, 8]);
    assert!(ids.iter().all(|id| (0..37).contains(id)));
    let (shape, loss) = golden.tensor("loss").unwrap();
    assert_eq!(shape, [0usize; 0]);
    assert!((3.0..4.5).contains(&loss[0]), "near ln 37 = 3.61: {loss:?}");
    assert_eq!(golden.tensor("adamw/losses").unwrap().1[0], loss[0]);
}
