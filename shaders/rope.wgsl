// Rotary positions: y = x rotated, pair by pair (i, i + D/2), by the angle position * frequency[i].
// Host side: crates/tensor/src/ops/rope.rs. Dispatch: one thread for each pair of each head.

override B: u32;
override T: u32;
override H: u32; // heads
override ROTATED: u32; // heads that are rotated; the others are copied
override HALF: u32; // D / 2
override INVERSE: bool; // rotate backwards
override HAS_POSITION: bool; // of the first token of each sequence
override HAS_POSITIONS: bool; // of each token
// Where (b, t, h, 0) lies in x and in y.
override X_OFFSET: u32;
override X_B: u32;
override X_T: u32;
override X_H: u32;
override Y_OFFSET: u32;
override Y_B: u32;
override Y_T: u32;
override Y_H: u32;

@group(0) @binding(1) var<storage, read> x: array<f32>; // (B, T, H, D)
@group(0) @binding(2) var<storage, read> frequency: array<u32>; // (D / 2), turns / 2^32 for each position
@group(0) @binding(3) var<storage, read> position: array<u32>; // (B) or (B, T); not read where there are none
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // (B, T, H, D)

@compute @workgroup_size(64)
fn rotate(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // 1. Which pair is it?
    let n = flat_id(workgroup, grid) * 64u + lane;
    let i = n % HALF;
    let h = n / HALF % H;
    let t = n / (HALF * H) % T;
    let b = n / (HALF * H * T);
    if (b >= B) {
        return;
    }
    let source = X_OFFSET + b * X_B + t * X_T + h * X_H + i;
    let destination = Y_OFFSET + b * Y_B + t * Y_T + h * Y_H + i;
    let pair = vec2<f32>(x[source], x[source + HALF]);
    // 2. By which angle?
    var rotation = vec2<f32>(1.0, 0.0);
    if (h < ROTATED) {
        var p = t;
        if (HAS_POSITION) {
            p += position[b];
        }
        if (HAS_POSITIONS) {
            p = position[b * T + t];
        }
        rotation = cos_sin(p * frequency[i]);
    }
    if (INVERSE) {
        rotation.y = -rotation.y;
    }
    y[destination] = pair.x * rotation.x - pair.y * rotation.y;
    y[destination + HALF] = pair.x * rotation.y + pair.y * rotation.x;
}
