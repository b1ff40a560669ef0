//! What the planner promises: few kernels, no needless copies, shared memory, a cost that is right.

use cloche_tensor::ops::rope::inverse_frequencies;
use cloche_tensor::{DType, Data, Device, Graph, Plan, Target, Tensor, cat};

fn input(graph: &Graph, name: &str, shape: &[usize]) -> Tensor {
    graph.input(name, shape, DType::F32)
}

fn labels(plan: &Plan) -> Vec<String> {
    plan.describe().iter().map(|step| step.split(':').next().unwrap_or_default().to_string()).collect()
}

#[test]
fn a_chain_is_one_kernel() {
    let graph = Graph::new();
    let (x, b) = (input(&graph, "x", &[4, 8]), input(&graph, "b", &[8]));
    let h = &x * 2.0 + &b;
    let y = h.sigmoid() * &h - 1.0;
    assert_eq!(labels(&Plan::new(&graph, &[("y", &y)], Target::CPU)), ["mul.add.sigmoid.mul.sub"]);
    // An inner value that the host reads, too, must exist.
    assert_eq!(labels(&Plan::new(&graph, &[("y", &y), ("h", &h)], Target::CPU)).len(), 2);
}

#[test]
fn a_kernel_takes_the_chain_behind_it() {
    let graph = Graph::new();
    let (x, w) = (input(&graph, "x", &[2, 3, 4]), input(&graph, "w", &[4, 5]));
    let (b, r) = (input(&graph, "b", &[5]), input(&graph, "r", &[2, 3, 5]));
    let y = (x.matmul(&w) + &b).gelu() + &r;
    assert_eq!(labels(&Plan::new(&graph, &[("y", &y)], Target::GPU)), ["matmul+add.gelu.add"]);
    assert_eq!(labels(&Plan::new(&graph, &[("y", &y)], Target::CPU)), ["matmul", "add.gelu.add"]);
}

#[test]
fn a_kernel_keeps_what_is_read_again_later() {
    let graph = Graph::new();
    let (x, w, v) = (input(&graph, "x", &[6, 4]), input(&graph, "w", &[4, 5]), input(&graph, "v", &[5, 3]));
    let y = x.matmul(&w).gelu().matmul(&v);
    let dx = graph.grad(&y.sum_all(), &[&x]).remove(0);
    let plan = Plan::new(&graph, &[("y", &y), ("dx", &dx)], Target::GPU);
    // The derivative of gelu needs the product before gelu: it is stored by the same kernel.
    let first = &plan.describe()[0];
    assert!(first.starts_with("matmul+gelu:"), "{first}");
    assert_eq!(
        first
            .split('→')
            .nth(1)
            .map(|outputs| outputs.split_whitespace().filter(|w| w.contains("Slot")).count()),
        Some(2)
    );
    assert!(labels(&plan).iter().any(|l| l.starts_with("matmul+gelu_slope")), "{:?}", labels(&plan));
}

#[test]
fn producers_write_into_a_concatenation() {
    let graph = Graph::new();
    let (x, w) = (input(&graph, "x", &[6, 4]), input(&graph, "w", &[4, 5]));
    let both = cat(&[x.matmul(&w), x.exp()], 1);
    let plan = Plan::new(&graph, &[("both", &both)], Target::GPU);
    assert_eq!(labels(&plan), ["matmul", "exp"]);
    // An input of the graph belongs to the host, so it is copied.
    let plan = Plan::new(&graph, &[("both", &cat(&[x.clone(), x.exp()], 1))], Target::GPU);
    assert_eq!(labels(&plan), ["exp", "copy"]);
}

#[test]
fn a_product_that_ends_with_a_chain_is_concatenated() {
    let graph = Graph::new();
    let [x, w, b] =
        [("x", &[2, 3, 4][..]), ("w", &[4, 5]), ("b", &[5])].map(|(name, shape)| input(&graph, name, shape));
    let y = x.matmul(&w) + &b; // (2, 3, 5), of the shape (1, 6, 5) to the product
    let both = cat(&[y, input(&graph, "other", &[2, 3, 2])], 2);
    assert_eq!(labels(&Plan::new(&graph, &[("both", &both)], Target::GPU)).len(), 2);
    let rows = cat(&[x.matmul(&w) + &b, input(&graph, "more", &[2, 1, 5])], 1);
    assert_eq!(labels(&Plan::new(&graph, &[("rows", &rows)], Target::GPU)).len(), 3);
}

#[test]
fn gradients_land_in_one_buffer() {
    let graph = Graph::new();
    let x = input(&graph, "x", &[6, 4]);
    let params = graph.state("params", (128,), DType::F32);
    let (w, v) = (params.slice(0, 0, 20).reshape((4, 5)), params.slice(0, 64, 79).reshape((5, 3)));
    let loss = x.matmul(&w).matmul(&v).sum_all();
    let grads = graph.pack(&graph.grad(&loss, &[&w, &v]), &[0, 64], 128);
    let plan = Plan::new(&graph, &[("grads", &grads)], Target::GPU);
    assert!(labels(&plan).iter().all(|l| l != "copy"), "{:?}", plan.describe());
}

#[test]
fn memory_is_shared_by_what_does_not_live_at_the_same_time() {
    let graph = Graph::new();
    let x = input(&graph, "x", &[64, 64]);
    let deep = (0..10).fold(x.clone(), |h, _| h.matmul(&x));
    let cost = Plan::new(&graph, &[("y", &deep)], Target::CPU).cost();
    // The input and two buffers that take turns, not eleven.
    assert_eq!(cost.peak_bytes, 3 * 64 * 64 * 4);
    assert_eq!(cost.flops, 10 * 2 * 64u64.pow(3));
    assert_eq!(cost.dispatches, 10);
}

/// Eight layers with dropout between them, every `every`th one's end kept; the gradient and the loss.
fn deep(every: usize) -> (Graph, Tensor, Tensor) {
    let graph = Graph::new();
    let x = input(&graph, "x", &[32, 16]);
    let params = graph.state("params", (8 * 256,), DType::F32);
    let (seed, step) = (graph.scalar_u32("seed"), graph.scalar_u32("step"));
    let weights: Vec<Tensor> =
        (0..8).map(|i| params.slice(0, 256 * i, 256 * (i + 1)).reshape((16, 16))).collect();
    let mut h = x;
    for (i, w) in weights.iter().enumerate() {
        h = &h + (h.matmul(w).gelu() * &h).dropout(0.25, &seed, &step, i as u32);
        if (i + 1) % every == 0 {
            h = h.checkpoint();
        }
    }
    let loss = (&h * &h).sum_all();
    let grads = graph.grad(&loss, &weights.iter().collect::<Vec<_>>());
    let offsets: Vec<usize> = (0..8).map(|i| 256 * i).collect();
    let grads = graph.pack(&grads, &offsets, 8 * 256);
    (graph, loss, grads)
}

#[test]
fn what_is_computed_again_is_the_same_to_the_bit_and_takes_less_memory() {
    let mut outcomes = Vec::new();
    for every in [9, 2, 1] {
        let (graph, loss, grads) = deep(every);
        let outputs = [("loss", &loss), ("grads", &grads)];
        let cost = [Target::CPU, Target::GPU].map(|target| Plan::new(&graph, &outputs, target).cost());
        let device = Device::cpu();
        let values: Vec<f32> = (0..8 * 256).map(|i| (i as f32 * 0.37).sin() * 0.2).collect();
        let params = device.state_from("params", &values.into()).unwrap();
        let mut program = device.compile(&graph, &outputs, &[("params", &params)]).unwrap();
        program.write("x", &(0..512).map(|i| (i as f32).cos()).collect::<Vec<f32>>()[..]);
        program.set_u32("seed", 5);
        program.set_u32("step", 9);
        program.run();
        let bits = |name: &str| {
            let data = pollster::block_on(program.read(name)).unwrap();
            data.f32().iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
        };
        outcomes.push((cost, bits("loss"), bits("grads")));
    }
    let [kept, pairs, all] = &outcomes[..] else { unreachable!() };
    for (cost, loss, grads) in [pairs, all] {
        assert_eq!((loss, grads), (&kept.1, &kept.2));
        for (again, kept) in cost.iter().zip(&kept.0) {
            assert!(again.peak_bytes < kept.peak_bytes, "{again:?} {kept:?}");
            assert!(again.flops > kept.flops, "{again:?} {kept:?}");
        }
    }
}

#[test]
fn what_is_computed_again_runs_just_before_it_is_read() {
    let graph = Graph::new();
    let w = graph.state("w", (4, 4), DType::F32);
    let first = input(&graph, "x", &[4, 4]).matmul(&w).tanh().checkpoint();
    let second = first.matmul(&w).exp().matmul(&w).checkpoint();
    let loss = second.tanh().sum_all();
    let dw = graph.grad(&loss, &[&w]).remove(0);
    let found = labels(&Plan::new(&graph, &[("dw", &dw)], Target::CPU));
    let forward = ["matmul", "tanh", "matmul", "exp", "matmul"];
    // Once the gradient has come down to the second mark, what lies before it is computed again, though not the mark itself;
    // then the gradients of the three layers. Behind the second mark nothing is computed twice, nor is it in front of the
    // first one, whose slope needs nothing but the mark.
    let second = ["tanh.mul.sub.mul", "matmul", "exp", "matmul_grad", "mul", "matmul_grad"];
    let first = ["mul.sub.mul", "matmul", "add.add"];
    assert_eq!(found, [&forward[..], &second, &first].concat());
}

#[test]
fn an_update_in_place_is_not_repeated() {
    let graph = Graph::new();
    let (w, count) = (graph.state("w", (3,), DType::F32), graph.state("count", (3,), DType::F32));
    let x = &w * 2.0;
    count.assign(&(&count + 1.0));
    let y = x.exp().checkpoint();
    let dw = graph.grad(&y.sum_all(), &[&w]).remove(0);
    let device = Device::cpu();
    let states = ["w", "count"].map(|name| device.state(name, 3, DType::F32).unwrap());
    let bound = [("w", &states[0]), ("count", &states[1])];
    let mut program = device.compile(&graph, &[("dw", &dw)], &bound).unwrap();
    program.run();
    assert_eq!(pollster::block_on(states[1].read()).unwrap().f32(), [1.0; 3]);
    assert_eq!(pollster::block_on(program.read("dw")).unwrap().f32(), [2.0; 3]);
}

#[test]
fn what_was_recorded_before_an_update_reads_the_old_value() {
    let graph = Graph::new();
    let (s, x) = (graph.state("s", (3,), DType::F32), input(&graph, "x", &[3]));
    let old = &s * 2.0;
    s.assign(&x);
    let y = old + &x;
    let device = Device::cpu();
    let state = device.state("s", 3, DType::F32).unwrap();
    state.write(&Data::F32(vec![10.0, 20.0, 30.0]));
    let mut program = device.compile(&graph, &[("y", &y)], &[("s", &state)]).unwrap();
    program.write("x", &[1.0f32, 2.0, 3.0][..]);
    program.run();
    assert_eq!(pollster::block_on(program.read("y")).unwrap().f32(), [21.0, 42.0, 63.0]);
    assert_eq!(pollster::block_on(state.read()).unwrap().f32(), [1.0, 2.0, 3.0]);
}

#[test]
fn outputs_that_lie_apart_are_read_and_logged_as_others() {
    let graph = Graph::new();
    let x = input(&graph, "x", &[3, 2]);
    let y = x.exp();
    let (even, across) = (y.slice(1, 0, 1), y.permute(&[1, 0]));
    let mut program = Device::cpu().compile(&graph, &[("even", &even), ("across", &across)], &[]).unwrap();
    program.write("x", &[0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0][..]);
    program.run();
    let e = |x: f32| (x as f64).exp() as f32;
    let close = |found: &[f32], expected: &[f32]| {
        assert_eq!(found.len(), expected.len());
        found.iter().zip(expected).for_each(|(x, y)| assert!((x / y - 1.0).abs() < 1e-6, "{x} for {y}"));
    };
    let expected = [vec![e(0.0), e(2.0), e(4.0)], [0.0, 2.0, 4.0, 1.0, 3.0, 5.0].map(e).to_vec()];
    let rows = pollster::block_on(program.drain()).unwrap();
    for (i, name) in ["even", "across"].into_iter().enumerate() {
        close(rows[0][i].f32(), &expected[i]);
        close(pollster::block_on(program.read(name)).unwrap().f32(), &expected[i]);
    }
}

#[test]
fn what_nobody_reads_is_not_computed() {
    let graph = Graph::new();
    let x = input(&graph, "x", &[3]);
    let _unused = x.exp().named("unused");
    let y = x.tanh();
    assert_eq!(labels(&Plan::new(&graph, &[("y", &y)], Target::CPU)), ["tanh"]);
    // A probe costs something only once it is asked for.
    let probe = graph.probe("unused").expect("it was named");
    assert_eq!(labels(&Plan::new(&graph, &[("y", &y), ("unused", &probe)], Target::CPU)), ["exp", "tanh"]);
}

#[test]
fn an_attention_of_many_keys_is_cut_into_parts_where_its_readers_can_add_them_up() {
    // Heads of the newest token, and the product behind them.
    let plan = |sequences: usize, places: usize, all_read_it: bool| {
        let graph = Graph::new();
        let (h, d) = (2, 8);
        let position = graph.input("position", (sequences,), DType::U32);
        let qkv = input(&graph, "qkv", &[sequences, 1, 3 * h, d]);
        let cache = graph.state("cache", (sequences, places, 2 * h, d), DType::F32);
        let heads = cache.cache_write(&qkv.slice(2, h, 3 * h), &position).chunk(2, 2);
        let y = qkv.slice(2, 0, h).attention(&heads[0], &heads[1], Some(&position));
        let row = y.reshape((1, sequences, h * d));
        let product = row.matmul(&input(&graph, "w", &[1, h * d, 20]));
        let outputs = [("product", &product), ("exp", &row.exp())];
        labels(&Plan::new(&graph, &outputs[..1 + usize::from(!all_read_it)], Target::GPU))
    };
    assert_eq!(plan(1, 512, true), ["attention_cached", "matmul"]);
    assert_eq!(plan(1, 513, true), ["attention_cached", "parts_row"]);
    assert_eq!(plan(1, 513, false), ["attention_cached", "matmul", "exp"]);
    assert_eq!(
        plan(2, 513, true),
        ["attention_cached", "matmul"],
        "a product of two rows reads them as they are"
    );
}

/// Three matrices (4, 8), transposed, in one state, `apart` numbers between them.
fn matrices(graph: &Graph, apart: usize) -> Vec<Tensor> {
    let all = graph.state("weights", (96 + 2 * apart,), DType::F32);
    let matrix = |i: usize| all.slice(0, i * (32 + apart), i * (32 + apart) + 32).reshape((4, 8)).t();
    (0..3).map(matrix).collect()
}

#[test]
fn products_by_matrices_side_by_side_are_one() {
    let plan = |apart: usize, other_rows: bool, read_alone: bool| {
        let graph = Graph::new();
        let (x, w) = (input(&graph, "x", &[3, 1, 8]), matrices(&graph, apart));
        let last = if other_rows { x.exp().matmul(&w[2]) } else { x.matmul(&w[2]) };
        let y = [x.matmul(&w[0]), x.matmul(&w[1]), last];
        let joined = cat(&y, 2).reshape((3, 12)).softmax();
        let outputs = [("joined", &joined), ("alone", &y[0])];
        labels(&Plan::new(&graph, &outputs[..1 + usize::from(read_alone)], Target::GPU))
    };
    let three = |plan: Vec<String>| plan.iter().filter(|name| *name == "matmul").count() == 3;
    assert_eq!(plan(0, false, false), ["matmul", "softmax"]);
    assert!(three(plan(4, false, false)), "there is a gap between the matrices");
    assert!(three(plan(0, true, false)), "not all have the same rows");
    assert!(three(plan(0, false, true)), "somebody else reads one of them");
}

#[test]
fn a_product_with_rows_of_zeros_behind_it_is_more_than_a_product() {
    let graph = Graph::new();
    let (x, w) = (input(&graph, "x", &[1, 3, 8]), matrices(&graph, 0));
    let y = x.matmul(&w[0]).pad_to(1, 0, 4).reshape((4, 4)).softmax();
    let plan = Plan::new(&graph, &[("y", &y)], Target::GPU);
    // x and the weights, y with its zeros, and what softmax makes of it.
    assert_eq!(plan.cost().peak_bytes, 4 * (24 + 96 + 16 + 16), "{:?}", plan.describe());
}

#[test]
fn a_gate_is_part_of_the_product_behind_it() {
    let plan = |rows: usize, apart: usize, outputs: &[&str]| {
        let graph = Graph::new();
        let (x, w) = (input(&graph, "x", &[1, rows, 8]), matrices(&graph, apart));
        let h = x.matmul(&w[0]).silu() * x.matmul(&w[1]);
        let y = h.matmul(&input(&graph, "down", &[4, 8])) + &x;
        let found = [("y", &y), ("h", &h)].into_iter().filter(|(name, _)| outputs.contains(name));
        labels(&Plan::new(&graph, &found.collect::<Vec<_>>(), Target::GPU))
    };
    let plain = ["matmul", "matmul+silu.mul", "matmul+add"];
    assert_eq!(plan(1, 0, &["y"]), ["matmul", "gated_row+add"]);
    assert_eq!(plan(2, 0, &["y"]), plain, "a product of two rows reads them as they are");
    assert_eq!(plan(1, 4, &["y"]), plain, "there is a gap between the matrices");
    assert_eq!(plan(1, 0, &["y", "h"]), plain, "the host reads what the gate lets through");
}

#[test]
fn an_attention_turns_heads_where_it_reads_all_of_them_at_their_position() {
    let plan = |rotated: usize, started_there: bool, d: usize| {
        let graph = Graph::new();
        let (h, g) = (2, 1);
        let [position, other] = ["position", "other"].map(|name| graph.input(name, (1,), DType::U32));
        let all = input(&graph, "all", &[1, 1, h + 2 * g, d]);
        let at = if started_there { &position } else { &other };
        let all = all.rope_heads(Some(at), &inverse_frequencies(d, 100.0), rotated);
        let cache = graph.state("cache", (1, 5, 2 * g, d), DType::F32);
        let heads = cache.cache_write(&all.slice(2, h, h + 2 * g), &position).chunk(2, 2);
        let y = all.slice(2, 0, h).attention(&heads[0], &heads[1], Some(&position));
        labels(&Plan::new(&graph, &[("y", &y)], Target::GPU))
    };
    let plain = ["rope", "attention_cached"];
    assert_eq!(plan(3, true, 8), ["attention_turned"]);
    assert_eq!(plan(2, true, 8), plain, "keys are not turned");
    assert_eq!(plan(3, false, 8), plain, "they are turned by another position");
    assert_eq!(plan(3, true, 4), plain, "half a head is no whole vector of four");
}

#[test]
fn a_gradient_goes_on_from_a_given_one_without_a_kernel_more() {
    let graph = Graph::new();
    let (x, dy) = (input(&graph, "x", &[2, 3]), input(&graph, "dy", &[2, 3]));
    let dx = graph.vjp(&x.tanh(), &dy, &[&x]).remove(0);
    let same = graph.grad(&(x.tanh() * &dy).sum_all(), &[&x]).remove(0);
    let kernels = |dx: &Tensor| labels(&Plan::new(&graph, &[("dx", dx)], Target::GPU)).len();
    assert_eq!(kernels(&dx), 1);
    let mut program = Device::cpu().compile(&graph, &[("dx", &dx), ("same", &same)], &[]).unwrap();
    program.write("x", &[0.1, -0.2, 0.3, 0.4, -0.5, 0.6][..]);
    program.write("dy", &[1.0, 2.0, -3.0, 4.0, 5.0, -6.0][..]);
    program.run();
    let read = |name: &str| pollster::block_on(program.read(name)).unwrap().f32().to_vec();
    let (dx, same) = (read("dx"), read("same"));
    assert!(dx.iter().zip(&same).all(|(a, b)| (a - b).abs() < 1e-6), "{dx:?}, {same:?}");
}

#[test]
#[should_panic(expected = "vjp: a gradient has the shape of its tensor")]
fn a_given_gradient_of_another_shape_is_refused() {
    let graph = Graph::new();
    let x = input(&graph, "x", &[2, 3]);
    graph.vjp(&x.exp(), &input(&graph, "dy", &[3, 2]), &[&x]);
}

#[test]
#[should_panic(expected = "matmul: (2, 3) and (4, 5) do not multiply")]
fn a_wrong_shape_names_operation_and_shapes() {
    let graph = Graph::new();
    input(&graph, "x", &[2, 3]).matmul(&input(&graph, "w", &[4, 5]));
}

#[test]
fn a_missing_state_is_named() {
    let graph = Graph::new();
    let y = graph.state("params", (4,), DType::F32).exp();
    let error = Device::cpu().compile(&graph, &[("y", &y)], &[]).err().expect("nothing is bound");
    assert_eq!(error.to_string(), "state \"params\": not found; the program has none");
}

#[test]
fn what_is_kept_in_half_precision_takes_half_the_memory() {
    // Eight layers of 64 by 128 numbers, enough to be worth it; each is read again in the backward pass.
    let plan = |halves: bool, target: Target| {
        let graph = Graph::new();
        if halves {
            graph.keep_halves();
        }
        let bias = graph.state("bias", (128,), DType::F32);
        let mut h = input(&graph, "x", &[64, 128]);
        for i in 0..8 {
            h = (h.matmul(&graph.state(&format!("w{i}"), (128, 128), DType::F32)) + &bias).tanh();
        }
        let loss = (&h * &h).sum_all();
        let db = graph.grad(&loss, &[&bias]).remove(0);
        Plan::new(&graph, &[("loss", &loss), ("db", &db)], target)
    };
    for target in [Target::CPU, Target::GPU] {
        let (kept, halves) = (plan(false, target), plan(true, target));
        let [kept_cost, cost] = [&kept, &halves].map(Plan::cost);
        let packed = labels(&halves).iter().filter(|label| *label == "half").count() as u64 / 2;
        // The last layers are read again at once.
        assert!((5..8).contains(&packed), "{:?}", halves.describe());
        let (layer, saved) = (4 * 64 * 128, kept_cost.peak_bytes - cost.peak_bytes);
        // Each of them rests as a half, while the one that is being read takes as much again.
        assert!(
            (layer * (packed - 2) / 2..=layer * packed / 2).contains(&saved),
            "{saved} of {packed} times {layer}"
        );
        assert_eq!((cost.flops, cost.dispatches), (kept_cost.flops, kept_cost.dispatches + 2 * packed));
        assert!(!labels(&kept).contains(&"half".to_string()));
    }
}
