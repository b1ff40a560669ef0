// How matmul_scalar.wgsl reads a where threads can ask each other: each of four reads a quarter and hears the rest. What
// that saves makes room for a loop of two steps, which copies half as often what it carries.

const SHARING = 4u; // threads side by side that read the same rows
const STEP = 2u; // how far a turn of the loop gets along k, which is even

/// Four elements of a, one below the other.
fn four(i: u32, lane: u32) -> vec4<f32> {
    let own = a[i + lane % 4u * AM];
    return vec4(quadBroadcast(own, 0u), quadBroadcast(own, 1u), quadBroadcast(own, 2u), quadBroadcast(own, 3u));
}
