"""Checks that a tokenizer folder written by Cloche gives the same ids in `transformers`.

    python tests/golden/check_tokenizer.py FOLDER IDS.json

FOLDER holds tokenizer.json, tokenizer_config.json and special_tokens_map.json. IDS.json is a list of
{"text": …, "ids": […], "decoded": …}, as `cargo run -p cloche-text --example tokenizer_folder` writes it: the ids of
each text with special tokens recognised, and the text that these ids give back; and of {"messages": […], "ids": […],
"learn": […]}: a conversation by the folder's chat template, and which tokens the assistant generates. Prints one line
for each disagreement and a summary; exits with 1 if there was any.

Needs: pip install transformers tokenizers jinja2
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


def chat_disagreements(tokenizer, cases):
    """Yields a line for each conversation of which the ids or the marks differ from ours."""
    for case in cases:
        options = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
        theirs = tokenizer.apply_chat_template(case["messages"], **options)
        roles = [message["role"] for message in case["messages"]]
        if list(theirs["input_ids"]) != case["ids"]:
            yield f"chat of {roles}: {theirs['input_ids']} ours {case['ids']}"
        elif [bool(mark) for mark in theirs["assistant_masks"]] != case["learn"]:
            yield f"chat of {roles}: marks {theirs['assistant_masks']} ours {case['learn']}"


def main(folder, ids_path):
    with open(ids_path, encoding="utf-8") as file:
        entries = json.load(file)
    cases = [entry for entry in entries if "text" in entry]
    chats = [entry for entry in entries if "messages" in entry]

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
    lines += chat_disagreements(auto, chats)
    print("\n".join(lines[:50]))
    tokens = sum(len(case["ids"]) for case in cases)
    print(
        f"{folder}: {len(cases)} texts, {len(chats)} chats, {tokens} tokens, {len(lines)} disagreements; {len(auto)} tokens in the "
        f"vocabulary, eos {auto.eos_token!r} ({auto.eos_token_id}), max length {auto.model_max_length}"
    )
    return 1 if lines else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
