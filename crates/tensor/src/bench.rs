//! What `cargo xtask bench` measures, natively and in a page: operations at sizes that matter.
//!
//! A [`Case`] is first opened: its program runs on the device and in f64 on the CPU, and what comes out must agree. What has
//! passed can be timed, and as it is the same program with the same inputs, the time is that of a right answer.

use std::cell::RefCell;
use std::rc::Rc;

use web_time::Instant;

use crate::check::compare;
use crate::cpu::split_chunks;
use crate::device::{Device, State};
use crate::dtype::DType;
use crate::error::Error;
use crate::graph::Graph;
use crate::ops::adamw::{AdamW, DECAY_BLOCK, adamw};
use crate::program::Program;
use crate::rng::{Rng, stream_id};
use crate::tensor::Tensor;

/// Seconds that one sample takes at least: clocks of pages tick every tenth of a millisecond at best.
const SAMPLE_SECONDS: f64 = 0.005;

/// What an operation cannot be faster than.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The rate of the best matrix product.
    Arithmetic,
    /// The rate at which memory is copied.
    Memory,
}

impl Limit {
    /// Its name in what is printed for other programs.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Arithmetic => "arithmetic",
            Limit::Memory => "memory",
        }
    }
}

/// Makes the program of a case on a device.
type Prepare = Box<dyn Fn(&Device) -> Result<Prepared, Error>>;

/// Something to be measured.
pub struct Case {
    /// What it is called in every table.
    pub name: String,
    /// What it is held against.
    pub limit: Limit,
    /// Operations that must be computed, however it is done; none where the program's own count is meant.
    pub flops: Option<f64>,
    /// Bytes that must be moved if each operand is touched once; none where the program's own count is meant.
    pub bytes: Option<f64>,
    /// The largest error allowed, as [`compare`] takes it.
    pub tolerance: f64,
    /// Runs before results are compared: more than one where a run changes what the next one sees.
    pub runs: usize,
    /// The matrix product that it is, if it is one, so that others can compute the same.
    pub product: Option<Product>,
    prepare: Prepare,
}

/// A matrix product: `(M, K)` by `(K, N)`, where one of them may be stored transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// M, K, N.
    pub dims: [usize; 3],
    /// Which operands are stored transposed.
    pub transposed: [bool; 2],
}

/// A program that is ready to run, and what to look at when it has.
pub struct Prepared {
    /// The program, its inputs written.
    pub program: Program,
    /// The outputs that are compared.
    pub outputs: Vec<&'static str>,
    /// The states that are compared.
    pub states: Vec<State>,
    /// What is done before each run: scalars that count, the next batch.
    pub before: Box<dyn FnMut(&mut Program)>,
}

/// A case on a device, whose results are known to be right, to be timed.
pub struct Opened {
    device: Device,
    prepared: Prepared,
    /// Operations of one run.
    pub flops: f64,
    /// Bytes of one run.
    pub bytes: f64,
    /// Kernels of one run.
    pub dispatches: u64,
    /// What was compared, one list for each run.
    values: Vec<Vec<f64>>,
}

impl Case {
    /// A case that counts as its program does and is compared after one run.
    pub fn new(
        name: impl Into<String>,
        limit: Limit,
        prepare: impl Fn(&Device) -> Result<Prepared, Error> + 'static,
    ) -> Case {
        let prepare = Box::new(prepare);
        let name = name.into();
        Case { name, limit, flops: None, bytes: None, tolerance: 2e-5, runs: 1, product: None, prepare }
    }

    /// Prepares the case and, if it is to be `exact`, holds its results to f64. A training step in f64 takes a minute in a page;
    /// there, whoever collects [`losses`](Opened::losses) holds them to those of a device that was exact.
    ///
    /// # Errors
    /// What the device says, or what differs.
    pub async fn open(&self, device: &Device, exact: bool) -> Result<Opened, String> {
        let fail = |what: String| format!("{}: {what}", self.name);
        let prepare = |device: &Device| (self.prepare)(device).map_err(|e| fail(e.to_string()));
        let mut truth = if exact { Some(prepare(&Device::cpu64())?) } else { None };
        let mut found = prepare(device)?;
        let mut values = Vec::new();
        for _ in 0..self.runs {
            let got = found.values().await.map_err(|e| fail(e.to_string()))?;
            if let Some(truth) = &mut truth {
                let want = truth.values().await.map_err(|e| fail(e.to_string()))?;
                for (want, got) in want.iter().zip(&got) {
                    compare(want, got, self.tolerance).map_err(fail)?;
                }
            }
            values.push(got.concat());
        }
        let cost = found.program.cost();
        Ok(Opened {
            device: device.clone(),
            flops: self.flops.unwrap_or(cost.flops as f64),
            bytes: self.bytes.unwrap_or(cost.bytes_moved as f64),
            dispatches: cost.dispatches,
            prepared: found,
            values,
        })
    }
}

impl Prepared {
    /// Runs once; what is compared afterwards.
    async fn values(&mut self) -> Result<Vec<Vec<f64>>, Error> {
        (self.before)(&mut self.program);
        self.program.run();
        let mut values = Vec::new();
        for name in &self.outputs {
            values.push(self.program.read_f64(name).await?);
        }
        for state in &self.states {
            values.push(state.read().await?.f32().iter().map(|&x| x as f64).collect());
        }
        Ok(values)
    }
}

impl Opened {
    /// Seconds of one run: samples that together take as long as is asked for, and one at least.
    pub async fn time(&mut self, seconds: f64) -> Vec<f64> {
        let device = self.device.clone();
        let prepared = &mut self.prepared;
        samples(seconds, async |runs| {
            for _ in 0..runs {
                (prepared.before)(&mut prepared.program);
                prepared.program.run();
                prepared.program.throttle().await;
            }
            if let Some(gpu) = device.gpu() {
                gpu.wait().await;
            }
        })
        .await
    }

    /// What the output was after each run, where it is one number.
    pub fn losses(&self) -> Vec<f64> {
        let one = |values: &Vec<f64>| if let [loss] = values[..] { Some(loss) } else { None };
        self.values.iter().filter_map(one).collect()
    }

    /// The output `y` of the last run.
    ///
    /// # Errors
    /// As [`Program::read`].
    pub async fn result(&self) -> Result<Vec<f64>, Error> {
        self.prepared.program.read_f64("y").await
    }
}

/// Seconds of one run by samples, each the mean of as many runs as take [`SAMPLE_SECONDS`]. `run` runs so many times.
pub async fn samples(seconds: f64, mut run: impl AsyncFnMut(usize)) -> Vec<f64> {
    let (mut runs, mut found) = (1, Vec::new());
    let began = Instant::now();
    loop {
        let start = Instant::now();
        run(runs).await;
        let took = start.elapsed().as_secs_f64();
        if took < SAMPLE_SECONDS {
            runs *= 2;
            continue;
        }
        found.push(took / runs as f64);
        if began.elapsed().as_secs_f64() >= seconds {
            return found;
        }
    }
}

/// The numbers of input `i` of every case: normal, the same on every device.
pub fn numbers(i: usize, len: usize) -> Vec<f32> {
    let mut rng = Rng::new(20, stream_id(&format!("bench {i}")));
    (0..len).map(|_| rng.normal()).collect()
}

/// How fast memory can be copied, without the engine: the ceiling of whatever moves more than it computes.
pub struct Copied {
    from: Vec<f32>,
    to: Vec<f32>,
}

impl Copied {
    /// As much as [`COPY`] moves.
    pub fn new() -> Copied {
        Copied { from: numbers(0, STREAM), to: vec![0.0; STREAM] }
    }

    /// Copies on all threads there are.
    pub fn run(&mut self) {
        let from = &self.from;
        split_chunks(&mut self.to, 1, |first, to| to.copy_from_slice(&from[first..first + to.len()]));
        std::hint::black_box(&mut self.to);
    }

    /// Whether what was copied is what there was.
    pub fn is_right(&self) -> bool {
        self.from == self.to
    }
}

impl Default for Copied {
    fn default() -> Self {
        Self::new()
    }
}

/// Elements of what streams through memory: 16 MiB, more than second-level caches hold.
const STREAM: usize = 1 << 22;

/// The case that [`Copied`] rivals.
pub const COPY: &str = "copy, 16 MiB";

/// The product that tells how fast a device can multiply, in runs that measure something else.
pub const CEILING: &str = "product 512×512×512";

/// All operations that are measured.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![copy(STREAM)];
    let plain = [false, false];
    cases.extend([512, 1024].map(|n| product([n, n, n], plain)));
    // A training step of the preset `nano`: query, key and value; feed-forward and its two gradients; output; a token.
    cases.extend([
        product([768, 128, 384], plain),
        product([768, 128, 512], plain),
        product([768, 512, 128], [false, true]),
        product([128, 768, 512], [true, false]),
        product([768, 128, 65], [false, true]),
        product([1, 768, 2048], plain),
    ]);
    cases.extend([
        rows("softmax", |x| x[0].softmax(), 5),
        rows("layer_norm", |x| x[0].layer_norm(&x[1], None, 1e-5), 8),
        rows("gelu", |x| x[0].gelu(), 12),
    ]);
    for (b, t) in [(4, 256), (2, 512), (1, 1024)] {
        cases.extend([attention(b, t, false), attention(b, t, true)]);
    }
    cases.push(adamw_step(STREAM / 2));
    cases
}

/// What is measured on graphics cards: as much at a time as fills them, and more than their caches hold.
pub fn large_cases() -> Vec<Case> {
    let n = 4096;
    vec![
        copy(1 << 26),
        product([n, n, n], [false, false]),
        attention(4, 1024, false),
        attention(4, 1024, true),
        adamw_step(1 << 24),
    ]
}

/// A graph of float inputs, compiled with its outputs named, its inputs filled with [`numbers`].
fn prepared(
    device: &Device,
    shapes: &[&[usize]],
    outputs: &[&'static str],
    build: impl Fn(&Graph, &[Tensor]) -> Vec<Tensor>,
) -> Result<Prepared, Error> {
    let graph = Graph::new();
    let input = |(i, shape): (usize, &&[usize])| graph.input(&format!("x{i}"), *shape, DType::F32);
    let inputs: Vec<Tensor> = shapes.iter().enumerate().map(input).collect();
    let built = build(&graph, &inputs);
    let named: Vec<(&str, &Tensor)> = outputs.iter().copied().zip(&built).collect();
    let mut program = device.compile(&graph, &named, &[])?;
    for (i, shape) in shapes.iter().enumerate() {
        // One that nobody reads has been dropped.
        if program.has(&format!("x{i}")) {
            program.write(&format!("x{i}"), &numbers(i, shape.iter().product())[..]);
        }
    }
    Ok(Prepared { program, outputs: outputs.to_vec(), states: Vec::new(), before: Box::new(|_| {}) })
}

/// `n` numbers, read and written.
fn copy(n: usize) -> Case {
    // An operation is needed, or nothing would be moved; one sign costs nothing.
    let prepare = move |device: &Device| prepared(device, &[&[n]], &["y"], |_, x| vec![-&x[0]]);
    let name = format!("copy, {} MiB", n >> 18);
    Case { flops: Some(0.0), bytes: Some(8.0 * n as f64), ..Case::new(name, Limit::Memory, prepare) }
}

fn product([m, k, n]: [usize; 3], transposed: [bool; 2]) -> Case {
    let stored = |t: bool, [rows, cols]: [usize; 2]| if t { [cols, rows] } else { [rows, cols] };
    let shapes = [stored(transposed[0], [m, k]), stored(transposed[1], [k, n])];
    let prepare = move |device: &Device| {
        prepared(device, &[&shapes[0], &shapes[1]], &["y"], |_, x| {
            let [a, b] = [0, 1].map(|i| if transposed[i] { x[i].t() } else { x[i].clone() });
            vec![a.matmul(&b)]
        })
    };
    let [t, u] = transposed.map(|t| if t { "ᵀ" } else { "" });
    Case {
        flops: Some(2.0 * (m * k * n) as f64),
        bytes: Some(4.0 * (m * k + k * n + m * n) as f64),
        product: Some(Product { dims: [m, k, n], transposed }),
        // One row reads every number of the other operand once.
        ..Case::new(
            format!("product {m}×{k}{t}×{n}{u}"),
            if m == 1 { Limit::Memory } else { Limit::Arithmetic },
            prepare,
        )
    }
}

/// A function of rows of 512, which reads and writes each number once; `flops` for each of them.
fn rows(name: &str, build: fn(&[Tensor]) -> Tensor, flops: usize) -> Case {
    let prepare =
        move |device: &Device| prepared(device, &[&[4096, 512], &[512]], &["y"], |_, x| vec![build(x)]);
    Case {
        flops: Some((flops * 4096 * 512) as f64),
        bytes: Some(8.0 * (4096 * 512) as f64),
        ..Case::new(format!("{name}, 4096×512"), Limit::Memory, prepare)
    }
}

/// Causal attention of six heads of 64, alone or with its gradient, of q, k and v in one matrix as models train it.
///
/// Query and key meet T·(T + 1)/2 times; each time costs 4·D operations forward and 10·D backward, of which 2·D compute the
/// score again, since the matrix of scores is never kept.
fn attention(b: usize, t: usize, backward: bool) -> Case {
    let (h, d) = (6, 64);
    let (qkv, dy) = ([b, t, 3 * h * d], [b, t, h, d]);
    let prepare = move |device: &Device| {
        let attend = |x: &Tensor| x.attention_packed(h, h, None);
        if !backward {
            return prepared(device, &[&qkv], &["y"], |_, x| vec![attend(&x[0])]);
        }
        prepared(device, &[&qkv, &dy], &["dqkv"], |graph, x| graph.vjp(&attend(&x[0]), &x[1], &[&x[0]]))
    };
    let pairs = (b * h * t * (t + 1) / 2) as f64;
    let (what, per_pair, tensors) =
        if backward { ("attention and gradient", 14 * d, 8) } else { ("attention", 4 * d, 4) };
    Case {
        flops: Some(pairs * per_pair as f64),
        bytes: Some((4 * tensors * b * t * h * d) as f64),
        // Gradients are sums of differences that nearly cancel.
        tolerance: 2e-4,
        ..Case::new(format!("{what}, {b}×{t}, 6 heads of 64"), Limit::Arithmetic, prepare)
    }
}

/// One update of `n` parameters, each of which is 28 bytes: parameter, gradient and moments read, all but the gradient
/// written.
fn adamw_step(n: usize) -> Case {
    let prepare = move |device: &Device| {
        let graph = Graph::new();
        let state = |name: &str| graph.state(name, (n,), DType::F32);
        adamw(AdamW {
            params: &state("params"),
            grads: &graph.input("grads", (n,), DType::F32),
            m: &state("m"),
            v: &state("v"),
            stats: &graph.data((4,), vec![1.0, 1.0, 0.0, 0.0]),
            decay: &graph.data((n / DECAY_BLOCK,), vec![1.0; n / DECAY_BLOCK]),
            lr: &graph.scalar("lr"),
            bias1: &graph.scalar("bias1"),
            bias2: &graph.scalar("bias2"),
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.1,
        });
        let made: Vec<State> =
            (0..3).map(|i| device.state(["params", "m", "v"][i], n, DType::F32)).collect::<Result<_, _>>()?;
        made[0].write(&numbers(1, n).into());
        let bound: Vec<(&str, &State)> = ["params", "m", "v"].into_iter().zip(&made).collect();
        let mut program = device.compile(&graph, &[], &bound)?;
        program.write("grads", &numbers(0, n)[..]);
        let step = Rc::new(RefCell::new(0));
        let before = move |program: &mut Program| {
            *step.borrow_mut() += 1;
            let bias = |beta: f64| (1.0 - beta.powi(*step.borrow())) as f32;
            program.set("lr", 1e-3);
            program.set("bias1", bias(0.9));
            program.set("bias2", bias(0.99));
        };
        Ok(Prepared { program, outputs: Vec::new(), states: made, before: Box::new(before) })
    };
    Case {
        flops: Some(15.0 * n as f64),
        bytes: Some(28.0 * n as f64),
        runs: 2,
        ..Case::new(format!("AdamW, {} Mi parameters", n >> 20), Limit::Memory, prepare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_the_ceilings_are_there() {
        let names: Vec<String> = cases().into_iter().map(|case| case.name).collect();
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        assert!(names.iter().any(|name| name == COPY) && names.iter().any(|name| name == CEILING));
    }

    #[test]
    fn every_case_can_be_prepared() {
        for case in cases() {
            let prepared = (case.prepare)(&Device::cpu()).unwrap();
            assert!(prepared.program.cost().dispatches > 0, "{}", case.name);
            assert!(!prepared.outputs.is_empty() || !prepared.states.is_empty(), "{}", case.name);
        }
    }

    #[test]
    fn a_wrong_result_is_not_timed() {
        // Of two runs, the second one is given another number.
        let runs = Rc::new(RefCell::new(0.0));
        let case = Case::new("counts", Limit::Memory, move |device| {
            *runs.borrow_mut() += 1.0;
            let found = prepared(device, &[&[4]], &["y"], |_, x| vec![-&x[0]]);
            found.map(|mut prepared| {
                prepared.program.write("x0", &[*runs.borrow() as f32; 4][..]);
                prepared
            })
        });
        let error = pollster::block_on(case.open(&Device::cpu(), true)).err().expect("an error");
        assert!(error.starts_with("counts: element"), "{error}");
    }

    #[test]
    fn samples_take_as_long_as_asked() {
        let mut total = 0;
        let found = pollster::block_on(samples(0.02, async |runs| {
            total += runs;
            std::thread::sleep(std::time::Duration::from_millis(2 * runs as u64));
        }));
        assert!(!found.is_empty() && found.iter().all(|&s| s >= 0.002), "{found:?}");
        assert!(total >= 7, "{total} runs");
    }
}
