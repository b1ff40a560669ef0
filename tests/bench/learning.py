"""What reinforcement learning from checked rewards reaches, over several seeds.

    cargo build --release && python tests/bench/learning.py --tasks addition reverse game24 --seeds 1 2 3

A model that knows nothing is shown demonstrations until it answers a few of the held-out questions (`enough`, a share of
`exam` questions, asked every so many steps), or for `shown` steps, so that there is something to reward; then GRPO goes on
from there without another demonstration. Both models are asked the same held-out questions: one answer of the likeliest
tokens (greedy), and one drawn at temperature 1. Needs nothing but Python 3.
"""

import argparse
import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The difficulty and how many examples there are; when and how demonstrations end; then GRPO's questions a step, and its runs,
# one after the other. Each stays near the model that it begins with where it has a `beta`: without one, sums that are seldom
# asked (those of short numbers) are forgotten for those that are asked often, before they are ever learnt, and words that are
# reversed wrongly may come to be reversed always in the same wrong way.
TASKS = {
    "addition": dict(difficulty=2, examples=10_000, shown=2000, exam=(200, 5), enough=0.25, warmup_lr=3e-3, questions=64, runs=[
        {"steps": 600, "lr": 1e-3, "beta": 0.15}, {"steps": 1600, "lr": 1e-3, "min-lr": 3e-4, "beta": 0.05}]),
    "reverse": dict(difficulty=2, examples=10_000, shown=2000, exam=(500, 1), enough=0.22, warmup_lr=3e-3, questions=32, runs=[
        {"steps": 700, "lr": 1.5e-3, "beta": 0.1}]),
    "game24": dict(difficulty=2, examples=30_000, shown=300, exam=(200, 5), enough=1, warmup_lr=2e-3, questions=64, runs=[
        {"steps": 400, "lr": 5e-4}]),
}


def events(arguments, enough=None):
    """Runs the command; yields its events, and stops it once the exam is passed well enough."""
    process = subprocess.Popen([ROOT / "target/release/cloche", *map(str, arguments), "--device", "cpu", "--json"],
                               stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        event = json.loads(line)
        if enough is not None and event.get("event") == "eval" and event["exam_correct"] >= enough:
            process.send_signal(signal.SIGINT)
            enough = None
        yield event
    if process.wait() != 0:
        raise SystemExit(f"cloche {arguments[0]} failed")


def ask(model, task, difficulty, *more):
    """The share of 500 held-out questions that are answered right."""
    question = ["--model", model, "--task", task, "--difficulty", difficulty, "--n", 500, *more]
    *_, scores = events(["evaluate", *question])
    return scores["pass@1"]


def learn(task, seed, folder):
    """Demonstrations, then rewards: what the model answers before and after, and how long it took."""
    about = TASKS[task]
    data = ["--data", f"task:{task}:{about['difficulty']}", "--examples", about["examples"], "--seed", seed]
    shown = folder / f"{task}-{seed}-shown"
    began = time.time()
    rate, (exam, every) = about["warmup_lr"], about["exam"]
    warmup = ["sft", "--init", "tiny", *data, "--steps", about["shown"], "--batch-size", 64, "--lr", rate, "--min-lr", rate,
              "--eval-every", every, "--exam", exam, "--out", shown]
    steps = [event["step"] for event in events(warmup, about["enough"]) if event["event"] == "step"]
    before = [ask(shown, task, about["difficulty"]), ask(shown, task, about["difficulty"], "--samples", 1)]
    rewarded = shown
    for number, run in enumerate(about["runs"], 1):
        start, rewarded = rewarded, folder / f"{task}-{seed}-rewarded-{number}"
        rewards = ["grpo", "--model", start, *data, "--batch-size", about["questions"], "--group", 16, "--micro-batch", 512,
                   "--epochs", 2, "--eval-every", 0, "--out", rewarded]
        for _ in events([*rewards, *(x for name, value in run.items() for x in (f"--{name}", value))]):
            pass
    after = [ask(rewarded, task, about["difficulty"]), ask(rewarded, task, about["difficulty"], "--samples", 1)]
    return len(steps), before, after, time.time() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    options = parser.parse_args()
    print("task        seed  demonstrations  greedy before → after  drawn before → after  seconds")
    with tempfile.TemporaryDirectory() as folder:
        for task in options.tasks:
            for seed in options.seeds:
                steps, before, after, seconds = learn(task, seed, Path(folder))
                print(f"{task:<10} {seed:>5} {64 * steps:>15}    {before[0]:.3f} → {after[0]:.3f}"
                      f"         {before[1]:.3f} → {after[1]:.3f}    {seconds:>7.0f}", flush=True)


if __name__ == "__main__":
    main()
