"""The preset `nano` in PyTorch, to hold Cloche's speed and learning against: nanoGPT's GPT on the CPU.

    python tests/bench/torch_twin.py --steps 100                                  times steps on random ids
    python tests/bench/torch_twin.py --data FILE --steps 2000 --seed 1337         trains on a text
    python tests/bench/torch_twin.py --init model.safetensors --batches FILE      repeats a run of ours

A step is what nanoGPT's is: forward, cross-entropy, backward, clipping, fused AdamW. Output is JSON lines in the shape of
`cloche train --json`; the last is {"event":"done", …} with the milliseconds of a step, best and median.

`--init` takes weights as we export them, `--batches` a safetensors file with `ids` and `targets` of shape
(steps, B, T): from the same weights on the same batches, the losses must be ours.
"""

import argparse
import dataclasses
import json
import math
import statistics
import time
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

LR, MIN_LR, WARMUP_STEPS, BETAS, WEIGHT_DECAY, MAX_GRAD_NORM = 1e-3, 1e-4, 100, (0.9, 0.99), 0.1, 1.0


@dataclass(frozen=True)
class Config:
    """A model and the batch it is trained with, as in `crates/models/src/bench.rs`."""

    n_layer: int
    n_head: int
    d_model: int
    context_len: int
    batch_size: int
    vocab_size: int


NANO = Config(n_layer=4, n_head=4, d_model=128, context_len=64, batch_size=12, vocab_size=65)
SMALL = Config(n_layer=6, n_head=6, d_model=192, context_len=128, batch_size=8, vocab_size=512)
GPT2 = Config(n_layer=12, n_head=12, d_model=768, context_len=1024, batch_size=4, vocab_size=50_257)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); no biases, no dropout. (B, T, C) → (B, T, C)"""

    def __init__(self, config):
        super().__init__()
        c = config.d_model
        self.n_head = config.n_head
        self.ln_1 = nn.LayerNorm(c, bias=False)
        self.c_attn = nn.Linear(c, 3 * c, bias=False)
        self.attn_proj = nn.Linear(c, c, bias=False)
        self.ln_2 = nn.LayerNorm(c, bias=False)
        self.c_fc = nn.Linear(c, 4 * c, bias=False)
        self.mlp_proj = nn.Linear(4 * c, c, bias=False)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).split(C, dim=2)
        q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in (q, k, v))  # (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(y.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x))))


class GPT(nn.Module):
    """Ids (B, T) and targets (B, T) → mean loss ()."""

    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.d_model)
        self.wpe = nn.Embedding(config.context_len, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model, bias=False)
        for name, p in self.named_parameters():
            if p.dim() >= 2:
                # Radford et al. (2019): each of the 2L sums into the residual stream is scaled so that the sum is not.
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * config.n_layer) if name.endswith("_proj.weight") else 0.02)

    def forward(self, ids, targets):
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = self.ln_f(x) @ self.wte.weight.T  # (B, T, V)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def load_exported(model, path):
    """Weights under Hugging Face's names; their matrices are (in, out), and their biases zero."""
    from safetensors.torch import load_file

    stored = {name.removeprefix("transformer."): tensor for name, tensor in load_file(path).items()}
    renamed = {"attn_proj": "attn.c_proj", "mlp_proj": "mlp.c_proj", "c_attn": "attn.c_attn", "c_fc": "mlp.c_fc"}
    with torch.no_grad():
        for name, p in model.named_parameters():
            parts = name.replace("blocks.", "h.").split(".")
            theirs = stored[".".join(renamed.get(part, part) for part in parts)]
            p.copy_(theirs.T if parts[-2] in renamed else theirs)


def optimizer_of(model, weight_decay=WEIGHT_DECAY):
    """AdamW that lets matrices and embeddings decay, and leaves norms alone."""
    decay = [p for p in model.parameters() if p.dim() >= 2]
    no_decay = [p for p in model.parameters() if p.dim() < 2]
    groups = [dict(params=decay, weight_decay=weight_decay), dict(params=no_decay, weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=1e-8, fused=True)


def lr_at(step, steps):
    """nanoGPT's schedule: linear from LR / (warm-up + 1), then a cosine down to MIN_LR at the last step."""
    if step < WARMUP_STEPS:
        return LR * (step + 1) / (WARMUP_STEPS + 1)
    share = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return MIN_LR + 0.5 * (1 + math.cos(math.pi * share)) * (LR - MIN_LR)


class Text:
    """A text as ids of its characters: the first nine tenths to train on, the rest held out."""

    def __init__(self, path):
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        chars = sorted(set(text))
        id_of = {c: i for i, c in enumerate(chars)}
        ids = torch.tensor([id_of[c] for c in text])
        self.vocab_size = len(chars)
        self.train, self.val = ids[: int(0.9 * len(ids))], ids[int(0.9 * len(ids)) :]

    @staticmethod
    def sample(ids, batch_size=NANO.batch_size):
        """Rows that begin anywhere: ids and targets (B, T)."""
        starts = torch.randint(len(ids) - NANO.context_len, (batch_size,))
        rows = torch.stack([ids[i : i + NANO.context_len + 1] for i in starts])
        return rows[:, :-1], rows[:, 1:]

    @staticmethod
    @torch.no_grad()
    def loss(model, ids):
        """The mean over the whole split, in consecutive rows of the context's length."""
        t = NANO.context_len
        n = (len(ids) - 1) // t * t
        rows, targets = ids[:n].view(-1, t), ids[1 : n + 1].view(-1, t)
        batches = zip(rows.split(128), targets.split(128))
        return sum(model(x, y).item() * len(x) for x, y in batches) / len(rows)


def emit(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--data", metavar="FILE", help="a text; without it, random ids")
    parser.add_argument("--init", metavar="FILE", help="weights to begin with (safetensors)")
    parser.add_argument("--batches", metavar="FILE", help="ids and targets (steps, B, T) (safetensors)")
    parser.add_argument("--lr-steps", type=int, help="the length of the cosine, where it is not --steps")
    parser.add_argument("--eval-every", type=int, default=250)
    parser.add_argument("--log-every", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    text = Text(args.data) if args.data else None
    batches = None
    if args.batches:
        from safetensors.torch import load_file

        batches = load_file(args.batches)
        args.steps = min(args.steps, len(batches["ids"]))
    model = GPT(dataclasses.replace(NANO, vocab_size=text.vocab_size) if text else NANO)
    if args.init:
        load_exported(model, args.init)
    optimizer = optimizer_of(model)

    times, fixed = [], torch.randint(NANO.vocab_size, (NANO.batch_size, NANO.context_len + 1))
    for step in range(args.steps):
        if text and step % args.eval_every == 0:
            emit("eval", step=step, val_loss=Text.loss(model, text.val))
        if batches:
            x, y = batches["ids"][step].long(), batches["targets"][step].long()
        else:
            x, y = Text.sample(text.train) if text else (fixed[:, :-1], fixed[:, 1:])
        start = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, args.lr_steps or args.steps)
        loss = model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        times.append(1e3 * (time.perf_counter() - start))
        if (text or batches) and step % args.log_every == 0:
            emit("step", step=step, loss=loss.item(), lr=optimizer.param_groups[0]["lr"], grad_norm=norm.item())
    if text:
        emit("eval", step=args.steps, train_loss=Text.loss(model, text.train), val_loss=Text.loss(model, text.val))
    timed = times[5:] or times  # the first steps also allocate
    best, median = min(timed), statistics.median(timed)
    emit("done", steps=args.steps, threads=args.threads, ms_per_step={"best": best, "median": median})


if __name__ == "__main__":
    main()
