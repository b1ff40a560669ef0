"""Writes losses.safetensors: losses of post-training and their gradients, for crates/nn/tests/losses.rs to equal.

    python tests/golden/generate_losses.py [FOLDER]      (default: the folder of this program)

needs `torch safetensors` (the file here: torch 2.15, CPU). The formulas are written out as the papers give them, on f32
inputs, in f64, and rounded to f32 at the end. Names in the file:

    inputs/NAME     what the losses are computed of; ids are I64, all else f32
    CASE/loss       one number, which is differentiated
    CASE/NAME       what else the case computes
    CASE/d_NAME     the gradient of the loss by the input of that name

A target of -100 does not count, and where one stands, per-token inputs hold numbers that must not matter. What TRL has too
is compared with it by check_losses.py.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

SEED = 1337
B, T, V = 4, 6, 13
IGNORE_INDEX = -100
# Prompt, answer and padding of each row: where the answer starts and ends.
ANSWERS = [(2, 6), (1, 3), (3, 6), (2, 5)]
PAIRS = 7
RANKED = [4, 2, 3]  # how many answers each prompt has

BETA, SMOOTHING, CENTRING = 0.3, 0.1, 0.01
EPSILON, LOW, HIGH, VALUE_EPSILON = 0.2, 0.2, 0.28, 0.2
VALUE_SHARE, PRETRAINING_SHARE, KL_SHARE = 0.1, 0.5, 0.04
TEMPERATURE, SOFT_SHARE = 2.0, 0.7


# ---------------------------------------------------------------------------------------------------------- inputs


def make_inputs():
    g = torch.Generator().manual_seed(SEED)
    randn = lambda *shape: torch.randn(shape, generator=g)
    targets = torch.randint(V, (B, T), generator=g)
    for row, (start, end) in zip(targets, ANSWERS):
        row[:start] = IGNORE_INDEX
        row[end:] = IGNORE_INDEX
    logits = 2 * randn(B, T, V)
    now = log_probs(logits, targets)
    outside = torch.where(targets == IGNORE_INDEX, 9.0, 0.0)  # what must not matter
    values = randn(B, T)
    return dict(
        targets=targets,
        logits=logits,
        teacher=2 * randn(B, T, V),
        mix_logits=2 * randn(B, T, V),
        mix_targets=torch.randint(V, (B, T), generator=g),
        old_log_probs=now + 0.3 * randn(B, T) + outside,
        reference_log_probs=now + 0.3 * randn(B, T) + outside,
        advantages=randn(B, T) + outside,
        answer_advantages=randn(B, 1),
        values=values,
        old_values=values + 0.3 * randn(B, T) + outside,
        returns=values + randn(B, T) + outside,
        chosen=randn(PAIRS),
        rejected=randn(PAIRS),
        margins=randn(PAIRS).abs(),
        rewards=randn(sum(RANKED)),
        chosen_log_probs=-20 + 4 * randn(PAIRS),
        rejected_log_probs=-20 + 4 * randn(PAIRS),
        reference_chosen=-20 + 4 * randn(PAIRS),
        reference_rejected=-20 + 4 * randn(PAIRS),
        x=torch.tensor([-1000.0, -90.0, -20.0, -3.0, -1e-3, 0.0, 1e-3, 3.0, 20.0, 90.0, 1000.0]),
    )


# ---------------------------------------------------------------------------------------------------------- tokens


def log_probs(logits, targets):
    """(B, T, V), (B, T) -> (B, T), 0 where a target does not count"""
    picked = logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return torch.where(targets == IGNORE_INDEX, 0.0, picked)


def marks_of(targets):
    return (targets != IGNORE_INDEX).double()


def over_tokens(x, marks):
    """The mean of the marked numbers."""
    return torch.where(marks == 1, x, 0.0).sum() / marks.sum()


def tokens(i):
    marks, now = marks_of(i.targets), log_probs(i.logits, i.targets)
    p = i.logits.softmax(-1)
    answers = now.sum(1)
    return dict(
        loss=-over_tokens(now, marks),
        log_probs=now,
        answers=answers,
        mean_answers=answers / marks.sum(1),
        hits=(i.logits.argmax(-1) == i.targets).double(),
        entropy=marks * -(p * p.log()).sum(-1),
    )


def entropy(i):
    return dict(loss=over_tokens(tokens(i)["entropy"], marks_of(i.targets)))


def answers(i):
    """Sums and means of log-probabilities, weighed by numbers at hand."""
    found = tokens(i)
    return dict(loss=(found["answers"] * i.chosen[:B] + found["mean_answers"] * i.rejected[:B]).sum())


def log_sigmoid(i):
    y = F.logsigmoid(i.x)
    return dict(loss=y.sum(), y=y)


# ------------------------------------------------------------------------------------------------------ preference


def bradley_terry(i):
    losses = -F.logsigmoid(i.chosen - i.rejected)
    return dict(loss=losses.mean(), losses=losses)


def bradley_terry_margin(i):
    losses = -F.logsigmoid(i.chosen - i.rejected - i.margins)
    return dict(loss=losses.mean(), losses=losses)


def bradley_terry_centred(i):
    return dict(loss=bradley_terry(i)["loss"] + CENTRING * ((i.chosen + i.rejected) ** 2).mean())


def ranked(i):
    """InstructGPT, equation 1: the mean over the pairs of a prompt, and over prompts."""
    prompts = []
    for answers in i.rewards.split(RANKED):
        pairs = [-F.logsigmoid(better - worse) for n, better in enumerate(answers) for worse in answers[n + 1 :]]
        prompts.append(torch.stack(pairs).mean())
    return dict(loss=torch.stack(prompts).mean())


def dpo(loss_of_log_ratios):
    def case(i):
        chosen = i.chosen_log_probs - i.reference_chosen
        rejected = i.rejected_log_probs - i.reference_rejected
        losses = loss_of_log_ratios(chosen - rejected)
        return dict(
            loss=losses.mean(),
            losses=losses,
            chosen_rewards=BETA * chosen,
            rejected_rewards=BETA * rejected,
            margins=BETA * (chosen - rejected),
            hits=(chosen > rejected).double(),
        )

    return case


def sigmoid(h):
    return -F.logsigmoid(BETA * h)


def smoothed(h):
    return -(1 - SMOOTHING) * F.logsigmoid(BETA * h) - SMOOTHING * F.logsigmoid(-BETA * h)


def ipo(h):
    return (h - 1 / (2 * BETA)) ** 2


def hinge(h):
    return torch.relu(1 - BETA * h)


# ---------------------------------------------------------------------------------------------------------- policy


def surrogate(i, advantages, low, high):
    """Per token: the clipped loss, where it is clipped, Schulman's third estimate of KL(old || new)."""
    marks, now = marks_of(i.targets), log_probs(i.logits, i.targets)
    ratio = torch.exp(now - i.old_log_probs)
    free, held = ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages
    kl = ratio - 1 - (now - i.old_log_probs)
    return dict(losses=marks * -torch.minimum(free, held), clipped=marks * (held < free), kl=marks * kl)


def ppo(i):
    found = surrogate(i, i.advantages, EPSILON, EPSILON)
    return dict(loss=over_tokens(found["losses"], marks_of(i.targets)), **found)


def value(i):
    marks = marks_of(i.targets)
    held = torch.maximum(torch.minimum(i.values, i.old_values + VALUE_EPSILON), i.old_values - VALUE_EPSILON)
    free, held = (i.values - i.returns) ** 2, (held - i.returns) ** 2
    losses = marks * 0.5 * torch.maximum(free, held)
    return dict(loss=over_tokens(losses, marks), losses=losses, clipped=marks * (held > free))


def ppo_ptx(i):
    """InstructGPT, equation 2, with the value model's loss beside it."""
    pretraining = -log_probs(i.mix_logits, i.mix_targets).mean()
    return dict(loss=ppo(i)["loss"] + VALUE_SHARE * value(i)["loss"] + PRETRAINING_SHARE * pretraining)


def grpo(i):
    """One advantage for each answer; the k3 divergence from the reference within the loss."""
    marks = marks_of(i.targets)
    found = surrogate(i, i.answer_advantages, LOW, HIGH)
    away = i.reference_log_probs - log_probs(i.logits, i.targets)
    reference_kl = marks * (torch.exp(away) - away - 1)
    loss = over_tokens(found["losses"] + KL_SHARE * reference_kl, marks)
    return dict(loss=loss, reference_kl=reference_kl, **found)


# --------------------------------------------------------------------------------------------------------- distill


def divergence(p_logits, q_logits):
    """KL(p || q) at the temperature, times its square."""
    p, q = (p_logits / TEMPERATURE).log_softmax(-1), (q_logits / TEMPERATURE).log_softmax(-1)
    return TEMPERATURE**2 * (p.exp() * (p - q)).sum(-1)


def distill_forward(i):
    marks = marks_of(i.targets)
    losses = marks * divergence(i.teacher, i.logits)
    return dict(loss=over_tokens(losses, marks), losses=losses)


def distill_reverse(i):
    marks = marks_of(i.targets)
    losses = marks * divergence(i.logits, i.teacher)
    return dict(loss=over_tokens(losses, marks), losses=losses)


def distill_mixed(i):
    """Hinton's: the teacher's distribution, and the targets themselves."""
    return dict(loss=SOFT_SHARE * distill_forward(i)["loss"] + (1 - SOFT_SHARE) * tokens(i)["loss"])


# ------------------------------------------------------------------------------------------------------------ main

PAIR, BOTH = ["chosen", "rejected"], ["chosen_log_probs", "rejected_log_probs"]
CASES = {
    "tokens": (tokens, ["logits"]),
    "entropy": (entropy, ["logits"]),
    "answers": (answers, ["logits"]),
    "log_sigmoid": (log_sigmoid, ["x"]),
    "bradley_terry": (bradley_terry, PAIR),
    "bradley_terry_margin": (bradley_terry_margin, PAIR),
    "bradley_terry_centred": (bradley_terry_centred, PAIR),
    "ranked": (ranked, ["rewards"]),
    "dpo_sigmoid": (dpo(sigmoid), BOTH),
    "dpo_smoothed": (dpo(smoothed), BOTH),
    "dpo_ipo": (dpo(ipo), BOTH),
    "dpo_hinge": (dpo(hinge), BOTH),
    "ppo": (ppo, ["logits"]),
    "value": (value, ["values"]),
    "ppo_ptx": (ppo_ptx, ["logits", "values", "mix_logits"]),
    "grpo": (grpo, ["logits"]),
    "distill_forward": (distill_forward, ["logits"]),
    "distill_reverse": (distill_reverse, ["logits"]),
    "distill_mixed": (distill_mixed, ["logits"]),
}


class Inputs:
    """The inputs by name, in f64, the floats as leaves of their own."""

    def __init__(self, inputs):
        for name, x in inputs.items():
            setattr(self, name, x.double().requires_grad_() if x.is_floating_point() else x)


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    inputs = make_inputs()
    tensors = {f"inputs/{name}": x for name, x in inputs.items()}
    for case, (function, wrt) in CASES.items():
        i = Inputs(inputs)
        found = function(i)
        found["loss"].backward()
        found |= {f"d_{name}": getattr(i, name).grad for name in wrt}
        tensors |= {f"{case}/{name}": y.detach().float() for name, y in found.items()}
    tensors = {name: x.clone().contiguous() for name, x in tensors.items()}
    save_file(tensors, folder / "losses.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
