// What a query sees, and attention of a few queries at positions, as when text is generated: one workgroup each. Where queries,
// keys and values come from, the file behind says: attention.wgsl or attention_cached.wgsl.

override B: u32; override T: u32; override S: u32; // sequences, queries, keys
override H: u32; override D4: u32; // query heads, D / 4
override GROUP: u32; // H / G, query heads that share a key/value head
override SCALE: f32; // 1 / sqrt(D)
override HAS_POSITION: bool; override HAS_DOCUMENTS: bool; // what bounds holds, if anything
// Where (b, t, h, 0) lies in q, and (b, s, g, 0) in k and v, in vec4s.
override Q_OFFSET: u32; override Q_B: u32; override Q_T: u32; override Q_H: u32;
override K_OFFSET: u32; override K_B: u32; override K_S: u32; override K_G: u32;
override V_OFFSET: u32; override V_B: u32; override V_S: u32; override V_G: u32;

@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>; // (B, T, H, D)
@group(0) @binding(4) var<storage, read> bounds: array<u32>; // (B), position of query 0; or (B, T), first keys
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>; // (B, T, H, PARTS, D)
@group(0) @binding(6) var<storage, read_write> lse: array<f32>; // (B, H, T, PARTS)

/// The first key that query t of sequence b sees: where its document begins.
fn first_seen(b: u32, t: u32) -> u32 {
    if (HAS_DOCUMENTS) {
        return min(bounds[b * T + t], t);
    }
    return 0u;
}

/// One past the last one.
fn visible(b: u32, t: u32) -> u32 {
    var first = 0u;
    if (HAS_POSITION) {
        first = min(bounds[b], S);
    }
    return min(first + t + 1u, S);
}

fn q_at(b: u32, t: u32, h: u32) -> u32 {
    return Q_OFFSET + b * Q_B + t * Q_T + h * Q_H;
}

fn k_at(b: u32, s: u32, h: u32) -> u32 {
    return K_OFFSET + b * K_B + s * K_S + h / GROUP * K_G;
}

fn v_at(b: u32, s: u32, h: u32) -> u32 {
    return V_OFFSET + b * V_B + s * V_S + h / GROUP * V_G;
}

fn sum4(x: vec4<f32>) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}

// ---- one workgroup a query, as when text is generated, or one for each part of its keys --------------------------
// 256 keys at a time: eight threads a key multiply, then each weighs a key, then thread (slice, i) adds up vec4 i
// of the values of every SLICES-th key. Parts have results of their own, which parts_row.wgsl adds up.

override PARTS: u32 = 1u;
override SPAN: u32 = S; // keys of a part, a multiple of 256
override SLICES: u32 = 256u / D4;
override PART: u32 = (D4 + 7u) / 8u; // vec4s that a thread multiplies

var<workgroup> query: array<vec4<f32>, 64>; // D <= 256; zeros beyond D
var<workgroup> parts: array<array<f32, 257>, 8>; // [part][key] of the products; 257 puts parts in different banks
var<workgroup> scores: array<f32, 256>; // then weights
var<workgroup> tops: array<f32, 16>;
var<workgroup> sums: array<vec4<f32>, 256>; // [slice][i] of p v; while keys are read, what `enter` keeps there
var<workgroup> totals: array<f32, 256>; // of p, likewise

@compute @workgroup_size(256)
fn few(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var n = flat_id(workgroup, grid);
    let part = n % PARTS;
    n /= PARTS;
    let t = n % T;
    let h = n / T % H;
    let b = n / (T * H);
    if (b >= B) {
        return;
    }
    let own = bounds[b]; // the place of query 0
    if (lane < 64u) {
        query[lane] = select(vec4<f32>(), SCALE * asked(own, b, t, h, min(lane, D4 - 1u)), lane < D4);
    }
    enter(own, part, b, h, lane);
    workgroupBarrier();
    var top = MASKED;
    var total = 0.0; // of p, in this thread's slice
    var sum = vec4<f32>(); // of p v, relative to the largest score so far
    let slice = lane / D4;
    let first = first_seen(b, t) + part * SPAN;
    let end = min(visible(b, t), first + SPAN);
    for (var s0 = first; s0 < end; s0 += 256u) {
        // 1. Products of parts of the query with parts of keys, four of which are on their way at a time. The last key that is
        //    seen stands for those behind it.
        for (var j = 0u; j < 256u && s0 + j < end; j += 128u) {
            for (var u = 0u; u < 4u; u++) {
                let nth = j + 32u * u + lane / 8u;
                var products = vec4<f32>();
                for (var m = 0u; m < PART; m++) {
                    let i = 8u * m + lane % 8u;
                    products += query[i] * key(own, b, min(s0 + nth, end - 1u), h, min(i, D4 - 1u));
                }
                parts[lane % 8u][nth] = sum4(products);
            }
        }
        workgroupBarrier();
        // 2. Scores, and the largest: of 16 keys each, then of all.
        var score = 0.0;
        for (var eighth = 0u; eighth < 8u; eighth++) {
            score += parts[eighth][lane];
        }
        score = select(MASKED, score, s0 + lane < end);
        scores[lane] = score;
        workgroupBarrier();
        if (lane < 16u) {
            var largest = MASKED;
            for (var j = 0u; j < 16u; j++) {
                largest = max(largest, scores[16u * j + lane]);
            }
            tops[lane] = largest;
        }
        workgroupBarrier();
        let before = top;
        for (var j = 0u; j < 16u; j++) {
            top = max(top, tops[j]);
        }
        scores[lane] = exp(score - top);
        workgroupBarrier();
        // 3. Weights times values; what was summed before is shrunk to the new largest score.
        sum *= exp(before - top);
        total *= exp(before - top);
        for (var j = 0u; j < 256u && s0 + j < end; j += 4u * SLICES) {
            for (var u = 0u; u < 4u; u++) {
                let nth = slice + j + SLICES * u;
                let p = select(0.0, scores[min(nth, 255u)], nth < 256u);
                sum += p * value(own, b, min(s0 + nth, end - 1u), h, lane % D4);
                total += p;
            }
        }
    }
    // 4. The slices add up.
    sums[lane] = sum;
    totals[lane] = total;
    workgroupBarrier();
    if (lane < D4) {
        sum = vec4<f32>();
        total = 0.0;
        for (var j = 0u; j < SLICES; j++) {
            sum += sums[j * D4 + lane];
            total += totals[j * D4 + lane];
        }
        // Where keys are, the largest of them alone is 1; a part may have none.
        y[(((b * T + t) * H + h) * PARTS + part) * D4 + lane] = sum / max(total, 1.0);
        if (lane == 0u) {
            lse[((b * H + h) * T + t) * PARTS + part] = select(MASKED, top + log(total), total > 0.0);
        }
    }
}
