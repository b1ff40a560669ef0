// Of y = a * b, in one dispatch: da[z, m, k] = sum over n of dy[z, m, n] * b[z, k, n], then the epilogue, and
// db[z, k, n] = sum over m of a[z, m, k] * dy[z, m, n].
// Host side: crates/tensor/src/ops/matmul_grad.rs. For GPUs. Dispatch: one workgroup for each 32 x 32 sums of da, as tile.wgsl
// says, then for each of db.

override Z: u32 = 1u; override M: u32 = 1u; override N: u32 = 1u; override K: u32 = 1u;

// Where an element lies: A0 + z * AZ + m * AM + k * AK, and so on; D is dy, U is da, V is db.
override A0: u32 = 0u; override AZ: u32 = 0u; override AM: u32 = 0u; override AK: u32 = 0u;
override B0: u32 = 0u; override BZ: u32 = 0u; override BK: u32 = 0u; override BN: u32 = 0u;
override D0: u32 = 0u; override DZ: u32 = 0u; override DM: u32 = 0u; override DN: u32 = 0u;
override U0: u32 = 0u; override UZ: u32 = 0u; override UM: u32 = 0u; override UK: u32 = 0u;
override V0: u32 = 0u; override VZ: u32 = 0u; override VK: u32 = 0u; override VN: u32 = 0u;

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> da: array<f32>;
@group(0) @binding(5) var<storage, read_write> db: array<f32>;

/// One operand: its first element, the steps to the next row (of the right one: column) and along the sum, and how many
/// rows there are.
struct Operand { first: u32, step: u32, along: u32, rows: u32 }

/// A product: whether it is da, and its operands.
struct Product { is_da: bool, left: Operand, right: Operand }

fn product(is_da: bool, z: u32) -> Product {
    let a0 = A0 + z * AZ;
    let b0 = B0 + z * BZ;
    let d0 = D0 + z * DZ;
    if (is_da) {
        return Product(true, Operand(d0, DM, DN, M), Operand(b0, BK, BN, K));
    }
    return Product(false, Operand(a0, AK, AM, K), Operand(d0, DN, DM, N));
}

/// Where the elements of four rows from `row` on lie; rows beyond the last one repeat it.
fn places(x: Operand, row: u32, term: u32) -> vec4<u32> {
    return x.first + min(row + vec4(0u, 1u, 2u, 3u), vec4(x.rows - 1u)) * x.step + term * x.along;
}

fn four_of_dy(at: vec4<u32>) -> vec4<f32> {
    return vec4(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
}

fn four_of_left(p: Product, at: vec4<u32>) -> vec4<f32> {
    if (p.is_da) {
        return four_of_dy(at);
    }
    return vec4(a[at.x], a[at.y], a[at.z], a[at.w]);
}

fn four_of_right(p: Product, at: vec4<u32>) -> vec4<f32> {
    if (p.is_da) {
        return vec4(b[at.x], b[at.y], b[at.z], b[at.w]);
    }
    return four_of_dy(at);
}

fn store(p: Product, z: u32, row: u32, column: u32, sum: f32) {
    if (row >= p.left.rows || column >= p.right.rows) {
        return;
    }
    if (p.is_da) {
        da[U0 + z * UZ + row * UM + column * UK] = epilogue((z * M + row) * K + column, sum);
    } else {
        db[V0 + z * VZ + row * VK + column * VN] = sum;
    }
}

/// What load i of the slice from `first` on brings of the left operand; `last` is the last term.
fn load_left(p: Product, row: u32, first: u32, last: u32, i: u32) -> vec4<f32> {
    let at = place(i, p.left.along < p.left.step);
    let quad = four_of_left(p, places(p.left, row + 4u * at.y, min(first + at.x, last)));
    return select(vec4<f32>(), quad, first + at.x <= last);
}

fn load_right(p: Product, column: u32, first: u32, last: u32, i: u32) -> vec4<f32> {
    let at = place(i, p.right.along < p.right.step);
    let quad = four_of_right(p, places(p.right, column + 4u * at.y, min(first + at.x, last)));
    return select(vec4<f32>(), quad, first + at.x <= last);
}

@compute @workgroup_size(256)
fn gpu(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // 1. Which tile of which product.
    let across_k = (K + 31u) / 32u;
    let across_n = (N + 31u) / 32u;
    let tiles_of_da = Z * ((M + 31u) / 32u) * across_k;
    let tile = flat_id(workgroup, grid);
    let is_da = tile < tiles_of_da;
    let number = select(tile - tiles_of_da, tile, is_da);
    let across = select(across_n, across_k, is_da);
    let down = (select(K, M, is_da) + 31u) / 32u;
    let z = number / (across * down); // beyond Z in the few workgroups too many, which compute and do not store
    let p = product(is_da, min(z, Z - 1u));
    let row = number / across % down * 32u;
    let column = number % across * 32u;
    let last = select(M, N, is_da) - 1u; // term of a sum
    // 2. Slice by slice; the next one is on its way while one is multiplied.
    let second = lane + 256u;
    let left_along = p.left.along < p.left.step;
    let right_along = p.right.along < p.right.step;
    var l0 = load_left(p, row, 0u, last, lane);
    var l1 = load_left(p, row, 0u, last, second);
    var r0 = load_right(p, column, 0u, last, lane);
    var r1 = load_right(p, column, 0u, last, second);
    var c = mat4x4<f32>();
    for (var first = 0u; first <= last; first += DEPTH) {
        put(0u, place(lane, left_along), l0);
        put(0u, place(second, left_along), l1);
        put(1u, place(lane, right_along), r0);
        put(1u, place(second, right_along), r1);
        workgroupBarrier();
        l0 = load_left(p, row, first + DEPTH, last, lane);
        l1 = load_left(p, row, first + DEPTH, last, second);
        r0 = load_right(p, column, first + DEPTH, last, lane);
        r1 = load_right(p, column, first + DEPTH, last, second);
        c = multiply(c, lane);
        workgroupBarrier();
    }
    // 3. The slope of an activation, and out.
    let sums = add_parts(c, lane);
    let at = place_of_sums(lane) + vec2(row, column);
    if (z < Z) {
        store(p, z, at.x, at.y, sums.x);
        store(p, z, at.x, at.y + 1u, sums.y);
        store(p, z, at.x, at.y + 2u, sums.z);
        store(p, z, at.x, at.y + 3u, sums.w);
    }
}
