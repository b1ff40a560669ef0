// Attention of the newest token, whose key and value enter the cache: attention_few.wgsl with rows of a cache. The first of
// the heads that share a key/value head stores its row; all of them read it where it comes from. What enters, and what is asked,
// is in newest_plain.wgsl or attention_turned.wgsl. Host side: crates/tensor/src/ops/attention_cached.rs.

// Where (b, 0, g, 0) of the new rows lies, in vec4s.
override NEW_OFFSET: u32; override NEW_B: u32; override NEW_T: u32; override NEW_G: u32;

@group(0) @binding(2) var<storage, read> new_rows: array<vec4<f32>>; // (B, 1, 2 G, D): keys, then values
@group(0) @binding(3) var<storage, read_write> cache: array<vec4<f32>>; // (B, S, 2 G, D)

fn new_at(b: u32, g: u32) -> u32 {
    return NEW_OFFSET + b * NEW_B + g * NEW_G;
}

/// The new key lies where sums will be, once no key is read any more.
fn key(own: u32, b: u32, s: u32, h: u32, i: u32) -> vec4<f32> {
    return select(cache[k_at(b, s, h) + i], sums[i], s == own);
}

fn value(own: u32, b: u32, s: u32, h: u32, i: u32) -> vec4<f32> {
    return select(cache[v_at(b, s, h) + i], new_rows[new_at(b, (H + h) / GROUP) + i], s == own);
}

/// The new key and value, for this workgroup and, by one of them, for the cache.
fn enter(own: u32, part: u32, b: u32, h: u32, lane: u32) {
    let stays = part == 0u && own < S && h % GROUP == 0u;
    if (lane < D4) {
        sums[lane] = entering(own, b, h / GROUP, lane);
        if (stays) {
            cache[k_at(b, own, h) + lane] = sums[lane];
        }
    } else if (stays && lane < 2u * D4) {
        cache[v_at(b, own, h) + lane - D4] = new_rows[new_at(b, (H + h) / GROUP) + lane - D4];
    }
}
