//! Writes what we make of a model folder beside it, to hold it against `peft` and `transformers`:
//! `cargo run -p cloche-models --example adapters -- MODEL OUT`, then `tests/golden/check_peft.py MODEL OUT`.
//!
//! | in OUT | |
//! |---|---|
//! | `adapter/` | an adapter of random weights on every linear layer |
//! | `judge-adapter/` | the same, with a scalar head |
//! | `judge/` | the model with that adapter merged and that head, for sequence classification |
//! | `ours.json` | `ids`; `logits` with the first, row by row; `scores` after each id with the second |

use std::error::Error;
use std::fs;
use std::path::Path;

use cloche_models::config::{ModelConfig, TokenIds};
use cloche_models::{Adapter, Base, LoraConfig, Network, Pass, forward_logits, score, specs};
use cloche_nn::checkpoint::Checkpoint;
use cloche_nn::{Init, Weights};
use cloche_tensor::{Device, Graph};
use pollster::block_on;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, out] = arguments.as_slice() else { return Err("usage: adapters MODEL OUT".into()) };
    let (model, out, device) = (Path::new(model), Path::new(out), Device::cpu());
    // 1. The model.
    let config = ModelConfig::from_hf_json(&fs::read_to_string(model.join("config.json"))?)?;
    let mut checkpoint = Checkpoint::open_folder(model)?;
    let weights = Weights::load(&device, &specs(&config), &mut checkpoint, &config.extras())?;
    let base = Base::new(model.to_string_lossy(), &block_on(weights.read())?);
    let network = Network::new(config, weights);
    let ids: Vec<u32> = (0..config.context_len.min(8) as u32).map(|i| (i * i + 3) % 29).collect();
    // 2. Its adapters.
    let speaker = adapted(&device, &network, Vec::new())?;
    let judge = adapted(&device, &network, vec!["score".into()])?;
    for (name, network) in [("adapter", &speaker), ("judge-adapter", &judge)] {
        let adapter = network.adapter.as_ref().expect("made with one");
        write_folder(&out.join(name), block_on(adapter.to_peft(&config, &base))?)?;
    }
    // 3. A model that judges.
    let merged = block_on(judge.scoring(&device, 0))?;
    let mut files = config.weight_files(&block_on(merged.weights.read())?)?;
    files.push(("config.json".into(), config.to_hf_score_json(&TokenIds::default()).into_bytes()));
    write_folder(&out.join("judge"), files)?;
    // 4. What they say.
    let logits = block_on(forward_logits(&device, &speaker, &ids))?;
    let said = json!({ "ids": ids, "logits": logits, "scores": scores(&device, &judge, &ids)? });
    fs::write(out.join("ours.json"), said.to_string())?;
    Ok(())
}

/// The network with an adapter none of whose parameters is 0.
fn adapted(device: &Device, network: &Network, whole: Vec<String>) -> Result<Network, Box<dyn Error>> {
    let config = LoraConfig { rank: 4, alpha: 6.0, whole, ..Default::default() };
    let mut specs = Adapter::specs(&network.config, &config)?;
    specs.iter_mut().for_each(|spec| spec.init = Init::Normal { std: 0.2 });
    Ok(network.with_adapter(Adapter { config, weights: Weights::init(device, &specs, 3)? }))
}

fn scores(device: &Device, network: &Network, ids: &[u32]) -> Result<Vec<f32>, Box<dyn Error>> {
    let graph = Graph::new();
    let ids = graph.data((1, ids.len()), ids.to_vec());
    let y = score(&network.config, &network.params(&graph), &ids, &Pass::eval());
    let mut program = device.compile(&graph, &[("score", &y)], &network.states())?;
    program.run();
    Ok(block_on(program.read("score"))?.f32().to_vec())
}

fn write_folder(folder: &Path, files: Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    files.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
}
