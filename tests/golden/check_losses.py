"""Compares losses.safetensors with TRL, where TRL has the same loss.

    python tests/golden/check_losses.py

needs `torch trl safetensors` (run with torch 2.15, trl 1.16). The loss methods of its trainers are called with stand-ins for
trainer and model that hold the golden inputs. Equal, to 1e-5 and with their gradients: the reward model's loss, with a margin
and centred; DPO's sigmoid, IPO and hinge; GRPO with its KL term, normalised over the tokens of the batch; both divergences
of distillation. TRL 1.16 has no PPO, no smoothed DPO and no rankings, so those rest on the formulas alone.
"""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import torch
from safetensors.torch import load_file
from trl import DPOTrainer, GRPOTrainer, RewardTrainer
from trl.experimental.gkd import GKDTrainer

import generate_losses as golden

FILE = load_file(Path(__file__).parent / "losses.safetensors")


class Model:
    """A model whose outputs are known."""

    training = False

    def __init__(self, **outputs):
        self.outputs = outputs

    def __call__(self, **_):
        return SimpleNamespace(**self.outputs)


def trainer(**settings):
    """What the loss methods read of a trainer: settings, and an accelerator of one process."""
    accelerator = SimpleNamespace(
        num_processes=1, device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x, reduce=lambda x, **_: x
    )
    metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    return MagicMock(accelerator=accelerator, model=Model(), _metrics=metrics, **settings)


def check(case, loss, inputs, scale=1.0):
    """The loss times `scale`, and its gradients by `inputs`, are the golden ones."""
    (loss * scale).backward()
    found = {"loss": loss.detach() * scale} | {f"d_{name}": x.grad for name, x in inputs.items()}
    for name, x in found.items():
        torch.testing.assert_close(x.float(), FILE[f"{case}/{name}"], rtol=1e-5, atol=1e-7, msg=lambda m: f"{case}/{name}: {m}")
    print(f"{case}: equal")


def inputs():
    return golden.Inputs({name[7:]: x for name, x in FILE.items() if name.startswith("inputs/")})


def reward_models():
    for case, margin, centring in [
        ("bradley_terry", False, None),
        ("bradley_terry_margin", True, None),
        ("bradley_terry_centred", False, golden.CENTRING),
    ]:
        i = inputs()
        batch = {"margin": i.margins} if margin else {}
        stub = trainer(args=SimpleNamespace(center_rewards_coefficient=centring))
        model = Model(logits=torch.cat([i.chosen, i.rejected])[:, None])
        check(case, RewardTrainer.compute_loss(stub, model, batch), dict(chosen=i.chosen, rejected=i.rejected))


def dpo():
    """Answers of one token each, so that sums and means are the same."""
    for case, kind in [("dpo_sigmoid", "sigmoid"), ("dpo_ipo", "ipo"), ("dpo_hinge", "hinge")]:
        i = inputs()
        policy = torch.cat([i.chosen_log_probs, i.rejected_log_probs])[:, None]
        zeros = torch.zeros_like(policy)
        ids = torch.zeros(len(policy), 2, dtype=torch.long)
        batch = dict(
            input_ids=ids,
            completion_mask=torch.tensor([[0, 1]]).expand_as(ids),
            ref_chosen_logps=i.reference_chosen,
            ref_rejected_logps=i.reference_rejected,
        )
        stub = trainer(
            aux_loss_enabled=False,
            ld_alpha=None,
            precompute_ref_logps=True,
            f_divergence_type="reverse_kl",
            loss_types=[kind],
            loss_weights=[1.0],
            beta=golden.BETA,
            use_weighting=False,
        )
        model = Model(log_probs=policy, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
        loss = DPOTrainer._compute_loss(stub, model, batch, False)
        check(case, loss, dict(chosen_log_probs=i.chosen_log_probs, rejected_log_probs=i.rejected_log_probs))


def grpo():
    i = inputs()
    mask = golden.marks_of(i.targets)
    now = golden.log_probs(i.logits, i.targets)
    batch = dict(
        prompt_ids=i.targets[:, :0],
        prompt_mask=i.targets[:, :0],
        completion_ids=i.targets,
        completion_mask=mask,
        advantages=i.answer_advantages[:, 0],
        old_per_token_logps=i.old_log_probs,
        ref_per_token_logps=i.reference_log_probs,
        num_items_in_batch=mask.sum(),
    )
    stub = trainer(
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        beta=golden.KL_SHARE,
        epsilon_low=golden.LOW,
        epsilon_high=golden.HIGH,
        loss_type="dapo",
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _get_per_token_logps_and_entropies=lambda *_, **__: (now, torch.zeros_like(now), None),
    )
    check("grpo", GRPOTrainer._compute_loss(stub, None, batch), dict(logits=i.logits))


def distillation():
    """TRL leaves out the square of the temperature."""
    for case, beta in [("distill_forward", 0), ("distill_reverse", 1)]:
        i = inputs()
        loss = GKDTrainer.generalized_jsd_loss(i.logits, i.teacher, i.targets, beta, golden.TEMPERATURE)
        check(case, loss, dict(logits=i.logits), scale=golden.TEMPERATURE**2)


if __name__ == "__main__":
    reward_models()
    dpo()
    grpo()
    distillation()
