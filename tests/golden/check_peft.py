"""Opens in `peft` and `transformers` what Cloche wrote, and holds their outputs against Cloche's.

    cargo run -p cloche-models --example adapters -- MODEL OUT
    python tests/golden/check_peft.py MODEL OUT

It prints, for each folder in OUT, the largest difference relative to the largest value, and fails above 1e-5.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

TOLERANCE = 1e-5


def strictly(model_class, folder):
    """A model of all the tensors in its folder: others are an error, where transformers only warns."""
    model, report = model_class.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    problems = {kind: sorted(names) for kind, names in report.items() if names}
    if problems:
        sys.exit(f"{folder}: {problems}")
    return model.eval()


def adapted(base, folder):
    """Every parameter of the adapter comes from its folder, or it is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return PeftModel.from_pretrained(base, folder).eval()


def scores(model, ids):
    """The score after each id: of the texts that end there."""
    return torch.cat([model(torch.tensor([ids[: t + 1]])).logits.flatten() for t in range(len(ids))])


def main():
    model, out = Path(sys.argv[1]), Path(sys.argv[2])
    ours = json.loads((out / "ours.json").read_text())
    ids = ours["ids"]
    speaker = adapted(strictly(AutoModelForCausalLM, model), out / "adapter")
    judge_base = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32, num_labels=1)
    judge = strictly(AutoModelForSequenceClassification, out / "judge")
    with torch.no_grad():
        theirs = {
            "adapter": ("logits", speaker(torch.tensor([ids])).logits.flatten()),
            "judge-adapter": ("scores", scores(adapted(judge_base, out / "judge-adapter"), ids)),
            "judge": ("scores", scores(judge, ids)),
        }
    failed = False
    for folder, (name, values) in theirs.items():
        difference = ((torch.tensor(ours[name]) - values).abs().max() / values.abs().max()).item()
        print(json.dumps({"folder": folder, "max_relative_difference": difference}))
        failed |= not difference <= TOLERANCE
    if failed:
        sys.exit(f"more than {TOLERANCE}")


if __name__ == "__main__":
    main()
