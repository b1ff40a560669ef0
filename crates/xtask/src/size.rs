//! What a page has to load, compressed with brotli, against its budget.

use crate::shell::{output, root};
use crate::wasm;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;

/// Files that are loaded together, and the most that they may weigh.
struct Load {
    name: &'static str,
    files: Vec<String>,
    budget: u64,
}

/// What a page loads before it can grow a model from a text: the package, its worker, the engine.
const CORE: (&str, [&str; 3], u64) = (
    "the package with its engine",
    ["pkg/dist/index.js", "pkg/dist/worker.js", "pkg/dist/wasm/engine.js"],
    300 * 1024,
);

/// The custom elements, with all that they bring along.
const ELEMENTS: (&str, u64) = ("pkg/dist/elements.js", 60 * 1024);

/// What is over its budget, each as a sentence, and the number of those within.
pub(crate) fn check() -> Result<(Vec<String>, usize)> {
    let loads = loads()?;
    let mut over = Vec::new();
    for Load { name, files, budget } in &loads {
        let weight: u64 = weigh(files)?.iter().sum();
        println!("{name}: {} KB of {} KB (brotli)", weight / 1024, budget / 1024);
        if weight > *budget {
            over.push(format!("{name} weighs {weight} bytes, its budget is {budget}"));
        }
    }
    let within = loads.len() - over.len();
    Ok((over, within))
}

fn loads() -> Result<Vec<Load>> {
    let single = |(name, file, budget)| Load { name, files: vec![file], budget };
    let mut loads: Vec<Load> = wasm::modules().map(single).collect();
    let (name, budget) = ELEMENTS;
    loads.push(Load { name, files: vec![name.into()], budget });
    let (name, entries, budget) = CORE;
    let mut core = BTreeSet::new();
    entries.iter().try_for_each(|entry| follow(entry, &mut core))?;
    ensure!(core.len() > entries.len(), "{name}: no import was found in {}", entries.join(", "));
    core.insert(wasm::engine());
    loads.push(Load { name, files: core.into_iter().collect(), budget });
    Ok(loads)
}

/// Adds a file, and whatever it imports before it runs.
fn follow(file: &str, found: &mut BTreeSet<String>) -> Result<()> {
    if !found.insert(file.to_owned()) {
        return Ok(());
    }
    let text = fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"))?;
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    // With a blank or without one, as the shortened files have it.
    let after = text.split("from").skip(1).filter_map(|rest| rest.trim_start().strip_prefix("\"./"));
    for (name, _) in after.filter_map(|rest| rest.split_once('"')) {
        follow(&format!("{folder}/{name}"), found)?;
    }
    Ok(())
}

/// Compressed sizes, measured by Node, which has brotli built in.
pub(crate) fn weigh(files: &[String]) -> Result<Vec<u64>> {
    let script = "for (const f of process.argv.slice(1)) \
        console.log(require('zlib').brotliCompressSync(require('fs').readFileSync(f)).length)";
    let mut args = vec!["--eval", script, "--"];
    args.extend(files.iter().map(String::as_str));
    let printed = output("node", &args).context("node could not read what is shipped")?;
    printed.lines().map(|line| Ok(line.parse()?)).collect()
}
