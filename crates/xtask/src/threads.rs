//! What lets threads work in an engine's memory, where a page may have some: the functions of `team.wat`, and the few places
//! in which what wasm-bindgen writes takes for granted that memory is not shared.

use crate::gemm::embed;
use crate::shell::{command, root, run};
use anyhow::{Result, bail};
use std::fs;
use std::path::Path;

const SOURCE: &str = "crates/wasm/src/threads";

/// Puts `threads.js` into a folder, and the functions as a string that it imports.
pub(crate) fn build(folder: &str) -> Result<()> {
    let (text, binary) = (format!("{SOURCE}/team.wat"), "target/team.wasm");
    let assemble = ["node_modules/binaryen/bin/wasm-as", &text, "-o", binary, "--enable-threads"];
    run(&mut command("node", &assemble))?;
    let out = root().join(folder);
    embed(binary, &out.join("team_wasm.js"))?;
    fs::copy(root().join(SOURCE).join("threads.js"), out.join("threads.js"))?;
    Ok(())
}

/// What is replaced, what by, and how often at least. Where memory grows, a view of it goes on seeing what was there before
/// when it is shared, and ends when it is not; no decoder reads shared memory, and not every graphics device does. `opening`
/// may bring a module and its memory.
const CHANGES: [(&str, &str, usize); 6] = [
    (".byteLength === 0", ".buffer !== wasm.memory.buffer", 2),
    ("cachedTextDecoder.decode(bytes)", "cachedTextDecoder.decode(bytes.slice())", 1),
    (
        "writeBuffer(arg1, arg2, getArrayU8FromWasm0(arg3, arg4),",
        "writeBuffer(arg1, arg2, unshared(getArrayU8FromWasm0(arg3, arg4)),",
        1,
    ),
    (
        "async function __wbg_init_once(module_or_path, memory)",
        "const unshared = (view) => view.buffer instanceof ArrayBuffer ? view : view.slice();\n\n\
         async function __wbg_init_once(module_or_path, memory, opening)",
        1,
    ),
    (
        "({module_or_path, memory} = module_or_path)",
        "({module_or_path, memory, opening} = module_or_path)",
        1,
    ),
    (
        ", import.meta.url);\n    }\n",
        ", import.meta.url);\n    }\n    if (opening) ({module_or_path, memory} = await opening(module_or_path));\n",
        1,
    ),
];

/// Makes the face of a module fit for memory of either kind.
///
/// # Errors
/// Where wasm-bindgen writes something else than it did.
pub(crate) fn adapt(face: &Path) -> Result<()> {
    let mut text = fs::read_to_string(face)?;
    for (from, to, least) in CHANGES {
        let found = text.matches(from).count();
        if found < least {
            bail!("{}: found `{from}` {found} times, expected {least} at least", face.display());
        }
        text = text.replace(from, to);
    }
    Ok(fs::write(face, text)?)
}
