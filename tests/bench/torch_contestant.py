"""PyTorch as `cargo xtask bench` meets it: training steps from our weights on our batches, a product and a copy.

    pip install torch safetensors numpy
    python tests/bench/torch_contestant.py --threads 2 --export nano=FOLDER

It obeys the orders that are written at `crates/models/examples/contestant`. Folders are those that
`contestant export MODEL FOLDER` makes. Clipping and AdamW are PyTorch's own, fused; a step "by Adam" has neither clipping nor
decay.
"""

import argparse
import itertools
import json
import sys
import time

# Two kinds of steps, by the names that tables have for them.
STEP, ADAM_STEP = "training step of {}", "training step of {} by Adam"
PRODUCT, COPY = "product 512×512×512", "copy, 16 MiB"
SAMPLE_SECONDS = 0.005


def answer(**fields):
    print(json.dumps(fields), flush=True)


try:
    import torch
    from safetensors.torch import load_file

    import torch_twin
except ImportError as error:
    answer(failed=f"{error}: `pip install torch safetensors numpy` into the Python given by --python")
    sys.exit(0)


def samples(run, seconds):
    """Seconds of one run, each the mean of as many as take 5 ms."""
    found, runs, began = [], 1, time.perf_counter()
    while not found or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        for _ in range(runs):
            run()
        took = time.perf_counter() - start
        if took < SAMPLE_SECONDS:
            runs *= 2
        else:
            found.append(took / runs)
    return found


def training_step(folder, config, adam):
    """A function that makes the next step, and the losses of the first ones, one for each batch."""
    model = torch_twin.GPT(config)
    torch_twin.load_exported(model, f"{folder}/model.safetensors")
    optimizer = torch_twin.optimizer_of(model, weight_decay=0.0 if adam else torch_twin.WEIGHT_DECAY)
    stored = load_file(f"{folder}/batches.safetensors")
    batches = list(zip(stored["ids"].long(), stored["targets"].long()))
    turns = itertools.cycle(batches)

    def step():
        loss = model(*next(turns))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if not adam:
            torch.nn.utils.clip_grad_norm_(model.parameters(), torch_twin.MAX_GRAD_NORM)
        optimizer.step()
        return loss

    return step, [step().item() for _ in batches]


def open_case(name, exported):
    """What runs the case, and what is told of it."""
    if name == PRODUCT:
        a, b = torch.randn(512, 512), torch.randn(512, 512)
        c = torch.empty(512, 512)
        torch.mm(a, b, out=c)
        assert torch.allclose(c.double(), a.double() @ b.double(), atol=1e-3), "the product is wrong"
        return lambda: torch.mm(a, b, out=c), dict(limit="arithmetic", flops=2 * 512**3)
    if name == COPY:
        a, b = torch.randn(1 << 22), torch.empty(1 << 22)
        return lambda: b.copy_(a), dict(limit="memory", bytes=8 << 22)
    config = {"nano": torch_twin.NANO, "small": torch_twin.SMALL}
    model = next(model for model in exported if name in (STEP.format(model), ADAM_STEP.format(model)))
    step, losses = training_step(exported[model], config[model], adam=name == ADAM_STEP.format(model))
    return step, dict(limit="arithmetic", losses=losses)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--export", action="append", default=[], metavar="MODEL=FOLDER")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1337)
    exported = dict(pair.split("=", 1) for pair in args.export)
    steps = [kind.format(model) for model in exported for kind in (STEP, ADAM_STEP)]
    answer(ready=dict(adapter="", cases=[COPY, PRODUCT, *steps]))
    device = f"native, {args.threads} thread{'' if args.threads == 1 else 's'}"
    system = dict(name=f"PyTorch {torch.__version__.split('+')[0]}, {device}", device=device, ours=False)
    run = None
    for line in sys.stdin:
        order = json.loads(line)
        if "open" in order:
            run, told = open_case(order["open"], exported)
            answer(systems=[system | told])
        else:
            answer(seconds=samples(run, order["seconds"]))


if __name__ == "__main__":
    main()
