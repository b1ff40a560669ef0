// ids[b] = one token of row b of the logits, drawn after repetition penalty, temperature, top-k, top-p and min-p, in this
// order; log_probs[b] = its log-softmax in the unmodified logits. With SEEN, seen[b, ids[b]] becomes 1.
// Host side: crates/tensor/src/ops/sample.rs, which explains the steps. Dispatch: one workgroup of THREADS for each row.

override B: u32 = 1u; // rows
override V: u32 = 1u; // tokens
override THREADS: u32 = 256u; // at most 256
override SEEN: bool = false;
override KEY: u32 = 0u;
override TEMPERATURE: u32 = 0u; // places in the uniform block
override TOP_K: u32 = 1u;
override TOP_P: u32 = 2u;
override MIN_P: u32 = 3u;
override PENALTY: u32 = 4u;
override SEED: u32 = 5u;
override STEP: u32 = 6u;

@group(0) @binding(1) var<storage, read> logits: array<f32>; // (B, V)
@group(0) @binding(2) var<storage, read_write> ids: array<u32>; // (B)
@group(0) @binding(3) var<storage, read_write> log_probs: array<f32>; // (B)
@group(0) @binding(4) var<storage, read_write> seen: array<u32>; // (B, V); one element without SEEN
@group(0) @binding(5) var<storage, read_write> scores: array<f32>; // (B, V): penalised logits / temperature

struct Candidate {
    score: f32,
    token: u32, // NONE: nothing yet
}

const NONE: u32 = 0xffffffffu;

var<workgroup> numbers: array<f32, 256>;
var<workgroup> candidates: array<Candidate, 256>;

fn sum_of_all(local: u32, x: f32) -> f32 {
    numbers[local] = x;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            numbers[local] += numbers[local + half];
        }
    }
    workgroupBarrier();
    let sum = numbers[0];
    workgroupBarrier();
    return sum;
}

fn max_of_all(local: u32, x: f32) -> f32 {
    numbers[local] = x;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            numbers[local] = max(numbers[local], numbers[local + half]);
        }
    }
    workgroupBarrier();
    let largest = numbers[0];
    workgroupBarrier();
    return largest;
}

/// The winner of two; the lower token of two that are equal.
fn better(a: Candidate, b: Candidate) -> Candidate {
    let first = a.score > b.score || (a.score == b.score && a.token < b.token);
    if (b.token == NONE || (a.token != NONE && first)) {
        return a;
    }
    return b;
}

/// The bits of a float such that a larger float has larger bits; those of -0 are those of 0.
fn ordered(x: f32) -> u32 {
    let bits = select(bitcast<u32>(x), 0u, x == 0.0);
    return bits ^ select(0x80000000u, 0xffffffffu, bits >= 0x80000000u);
}

/// The logit after the penalty, divided by the temperature where there is one.
fn score_of(i: u32) -> f32 {
    var x = logits[i];
    if (SEEN) {
        if (seen[i] != 0u) {
            let penalty = run_f32(PENALTY);
            x = select(x * penalty, x / penalty, x > 0.0);
        }
    }
    let temperature = run_f32(TEMPERATURE);
    return select(x, x / max(temperature, 1e-30), temperature > 0.0);
}

/// Standard Gumbel noise -log(E), E = -log(1 - d) for d in (0, 1). The built-in logarithm is not exact enough near 1.
fn gumbel(bits: u32) -> f32 {
    let d = (f32(bits >> 9u) + 0.5) * 0x1p-23;
    let s = d / (2.0 - d);
    let z = s * s;
    let series = 2.0 * s * (1.0 + z * (1.0 / 3.0 + z * (0.2 + z * (1.0 / 7.0 + z * (1.0 / 9.0
        + z * (1.0 / 11.0 + z * (1.0 / 13.0)))))));
    return -log(select(-log(1.0 - d), series, d < 0.5));
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = flat_id(workgroup, grid);
    if (row >= B) {
        return;
    }
    let begin = row * V;
    let end = begin + V;
    // 1. The unmodified logits' normaliser, the scores, and their maximum.
    var largest = MASKED;
    var top = MASKED;
    for (var i = begin + local; i < end; i += THREADS) {
        let score = score_of(i);
        scores[i] = score;
        top = max(top, score);
        largest = max(largest, logits[i]);
    }
    storageBarrier();
    top = max_of_all(local, top);
    largest = max_of_all(local, largest);
    var sum = 0.0;
    for (var i = begin + local; i < end; i += THREADS) {
        sum += exp(logits[i] - largest);
    }
    let normaliser = largest + log(sum_of_all(local, sum));
    // 2. Top-k: the largest threshold that at least k scores reach.
    let k = run_u32(TOP_K);
    var threshold = 0u;
    if (k > 0u && k < V) {
        for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
            var count = 0.0;
            for (var i = begin + local; i < end; i += THREADS) {
                count += select(0.0, 1.0, ordered(scores[i]) >= (threshold | bit));
            }
            threshold |= select(0u, bit, sum_of_all(local, count) >= f32(k));
        }
    }
    // 3. Top-p: the largest threshold whose scores hold the share p of what top-k has left.
    let p = run_f32(TOP_P);
    if (p < 1.0) {
        let least = threshold;
        var needed = 0.0;
        var nucleus = 0u;
        for (var turn = 0u; turn <= 32u; turn++) {
            let candidate = nucleus | select(0u, 0x80000000u >> (turn - 1u), turn > 0u); // turn 0: all that top-k left
            var mass = 0.0;
            for (var i = begin + local; i < end; i += THREADS) {
                mass += select(0.0, exp(scores[i] - top), ordered(scores[i]) >= max(candidate, least));
            }
            let total = sum_of_all(local, mass);
            needed = select(needed, max(p, 1e-30) * total, turn == 0u);
            nucleus = select(nucleus, candidate, total >= needed);
        }
        threshold = max(threshold, nucleus);
    }
    // 4. The draw: the largest score plus noise among those that are left. Without temperature, no noise.
    let seed = vec2<u32>(run_u32(SEED), KEY);
    let amount = select(0.0, 1.0, run_f32(TEMPERATURE) > 0.0);
    var best = Candidate(0.0, NONE);
    for (var block = local; block * 4u < V; block += THREADS) {
        let words = philox(vec4<u32>(block, row, run_u32(STEP), 0u), seed);
        for (var v = block * 4u; v < min(block * 4u + 4u, V); v++) {
            let score = scores[begin + v];
            if (ordered(score) >= threshold && exp(score - top) >= run_f32(MIN_P)) {
                best = better(best, Candidate(score + amount * gumbel(words[v % 4u]), v));
            }
        }
    }
    candidates[local] = best;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            candidates[local] = better(candidates[local], candidates[local + half]);
        }
    }
    // 5. The result.
    if (local == 0u) {
        let token = select(candidates[0].token, 0u, candidates[0].token == NONE);
        ids[row] = token;
        log_probs[row] = logits[begin + token] - normaliser;
        if (SEEN) {
            seen[begin + token] = 1u;
        }
    }
}
