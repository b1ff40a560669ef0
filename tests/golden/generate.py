"""Writes the golden files: what PyTorch and transformers compute, for the Rust tests to equal.

    python tests/golden/generate.py [FOLDER]      (default: the folder of this program)

needs `torch transformers safetensors` (the files here: torch 2.15, transformers 5.23, CPU, one thread). It writes

    ops.safetensors         inputs, outputs and gradients of single ops, named CASE/NAME: `x` is an input, `y` the
                            output, `dy` the cotangent it is multiplied with, `dx` the gradient of sum(y * dy) by `x`
    gpt2/ llama/ llama-tied/
        config.json model.safetensors   a tiny model of random weights, as transformers saves it
        golden.safetensors              what it computes, see `model_golden`

All floats are f32, all ids I64. The weights are larger than in a real model, so that no gradient is lost in rounding.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

SEED = 1337
B, T, V = 2, 8, 37
IGNORE_INDEX = -100

# The optimizer of the ten steps, nanoGPT's but for the larger rate: matrices and embeddings decay, norms and biases do not.
ADAMW = dict(lr=1e-2, betas=(0.9, 0.99), eps=1e-8)
WEIGHT_DECAY, MAX_GRAD_NORM = 0.1, 1.0


# ---------------------------------------------------------------------------------------------------------- models


def models():
    """The three tiny models: biases and a tied head; grouped queries and an untied head; the same, tied."""
    no_dropout = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    ids = dict(bos_token_id=0, eos_token_id=0)
    gpt2 = GPT2Config(vocab_size=V, n_positions=T, n_embd=16, n_layer=2, n_head=2, **no_dropout, **ids)
    llama = dict(
        vocab_size=V,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=T,
        rms_norm_eps=1e-5,
        **ids,
    )
    yield "gpt2", GPT2LMHeadModel(gpt2)
    yield "llama", LlamaForCausalLM(LlamaConfig(**llama, tie_word_embeddings=False))
    yield "llama-tied", LlamaForCausalLM(LlamaConfig(**llama, tie_word_embeddings=True))


def randomise(model, generator):
    """Weights of visible size, and norms and biases that are not all one and zero, so that none can be forgotten."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            is_norm_weight = p.dim() == 1 and name.endswith("weight")
            p.copy_(1 + 0.1 * noise if is_norm_weight else 0.15 * noise)


def loss_of(model, ids, targets):
    """Logits, the loss of each token (0 where ignored), and their mean over tokens that count."""
    logits = model(ids).logits
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX, reduction="none")
    return logits, losses.view_as(targets), losses.sum() / (targets != IGNORE_INDEX).sum()


def model_golden(model, generator):
    """`ids`, `targets` (B, T); `logits` (B, T, V); `token_losses` (B, T); `loss` and `grad_norm` ();
    `grad/NAME` for each parameter; `adamw/losses` (10), each before its step; `adamw/grad_norms` (10), before clipping;
    `adamw/param/NAME` after the tenth step. Every step sees the same batch.

    One part has no meaning: adding a constant to all keys changes no attention weight, so the gradient of the key biases
    (the middle third of GPT-2's c_attn.bias) is zero but for rounding, and AdamW makes full steps of that noise."""
    ids = torch.randint(V, (B, T), generator=generator)
    targets = torch.randint(V, (B, T), generator=generator)
    targets[0, 3] = IGNORE_INDEX
    logits, losses, loss = loss_of(model, ids, targets)
    loss.backward()
    golden = dict(ids=ids, targets=targets, logits=logits, token_losses=losses, loss=loss)
    golden |= {f"grad/{name}": p.grad.clone() for name, p in model.named_parameters()}

    decay = [p for p in model.parameters() if p.dim() >= 2]
    no_decay = [p for p in model.parameters() if p.dim() < 2]
    groups = [dict(params=decay, weight_decay=WEIGHT_DECAY), dict(params=no_decay, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, **ADAMW)
    step_losses, norms = [], []
    for _ in range(10):
        optimizer.zero_grad()
        loss = loss_of(model, ids, targets)[2]
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM))
        optimizer.step()
        step_losses.append(loss)
    golden |= {"grad_norm": norms[0], "adamw/losses": torch.stack(step_losses), "adamw/grad_norms": torch.stack(norms)}
    golden |= {f"adamw/param/{name}": p for name, p in model.named_parameters()}
    return golden


# ------------------------------------------------------------------------------------------------------------- ops


class Ops:
    """Collects cases. `add` runs a function of tensors and differentiates it by those that are floats."""

    def __init__(self, generator):
        self.generator = generator
        self.tensors = {}

    def randn(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def ids(self, below, *shape):
        return torch.randint(below, shape, generator=self.generator)

    def add(self, case, function, **inputs):
        inputs = {k: v.clone().requires_grad_() if v.is_floating_point() else v for k, v in inputs.items()}
        y = function(*inputs.values())
        dy = torch.randn(y.shape, generator=self.generator)
        (y * dy).sum().backward()
        gradients = {f"d{k}": v.grad for k, v in inputs.items() if v.is_floating_point()}
        self.tensors |= {f"{case}/{k}": v for k, v in (inputs | gradients | dict(y=y, dy=dy)).items()}


def rope(x):
    """Hugging Face's convention: the two halves of a head, not neighbours, are the pairs that rotate. (B, H, T, D)"""
    half = x.shape[-1] // 2
    frequency = 10000.0 ** (-torch.arange(half) / half)
    angle = torch.arange(x.shape[2])[:, None] * frequency.repeat(2)
    return apply_rotary_pos_emb(x, x, angle.cos()[None], angle.sin()[None])[0]


def attention(q, k, v):
    """Causal; two query heads share a key/value head. q (B, H, T, D), k and v (B, G, T, D)"""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def ops(generator):
    o = Ops(generator)
    x = 2 * o.randn(5, 7)
    o.add("gelu", F.gelu, x=x)
    o.add("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), x=x)
    o.add("silu", F.silu, x=x)
    o.add("sigmoid", torch.sigmoid, x=x)
    o.add("tanh", torch.tanh, x=x)
    o.add("softmax", lambda x: x.softmax(-1), x=3 * o.randn(5, 33))
    o.add("log_softmax", lambda x: x.log_softmax(-1), x=3 * o.randn(5, 33))

    x, w, b = 2 * o.randn(3, 5, 24) + 0.5, 1 + 0.2 * o.randn(24), o.randn(24)
    o.add("layer_norm", lambda x, w, b: F.layer_norm(x, (24,), w, b, 1e-5), x=x, w=w, b=b)
    o.add("layer_norm_no_bias", lambda x, w: F.layer_norm(x, (24,), w, None, 1e-5), x=x, w=w)
    o.add("rms_norm", lambda x, w: F.rms_norm(x, (24,), w, 1e-5), x=x, w=w)

    o.add("rope", rope, x=o.randn(2, 3, 9, 8))
    o.add("attention", attention, q=o.randn(2, 4, 9, 8), k=o.randn(2, 4, 9, 8), v=o.randn(2, 4, 9, 8))
    o.add("attention_gqa", attention, q=o.randn(2, 4, 9, 8), k=o.randn(2, 2, 9, 8), v=o.randn(2, 2, 9, 8))

    targets = o.ids(33, 11)
    targets[[2, 7]] = IGNORE_INDEX
    for reduction in ("none", "mean"):
        function = lambda logits, targets: F.cross_entropy(logits, targets, ignore_index=IGNORE_INDEX, reduction=reduction)
        o.add(f"cross_entropy_{reduction}", function, logits=3 * o.randn(11, 33), targets=targets)
    o.add("embedding", lambda ids, w: F.embedding(ids, w), ids=o.ids(11, 3, 8), w=o.randn(11, 6))

    o.add("matmul", torch.matmul, x=o.randn(5, 19), w=o.randn(19, 11))
    o.add("matmul_nt", lambda x, w: x @ w.mT, x=o.randn(5, 19), w=o.randn(11, 19))
    o.add("matmul_tn", lambda x, w: x.mT @ w, x=o.randn(19, 5), w=o.randn(19, 11))
    o.add("matmul_batched", torch.matmul, x=o.randn(2, 3, 5, 7), w=o.randn(2, 3, 7, 4))
    o.add("matmul_broadcast", torch.matmul, x=o.randn(2, 3, 5, 7), w=o.randn(7, 4))
    o.add("linear_gelu", lambda x, w, b: F.gelu(x @ w + b), x=o.randn(6, 10), w=o.randn(10, 8), b=o.randn(8))
    return o.tensors | adamw(o)


def adamw(o):
    """`adamw/p0` and gradients `adamw/g1 … g3`; the parameter after each step `adamw/p1 … p3`, and the last moments."""
    p = torch.nn.Parameter(o.randn(6, 5))
    optimizer = torch.optim.AdamW([p], weight_decay=WEIGHT_DECAY, **ADAMW)
    tensors = {"adamw/p0": p.detach().clone()}
    for step in (1, 2, 3):
        p.grad = o.randn(6, 5) * 10.0 ** (1 - step)
        optimizer.step()
        tensors |= {f"adamw/g{step}": p.grad.clone(), f"adamw/p{step}": p.detach().clone()}
    return tensors | {"adamw/m": optimizer.state[p]["exp_avg"], "adamw/v": optimizer.state[p]["exp_avg_sq"]}


# ------------------------------------------------------------------------------------------------------------ main


def save(tensors, path):
    save_file({name: t.detach().clone().contiguous() for name, t in tensors.items()}, path, metadata={"format": "pt"})


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(SEED)
    save(ops(generator), folder / "ops.safetensors")
    for name, model in models():
        randomise(model, generator)
        model.eval().save_pretrained(folder / name)
        (folder / name / "generation_config.json").unlink()
        save(model_golden(model, generator), folder / name / "golden.safetensors")


if __name__ == "__main__":
    main()
