"""Writes golden adapters: folders as PEFT saves them, and what PyTorch computes with them, for the Rust tests to equal.

    python tests/golden/generate_peft.py [FOLDER]      (default: the folder of this program)

needs `torch transformers peft safetensors` (the files here: torch 2.15, transformers 5.23, peft 0.21, CPU, one thread). The
bases are the folders `gpt2` and `llama` that generate.py wrote. Beside them it writes, for each of `CASES`,

    peft/NAME/adapter_config.json adapter_model.safetensors     an adapter of random weights, as PEFT saves it
    peft/NAME/golden.safetensors    `ids` (B, T); `y`: logits (B, T, V), or the score of each text (B,); `grad/PATH`: the
                                    gradient of mean(y²) by each parameter of the adapter
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from generate import B, SEED, T, V
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

# Name: base, class, and configuration. The ways in which layers are named: a list, a regular expression, the shorthand for
# all. A classifier's head is in no base, so it is saved whole.
CASES = {
    "list": ("gpt2", AutoModelForCausalLM, dict(r=3, lora_alpha=6, target_modules=["c_attn", "mlp.c_proj"])),
    "regex": ("llama", AutoModelForCausalLM, dict(r=2, lora_alpha=5, target_modules=r".*layers\.1.*(q|v|down)_proj")),
    "score": ("gpt2", AutoModelForSequenceClassification, dict(r=4, lora_alpha=4, target_modules="all-linear")),
}


def adapted(here, case, generator):
    """A base with an adapter none of whose parameters is 0."""
    folder, model_class, config = CASES[case]
    task = "SEQ_CLS" if model_class is AutoModelForSequenceClassification else "CAUSAL_LM"
    labels = dict(num_labels=1, pad_token_id=V - 1) if task == "SEQ_CLS" else {}
    base = model_class.from_pretrained(here / folder, dtype=torch.float32, **labels)
    base.name_or_path = folder  # not where it lies on this machine
    model = get_peft_model(base, LoraConfig(task_type=task, fan_in_fan_out=folder == "gpt2", **config))
    with torch.no_grad():
        for _, p in sorted((name, p) for name, p in model.named_parameters() if p.requires_grad):
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return model.eval()


def main():
    here = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent).resolve()
    torch.set_num_threads(1)
    for case in CASES:
        generator = torch.Generator().manual_seed(SEED)
        model = adapted(here, case, generator)
        # The last id pads, so it is in no text.
        ids = torch.randint(V - 1, (B, T), generator=generator)
        y = model(ids).logits
        y = y.flatten() if case == "score" else y
        (y * y).mean().backward()
        name = lambda path: path.removeprefix("base_model.model.").replace(".default", "").replace(".modules_to_save", "")
        golden = {f"grad/{name(path)}": p.grad for path, p in model.named_parameters() if p.requires_grad}
        folder = here / "peft" / case
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        (folder / "README.md").unlink()
        # PEFT writes sets, in another order each time.
        config = json.loads((folder / "adapter_config.json").read_text())
        config = {key: sorted(value) if isinstance(value, list) else value for key, value in config.items()}
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
        save_file({"ids": ids, "y": y.detach(), **golden}, folder / "golden.safetensors")
        print(case, sorted(golden))


if __name__ == "__main__":
    main()
