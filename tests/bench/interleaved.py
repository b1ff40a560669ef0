"""One training step of `nano`, here and in PyTorch, in turns, so that both meet the same load.

    cargo build --release --package cloche-models --example step
    python tests/bench/interleaved.py [--rounds 5] [--wasm]

Each round times our step natively (best and median of 50), then PyTorch's with two threads, and with `--wasm` our step in
Node on one thread (which needs `cargo xtask bench web` to have built the module once). The ratios are those of the best
and of the median over all rounds; a machine that is shared makes single figures worthless.
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

WASM = """
import { readFile } from "node:fs/promises";
const engine = await import("FOLDER/engine.js");
await engine.default({ module_or_path: await readFile(new URL("FOLDER/engine_bg.wasm")) });
console.log(await engine.benchStep("cpu", "nano", 30));
"""


def run(*command, **options):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, **options).stdout


def native():
    """(best, median) in ms."""
    text = run(ROOT / "target/release/examples/step", "nano")
    found = re.search(r"best ([\d.]+)(µs|ms|s), median ([\d.]+)(µs|ms|s)", text)
    best = float(found[1]) * MILLISECONDS[found[2]]
    median = float(found[3]) * MILLISECONDS[found[4]]
    return best, median


def torch():
    done = json.loads(run(sys.executable, "tests/bench/torch_twin.py", "--steps", "50", "--threads", "2").splitlines()[-1])
    return done["ms_per_step"]["best"], done["ms_per_step"]["median"]


def wasm():
    folder = (ROOT / "target/wasm-checks").as_uri()
    ms = float(run("node", "--input-type=module", input=WASM.replace("FOLDER", folder)))
    return ms, ms


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wasm", action="store_true", help="also in Node, on one thread")
    args = parser.parse_args()
    systems = {"native": native, "torch": torch} | ({"wasm": wasm} if args.wasm else {})
    times = {name: [] for name in systems}
    for _ in range(args.rounds):
        for name, measure in systems.items():
            times[name].append(measure())
            print(json.dumps({"system": name, "ms_best": times[name][-1][0], "ms_median": times[name][-1][1]}), flush=True)
    best = {name: min(b for b, _ in pairs) for name, pairs in times.items()}
    median = {name: statistics.median(m for _, m in pairs) for name, pairs in times.items()}
    for name in systems:
        ratios = (best[name] / best["torch"], median[name] / median["torch"])
        print(f"{name}: best {best[name]:.1f} ms, median {median[name]:.1f} ms; {ratios[0]:.2f}× and {ratios[1]:.2f}× of PyTorch's")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
