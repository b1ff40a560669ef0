"""One training step of `nano`, here and in PyTorch, in turns, so that both meet the same load.

    cargo build --release --package cloche-models --example step     for `native`
    cargo xtask wasm                                                 for `wasm`
    python tests/bench/interleaved.py [--ours native wasm] [--threads 2] [--node PATH] [--rounds 5]

Each round times 50 of our steps, natively on all threads or by the package's module in Node on one, and then 50 of
PyTorch's with as many threads as it is given. The ratios are those of the best and of the median over all rounds; a
machine that is shared makes single figures worthless.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MILLISECONDS = {"µs": 1e-3, "ms": 1.0, "s": 1e3}

# On the CPU each step is an event, and nothing happens between two calls of `next`.
WASM = """
import { readFile } from "node:fs/promises";
const engine = await import("FOLDER/engine.js");
const { fuse } = await import("FOLDER/gemm.js");
const { memory } = await engine.default({ module_or_path: await readFile(new URL("FOLDER/engine_bg.wasm")) });
await fuse(engine, memory);
const ids = Uint32Array.from({ length: 100_000 }, (_, i) => (i * i) % 65);
const named = { preset: "nano", vocab_size: 65, data_name: "squares", tokenizer: "char" };
const settings = { ...named, steps: 50, eval_every: 0, eval_batches: 1 };
const run = (await engine.Engine.open("cpu")).startPretrain(settings, ids, ids);
for (;;) {
  const began = performance.now();
  const event = await run.next();
  if (!event) break;
  if (event.event === "step") console.log(performance.now() - began);
}
"""


def run(*command, **options):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, **options).stdout


def native(_):
    """(best, median) in ms."""
    text = run(ROOT / "target/release/examples/step", "nano")
    found = re.search(r"best ([\d.]+)(µs|ms|s), median ([\d.]+)(µs|ms|s)", text)
    best = float(found[1]) * MILLISECONDS[found[2]]
    median = float(found[3]) * MILLISECONDS[found[4]]
    return best, median


def torch(args):
    twin = ["tests/bench/torch_twin.py", "--steps", "50", "--threads", str(args.threads)]
    done = json.loads(run(sys.executable, *twin).splitlines()[-1])
    return done["ms_per_step"]["best"], done["ms_per_step"]["median"]


def wasm(args):
    folder = (ROOT / "pkg/dist/wasm").as_uri()
    times = [float(line) for line in run(args.node, "--input-type=module", input=WASM.replace("FOLDER", folder)).split()]
    return min(times), statistics.median(times)


OURS = {"native": native, "wasm": wasm}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", nargs="+", choices=OURS, default=["native"], help="what is held against PyTorch")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch's threads")
    parser.add_argument("--node", default="node", help="runs the module; from version 22 on with fused multiply-add")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    systems = {name: OURS[name] for name in args.ours} | {"torch": torch}
    times = {name: [] for name in systems}
    for _ in range(args.rounds):
        for name, measure in systems.items():
            best, median = measure(args)
            times[name].append((best, median))
            load = round(os.getloadavg()[0], 1)
            print(json.dumps({"system": name, "ms_best": best, "ms_median": median, "load": load}), flush=True)
    best = {name: min(b for b, _ in pairs) for name, pairs in times.items()}
    median = {name: statistics.median(m for _, m in pairs) for name, pairs in times.items()}
    for name in systems:
        ratios = (best[name] / best["torch"], median[name] / median["torch"])
        print(f"{name}: best {best[name]:.1f} ms, median {median[name]:.1f} ms; {ratios[0]:.2f}× and {ratios[1]:.2f}× of PyTorch's")


if __name__ == "__main__":
    main()
