/** What a page asks before a run, and has beside it: estimates, memory, other models, archives, texts from elsewhere. */
import assert from "node:assert/strict";

/** @typedef {import("playwright-core").Page} Page */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
export const BESIDE = [
  ["a run is estimated before it begins, and takes what was said", estimate],
  ["what a stage will take is tried beforehand, and leaves nothing behind", tryStages],
  ["how fast the device is is known on the next visit", remember],
  ["models are opened beside the current one, compared, taught and freed", compare],
  ["an adapter is switched off and on", switchAdapter],
  ["memory stays flat however often models come and go", stayFlat],
  ["memory stays flat over a thousand steps", runFlat],
  ["a seed that is no whole number is named", refuseSeeds],
  ["models and runs travel in archives", travel],
  ["texts come from addresses and in pieces", gather],
  ["several answers have their log-probabilities", weigh],
];

const TEXT = "to be or not to be, that is the question. ".repeat(60);
const GROW = { data: TEXT, contextLen: 32, batchSize: 2, evalEvery: 0 };

/** @param {Page} page */
async function estimate(page) {
  const found = await page.evaluate(async (data) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const size = { data, preset: "nano", batchSize: 4, steps: 12 };
    const told = await cloche.estimate(size);
    const before = await cloche.memory();
    const events = [];
    for await (const event of cloche.grow({ ...size, evalEvery: 0 })) events.push(event);
    const guesses = [];
    for (const tokenizer of ["byte", "bpe:300"]) guesses.push((await cloche.estimate({ ...size, tokenizer })).vocabSize);
    const error = await cloche.estimate({ preset: "gpt2", batchSize: 4096 }).catch((/** @type {any} */ error) => `${error.code}: ${error.message}`);
    cloche.dispose();
    const slow = await Cloche.create({ device: "webgpu" });
    const { seconds } = await slow.estimate({ data, batchSize: 1, contextLen: 32, steps: 10 });
    slow.dispose();
    return { seconds, told, before, start: events.find(({ event }) => event === "start"), done: events.at(-1), guesses, error };
  }, TEXT);
  const { told, start, done } = found;
  // The engine plans the run itself, so nothing but the time is a guess.
  assert.deepEqual(
    [told.parameters, told.tokensPerStep, told.flopsPerStep, told.dispatchesPerStep, told.peakBytes].map(Math.round),
    [start.n_params, start.tokens_per_step, start.flops_per_step, start.dispatches_per_step, start.peak_bytes],
  );
  assert.equal(told.vocabSize, start.vocab_size);
  assert.deepEqual([found.before.buffers, found.before.bytes], [0, 0], "an estimate leaves nothing behind");
  const ratio = told.seconds / done.seconds;
  assert.ok(ratio > 1 / 3 && ratio < 3, `${told.seconds} s were estimated, ${done.seconds} s were taken`);
  assert.ok(found.seconds > 0, `on WebGPU ${found.seconds} s`);
  assert.deepEqual(found.guesses, [257, 300]);
  assert.match(found.error, /^OUT_OF_MEMORY: model needs \d+ GB, 4\.3 GB are available$/);
  return `${told.seconds.toFixed(2)} s estimated, ${done.seconds.toFixed(2)} s taken`;
}

const SUMS = Array.from({ length: 40 }, (_, n) => ({ prompt: `${n}+1=`, chosen: `${n + 1}`, rejected: `${n + 2}` }));
const TASK = { data: "task:addition", examples: 40, exam: 2, evalEvery: 0, batchSize: 4 };
const PACKED = { ...TASK, steps: 30, packing: true };
const GROUPS = { ...TASK, steps: 9, group: 4, maxTokens: 6 };
/** Stages as they are asked about. @type {[string, any][]} */
const STAGES = [
  ["sft", PACKED],
  ["sft", { ...TASK, steps: 9, lora: { rank: 2 } }],
  ["dpo", { ...TASK, data: SUMS, steps: 9 }],
  ["reward", { ...TASK, data: SUMS, steps: 9 }],
  ["grpo", GROUPS],
  ["ppo", { ...TASK, steps: 9, maxTokens: 6 }],
  ["distill", { ...TASK, steps: 9 }],
];

/** @param {Page} page */
async function tryStages(page) {
  const found = await page.evaluate(
    async ([stages, packed, groups]) => {
      const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
      const cloche = await Cloche.create({ device: "cpu" });
      const { collect } = await import(/** @type {string} */ ("/checks/collect.js"));
      const told = (/** @type {Promise<unknown>} */ outcome) =>
        outcome.then(() => "none", (/** @type {any} */ error) => `${error.code}: ${error.message}`);
      const errors = [await told(cloche.estimate("sft", packed))];
      await collect(cloche.sft({ data: "task:addition", init: "tiny", contextLen: 64, steps: 2, batchSize: 4, examples: 40, exam: 2 }));
      const weights = async () => String((await cloche.export()).get("model.safetensors"));
      const untouched = await weights();
      const teacher = await cloche.export();
      const tried = [];
      const memory = [];
      for (const [stage, options] of stages) {
        tried.push(await cloche.estimate(stage, stage === "distill" ? { ...options, teacher } : options));
        memory.push(await cloche.memory());
      }
      const same = (await weights()) === untouched;
      const plain = await cloche.estimate({ preset: "tiny", contextLen: 64, batchSize: 4, vocabSize: tried[0].vocabSize });
      errors.push(await told(cloche.estimate("nothing", packed)), await told(cloche.estimate("sft", { ...packed, seed: 0.5 })));
      const stopping = new AbortController();
      setTimeout(() => stopping.abort(), 20);
      errors.push(await told(cloche.estimate("grpo", { ...groups, signal: stopping.signal })));
      const busy = [];
      const runs = [];
      // What was given up may still be at its step, and is waited for.
      errors.push(await told(cloche.models.copy().then((/** @type {any} */ copy) => copy.dispose())));
      for (const [stage, options] of /** @type {const} */ ([["sft", packed], ["grpo", groups]])) {
        let bytes = 0;
        for await (const event of cloche[stage](options)) {
          if (event.event === "step") bytes = Math.max(bytes, (await cloche.memory()).bytes);
          if (event.event === "step" && event.step === 1) busy.push(await told(cloche.estimate("sft", packed)));
          if (event.event === "done") runs.push({ bytes, seconds: event.seconds });
        }
      }
      errors.push(busy[0] ?? "");
      cloche.dispose();
      return { tried, memory, same, plain, errors, runs };
    },
    /** @type {const} */ ([STAGES, PACKED, GROUPS]),
  );
  for (const [at, told] of found.tried.entries()) {
    const name = STAGES[at]?.[0];
    const { parameters, trained, peakBytes, flopsPerStep, dispatchesPerStep, seconds } = told;
    assert.ok(parameters > 100_000 && (name === "sft" && at === 1 ? trained < parameters / 4 : trained >= parameters / 2), `${name}: ${trained} of ${parameters} learn`);
    assert.ok(peakBytes > 4 * parameters && flopsPerStep > 1e6 && dispatchesPerStep > 10 && seconds > 0, `${name}: ${JSON.stringify(told)}`);
  }
  assert.ok(found.same, "the model has not learnt");
  for (const { buffers, bytes } of found.memory) assert.deepEqual([buffers, bytes], [found.memory[0].buffers, found.memory[0].bytes]);
  // Rows as wide as the context cost what they cost in pre-training, but for what a stage measures beside.
  const [sft, , , , grpo] = found.tried;
  const share = sft.flopsPerStep / found.plain.flopsPerStep;
  assert.ok(share > 0.95 && share < 1.2, `a step of sft takes ${share} of one of pre-training`);
  for (const [at, told] of [sft, grpo].entries()) {
    const { bytes, seconds } = found.runs[at] ?? { bytes: 0, seconds: 0 };
    assert.ok(Math.abs(told.peakBytes / bytes - 1) < 0.02, `${told.peakBytes} bytes were estimated, ${bytes} were held`);
    assert.ok(told.seconds / seconds > 1 / 3 && told.seconds / seconds < 3, `${told.seconds} s were estimated, ${seconds} s were taken`);
  }
  assert.match(found.errors[0] ?? "", /^NO_MODEL: there is no model to begin with/);
  assert.match(found.errors[1] ?? "", /^SETTINGS: /);
  assert.match(found.errors[2] ?? "", /^SETTINGS: seed: found 0\.5/);
  assert.deepEqual(found.errors.slice(3), ["ABORTED: stopped by the caller", "none", "BUSY: a run is going on: stop it before you start another"]);
  return `sft ${share.toFixed(3)} of pre-training; seconds ${[sft, grpo].map((told, at) => (told.seconds / Number(found.runs[at]?.seconds)).toFixed(2))} of those taken`;
}

/** @param {Page} page */
async function remember(page) {
  const found = await page.evaluate(async (data) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const root = await navigator.storage.getDirectory();
    const visit = async (/** @type {object} */ options = {}) => {
      const cloche = await Cloche.create({ device: "cpu", ...options });
      const { seconds } = await cloche.estimate({ data, batchSize: 1, contextLen: 32, steps: 10 });
      cloche.dispose();
      return seconds;
    };
    const read = async () => (await (await root.getFileHandle("cloche-speeds.json")).getFile()).text();
    const put = async (/** @type {string} */ text) => {
      const out = await (await root.getFileHandle("cloche-speeds.json")).createWritable();
      await out.write(text);
      await out.close();
    };
    /** What is kept of the one device, changed. @param {object} change */
    const change = async (change) => {
      const [[key, speed]] = /** @type {[[string, any]]} */ (Object.entries(JSON.parse(await read())));
      await put(JSON.stringify({ [key]: { ...speed, ...change } }));
      return key;
    };
    const seconds = [await visit(), await visit()];
    const slow = { dispatch: 1, flop: 0 };
    const key = await change(slow);
    seconds.push(await visit());
    await change({ ...slow, at: Date.now() - 8 * 24 * 3600 * 1000 });
    const measured = [await visit()];
    for (const text of ["[1, 2", "null", JSON.stringify({ [key]: { ...slow, at: Date.now(), flop: "no" } })]) {
      await put(text);
      measured.push(await visit());
    }
    await root.removeEntry("cloche-speeds.json");
    const nowhere = await visit({ workerUrl: "/checks/no-storage.js" });
    return { key, seconds, measured, nowhere };
  }, TEXT);
  const [first, second, slow] = found.seconds;
  assert.match(found.key, /^\d+\.\d+\.\d+ cpu CPU \d+ Mozilla/);
  assert.ok(first > 0 && first < 10, `${first} s`);
  assert.equal(second, first, "it was measured again");
  assert.ok(slow > 100, `a second for each of ten steps' kernels makes ${slow} s`);
  for (const seconds of [...found.measured, found.nowhere]) assert.ok(seconds > 0 && seconds < 10, `${seconds} s`);
}

/** @param {Page} page */
async function compare(page) {
  const found = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const { collect } = await import(/** @type {string} */ ("/checks/collect.js"));
    const say = async (/** @type {any} */ model) => {
      let said = "";
      for await (const piece of model.generate("to be", { temperature: 0, maxTokens: 8 })) said += piece;
      return said;
    };
    await collect(cloche.grow({ ...grow, steps: 40, lr: 3e-3, chatTokens: true }));
    const before = await cloche.models.copy();
    const opened = await cloche.models.load(await before.export({ zip: true }), { name: "bard" });
    const said = [await say(cloche), await say(before), await say(opened)];
    const records = ["o", "n"].map((end) => ({ prompt: "to be", completion: end.repeat(8) }));
    await collect(cloche.sft({ data: Array(9).fill(records).flat(), steps: 40, lr: 3e-3, batchSize: 4, exam: 1, evalEvery: 0 }));
    said.push(await say(cloche), await say(before));
    const [answer] = await before.answers("to be", { temperature: 0, maxTokens: 8 });
    const probe = await before.probe("to be");
    // A new one, of the same tokens, takes its place and is taught.
    const tokenizer = await cloche.tokenizers.load(new TextDecoder().decode((await before.export()).get("tokenizer.json")));
    const config = { model_type: "llama", hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 2,
      intermediate_size: 32, max_position_embeddings: 64, tie_word_embeddings: true };
    const fresh = await cloche.models.create({ config, tokenizer });
    const untaught = await say(fresh);
    await cloche.models.use(fresh);
    await collect(cloche.sft({ data: Array(9).fill(records).flat(), steps: 5, batchSize: 4, exam: 1, evalEvery: 0 }));
    const told = (/** @type {Promise<unknown>} */ outcome) =>
      outcome.then(() => "none", (/** @type {any} */ error) => `${error.code}: ${error.message}`);
    const current = JSON.parse(new TextDecoder().decode((await cloche.export()).get("config.json")));
    await before.dispose();
    await before.dispose();
    const errors = [await told(say(before)), await told(before.probe("to be")), await told(cloche.models.use(before))];
    errors.push(await told(cloche.models.create({ config: { ...config, hidden_size: 15 } })));
    const busy = [];
    for await (const event of cloche.grow({ ...grow, steps: 2 })) if (event.event === "step") busy.push(await told(cloche.models.create()));
    cloche.dispose();
    errors.push(busy[0] ?? "", await told(cloche.memory()), await told(say(fresh)));
    return { said, info: opened.info, answer, next: probe.next[0], untaught, shape: fresh.info, current, errors };
  }, GROW);
  const [grown, copy, opened, taught, kept] = found.said;
  assert.deepEqual([copy, opened], [grown, grown]);
  assert.equal(kept, grown, "the copy does not learn");
  assert.notEqual(taught, grown, "the current one does");
  assert.equal(found.answer.text, grown);
  assert.equal(found.next.token, found.answer.tokens[0].text);
  assert.deepEqual([found.info.name, found.info.layers, found.info.heads, found.info.contextLen, found.info.hasAdapter], ["bard", 2, 4, 32, false]);
  assert.deepEqual([found.shape.layers, found.shape.heads, found.shape.contextLen, found.shape.vocabSize], [1, 2, 64, found.info.vocabSize]);
  assert.equal(found.current.hidden_size, 16);
  assert.deepEqual(found.errors.slice(0, 3), Array(3).fill("DISPOSED: dispose() has been called on this model"));
  assert.match(found.errors[3] ?? "", /^SETTINGS: /);
  assert.deepEqual(found.errors.slice(4), [
    "BUSY: a run is going on: stop it before you start another",
    ...Array(2).fill("DISPOSED: dispose() has been called on this Cloche"),
  ]);
  return JSON.stringify({ grown, taught });
}

/** @param {Page} page */
async function switchAdapter(page) {
  const found = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const { collect } = await import(/** @type {string} */ ("/checks/collect.js"));
    const say = async (/** @type {boolean | undefined} */ adapter) => {
      const [{ text }] = await cloche.answers("to be", { temperature: 0, maxTokens: 8, ...(adapter !== undefined && { adapter }) });
      const { next } = await cloche.probe("to be", { adapter });
      return /** @type {[string, number]} */ ([text, next[0].probability]);
    };
    await collect(cloche.grow({ ...grow, steps: 40, lr: 3e-3, chatTokens: true }));
    const base = await cloche.export();
    const said = [await say(undefined), await say(false)];
    const records = ["o", "n"].map((end) => ({ prompt: "to be", completion: end.repeat(8) }));
    const lora = { rank: 4 };
    await collect(cloche.sft({ data: Array(9).fill(records).flat(), steps: 40, lr: 1e-2, batchSize: 4, exam: 1, evalEvery: 0, lora }));
    said.push(await say(true), await say(false));
    const merged = await cloche.models.copy();
    const [{ text: apart }] = await merged.answers("to be", { temperature: 0, maxTokens: 8 });
    const files = [...(await merged.export()).keys()];
    const both = new Map([...base, ...(await cloche.export())]);
    const { hasAdapter } = await cloche.load(both);
    said.push(await say(undefined), await say(false));
    cloche.dispose();
    return { said, hasAdapter, apart, files, isMerged: !merged.info.hasAdapter };
  }, GROW);
  const [plain, bare, taught, without, loaded, unloaded] = found.said;
  assert.deepEqual([bare?.[0], without?.[0], unloaded?.[0]], Array(3).fill(plain?.[0]));
  // With the stages' module the same model computes in the same way, and the look into one that grew is a copy of it.
  assert.ok(Math.abs(Number(without?.[1]) - Number(plain?.[1])) < 1e-5);
  assert.notEqual(taught?.[0], plain?.[0]);
  assert.deepEqual(loaded, taught);
  assert.ok(found.hasAdapter && found.isMerged);
  assert.equal(found.apart, taught?.[0], "a copy has the adapter in its weights");
  assert.ok(found.files.includes("model.safetensors") && !found.files.includes("adapter_config.json"), String(found.files));
}

/** @param {Page} page */
async function stayFlat(page) {
  const rounds = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const { collect } = await import(/** @type {string} */ ("/checks/collect.js"));
    const rounds = [];
    for (let round = 0; round < 32; round++) {
      await collect(cloche.grow({ ...grow, steps: 3 }));
      const model = await cloche.models.load(await cloche.export());
      await model.answers("to be", { n: 2, maxTokens: 4 });
      await model.probe("to be");
      await model.dispose();
      rounds.push(await cloche.memory());
    }
    cloche.dispose();
    return rounds;
  }, GROW);
  const [second, last] = [rounds[1], rounds.at(-1)];
  assert.ok(second.buffers > 0 && second.bytes > 100_000 && second.wasmBytes > second.bytes);
  assert.deepEqual([last.buffers, last.bytes], [second.buffers, second.bytes], "the device holds more and more");
  // How much is in use at most depends on which messages meet: in some runs that is reached in the fifteenth round.
  assert.equal(last.wasmBytes, rounds[19].wasmBytes, "WebAssembly's memory grows");
  return `${last.buffers} buffers, ${last.bytes} bytes, ${last.wasmBytes} of WebAssembly`;
}

/** @param {Page} page */
async function runFlat(page) {
  const seen = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const seen = [];
    // Most is in use where a sample follows an evaluation: here before the first look that counts, and again at half time. To look
    // takes memory too, by when it is: so each step is looked at until then, a thousand times, since under load the most is reached
    // after more than a hundred. The end, which keeps the model, is not near.
    for await (const event of cloche.grow({ ...grow, preset: "tiny", steps: 2100, evalEvery: 50, sampleAt: [50, 1500] })) {
      if (event.event !== "step" || event.step > 2000 || (event.step > 1000 && event.step % 100 > 0)) continue;
      const memory = await cloche.memory();
      if (event.step >= 1000 && event.step % 100 === 0) seen.push(memory);
    }
    cloche.dispose();
    return seen;
  }, GROW);
  assert.equal(seen.length, 11);
  for (const memory of seen) assert.deepEqual(memory, seen[0]);
  return `${seen[0].buffers} buffers, ${seen[0].bytes} bytes, ${seen[0].wasmBytes} of WebAssembly, eleven times`;
}

/** @param {Page} page */
async function refuseSeeds(page) {
  const errors = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const { collect } = await import(/** @type {string} */ ("/checks/collect.js"));
    const told = (/** @type {Promise<unknown>} */ outcome) =>
      outcome.then(() => "none", (/** @type {any} */ error) => `${error.code}: ${error.message}`);
    const errors = [
      await told(collect(cloche.grow({ ...grow, seed: 1.5 }))),
      await told(collect(cloche.sft({ data: "task:copy", init: "tiny", seed: -1 }))),
      await told(cloche.estimate({ seed: NaN })),
      await told(cloche.models.create({ seed: 2 ** 53 })),
      await told(cloche.tokenizers.train({ data: "stories", seed: "7" })),
    ];
    await collect(cloche.grow({ ...grow, steps: 1, seed: 2 ** 53 - 1 }));
    errors.push(await told(collect(cloche.generate("to", { seed: 0.5 }))), await told(cloche.answers("to", { seed: 0.5 })));
    errors.push(await told(cloche.completions.create({ prompt: "to", seed: 0.5, max_tokens: 2 })));
    errors.push(await told(cloche.completions.create({ prompt: "to", seed: null, max_tokens: 2 })));
    cloche.dispose();
    return errors;
  }, GROW);
  const found = ["1.5", "-1", "NaN", "9007199254740992", '"7"', "0.5", "0.5", "0.5"];
  const expected = found.map((seed) => `SETTINGS: seed: found ${seed}, expected a whole number from 0 to 2^53 - 1`);
  assert.deepEqual(errors, [...expected, "none"]);
}

/** @param {Page} page */
async function travel(page) {
  const found = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const told = (/** @type {Promise<unknown>} */ outcome) =>
      outcome.then(() => "none", (/** @type {any} */ error) => `${error.code}: ${error.message}`);
    const steps = async (/** @type {AsyncIterable<any>} */ run) => {
      const found = [];
      for await (const event of run) if (event.event === "step") found.push([event.step, event.loss]);
      return found;
    };
    const whole = await steps(cloche.grow({ ...grow, steps: 200 }));
    const file = new File([grow.data], "bard.txt");
    const stopped = cloche.grow({ ...grow, data: file, steps: 200, save: { name: "here", every: 20 } });
    for await (const event of stopped) if (event.event === "step" && event.step === 4) await stopped.stop();
    const files = await cloche.export();
    const archive = await cloche.export({ zip: true });
    const run = await cloche.runs.export("here");
    const saved = await cloche.runs.import(run, "there");
    const rest = [];
    const saves = [];
    for await (const event of cloche.runs.resume("there")) {
      if (event.event === "step") rest.push([event.step, event.loss]);
      if (event.event === "saved") saves.push(event.step);
    }
    const info = await cloche.load(archive);
    const again = await cloche.export();
    const errors = [
      await told(cloche.load(new Blob(["<!doctype html>"]))),
      await told(cloche.runs.import(archive, "never")),
      await told(cloche.runs.import(run, "there")),
    ];
    const equal = (/** @type {any} */ a, /** @type {any} */ b) => a.length === b.length && a.every((/** @type {number} */ byte, /** @type {number} */ at) => byte === b[at]);
    const same = equal(files.get("model.safetensors"), again.get("model.safetensors"));
    for (const { name } of await cloche.runs.list()) await cloche.runs.remove(name);
    cloche.dispose();
    return { whole, rest, saves, saved, info, same, errors, type: archive.type };
  }, GROW);
  assert.ok(found.saved.step >= 4 && found.saved.step < 200, `stopped at step ${found.saved.step}`);
  assert.deepEqual(found.rest, found.whole.slice(found.saved.step), "bit for bit");
  assert.deepEqual([found.saved.name, found.saved.stage], ["there", "grow"]);
  const [first, ...later] = found.saves;
  assert.equal(first, found.saved.step + 1);
  assert.ok(later.length > 5 && later.every((/** @type {number} */ step) => step % 20 === 0 || step === 200), `saved at ${later}`);
  assert.equal(found.info.layers, 2);
  assert.ok(found.same);
  assert.equal(found.type, "application/zip");
  assert.match(found.errors[0] ?? "", /^CHECKPOINT: not a zip archive/);
  assert.match(found.errors[1] ?? "", /^CHECKPOINT: checkpoint file "run\.json": found nothing/);
  assert.match(found.errors[2] ?? "", /^RUN_EXISTS: run "there"/);
}

/** @param {Page} page */
async function gather(page) {
  await page.route("**/texts/*", (route) => {
    const name = route.request().url().split("/").at(-1);
    if (name === "bard.txt") return route.fulfill({ contentType: "text/plain", body: TEXT });
    if (name === "lost.txt") return route.fulfill({ contentType: "text/html", body: "<!doctype html><title>The site</title>" });
    if (name === "silent.txt") return route.abort();
    return name === "slow.txt" ? undefined : route.fulfill({ status: 404, body: "no" });
  });
  const found = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const losses = async (/** @type {AsyncIterable<any>} */ run) => {
      const found = [];
      for await (const event of run) if (event.event === "step") found.push(event.loss);
      return found;
    };
    const at = (/** @type {string} */ name) => new URL(`/texts/${name}`, location.href);
    async function* pieces() {
      for (const word of grow.data.split(/(?<= )/)) yield word;
    }
    const told = (/** @type {Promise<unknown>} */ outcome) =>
      outcome.then(() => "none", (/** @type {any} */ error) => `${error.code}: ${error.message}`);
    const run = { ...grow, steps: 3 };
    const same = [await losses(cloche.grow(run))];
    for (const data of [at("bard.txt"), pieces()]) same.push(await losses(cloche.grow({ ...run, data })));
    const readme = new TextDecoder().decode((await cloche.export()).get("README.md"));
    const { vocabSize } = await cloche.tokenizers.train({ data: at("bard.txt") });
    const errors = [];
    for (const name of ["gone.txt", "lost.txt", "silent.txt"]) errors.push(await told(losses(cloche.grow({ ...run, data: at(name) }))));
    const stopping = new AbortController();
    const slow = told(losses(cloche.grow({ ...run, data: at("slow.txt"), signal: stopping.signal })));
    setTimeout(() => stopping.abort(), 50);
    errors.push(await slow);
    async function* numbers() {
      yield 7;
    }
    errors.push(await told(losses(cloche.grow({ ...run, data: numbers() }))));
    // None of these has taken the place of a run.
    same.push(await losses(cloche.grow(run)));
    cloche.dispose();
    return { same, readme, vocabSize, errors };
  }, GROW);
  for (const losses of found.same) assert.deepEqual(losses, found.same[0]);
  assert.match(found.readme, /the text/);
  assert.ok(found.vocabSize > 10);
  assert.match(found.errors[0] ?? "", /^DOWNLOAD: data: found HTTP status 404 at http.*gone\.txt, expected a file$/);
  assert.match(found.errors[1] ?? "", /^DOWNLOAD: data: found an HTML page at http.*lost\.txt, expected a text$/);
  assert.match(found.errors[2] ?? "", /^DOWNLOAD: data: found no answer \(.+\) at http.*silent\.txt, expected a file$/);
  assert.deepEqual(found.errors.slice(3), ["ABORTED: stopped by the caller", "NOT_TEXT: data: found number, expected strings"]);
}

/** @param {Page} page */
async function weigh(page) {
  const found = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    for await (const _ of cloche.grow({ ...grow, steps: 20, chatTokens: true }));
    const answers = await cloche.answers("to be", { n: 3, seed: 5, maxTokens: 9 });
    const again = await cloche.answers("to be", { n: 3, seed: 5, maxTokens: 9 });
    const likeliest = await cloche.answers("to be", { n: 1, temperature: 0, maxTokens: 1 });
    const greedy = await Promise.all([1, 4].map((n) => cloche.answers("to be", { n, temperature: 0, maxTokens: 6 })));
    const words = await cloche.answers("to be", { n: 6, seed: 5, maxTokens: 9, stop: [" "] });
    const { next } = await cloche.probe("to be");
    const talk = await cloche.answers([{ role: "user", content: "be?" }], { n: 2, maxTokens: 4 });
    const none = await cloche.answers("to be", { maxTokens: 3, stop: [""], temperature: -1 }).catch((/** @type {any} */ error) => `${error.code}: ${error.message}`);
    const refuse = (/** @type {any} */ n) => cloche.answers("to be", { n }).catch((/** @type {any} */ error) => `${error.code}: ${error.message}`);
    const refused = [await refuse(0), await refuse(1.5)];
    for (const text of [cloche.generate("to be", { n: 2 }), cloche.chat([{ role: "user", content: "be?" }], { n: 2 })]) {
      refused.push(await text.next().catch((/** @type {any} */ error) => `${error.code}: ${error.message}`));
    }
    cloche.dispose();
    return { answers, again, likeliest, greedy, words, next, talk, none, refused };
  }, GROW);
  assert.deepEqual(found.again, found.answers);
  assert.equal(new Set(found.answers.map((/** @type {any} */ { text }) => text)).size, 3);
  for (const { tokens, logProb, meanLogProb, finish } of found.answers) {
    const sum = tokens.reduce((/** @type {number} */ sum, /** @type {any} */ token) => sum + token.logProb, 0);
    assert.ok(logProb < 0 && Math.abs(logProb - sum) < 1e-6 && Math.abs(meanLogProb * tokens.length - sum) < 1e-6);
    assert.equal(finish, tokens.length === 9 ? "length" : "stop");
  }
  // Several at once say what one says alone, and each ends by itself.
  const [[alone], several] = /** @type {[string[], string[]]} */ (found.greedy.map((/** @type {any[]} */ answers) => answers.map(({ text }) => text)));
  assert.deepEqual(several, Array(4).fill(alone));
  for (const { text, tokens, finish } of found.words) {
    assert.ok(!text.includes(" ") && tokens.length <= 9);
    assert.equal(finish, tokens.at(-1).text === " " || tokens.length < 9 ? "stop" : "length");
  }
  assert.ok(new Set(found.words.map((/** @type {any} */ { tokens }) => tokens.length)).size > 1);
  assert.deepEqual(found.refused, ["SETTINGS: n: found 0, expected 1 up to 128", "SETTINGS: n: found 1.5, expected a whole number", ...Array(2).fill("SETTINGS: n: found 2, expected 1: `answers` gives several")]);
  // The model's own probability, not that of what it was drawn from.
  assert.ok(Math.abs(Math.exp(found.likeliest[0].logProb) - found.next[0].probability) < 1e-4);
  assert.equal(found.talk.length, 2);
  assert.equal(found.none, "SETTINGS: temperature: found -1, expected a finite number, 0 for the likeliest token");
}
