// Of y = a * b, in one dispatch: da[z, m, k] = sum over n of dy[z, m, n] * b[z, k, n], then the epilogue, and
// db[z, k, n] = sum over m of a[z, m, k] * dy[z, m, n].
// Host side: crates/tensor/src/ops/matmul_grad.rs. Dispatch: one workgroup for each tile of da, then for each of db.

override Z: u32 = 1u; override M: u32 = 1u; override N: u32 = 1u; override K: u32 = 1u;

// Where an element lies: A0 + z * AZ + m * AM + k * AK, and so on; D is dy, U is da, V is db.
override A0: u32 = 0u; override AZ: u32 = 0u; override AM: u32 = 0u; override AK: u32 = 0u;
override B0: u32 = 0u; override BZ: u32 = 0u; override BK: u32 = 0u; override BN: u32 = 0u;
override D0: u32 = 0u; override DZ: u32 = 0u; override DM: u32 = 0u; override DN: u32 = 0u;
override U0: u32 = 0u; override UZ: u32 = 0u; override UM: u32 = 0u; override UK: u32 = 0u;
override V0: u32 = 0u; override VZ: u32 = 0u; override VK: u32 = 0u; override VN: u32 = 0u;

override SIDE: u32 = 16u; // threads along a side of a tile: 16 (64 x 64 sums) or 8 (32 x 32)
const DEPTH: u32 = 16u; // of the slices of both operands that are kept in workgroup memory

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> da: array<f32>;
@group(0) @binding(5) var<storage, read_write> db: array<f32>;

var<workgroup> left_tile: array<vec4<f32>, DEPTH * SIDE>; // [index of the sum][row / 4]
var<workgroup> right_tile: array<vec4<f32>, DEPTH * SIDE>; // [index of the sum][column / 4]

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

/// The row and the term of the four numbers that load `i` of a slice brings: neighbours in memory come together.
fn load_place(x: Operand, i: u32) -> vec2<u32> {
    return select(vec2(i % SIDE, i / SIDE), vec2(i / DEPTH, i % DEPTH), x.along < x.step);
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

@compute @workgroup_size(SIDE * SIDE)
fn gpu(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // 1. Which tile of which product.
    let side = 4u * SIDE;
    let across_k = (K + side - 1u) / side;
    let across_n = (N + side - 1u) / side;
    let tiles_of_da = Z * ((M + side - 1u) / side) * across_k;
    let tile = flat_id(workgroup, grid);
    let is_da = tile < tiles_of_da;
    let number = select(tile - tiles_of_da, tile, is_da);
    let across = select(across_n, across_k, is_da);
    let down = (select(K, M, is_da) + side - 1u) / side;
    let z = number / (across * down); // beyond Z in the few workgroups too many, which compute and do not store
    let p = product(is_da, min(z, Z - 1u));
    let row = number / across % down * side;
    let column = number % across * side;
    let mine = vec2(lane / SIDE, lane % SIDE);
    let last = select(M, N, is_da) - 1u; // term of a sum
    var c = mat4x4<f32>(); // its columns are rows of the product
    for (var first = 0u; first <= last; first += DEPTH) {
        // 2. The workgroup loads a slice of both operands.
        for (var i = lane; i < DEPTH * SIDE; i += SIDE * SIDE) {
            let l = load_place(p.left, i);
            let r = load_place(p.right, i);
            let u = four_of_left(p, places(p.left, row + 4u * l.x, min(first + l.y, last)));
            let v = four_of_right(p, places(p.right, column + 4u * r.x, min(first + r.y, last)));
            left_tile[l.y * SIDE + l.x] = select(vec4<f32>(), u, first + l.y <= last);
            right_tile[r.y * SIDE + r.x] = select(vec4<f32>(), v, first + r.y <= last);
        }
        workgroupBarrier();
        // 3. Each thread adds the products of four rows and four columns.
        for (var i = 0u; i < DEPTH; i++) {
            let u = left_tile[i * SIDE + mine.x];
            let v = right_tile[i * SIDE + mine.y];
            c[0] += u.x * v;
            c[1] += u.y * v;
            c[2] += u.z * v;
            c[3] += u.w * v;
        }
        workgroupBarrier();
    }
    // 4. The slope of an activation, and out.
    if (z < Z) {
        for (var i = 0u; i < 16u; i++) {
            store(p, z, row + 4u * mine.x + i / 4u, column + 4u * mine.y + i % 4u, c[i / 4u][i % 4u]);
        }
    }
}
