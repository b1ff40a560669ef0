//! Prepares a plan for a GPU, kernels and bind groups once, and replays it in one compute pass.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use cloche_gpu::{
    Access, AdapterClass, BindGroup, Buffer, BufferBinding, Gpu, Kernel, KernelSpec, Pace, Pass, Profile,
    RUN_BYTES, grid,
};

use super::wgsl::{Chain, NO_EPILOGUE, known, store};
use super::{Elements, LOG_NUMEL, LOG_RUNS, logged};
use crate::dtype::DType;
use crate::error::Error;
use crate::graph::Data;
use crate::ops::{Bind, Choice, Dispatch, ELEMENTWISE, GpuIo, NEED_SUBGROUPS, PRELUDE, groups};
use crate::plan::{BufferId, Operand, Plan, Step, Work};
use crate::shape::Layout;
use crate::tune::{Asked, Choices};

/// Bytes that one run takes in the log: all small outputs.
const LOG_STRIDE: u64 = 4 * LOG_NUMEL as u64;

pub(crate) struct GpuProgram {
    pub gpu: Gpu,
    launches: Vec<Launch>,
    /// By launch: operations, and four for each byte.
    work: Vec<f64>,
    pace: Pace,
    inputs: Vec<Rc<Buffer>>,
    /// Binding 0 of every kernel, and its values before they are written.
    uniform: Buffer,
    scalars: Vec<u32>,
    buffers: Buffers,
    logged: Vec<Operand>,
    log: Option<Buffer>,
    /// Runs since the log was read.
    pending: usize,
    /// The next place in the log.
    next: usize,
}

struct Launch {
    kernel: Rc<Kernel>,
    group: BindGroup,
    grid: [u32; 3],
}

struct Buffers {
    slots: Vec<Rc<Buffer>>,
    inputs: Vec<Rc<Buffer>>,
    states: Vec<Rc<Buffer>>,
    data: Vec<Rc<Buffer>>,
}

impl Buffers {
    fn get(&self, id: BufferId) -> &Rc<Buffer> {
        match id {
            BufferId::Slot(i) => &self.slots[i],
            BufferId::Input(i) => &self.inputs[i],
            BufferId::State(i) => &self.states[i],
            BufferId::Data(i) => &self.data[i],
            BufferId::Scalar(_) => unreachable!("scalars live in the uniform block"),
        }
    }
}

impl GpuProgram {
    pub fn new(gpu: &Gpu, plan: &Plan, states: Vec<Rc<Buffer>>, choices: &Choices) -> Result<Self, Error> {
        assert!(
            plan.scalars.len() <= RUN_BYTES as usize / 4,
            "more per-run scalars than the uniform block holds"
        );
        let buffer =
            |label: &str, numel: usize| Ok::<_, Error>(Rc::new(gpu.buffer(label, 4 * numel.max(1) as u64)?));
        let buffers = Buffers {
            slots: plan.slots.iter().map(|s| buffer("slot", s.numel)).collect::<Result<_, _>>()?,
            inputs: plan.inputs.iter().map(|p| buffer(&p.name, p.shape.numel())).collect::<Result<_, _>>()?,
            data: plan.data.iter().map(|d| buffer("table", d.len())).collect::<Result<_, _>>()?,
            states,
        };
        buffers.data.iter().zip(&plan.data).for_each(|(buffer, data)| gpu.write(buffer, 0, bytes_of(data)));
        let uniform = gpu.uniform("run", RUN_BYTES)?;
        let asked = plan.steps.iter().map(|step| prepare(gpu, step, choices));
        // Together, so that they compile side by side. A browser compiles in a process of its own.
        #[cfg(not(target_arch = "wasm32"))]
        let asked: Vec<_> = asked.collect();
        #[cfg(not(target_arch = "wasm32"))]
        gpu.compile_all(asked.iter().flatten().map(|(spec, ..)| spec));
        let (mut launches, mut work) = (Vec::new(), Vec::new());
        for (step, asked) in plan.steps.iter().zip(asked) {
            launches.extend(asked.into_iter().map(|asked| launch(gpu, &buffers, &uniform, asked)));
            let each = (step.flops() + 4 * step.bytes()) as f64 / (launches.len() - work.len()).max(1) as f64;
            work.resize(launches.len(), each);
        }
        let logged = logged(&plan.outputs);
        let log = match logged.len() as u64 * LOG_STRIDE * LOG_RUNS as u64 {
            0 => None,
            bytes => Some(gpu.buffer("log", bytes)?),
        };
        let scalars = vec![0; plan.scalars.len()];
        Ok(GpuProgram {
            gpu: gpu.clone(),
            launches,
            work,
            pace: Pace::default(),
            inputs: buffers.inputs.clone(),
            uniform,
            scalars,
            buffers,
            logged,
            log,
            pending: 0,
            next: 0,
        })
    }

    pub fn write(&mut self, input: usize, data: Elements) {
        let bytes = match data {
            Elements::F32(v) => bytemuck::cast_slice(v),
            Elements::U32(v) => bytemuck::cast_slice(v),
        };
        self.gpu.write(&self.inputs[input], 0, bytes);
    }

    pub fn set(&mut self, k: usize, bits: u32) {
        self.scalars[k] = bits;
    }

    pub fn run(&mut self) {
        if !self.scalars.is_empty() {
            self.gpu.write(&self.uniform, 0, bytemuck::cast_slice(&self.scalars));
        }
        for part in self.pace.parts(&self.work) {
            let done = self.pace.watch(self.work[part.clone()].iter().sum());
            self.gpu.submit_then(done, |pass| self.record(part, pass));
        }
        self.count_run();
    }

    /// Runs with a timestamp around each dispatch.
    pub async fn profile(&mut self) -> Result<Profile, Error> {
        self.gpu.write(&self.uniform, 0, bytemuck::cast_slice(&self.scalars));
        let profile = self.gpu.profile(|pass| self.record(0..self.launches.len(), pass)).await?;
        self.count_run();
        Ok(profile)
    }

    /// Some dispatches; after the last one the copies of small outputs into the log.
    fn record(&self, part: Range<usize>, pass: &mut Pass) {
        for launch in &self.launches[part.clone()] {
            pass.dispatch(&launch.kernel, &launch.group, launch.grid);
        }
        let Some(log) = self.log.as_ref().filter(|_| part.end == self.launches.len()) else { return };
        for (i, y) in self.logged.iter().enumerate() {
            let to = (self.next * self.logged.len() + i) as u64 * LOG_STRIDE;
            pass.copy(
                self.buffers.get(y.buffer),
                4 * y.layout.offset as u64,
                log,
                to,
                4 * y.layout.numel() as u64,
            );
        }
    }

    fn count_run(&mut self) {
        self.next = (self.next + 1) % LOG_RUNS;
        self.pending = (self.pending + 1).min(LOG_RUNS);
    }

    pub async fn read(&self, operand: &Operand) -> Result<Data, Error> {
        let (start, end) = (operand.layout.offset, operand.layout.end());
        let bytes = self
            .gpu
            .read(self.buffers.get(operand.buffer), 4 * start as u64, 4 * (end - start) as u64)
            .await?;
        Ok(data_of(&bytes, operand.dtype))
    }

    pub async fn drain(&mut self) -> Result<Vec<Vec<Data>>, Error> {
        let small = &self.logged;
        let (runs, last) = (std::mem::take(&mut self.pending), self.next);
        let Some(log) = self.log.as_ref().filter(|_| runs > 0) else { return Ok(Vec::new()) };
        let bytes = self.gpu.read(log, 0, log.bytes()).await?;
        let entry = |run: usize, i: usize, y: &Operand| {
            let at = (run * small.len() + i) * LOG_STRIDE as usize;
            data_of(&bytes[at..at + 4 * y.layout.numel()], y.dtype)
        };
        let row = |run: usize| small.iter().enumerate().map(|(i, y)| entry(run, i, y)).collect();
        Ok((0..runs).map(|r| row((last + LOG_RUNS - runs + r) % LOG_RUNS)).collect())
    }
}

/// The bytes of host data.
pub(crate) fn bytes_of(data: &Data) -> &[u8] {
    match data {
        Data::F32(v) => bytemuck::cast_slice(v),
        Data::U32(v) => bytemuck::cast_slice(v),
    }
}

/// Host data from bytes that need not be aligned.
pub(crate) fn data_of(bytes: &[u8], dtype: DType) -> Data {
    match dtype {
        DType::F32 => Data::F32(bytemuck::pod_collect_to_vec(bytes)),
        DType::U32 => Data::U32(bytemuck::pod_collect_to_vec(bytes)),
    }
}

/// The element from which on an operand is bound: its first, or one that lies where a binding may begin.
fn bound_from(operand: &Operand) -> usize {
    operand.layout.offset / 64 * 64
}

/// The operand as seen through a binding that starts at an aligned offset: `(binding start, relative operand)`.
fn rebase(operand: &Operand) -> (usize, Operand) {
    if operand.buffer.scalar().is_some() {
        return (0, operand.clone());
    }
    let start = bound_from(operand);
    let layout = Layout { offset: operand.layout.offset - start, ..operand.layout.clone() };
    (start, Operand { layout, ..operand.clone() })
}

/// A kernel, what it is bound to behind the uniform block, and how many workgroups it has.
type Wanted<'a> = (KernelSpec, Vec<&'a Operand>, u64);

/// What a step asks of the device.
fn prepare<'a>(gpu: &Gpu, step: &'a Step, choices: &Choices) -> Vec<Wanted<'a>> {
    let relative = |operands: &[Operand]| operands.iter().map(|o| rebase(o).1).collect::<Vec<_>>();
    let (inputs, outputs) = (relative(&step.inputs), relative(&step.outputs));
    let n_inputs = step.epilogue.as_ref().map_or(inputs.len(), |e| e.first_input);
    let choice = |usual: Dispatch, others: &dyn Fn() -> Vec<Dispatch>| choices.pick(usual, others);
    let (dispatches, chain) = match (&step.work, &step.epilogue) {
        (Work::Expr(expr), _) => {
            let chain = Chain { expr, operands: &inputs, first_binding: 2, kept: None };
            let text = store(&outputs[0]) + &chain.text();
            (vec![elementwise(&outputs[0], gpu.info().class)], Some((0, text)))
        }
        (Work::Op(op), epilogue) => {
            let kept = epilogue.as_ref().is_some_and(|e| e.keeps_input) as usize;
            let dispatches = op.gpu(&io(gpu, &inputs[..n_inputs], &outputs[..outputs.len() - kept], &choice));
            let first_binding = dispatches.iter().map(|d| d.bindings.len() + 1).max().unwrap_or(1);
            let chain = epilogue.as_ref().map(|e| {
                let kept = e.keeps_input.then(|| outputs.last().expect("the kept value"));
                let chain = Chain { expr: &e.expr, operands: &inputs[n_inputs..], first_binding, kept };
                (n_inputs, chain.text())
            });
            (dispatches, chain)
        }
    };
    dispatches.into_iter().map(|dispatch| ask(step, dispatch, chain.as_ref())).collect()
}

/// What an operation sees of the device.
fn io<'a>(gpu: &Gpu, inputs: &'a [Operand], outputs: &'a [Operand], choice: &'a Choice<'a>) -> GpuIo<'a> {
    GpuIo {
        inputs,
        outputs,
        class: gpu.info().class,
        limits: gpu.limits(),
        vulkan: gpu.info().backend == "vulkan",
        subgroups: gpu.info().features.subgroups,
        lanes: gpu.info().lanes,
        choice,
    }
}

/// What several kernels can do in a step. Nothing of a step that changes a state or reads a scalar, which is not repeated alone.
pub(crate) fn asked(gpu: &Gpu, step: &Step) -> Vec<Asked> {
    let Work::Op(op) = &step.work else { return Vec::new() };
    if !op.in_place().is_empty() || step.inputs.iter().any(|x| x.buffer.scalar().is_some()) {
        return Vec::new();
    }
    let found = RefCell::new(Vec::new());
    let note = |usual: Dispatch, others: &dyn Fn() -> Vec<Dispatch>| {
        let mut kernels = vec![usual.kernel()];
        kernels.extend(others().iter().map(Dispatch::kernel));
        if kernels.len() > 1 {
            found.borrow_mut().push(Asked { work: usual.work(), fingerprint: usual.fingerprint(), kernels });
        }
        usual
    };
    let plan = Plan::of_step(step, 1);
    op.gpu(&io(gpu, &plan.steps[0].inputs, &plan.steps[0].outputs, &note));
    found.into_inner()
}

/// A thread for each element; on GPUs four elements a thread where that still fills them, for to start a thread takes longer
/// than to move a number.
fn elementwise(y: &Operand, class: AdapterClass) -> Dispatch {
    let n = y.layout.numel();
    let each = if class == AdapterClass::Hardware && n >= 1 << 20 { 4 } else { 1 };
    Dispatch {
        shader: ELEMENTWISE,
        entry: "main",
        constants: vec![("N", n as f64), ("EACH", each as f64)],
        bindings: vec![Bind::Output(0)],
        workgroups: groups(n, 64 * each),
    }
}

fn ask<'a>(step: &'a Step, dispatch: Dispatch, chain: Option<&(usize, String)>) -> Wanted<'a> {
    // 1. What is bound: the uniform block, the dispatch's own buffers, then those of the chain.
    let mut bound: Vec<(&'a Operand, Access)> = dispatch
        .bindings
        .iter()
        .map(|bind| match *bind {
            Bind::Input(i) => (&step.inputs[i], Access::Read),
            Bind::Output(k) => (&step.outputs[k], Access::ReadWrite),
            Bind::Written(k) => (&step.outputs[k], Access::Read),
        })
        .collect();
    // The chain belongs to the kernels that store output 0.
    let chain = chain.filter(|_| dispatch.bindings.contains(&Bind::Output(0)));
    if let Some((first, _)) = chain {
        bound.extend(
            step.inputs[*first..].iter().filter(|x| x.buffer.scalar().is_none()).map(|x| (x, Access::Read)),
        );
        if step.epilogue.as_ref().is_some_and(|e| e.keeps_input) {
            bound.push((step.outputs.last().expect("the kept value"), Access::ReadWrite));
        }
    }
    // 2. The text: prelude, generated part, file. A browser wants to know first what not all adapters have.
    let enabled = match cfg!(target_arch = "wasm32") && NEED_SUBGROUPS.contains(&dispatch.shader) {
        true => "enable subgroups;",
        false => "",
    };
    let generated = chain.map_or(NO_EPILOGUE, |(_, text)| text);
    let lengths = match dispatch.shader.mentions("Known1") {
        true => known([0, 1].map(|i| bound[i].0.layout.end() - bound_from(bound[i].0))),
        false => String::new(),
    };
    let spec = KernelSpec {
        label: format!("{}.{}", step.label(), dispatch.entry),
        source: format!("{enabled}{PRELUDE}\n{lengths}{generated}\n{}", dispatch.shader.source).into(),
        entry: dispatch.entry,
        constants: dispatch.constants,
        bindings: std::iter::once(Access::Uniform).chain(bound.iter().map(|(_, access)| *access)).collect(),
    };
    (spec, bound.into_iter().map(|(operand, _)| operand).collect(), dispatch.workgroups)
}

/// Binds the ranges of a dispatch, each from an aligned start to the operand's end.
fn launch(gpu: &Gpu, buffers: &Buffers, uniform: &Buffer, (spec, bound, workgroups): Wanted) -> Launch {
    let kernel = gpu.kernel(&spec);
    let part = |operand: &&Operand| {
        let offset = 4 * bound_from(operand) as u64;
        let end = (4 * operand.layout.end() as u64).max(offset + 4);
        BufferBinding { buffer: buffers.get(operand.buffer), offset, bytes: end - offset }
    };
    let resources: Vec<_> = std::iter::once(uniform.whole()).chain(bound.iter().map(part)).collect();
    let group = gpu.bind(&kernel, &resources);
    Launch { kernel, group, grid: grid(workgroups, gpu.limits().max_workgroups_per_dim) }
}
