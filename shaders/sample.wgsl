// ids[b] = one token of row b of the logits, drawn after repetition penalty, temperature, top-k, top-p and min-p, in this
// order; log_probs[b] = its log-softmax in the unmodified logits. With SEEN, seen[b, ids[b]] becomes 1.
// Host side: crates/tensor/src/ops/sample.rs, which explains the steps. Dispatch: `parts`, one workgroup of THREADS for each
// 4 * THREADS tokens of a row, then `main`, one for each row.

override B: u32 = 1u; // rows
override V: u32 = 1u; // tokens
override THREADS: u32 = 256u; // at most 256
override PARTS: u32 = (V + 4u * THREADS - 1u) / (4u * THREADS); // of a row
override SEEN: bool = false;
override KEY: u32 = 0u;
override TEMPERATURE: u32 = 0u; // places in the uniform block
override TOP_K: u32 = 1u;
override TOP_P: u32 = 2u;
override MIN_P: u32 = 3u;
override PENALTY: u32 = 4u;
override SEED: u32 = 5u;

@group(0) @binding(1) var<storage, read> logits: array<f32>; // (B, V)
@group(0) @binding(2) var<storage, read> number: array<u32>; // (B, 2)
@group(0) @binding(3) var<storage, read_write> ids: array<u32>; // (B)
@group(0) @binding(4) var<storage, read_write> log_probs: array<f32>; // (B)
@group(0) @binding(5) var<storage, read_write> seen: array<u32>; // (B, V); one element without SEEN
@group(0) @binding(6) var<storage, read_write> scores: array<f32>; // (B, V): penalised logits / temperature; (B, PARTS, 5): summaries

const NONE: u32 = 0xffffffffu;

/// What is known of some tokens.
struct Summary {
    largest: f32, // unmodified logit
    sum: f32, // of exp(unmodified logit - largest)
    top: f32, // score
    best: f32, // score plus noise, of token
    token: u32, // NONE: nothing yet
}

const NOTHING = Summary(MASKED, 0.0, MASKED, 0.0, NONE);

var<workgroup> summaries: array<Summary, 256>;

/// `a`, or the token given if that is left and wins; the lower token of two that are equal.
fn better(a: Summary, left: bool, best: f32, token: u32) -> Summary {
    var y = a;
    if (left && (a.token == NONE || best > a.best || (best == a.best && token < a.token))) {
        y.best = best;
        y.token = token;
    }
    return y;
}

fn both(a: Summary, b: Summary) -> Summary {
    var y = better(a, b.token != NONE, b.best, b.token);
    y.largest = max(a.largest, b.largest);
    y.sum = a.sum * exp(a.largest - y.largest) + b.sum * exp(b.largest - y.largest);
    y.top = max(a.top, b.top);
    return y;
}

/// The summary of all threads, for each of them.
fn summary_of_all(local: u32, x: Summary) -> Summary {
    summaries[local] = x;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            summaries[local] = both(summaries[local], summaries[local + half]);
        }
    }
    workgroupBarrier();
    let all = summaries[0];
    workgroupBarrier();
    return all;
}

/// The bits of floats such that a larger float has larger bits; those of -0 are those of 0.
fn ordered(x: vec4<f32>) -> vec4<u32> {
    let bits = select(bitcast<vec4<u32>>(x), vec4<u32>(), x == vec4<f32>());
    return bits ^ select(vec4(0x80000000u), vec4(0xffffffffu), bits >= vec4(0x80000000u));
}

fn sum4(x: vec4<f32>) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}

/// The logit x of element i after the penalty, divided by the temperature where there is one.
fn score_of(i: u32, logit: f32) -> f32 {
    var x = logit;
    if (SEEN) {
        let penalty = run_f32(PENALTY);
        x = select(x, select(x * penalty, x / penalty, x > 0.0), seen[i] != 0u);
    }
    let temperature = run_f32(TEMPERATURE);
    return select(x, x / max(temperature, 1e-30), temperature > 0.0);
}

/// Whether a filter leaves fewer than all tokens.
fn filtered() -> bool {
    return (run_u32(TOP_K) > 0u && run_u32(TOP_K) < V) || run_f32(TOP_P) < 1.0 || run_f32(MIN_P) > 0.0;
}

/// The score with Gumbel noise -log(E), E = -log(1 - d) for d in (0, 1), where there is a temperature. The built-in
/// logarithm is not exact enough near 1.
fn noisy(score: f32, bits: u32) -> f32 {
    if (run_f32(TEMPERATURE) <= 0.0) {
        return score;
    }
    let d = (f32(bits >> 9u) + 0.5) * 0x1p-23;
    let s = d / (2.0 - d);
    let z = s * s;
    let series = 2.0 * s * (1.0 + z * (1.0 / 3.0 + z * (0.2 + z * (1.0 / 7.0 + z * (1.0 / 9.0
        + z * (1.0 / 11.0 + z * (1.0 / 13.0)))))));
    return score - log(select(-log(1.0 - d), series, d < 0.5));
}

/// `a`, and the draw among those of four tokens that are left.
fn drawn(a: Summary, row: u32, block: u32, score: vec4<f32>, left: vec4<bool>) -> Summary {
    var y = a;
    if (any(left)) {
        var words = vec4<u32>();
        if (run_f32(TEMPERATURE) > 0.0) {
            words = philox(vec4<u32>(block, number[2u * row], number[2u * row + 1u], 0u), vec2<u32>(run_u32(SEED), KEY));
        }
        y = better(y, left.x, noisy(score.x, words.x), 4u * block);
        y = better(y, left.y, noisy(score.y, words.y), 4u * block + 1u);
        y = better(y, left.z, noisy(score.z, words.z), 4u * block + 2u);
        y = better(y, left.w, noisy(score.w, words.w), 4u * block + 3u);
    }
    return y;
}

// ---- every part of every row ------------------------------------------------------------------------------------

@compute @workgroup_size(THREADS)
fn parts(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = flat_id(workgroup, grid);
    let row = number / PARTS;
    if (row >= B) {
        return;
    }
    // 1. Four tokens of the same random words. The last token stands for those behind it.
    let block = number % PARTS * THREADS + local;
    let tokens = 4u * block + vec4(0u, 1u, 2u, 3u);
    let left = tokens < vec4(V);
    let at = row * V + min(tokens, vec4(V - 1u));
    let x = vec4(logits[at.x], logits[at.y], logits[at.z], logits[at.w]);
    let score = vec4(score_of(at.x, x.x), score_of(at.y, x.y), score_of(at.z, x.z), score_of(at.w, x.w));
    var mine = drawn(NOTHING, row, block, score, left);
    mine.largest = max(MASKED, max(max(x.x, x.y), max(x.z, x.w)));
    mine.sum = sum4(select(vec4<f32>(), exp(x - mine.largest), left));
    mine.top = max(MASKED, max(max(score.x, score.y), max(score.z, score.w)));
    if (filtered()) {
        scores[at.x] = score.x; // those behind the last token write what it does
        scores[at.y] = score.y;
        scores[at.z] = score.z;
        scores[at.w] = score.w;
    }
    // 2. All of the part.
    let all = summary_of_all(local, mine);
    if (local == 0u) {
        let to = B * V + 5u * number;
        scores[to] = all.largest;
        scores[to + 1u] = all.sum;
        scores[to + 2u] = all.top;
        scores[to + 3u] = all.best;
        scores[to + 4u] = f32(all.token); // exact: a vocabulary has fewer than 2^24 tokens
    }
}

// ---- every row ------------------------------------------------------------------------------------------------------

/// The scores of four tokens. The last token stands for those behind it.
fn scores_at(row: u32, tokens: vec4<u32>) -> vec4<f32> {
    let at = row * V + min(tokens, vec4(V - 1u));
    return vec4(scores[at.x], scores[at.y], scores[at.z], scores[at.w]);
}

/// The largest threshold such that the scores that reach it, and `least`, number `count`; or hold the share p of what
/// those have that reach `least`, where `count` is 0.
fn largest_from(local: u32, row: u32, top: f32, least: u32, count: u32) -> u32 {
    var needed = f32(count);
    var found = 0u;
    for (var turn = 0u; turn <= 32u; turn++) {
        let candidate = found | select(0u, 0x80000000u >> (turn - 1u), turn > 0u); // turn 0: all from `least` on
        var mine = Summary(0.0, 0.0, 0.0, 0.0, NONE);
        for (var i = local; i < V; i += 4u * THREADS) {
            let at = i + THREADS * vec4(0u, 1u, 2u, 3u);
            let x = scores_at(row, at);
            let weights = select(exp(x - top), vec4(1.0), count > 0u);
            mine.sum += sum4(select(vec4<f32>(), weights, (ordered(x) >= vec4(max(candidate, least))) & (at < vec4(V))));
        }
        let total = summary_of_all(local, mine).sum;
        needed = select(needed, max(run_f32(TOP_P), 1e-30) * total, turn == 0u && count == 0u);
        found = select(found, candidate, total >= needed);
    }
    return max(found, least);
}

/// The token drawn where some are filtered out.
fn draw(local: u32, row: u32, top: f32) -> u32 {
    var threshold = 0u;
    if (run_u32(TOP_K) > 0u && run_u32(TOP_K) < V) {
        threshold = largest_from(local, row, top, 0u, run_u32(TOP_K));
    }
    if (run_f32(TOP_P) < 1.0) {
        threshold = largest_from(local, row, top, threshold, 0u);
    }
    var best = NOTHING;
    for (var block = local; block * 4u < V; block += THREADS) {
        let tokens = 4u * block + vec4(0u, 1u, 2u, 3u);
        let x = scores_at(row, tokens);
        let left = (ordered(x) >= vec4(threshold)) & (exp(x - top) >= vec4(run_f32(MIN_P))) & (tokens < vec4(V));
        best = drawn(best, row, block, x, left);
    }
    let token = summary_of_all(local, best).token;
    return select(token, 0u, token == NONE);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = flat_id(workgroup, grid);
    if (row >= B) {
        return;
    }
    // 1. All parts. Unless tokens are filtered, that is the answer.
    var mine = NOTHING;
    for (var part = row * PARTS + local; part < row * PARTS + PARTS; part += THREADS) {
        let at = B * V + 5u * part;
        mine = both(mine, Summary(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u], u32(scores[at + 4u])));
    }
    let all = summary_of_all(local, mine);
    var token = all.token;
    if (filtered()) {
        token = draw(local, row, all.top);
    }
    if (local == 0u) {
        ids[row] = token;
        log_probs[row] = logits[row * V + token] - all.largest - log(all.sum);
        if (SEEN) {
            seen[row * V + token] = 1u;
        }
    }
}
