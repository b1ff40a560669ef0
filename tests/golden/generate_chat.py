"""Writes tests/golden/chat.json: chat templates of the kinds found in the wild, with the ids that they give.

    python tests/golden/generate_chat.py

Each template is used with a tokenizer of tests/golden/tokenizers.json, to which its special tokens are added, and
rendered and encoded by `transformers`. The file is a list of {"name", "json": the tokenizer.json as a string, "config":
the tokenizer_config.json as a string, "cases": [{"messages", "ids", "learnt", "prompt_ids"}]}, where `prompt_ids` are
those of all messages but the last, up to where the assistant begins, and `learnt` is written by hand: what the
assistant says and what ends its turn. A template that raises an error has "error" in the place of the ids. Read by
crates/text/tests/templates.rs.

Needs: pip install transformers tokenizers jinja2
"""

import json
import tempfile
from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent

CHAT = [
    {"role": "system", "content": "Grow slowly."},
    {"role": "user", "content": "Who puts a bell\nof glass over it? "},
    {"role": "assistant", "content": "The gardener."},
    {"role": "user", "content": "  It's 12 days, isn't it?"},
    {"role": "assistant", "content": " So we see: 120."},
]

# Name, tokenizer, special tokens beside its own, template, and what an answer of the assistant looks like.
TEMPLATES = [
    (
        "marks before and after each message",
        "gpt2",
        ["<|im_start|>", "<|im_end|>"],
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' "
        "+ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        lambda content: content + "<|im_end|>",
    ),
    (
        "headers, the date, and contents that are trimmed",
        "llama3",
        ["<|start|>", "<|header|>", "<|stop|>"],
        """{{- '<|start|>' }}
{%- if not date is defined %}
    {%- set date = '26 Jul 2024' %}
{%- endif %}
{%- for message in messages %}
    {{- '<|header|>' ~ message.role ~ ' (' ~ date ~ ')\\n\\n' }}
    {%- if message.content is string %}
        {{- message['content'] | trim }}
    {%- endif %}
    {{- '<|stop|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|header|>assistant (' ~ date ~ ')\\n\\n' }}
{%- endif %}
""",
        lambda content: content.strip() + "<|stop|>",
    ),
    (
        "instructions in brackets, with the system's inside the first",
        "llama2",
        [],
        """{% if messages[0]['role'] == 'system' %}
{% set loop_messages = messages[1:] %}
{% set system = '<<' + messages[0]['content'].strip() + '>> ' %}
{% else %}
{% set loop_messages = messages %}
{% set system = '' %}
{% endif %}
{% for message in loop_messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Roles must alternate!') }}
{% endif %}
{% if message['role'] == 'user' %}
{{- bos_token + '[INST] ' + (system if loop.index0 == 0 else '') + message['content'].strip() + ' [/INST]' -}}
{% else %}
{{- ' ' + message['content'].strip() + eos_token -}}
{% endif %}
{% endfor %}
""",
        lambda content: " " + content.strip() + "</s>",
    ),
    (
        "words that are no tokens, for a vocabulary that puts a space before a text",
        "llama2",
        [],
        "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'].strip() + eos_token + "
        "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
        lambda content: content.strip() + "</s>",
    ),
    (
        "no system at all",
        "roberta",
        ["<turn>", "</turn>"],
        """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if message['role'] == 'assistant' %}
{% set role = 'model' %}
{% else %}
{% set role = message['role'] %}
{% endif %}
{{ '<turn>' + role + '\\n' + message['content'] | trim + '</turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}
{{ '<turn>model\\n' }}
{% endif %}
""",
        lambda content: content.strip() + "</turn>",
    ),
]


def ids_of(tokenizer, messages, **options):
    return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"])


def case(tokenizer, messages, answer):
    try:
        entry = {"messages": messages, "ids": ids_of(tokenizer, messages)}
    except TemplateError as error:
        return {"messages": messages, "ids": None, "error": str(error)}
    said = [answer(message["content"]) for message in messages if message["role"] == "assistant"]
    entry["learnt"] = "".join(said)
    if messages[-1]["role"] == "assistant":
        entry["prompt_ids"] = ids_of(tokenizer, messages[:-1], add_generation_prompt=True)
    return entry


def entry(name, base, special, template, answer):
    names = {"eos_token": base["eos"], "bos_token": "<s>" if "<s>" in base["json"] else base["eos"]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.json")
        path.write_text(base["json"], encoding="utf-8")
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path), **names)
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.chat_template = template
    config = {**names, "chat_template": template}
    conversations = [CHAT, CHAT[1:], CHAT[:3], CHAT[1:4]]
    return {
        "name": name,
        "json": tokenizer.backend_tokenizer.to_str(),
        "config": json.dumps(config),
        "cases": [case(tokenizer, messages, answer) for messages in conversations],
    }


def main():
    bases = {base["name"]: base for base in json.loads((HERE / "tokenizers.json").read_text(encoding="utf-8"))}
    entries = [
        entry(name, bases[base], special, template, answer) for name, base, special, template, answer in TEMPLATES
    ]
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    (HERE / "chat.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
