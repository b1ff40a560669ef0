"""Prints the logits that transformers computes from a model folder, or holds another program's logits against them.

    python tests/golden/check_transformers.py DIR --ids 1,2,3
    python tests/golden/check_transformers.py DIR --ids 1,2,3 --compare FILE      (FILE as `cloche logits` prints it)

The first prints `{"shape": [T, V], "logits": [...]}`, row by row. The second prints the largest difference relative to the
largest logit, and fails above 1e-4.
"""

import argparse
import json
import sys

import torch
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-4


def logits_of(folder, ids):
    """(T, V). A tensor that is missing, left over or misshapen is an error, where transformers only warns."""
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    problems = {kind: sorted(names) for kind, names in report.items() if names}
    if problems:
        sys.exit(f"{folder}: {problems}")
    with torch.no_grad():
        return model.eval()(torch.tensor([ids])).logits[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--ids", required=True, type=lambda text: [int(id) for id in text.split(",")])
    parser.add_argument("--compare", metavar="FILE")
    args = parser.parse_args()

    logits = logits_of(args.folder, args.ids)
    if args.compare is None:
        print(json.dumps({"shape": list(logits.shape), "logits": logits.flatten().tolist()}))
        return
    with open(args.compare) as file:
        other = json.load(file)
    if other["shape"] != list(logits.shape):
        sys.exit(f"shape: {args.compare} has {other['shape']}, transformers gives {list(logits.shape)}")
    difference = (torch.tensor(other["logits"]).view_as(logits) - logits).abs().max() / logits.abs().max()
    print(json.dumps({"max_relative_difference": difference.item()}))
    if not difference <= TOLERANCE:
        sys.exit(f"more than {TOLERANCE}")


if __name__ == "__main__":
    main()
