"""Writes tests/golden/tokenizers.json: small tokenizers of the kinds found in the wild, with the ids they give.

    python tests/golden/generate_tokenizers.py

Each is trained by Hugging Face's `tokenizers` on the same few sentences and has the pipeline of a well-known model:
GPT-2, RoBERTa, Llama 2 (byte fallback), Llama 3 (a pattern of its own), T5 (Unigram) and BERT (WordPiece). The file
is a list of {"name", "json": the tokenizer.json as a string, "eos", "cases": [{"text", "ids", "ids_plain",
"decoded"}]}, where `ids` recognises special tokens, `ids_plain` does not, and `decoded` is the text of `ids`.
Read by crates/text/tests/foreign.rs. The Unigram trainer breaks ties by hash, so the t5 entry differs a little from
run to run.

Needs: pip install tokenizers
"""

import json
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

SENTENCES = [
    "The gardener puts a bell of glass over the seedling, and the seedling grows.",
    "Under the glass it is warm; over the glass the wind goes by and by.",
    "Who sees the seedling grow? The gardener sees it growing, and so do we.",
    "It's 12 days, then 24 days, then 120 days, and the gardener's bell is lifted.",
]

TEXTS = [
    "",
    "?",
    "The seedling grows under glass.",
    "  two  spaces\n\n and lines \n",
    "It's the gardener's: we'll SEE 123456",
    "naïve café 🌱 玻璃 زجاج",
    "ends here<|endoftext|>begins</s><s>here [MASK] <mask>",
]

# The pattern by which Llama 3 splits words.
LLAMA3_WORD = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def special(text, **flags):
    return AddedToken(text, special=True, normalized=False, **flags)


def byte_level(pre_tokenizer, eos, special_tokens):
    """BPE over bytes, as in GPT-2 and its successors."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer, eos


def gpt2():
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), "<|endoftext|>", [special("<|endoftext|>")])


def roberta():
    """As GPT-2, with a space put before the text, a token that eats spaces, and tokens around the text."""
    tokens = [special("<s>"), special("</s>"), special("<mask>", lstrip=True)]
    tokenizer, eos = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), "</s>", tokens)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return tokenizer, eos


def llama3():
    split = pre_tokenizers.Split(Regex(LLAMA3_WORD), "isolated")
    parts = [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    return byte_level(pre_tokenizers.Sequence(parts), "<|endoftext|>", [special("<|endoftext|>")])


def llama2():
    """BPE over characters, with the 256 bytes as tokens for what the vocabulary lacks, and ▁ for the space."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    tokens = [special(token) for token in ["<unk>", "<s>", "</s>"]]
    tokens += [AddedToken(f"<0x{byte:02X}>", normalized=False) for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=tokens, max_token_length=8, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    # In the real file the bytes are plain tokens of the model, found by falling back and not in the text.
    pipeline = json.loads(tokenizer.to_str())
    pipeline["added_tokens"] = pipeline["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(pipeline)), "</s>"


def t5():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120,
        special_tokens=[special("<pad>"), special("</s>"), special("<unk>")],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer, "</s>"


def bert():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokens = [special(token) for token in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]]
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=tokens, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    return tokenizer, None


def cases(tokenizer):
    # Truncation and padding are settings of the caller, not part of what a text is.
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for text in TEXTS:
        tokenizer.encode_special_tokens = False
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        ids_plain = tokenizer.encode(text, add_special_tokens=False).ids
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        yield {"text": text, "ids": ids, "ids_plain": ids_plain, "decoded": decoded}


def main():
    golden = []
    for make in [gpt2, roberta, llama3, llama2, t5, bert]:
        tokenizer, eos = make()
        compact = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
        golden.append({"name": make.__name__, "json": compact, "eos": eos, "cases": list(cases(tokenizer))})
    path = Path(__file__).with_name("tokenizers.json")
    path.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{path.name}: {', '.join(entry['name'] for entry in golden)}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
