"""Checks that a tokenizer folder written by Cloche gives the same ids in `transformers`.

    python tests/golden/check_tokenizer.py FOLDER IDS.json

FOLDER holds tokenizer.json, tokenizer_config.json and special_tokens_map.json. IDS.json is a list of
{"text": …, "ids": […], "decoded": …}, as `cargo run -p cloche-text --example tokenizer_folder` writes it: the ids of
each text with special tokens recognised, and the text that these ids give back. Prints one line for each
disagreement and a summary; exits with 1 if there was any.

Needs: pip install transformers tokenizers
"""

import json
import sys

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast


def disagreements(name, encode, decode, cases):
    """Yields a line for each case in which `encode` or `decode` differ from ours."""
    for case in cases:
        ids = encode(case["text"])
        if ids != case["ids"]:
            # The place where they part says more than two long lists.
            pairs = list(zip(ids, case["ids"]))
            at = next((i for i, (theirs, ours) in enumerate(pairs) if theirs != ours), len(pairs))
            window = slice(max(at - 2, 0), at + 3)
            yield f"{name}: {case['text'][:40]!r} at token {at}: {ids[window]} ours {case['ids'][window]}"
        elif decode(ids) != case["decoded"]:
            yield f"{name}: {case['text'][:40]!r} decodes to {decode(ids)[:40]!r} ours {case['decoded'][:40]!r}"


def main(folder, ids_path):
    with open(ids_path, encoding="utf-8") as file:
        cases = json.load(file)

    raw = Tokenizer.from_file(f"{folder}/tokenizer.json")
    auto = AutoTokenizer.from_pretrained(folder)
    fast = PreTrainedTokenizerFast.from_pretrained(folder)
    implementations = {
        "tokenizers": (
            lambda text: raw.encode(text, add_special_tokens=False).ids,
            lambda ids: raw.decode(ids, skip_special_tokens=False),
        ),
        "AutoTokenizer": (lambda text: auto(text)["input_ids"], auto.decode),
        "PreTrainedTokenizerFast": (lambda text: fast(text)["input_ids"], fast.decode),
    }

    lines = [
        line
        for name, (encode, decode) in implementations.items()
        for line in disagreements(name, encode, decode, cases)
    ]
    print("\n".join(lines[:50]))
    tokens = sum(len(case["ids"]) for case in cases)
    print(
        f"{folder}: {len(cases)} texts, {tokens} tokens, {len(lines)} disagreements; {len(auto)} tokens in the "
        f"vocabulary, eos {auto.eos_token!r} ({auto.eos_token_id}), max length {auto.model_max_length}"
    )
    return 1 if lines else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
