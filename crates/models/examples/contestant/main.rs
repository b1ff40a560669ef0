//! What `cargo xtask bench` measures natively: this program opens cases and times them when it is told to, and knows nothing
//! of rounds or tables. It has one device, `cpu` or `gpu`, and on the CPU libraries that compute the same; `card` is a GPU
//! with cases that fill one.
//!
//! ```sh
//! cargo run --release -p cloche-models --example contestant cpu
//! cargo run --release -p cloche-models --example contestant export nano FOLDER
//! ```
//!
//! Each line that it reads is an order, each that it writes an answer, both JSON; all contestants speak so:
//!
//! | order | answer |
//! |---|---|
//! | – | `{"ready": {"adapter": …, "cases": [name, …]}}` |
//! | `{"open": name}` | `{"systems": [{"name", "device", "ours", "limit", "flops", "bytes", "dispatches", "losses"}, …]}` |
//! | `{"time": system, "seconds": s}` | `{"seconds": [sample, …]}` |
//! | any | `{"failed": text}` |

mod rivals;

use std::io::{BufRead, Write};
use std::path::Path;

use cloche_models::bench::{large_workload, workloads};
use cloche_tensor::bench::{Case, Opened, cases, large_cases};
use cloche_tensor::{Device, DeviceKind};
use pollster::block_on;
use rivals::Rival;
use serde_json::{Value, json};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cpu"] => serve(Device::cpu(), true, ordinary()),
        ["gpu"] => serve_gpu(ordinary()),
        ["card"] => serve_gpu(for_cards()),
        ["export", model, folder] => export(model, Path::new(folder)),
        _ => panic!("contestant takes cpu, gpu, card or export MODEL FOLDER, not {args:?}"),
    }
}

/// What a device has to offer, and what is open now.
struct Contestant {
    device: Device,
    /// What rows of this device say: threads, or the adapter.
    name: String,
    rivals: bool,
    cases: Vec<Case>,
    opened: Option<(Opened, Vec<Rival>)>,
}

fn ordinary() -> Vec<Case> {
    let mut cases = cases();
    cases.extend(workloads().iter().flat_map(|work| [work.training_step(), work.adam_step()]));
    cases
}

fn for_cards() -> Vec<Case> {
    let mut cases = large_cases();
    cases.extend([workloads()[0].training_step(), large_workload().training_step()]);
    cases
}

fn serve_gpu(cases: Vec<Case>) {
    match block_on(Device::open(DeviceKind::Gpu)) {
        Ok(device) => serve(device, false, cases),
        Err(error) => answer(&json!({ "failed": error.to_string() })),
    }
}

fn serve(device: Device, rivals: bool, cases: Vec<Case>) {
    let threads = rayon::current_num_threads();
    let plural = if threads == 1 { "" } else { "s" };
    let (name, adapter) = match device.gpu() {
        Some(gpu) => {
            let info = gpu.info();
            let short = info.name.split(" (").next().unwrap_or(&info.name);
            (short.to_owned(), format!("{} ({}, {})", info.name, info.backend, info.driver))
        }
        None => (format!("native, {threads} thread{plural}"), String::new()),
    };
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    answer(&json!({ "ready": { "adapter": adapter, "cases": names } }));
    let mut contestant = Contestant { device, name, rivals, cases, opened: None };
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("orders are UTF-8");
        let order = serde_json::from_str(&line).expect("an order is JSON");
        answer(&contestant.obey(&order).unwrap_or_else(|failed| json!({ "failed": failed })));
    }
}

fn answer(value: &Value) {
    println!("{value}");
    std::io::stdout().flush().expect("somebody listens");
}

impl Contestant {
    fn obey(&mut self, order: &Value) -> Result<Value, String> {
        if let Some(name) = order["open"].as_str() {
            // What was open before gives its memory back first.
            self.opened = None;
            return self.open(name);
        }
        let seconds = order["seconds"].as_f64().ok_or("an order is to open a case or to time a system")?;
        let (opened, rivals) = self.opened.as_mut().ok_or("no case is open")?;
        let samples = match order["time"].as_u64().ok_or("a system has a number")? {
            0 => block_on(opened.time(seconds)),
            i => rivals.get_mut(i as usize - 1).ok_or("there is no such system")?.time(seconds),
        };
        Ok(json!({ "seconds": samples }))
    }

    fn open(&mut self, name: &str) -> Result<Value, String> {
        let case = self.cases.iter().find(|case| case.name == name).ok_or("there is no such case")?;
        // In f64 this one would take an hour; its losses are held to those of another library.
        let exact = name != large_workload().training_step().name;
        let opened = block_on(case.open(&self.device, exact))?;
        let rivals = if self.rivals { Rival::of(case) } else { Vec::new() };
        if let Some(product) = rivals.iter().find(|rival| rival.is_product()) {
            let want = block_on(opened.result()).map_err(|e| e.to_string())?;
            rivals
                .iter()
                .try_for_each(|rival| rival.check(&want).map_err(|e| format!("{}: {e}", product.name)))?;
        }
        let mut systems = vec![json!({
            "name": self.name, "device": self.name, "ours": true, "limit": case.limit.name(), "flops": opened.flops,
            "bytes": opened.bytes, "dispatches": opened.dispatches, "losses": opened.losses(),
        })];
        systems.extend(rivals.iter().map(|rival| {
            json!({
                "name": format!("{}, {}", rival.name, self.name), "device": self.name, "ours": false,
                "limit": case.limit.name(), "flops": opened.flops, "bytes": opened.bytes,
            })
        }));
        self.opened = Some((opened, rivals));
        Ok(json!({ "systems": systems }))
    }
}

/// Writes what others begin a training step with.
fn export(model: &str, folder: &Path) {
    let found = workloads().into_iter().chain([large_workload()]).find(|work| work.name == model);
    let work = found.unwrap_or_else(|| panic!("there is no model {model:?} to export"));
    std::fs::create_dir_all(folder).expect("a folder that can be made");
    for (name, bytes) in block_on(work.export()).expect("weights that can be written") {
        std::fs::write(folder.join(name), bytes).expect("room for the weights");
    }
}
