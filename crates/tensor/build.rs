//! Prepares the shaders for embedding: as they are natively, without comments and most blanks in a page, where every byte
//! is downloaded. Line breaks stay, so that a compiler's message names the line of the file.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("../../shaders");
    let out = PathBuf::from(env::var("OUT_DIR").expect("set by cargo"));
    let small = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32");
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(&folder).expect("the folder of shaders") {
        let path = entry.expect("an entry of the folder").path();
        let text = fs::read_to_string(&path).expect("a shader is text");
        let text = if small { text.lines().map(bare).collect() } else { text };
        fs::write(out.join(path.file_name().expect("a file")), text).expect("the folder for build output");
    }
}

/// A line without its comment and without the blanks that keep nothing apart. WGSL has no strings, so `//` always begins a
/// comment.
fn bare(line: &str) -> String {
    let mut bare = String::new();
    for word in line.split("//").next().unwrap_or("").split_whitespace() {
        // Two names would become one, and so might two operators.
        let kinds = [bare.chars().last(), word.chars().next()].map(|c| c.map(kind));
        if kinds[0] == kinds[1] && kinds[0] != Some(Kind::Bracket) {
            bare.push(' ');
        }
        bare.push_str(word);
    }
    bare + "\n"
}

#[derive(PartialEq)]
enum Kind {
    Name,
    Bracket,
    Operator,
}

fn kind(c: char) -> Kind {
    match c {
        '(' | ')' | '[' | ']' | '{' | '}' | ',' | ';' | ':' => Kind::Bracket,
        _ if c.is_alphanumeric() || c == '_' || c == '.' => Kind::Name,
        _ => Kind::Operator,
    }
}
