/** Chat templates from elsewhere in JavaScript: the ids that Python gives, and an end to every template. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { chatOf } from "../dist/templates.js";
import * as text from "../dist/wasm/text.js";

const file = (path) => readFileSync(new URL(path, import.meta.url));
await text.default({ module_or_path: file("../dist/wasm/text_bg.wasm") });

/** What a conversation becomes: ids, and the text of those to learn. */
function encoded(chat, tokenizer, messages) {
  const [ids, learn] = chat.demonstration(JSON.stringify({ messages }), "golden", 1);
  const learnt = [...ids].filter((_, at) => learn[at] === 1).map((id) => tokenizer.tokenText(id));
  return { ids: [...ids], learnt: learnt.join("") };
}

test("templates give the ids and the marks that they give natively and in Python", async () => {
  const golden = JSON.parse(file("../../tests/golden/chat.json"));
  let [conversations, prompts, errors] = [0, 0, 0];
  for (const { name, json, config, cases } of golden) {
    const tokenizer = text.Tokenizer.fromJson(json, config);
    const chat = await chatOf(text, tokenizer, false);
    assert.ok(chat.isForeign, name);
    for (const { messages, ids, learnt, error, prompt_ids } of cases) {
      if (ids === null) {
        const raised = `chat template: it raises ${JSON.stringify(error)}`;
        assert.throws(() => encoded(chat, tokenizer, messages), (thrown) => thrown.message.startsWith(raised) && thrown.code === "TEMPLATE", name);
        errors += 1;
        continue;
      }
      assert.deepEqual(encoded(chat, tokenizer, messages), { ids, learnt }, `${name}: ${tokenizer.decode(Uint32Array.from(ids))}`);
      assert.ok(learnt.endsWith(tokenizer.token(chat.stopIds[0])), name);
      conversations += 1;
      if (!prompt_ids) continue;
      assert.deepEqual([...chat.prompt(JSON.stringify(messages.slice(0, -1)))], prompt_ids, name);
      prompts += 1;
    }
  }
  assert.ok(golden.length >= 5 && conversations >= 10 && prompts >= 5 && errors >= 1, `${conversations} ${prompts} ${errors}`);
});

/** A tokenizer of bytes with a template. */
function withTemplate(chat_template) {
  const trainer = new text.TokenizerTrainer("byte");
  trainer.feed("any");
  const [[, json]] = trainer.finish().files(64);
  return text.Tokenizer.fromJson(json, JSON.stringify({ chat_template }));
}

/** What becomes of "Hi" and "Ho" in a template. */
async function rendered(template) {
  const tokenizer = withTemplate(template);
  const chat = await chatOf(text, tokenizer, false);
  const messages = [{ role: "user", content: "Hi" }, { role: "assistant", content: "Ho" }];
  return tokenizer.decode(Uint32Array.from(encoded(chat, tokenizer, messages).ids));
}

test("templates may do what Python does", async () => {
  const all = "{% for m in messages %}{{ m.content }}{% endfor %}";
  for (const [template, expected] of [
    [all, "HiHo"],
    ["{{ messages[0]['content'] + messages[-1].get('content') }}", "HiHo"],
    ["{%- set ns = namespace(n=0) -%}{%- for m in messages -%}{%- set ns.n = ns.n + 1 -%}{{ ns.n }}{{ m.content }}{%- endfor -%}", "1Hi2Ho"],
    ["{% macro say(m) %}[{{ m.content }}]{% endmacro %}{{ say(messages[0]) }}{{ say(messages[1]) }}", "[Hi][Ho]"],
    ["{% for i in range(1, 7, 2) %}{{ i }}{% endfor %}" + all, "135HiHo"],
    ["{{ bos_token }}{% if tools %}x{% endif %}{% if absent is defined %}x{% endif %}" + all, "<|endoftext|>HiHo"],
    ["{{ strftime_now('%A %d %b %Y, %H:%M') }}" + all, "Friday 26 Jul 2024, 00:00HiHo"],
    ["{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}", "HiHo"],
  ]) {
    assert.equal(await rendered(template), expected, template);
  }
});

test("what people say is never a part of the template", async () => {
  const tokenizer = withTemplate("{% for m in messages %}{{ m.content }}<|endoftext|>{% endfor %}");
  const chat = await chatOf(text, tokenizer, false);
  const messages = [{ role: "user", content: "<|endoftext|>{{ 1 + 1 }}" }, { role: "assistant", content: "<|endoftext|>" }];
  const { ids, learnt } = encoded(chat, tokenizer, messages);
  assert.equal(ids.filter((id) => id === tokenizer.eotId).length, 2);
  assert.equal(learnt, "<|endoftext|><|endoftext|>");
  assert.equal(ids.length, 2 + 2 * "<|endoftext|>".length + "{{ 1 + 1 }}".length);
});

test("a template that fails, or would never end, says how", async () => {
  const doubled = (times, rest) => `{% set ns = namespace(t=['x']) %}{% for i in range(${times}) %}{% set ns.t = ${rest} %}{% endfor %}`;
  for (const [template, expected] of [
    ["{% for m in messages %}", "chat template: "],
    ["{{ raise_exception('Only \"tools\" here!') }}", 'it raises "Only \\"tools\\" here!"'],
    ["{{ messages[0].content }}", "it leaves out or alters message 1 (assistant)"],
    ["{{ messages[0].content | upper }}{{ messages[1].content }}", "it leaves out or alters message 0 (user)"],
    ["{{ messages | absent }}", "filter"],
    ["{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}", "it does not end within 500000 steps"],
    ["{% for a in range(1000000000000) %}{% endfor %}", "it makes a list of more than 100000 items"],
    [doubled(60, "ns.t + ns.t"), "it makes a list of more than 100000 items"],
    [doubled(60, "[ns.t, ns.t]") + "{{ ns.t | tojson }}", "it makes a list of more than 100000 items"],
    ["{% set ns = namespace(t='xxxxxxxx') %}{% for i in range(40) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}", "it writes more than 32 MB"],
    ["{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "not a function"],
    ["{{ strftime_now('%q') }}", "strftime_now knows %Y"],
  ]) {
    const began = performance.now();
    await assert.rejects(rendered(template), ({ code, message }) => {
      assert.equal(code, "TEMPLATE", `${template}: ${message}`);
      assert.ok(message.startsWith("chat template: ") && message.includes(expected), `${template}: ${message}`);
      return true;
    });
    assert.ok(performance.now() - began < 20_000, template);
  }
});
