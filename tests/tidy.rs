//! The house rules, held by a test: sizes, names, layers, shaders and their ops, lock files.
//!
//! Each rule collects what breaks it and fails once with the whole list, each line a place and both numbers.

use cloche_tensor::ops::SHADER_PARTS;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most lines a file may have, by what it is; the first row that fits counts.
const FILE_LINES: &[(&str, usize)] = &[
    ("crates/models/src/gpt2.rs", 320),
    ("crates/models/src/llama.rs", 320),
    ("crates/train/src/pretrain.rs", 350),
    ("crates/train/src/sft.rs", 350),
    ("crates/train/src/reward.rs", 350),
    ("crates/train/src/dpo.rs", 350),
    ("crates/train/src/ppo.rs", 350),
    ("crates/train/src/grpo.rs", 350),
    ("crates/train/src/distill.rs", 350),
    (".wgsl", 250),
    (".rs", 600),
    (".ts", 600),
    (".js", 600),
];
/// The most lines a function may have.
const FUNCTION_LINES: usize = 100;
/// The most parameters a function may have, `self` not counted.
const PARAMETERS: usize = 7;
/// Names that say nothing.
const FORBIDDEN_NAMES: [&str; 7] = ["utils", "helpers", "common", "misc", "base", "manager", "core"];

#[test]
fn files_are_short() {
    let limit = |path: &str| FILE_LINES.iter().find(|(end, _)| path.ends_with(end)).map(|row| row.1);
    let long = files().into_iter().filter_map(|path| {
        let (limit, lines) = (limit(&path)?, read(&path).lines().count());
        (lines > limit).then(|| format!("{path}: {lines} lines, at most {limit}"))
    });
    none_of(long.collect());
}

#[test]
fn functions_are_short() {
    let long = functions().into_iter().filter(|f| f.lines > FUNCTION_LINES);
    none_of(long.map(|f| format!("{}: {} lines, at most {FUNCTION_LINES}", f.place, f.lines)).collect());
}

#[test]
fn functions_take_few_parameters() {
    let many = functions().into_iter().filter(|f| f.parameters > PARAMETERS);
    none_of(
        many.map(|f| format!("{}: {} parameters, at most {PARAMETERS}", f.place, f.parameters)).collect(),
    );
}

#[test]
fn names_say_something() {
    let stem = |path: &str| Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let vague = files().into_iter().filter(|path| stem(path).is_some_and(|s| FORBIDDEN_NAMES.contains(&&*s)));
    none_of(vague.collect());
}

#[test]
fn a_shader_belongs_to_an_op() {
    let files = files();
    let stems = |folder: &str, end: &str| -> BTreeSet<String> {
        let inside = files.iter().filter(|path| path.starts_with(folder) && path.ends_with(end));
        inside.map(|path| path.rsplit('/').next().unwrap_or(path).trim_end_matches(end).to_owned()).collect()
    };
    let ops = stems("crates/tensor/src/ops/", ".rs");
    let lonely = stems("shaders/", ".wgsl").into_iter();
    let lonely = lonely.filter(|stem| !ops.contains(stem) && !SHADER_PARTS.contains(&&**stem));
    none_of(
        lonely.map(|stem| format!("shaders/{stem}.wgsl has no crates/tensor/src/ops/{stem}.rs")).collect(),
    );
}

#[test]
fn lock_files_name_no_address() {
    let mut found = Vec::new();
    for path in files().into_iter().filter(|path| path.ends_with("package-lock.json")) {
        let lock = read(&path);
        let addresses = lock.lines().filter(|line| line.contains("\"resolved\": \"http"));
        found.extend(addresses.map(|line| format!("{path}: {}", line.trim())));
    }
    let lock = read("Cargo.lock");
    let sources = lock
        .lines()
        .filter(|line| line.starts_with("source = ") && !line.contains("rust-lang/crates.io-index"));
    found.extend(sources.map(|line| format!("Cargo.lock: {line}")));
    none_of(found);
}

/// ARCHITECTURE.md lists, in a block fenced as `edges`, which crate may use which: `train -> models nn tensor`.
#[test]
fn crates_depend_as_the_architecture_says() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let (_, block) = text.split_once("```edges\n").expect("ARCHITECTURE.md has a block fenced as `edges`");
    let (block, _) = block.split_once("```").expect("the block `edges` ends");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    let allowed: BTreeMap<String, BTreeSet<String>> = block
        .lines()
        .filter_map(|line| line.split_once("->"))
        .map(|(from, to)| (from.trim().to_owned(), words(to)))
        .collect();
    let nothing = BTreeSet::new();
    let mut wrong = Vec::new();
    for (from, to) in edges() {
        let allowed = allowed.get(&from).unwrap_or(&nothing);
        let surplus = to.difference(allowed);
        wrong.extend(
            surplus.map(|to| format!("{from} depends on {to}, which ARCHITECTURE.md does not allow")),
        );
    }
    none_of(wrong);
}

/// Which of our crates depends on which, for building and for tests, by the names of their folders.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output =
        Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo metadata runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let folder = |path: &serde_json::Value| {
        let path = PathBuf::from(path.as_str().unwrap_or_default());
        let folder = if path.ends_with("Cargo.toml") { path.parent() } else { Some(&*path) };
        folder.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned())
    };
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .filter_map(|package| {
            let dependencies = list(&package["dependencies"]);
            let ours = dependencies.iter().filter(|dependency| dependency["path"].is_string());
            Some((folder(&package["manifest_path"])?, ours.filter_map(|d| folder(&d["path"])).collect()))
        })
        .collect()
}

/// A function as far as the rules look at it.
struct Function {
    place: String,
    lines: usize,
    parameters: usize,
}

/// Every function of every Rust file. Formatted code is enough to find them: the closing brace stands alone, as far
/// from the margin as the line that began with `fn`.
fn functions() -> Vec<Function> {
    let mut found = Vec::new();
    for path in files().into_iter().filter(|path| path.ends_with(".rs")) {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = &line[..line.len() - line.trim_start().len()];
            let close = format!("{indent}}}");
            // A function on one line, or a declaration in a trait, ends where it begins.
            let one_line = line.ends_with('}') || line.ends_with(';');
            let length = lines[start..].iter().position(|line| *line == close).filter(|_| !one_line);
            found.push(Function {
                place: format!("{path}:{} {name}", start + 1),
                lines: length.map_or(1, |length| length + 1),
                parameters: parameters(&lines[start..].join(" ")),
            });
        }
    }
    found
}

/// The name that stands after `fn` where a line declares a function.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    let declares = before.split_whitespace().all(|word| words.contains(&word));
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    declares.then(|| &after[..end])
}

/// The number of parameters of the function that a text begins with.
fn parameters(text: &str) -> usize {
    let text = text.replace("->", "");
    // Past the generic parameters, which may hold parentheses of their own.
    let name_end = text.find(['(', '<']).unwrap_or(0);
    let mut depth = 0_usize;
    let open = text[name_end..].char_indices().find(|&(_, c)| {
        depth = if c == '<' { depth + 1 } else { depth - usize::from(c == '>') };
        c == '(' && depth == 0
    });
    let Some((open, _)) = open else { return 0 };
    let mut names = vec![String::new()];
    for c in text[name_end + open..].chars() {
        match c {
            '(' | '[' | '<' | '{' => depth += 1,
            ')' | ']' | '>' | '}' => depth -= 1,
            ',' if depth == 1 => names.push(String::new()),
            _ => names.last_mut().expect("there is always a last one").push(c),
        }
        if depth == 0 {
            break;
        }
    }
    let counts = |name: &&String| {
        let name = name.split(':').next().unwrap_or("").trim().trim_start_matches(['&', ' ']);
        !name.is_empty() && !name.ends_with("self")
    };
    names.iter().filter(counts).count()
}

#[test]
fn parameters_are_counted() {
    assert_eq!(parameters("fn new() -> Self {"), 0);
    assert_eq!(parameters("fn get(&self, at: usize) {"), 1);
    assert_eq!(parameters("fn map<F: Fn(u32, u32) -> u32>(mut self, f: F, (a, b): (u32, u32),) {"), 2);
    assert_eq!(parameters("fn add(a: HashMap<u32, [u8; 4]>, report: &mut dyn FnMut(u32, u32) -> u32) {"), 2);
}

fn none_of(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/cli lies below the root")
        .to_path_buf()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file that belongs to the project, as a path from the root.
fn files() -> Vec<String> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output =
        Command::new("git").args(arguments).current_dir(root()).output().expect("git lists the files");
    let listed = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let paths: Vec<String> =
        listed.lines().filter(|path| root().join(path).is_file()).map(str::to_owned).collect();
    assert!(!paths.is_empty(), "git lists no files: {}", String::from_utf8_lossy(&output.stderr));
    paths
}
