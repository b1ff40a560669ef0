// Angles as u32 that wrap around as angles do: 2^32 is a full turn. Position times frequency is then exact modulo a turn for
// every position, the same bits as on the CPU, and no reduction of a large argument is needed. Part of rope.wgsl and
// attention_turned.wgsl.

/// (cos, sin) of a phase: the quadrant is its upper bits, and Taylor's polynomials cover the 45 degrees to either side.
fn cos_sin(phase: u32) -> vec2<f32> {
    let quadrant = (phase + 0x20000000u) >> 30u;
    let angle = f32(bitcast<i32>(phase - (quadrant << 30u))) * 1.4629181e-9; // 2 pi / 2^32
    let s = angle * angle;
    let sine = angle * (1.0 + s * (-0.16666667 + s * (0.0083333333 + s * (-0.00019841270 + s * 2.7557319e-6))));
    let cosine = 1.0 + s * (-0.5 + s * (0.041666667 + s * (-0.0013888889 + s * 0.000024801587)));
    switch quadrant {
        case 1u: { return vec2<f32>(-sine, cosine); }
        case 2u: { return vec2<f32>(-cosine, -sine); }
        case 3u: { return vec2<f32>(sine, -cosine); }
        default: { return vec2<f32>(cosine, sine); }
    }
}
