// cache[b, position[b] + t] = k[b, t]: new keys or values enter the cache, which is updated in place.
// Host side: crates/tensor/src/ops/kv_cache.rs. Dispatch: one thread for each element of k.

override B: u32;
override T: u32;
override S: u32; // positions that the cache holds
override G: u32; // key/value heads
override D: u32; // head width
// Where (b, t, g, d) lies in k, and (b, s, g, d) in the cache.
override K_OFFSET: u32;
override K_B: u32;
override K_T: u32;
override K_G: u32;
override K_D: u32;
override CACHE_OFFSET: u32;
override CACHE_B: u32;
override CACHE_S: u32;
override CACHE_G: u32;
override CACHE_D: u32;

@group(0) @binding(1) var<storage, read> k: array<f32>; // (B, T, G, D)
@group(0) @binding(2) var<storage, read> position: array<u32>; // (B)
@group(0) @binding(3) var<storage, read_write> cache: array<f32>; // (B, S, G, D)

@compute @workgroup_size(64)
fn write(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_id(workgroup, grid) * 64u + lane;
    let d = i % D;
    let g = i / D % G;
    let t = i / (D * G) % T;
    let b = i / (D * G * T);
    if (b >= B) {
        return;
    }
    let s = position[b] + t;
    // What does not fit is dropped; the second test catches a sum that wrapped around.
    if (s < S && s >= t) {
        let source = K_OFFSET + b * K_B + t * K_T + g * K_G + d * K_D;
        cache[CACHE_OFFSET + b * CACHE_B + s * CACHE_S + g * CACHE_G + d * CACHE_D] = k[source];
    }
}
