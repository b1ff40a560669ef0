"""PyTorch as `cargo xtask bench` meets it: training steps from our weights on our batches, a product and a copy.

    pip install torch safetensors numpy
    python tests/bench/torch_contestant.py --threads 2 --export nano=FOLDER

It obeys the orders that are written at `crates/models/examples/contestant`. Folders are those that
`contestant export MODEL FOLDER` makes. With `--device cuda` it has the cases of graphics cards. Clipping and AdamW are PyTorch's own, fused; a step "by Adam" has neither clipping nor
decay.
"""

import argparse
import itertools
import json
import sys
import time

# Two kinds of steps, by the names that tables have for them.
STEP, ADAM_STEP = "training step of {}", "training step of {} by Adam"
# By name: the extent of the matrices, and the numbers that are copied.
PRODUCTS = {"cpu": ("product 512×512×512", 512), "cuda": ("product 4096×4096×4096", 4096)}
COPIES = {"cpu": ("copy, 16 MiB", 1 << 22), "cuda": ("copy, 256 MiB", 1 << 26)}
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


def wait(device):
    """Until the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def samples(run, seconds, device):
    """Seconds of one run, each the mean of as many as take 5 ms."""
    found, runs, began = [], 1, time.perf_counter()
    while not found or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        for _ in range(runs):
            run()
        wait(device)
        took = time.perf_counter() - start
        if took < SAMPLE_SECONDS:
            runs *= 2
        else:
            found.append(took / runs)
    return found


def training_step(folder, config, adam, device):
    """A function that makes the next step, and the losses of the first ones, one for each batch."""
    model = torch_twin.GPT(config).to(device)
    torch_twin.load_exported(model, f"{folder}/model.safetensors")
    optimizer = torch_twin.optimizer_of(model, weight_decay=0.0 if adam else torch_twin.WEIGHT_DECAY)
    stored = load_file(f"{folder}/batches.safetensors")
    batches = list(zip(stored["ids"].long().to(device), stored["targets"].long().to(device)))
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


def open_case(name, exported, device):
    """What runs the case, and what is told of it."""
    (product, n), (copy, numbers) = PRODUCTS[device], COPIES[device]
    if name == product:
        a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
        c = torch.empty(n, n, device=device)
        torch.mm(a, b, out=c)
        assert torch.allclose(c.double(), a.double() @ b.double(), atol=1e-2), "the product is wrong"
        return lambda: torch.mm(a, b, out=c), dict(limit="arithmetic", flops=2 * n**3)
    if name == copy:
        a, b = torch.randn(numbers, device=device), torch.empty(numbers, device=device)
        return lambda: b.copy_(a), dict(limit="memory", bytes=8 * numbers)
    config = {"nano": torch_twin.NANO, "small": torch_twin.SMALL, "gpt2": torch_twin.GPT2}
    model = next(model for model in exported if name in (STEP.format(model), ADAM_STEP.format(model)))
    step, losses = training_step(exported[model], config[model], name == ADAM_STEP.format(model), device)
    return step, dict(limit="arithmetic", losses=losses)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=PRODUCTS, default="cpu")
    parser.add_argument("--export", action="append", default=[], metavar="MODEL=FOLDER")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1337)
    exported = dict(pair.split("=", 1) for pair in args.export)
    steps = [kind.format(model) for model in exported for kind in (STEP, ADAM_STEP)]
    if args.device == "cuda" and not torch.cuda.is_available():
        answer(failed="this PyTorch finds no CUDA device")
        return
    answer(ready=dict(adapter="", cases=[COPIES[args.device][0], PRODUCTS[args.device][0], *steps]))
    device = f"native, {args.threads} thread{'' if args.threads == 1 else 's'}"
    if args.device == "cuda":
        device = torch.cuda.get_device_name()
    system = dict(name=f"PyTorch {torch.__version__.split('+')[0]}, {device}", device=device, ours=False)
    run = None
    for line in sys.stdin:
        order = json.loads(line)
        if "open" in order:
            run, told = open_case(order["open"], exported, args.device)
            answer(systems=[system | told])
        else:
            answer(seconds=samples(run, order["seconds"], args.device))


if __name__ == "__main__":
    main()
