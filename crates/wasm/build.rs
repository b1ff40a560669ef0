//! How the module is linked for what other modules do to it: functions of theirs in its table (`src/gemm.rs`), and threads
//! in its memory, for which the memory is the page's and the stack of an instance can be moved (`src/threads`).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        let memory = ["--import-memory", "--max-memory=4294967296", "--export=__stack_pointer"];
        for argument in ["--growable-table"].iter().chain(&memory) {
            println!("cargo::rustc-link-arg-cdylib={argument}");
        }
    }
}
