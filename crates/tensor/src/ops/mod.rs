//! Operations. One file each: shape rule, gradient, cost, CPU implementation, GPU dispatch, samples for the harness, and
//! the method on [`Tensor`](crate::Tensor). Nothing else names an operation but the table [`OPS`].

use std::rc::Rc;

use cloche_gpu::{AdapterClass, Limits};

use crate::autograd::Vjp;
use crate::check::Sample;
use crate::cpu::CpuIo;
use crate::dtype::DType;
use crate::ops::prologue::Prologue;
use crate::plan::Operand;
use crate::shape::{Layout, Shape};
use crate::tensor::Tensor;

pub mod elementwise;
pub mod layout;
pub mod matmul;
pub mod matmul_grad;
pub mod matmul_row;
pub mod matmul_blocks;
pub mod matmul_scalar;
pub mod matmul_wide;
pub mod quantized_matmul;
pub mod assign;
pub mod reduce;
pub mod softmax;
pub mod embedding;
pub mod embedding_sum;
pub mod rope;
pub mod attention;
pub mod attention_cached;
pub mod attention_turned;
mod attention_few;
pub mod attention_rows;
pub mod attention_tiles;
pub mod attention_grad;
pub mod attention_grad_rows;
pub mod kv_cache;
pub mod layer_norm;
pub mod rms_norm;
pub mod prologue;
pub mod norm_row;
pub mod parts_row;
pub mod gated_row;
pub mod quantized_row;
pub mod cross_entropy;
pub mod grad_norm;
pub mod adamw;
pub mod dropout;
pub mod half;
pub mod index;
pub mod topk;
pub mod sample;

/// One row of the table of operations.
pub struct OpEntry {
    /// The operation's name: the stem of its file and of its shader.
    pub name: &'static str,
    /// What the harness runs, on every device.
    pub samples: fn() -> Vec<Sample>,
    /// The shader file, if the operation has one; `(stem, source)`.
    pub shader: Option<Shader>,
}

/// All operations, in the order in which to read them.
pub const OPS: &[OpEntry] = &[
    elementwise::ENTRY,
    layout::ENTRY,
    reduce::ENTRY,
    matmul::ENTRY,
    matmul_grad::ENTRY,
    matmul_row::ENTRY,
    matmul_blocks::ENTRY,
    matmul_scalar::ENTRY,
    matmul_wide::ENTRY,
    matmul_wide::ANY_ENTRY,
    quantized_matmul::ENTRY,
    softmax::ENTRY,
    assign::ENTRY,
    embedding::ENTRY,
    embedding_sum::ENTRY,
    rope::ENTRY,
    attention::ENTRY,
    attention_cached::ENTRY,
    attention_turned::ENTRY,
    attention_rows::ENTRY,
    attention_tiles::ENTRY,
    attention_grad::ENTRY,
    attention_grad_rows::ENTRY,
    kv_cache::ENTRY,
    layer_norm::ENTRY,
    rms_norm::ENTRY,
    norm_row::ENTRY,
    parts_row::ENTRY,
    gated_row::ENTRY,
    quantized_row::ENTRY,
    cross_entropy::ENTRY,
    grad_norm::ENTRY,
    adamw::ENTRY,
    dropout::ENTRY,
    half::ENTRY,
    index::ENTRY,
    topk::ENTRY,
    sample::ENTRY,
];

/// The template of element-wise kernels: the one shader whose body is generated.
pub const ELEMENTWISE: Shader = crate::shader!("elementwise");

/// What the engine needs to know of an operation.
///
/// An operation is a small value that holds its settings (an axis, an epsilon); its tensors are given to it.
pub trait Op: 'static {
    /// The operation's name, as errors and profiles show it.
    fn name(&self) -> &'static str;

    /// The gradient of each input (`None` where there is none), recorded from the gradients of the outputs.
    /// Inputs that nobody needs may be left out: see [`Vjp::needs`].
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>>;

    /// Floating-point operations of one run.
    fn flops(&self, io: &Operands) -> u64 {
        io.outputs.iter().map(|y| y.layout.numel() as u64).sum()
    }

    /// Kernels that [`gpu`](Self::gpu) dispatches.
    fn dispatches(&self, _io: &Operands) -> u64 {
        1
    }

    /// Runs on the CPU in f32. Written once, generic over the element, by [`cpu_kernel!`](crate::cpu_kernel).
    fn cpu_f32(&self, io: CpuIo<f32>);

    /// Runs on the CPU in f64: the truth for gradient checks.
    fn cpu_f64(&self, io: CpuIo<f64>);

    /// The dispatches that compute the outputs on a GPU.
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch>;

    /// Whether input `i` may lie in its buffer in any way. Otherwise the planner copies what is not contiguous.
    fn strided_input(&self, _i: usize) -> bool {
        false
    }

    /// Whether output `k` may be written with row strides, into a part of a larger tensor. See [`layout`].
    fn strided_output(&self, _k: usize) -> bool {
        false
    }

    /// Whether every store to output 0 goes through the shader function `epilogue(i, v)`, where `i` is the row-major
    /// index within the output's shape. Element-wise operations that follow are then fused into the kernel.
    fn epilogue(&self) -> bool {
        false
    }

    /// Pairs (output, input) that share one buffer: the operation updates a state in place.
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[]
    }

    /// Whether the output is another layout on the input's buffer, so that nothing runs.
    fn is_view(&self) -> bool {
        false
    }

    /// The element-wise function, for operations that can be fused into chains.
    fn element(&self) -> Option<elementwise::Element> {
        None
    }

    /// What those who read rows can do in their own kernel in this one's place, if they can.
    fn prologue(&self) -> Option<Prologue> {
        None
    }

    /// The operation that prepares its rows, the inputs `at`, in this way; it reads what the prologue reads and then the other
    /// inputs of this one. For GPUs only.
    fn after(&self, _prologue: Prologue, _at: &[usize], _inputs: &[Layout]) -> Option<Rc<dyn Op>> {
        None
    }

    /// This operation in parts, so that it has more workgroups; those who read its first output then add up the parts, which
    /// are that and the second. For GPUs only.
    fn split(&self, _inputs: &[Layout]) -> Option<Split> {
        None
    }

    /// The operation that does this one's work and its `producer`'s, which computes the inputs `at`; `inputs` are this one's,
    /// `its` the producer's. It reads the producer's inputs and then the others of this one, and if it updates a state, that
    /// is its output behind the others. For GPUs only.
    fn merged(
        &self,
        _producer: &dyn Op,
        _at: &[usize],
        _inputs: &[Layout],
        _its: &[Layout],
    ) -> Option<Rc<dyn Op>> {
        None
    }

    /// For each input, where it lies in output 0: `(layout within output 0)`. Only concatenations answer; the planner lets
    /// their producers write in place.
    fn placements(&self) -> Option<Vec<Layout>> {
        None
    }
}

/// An operation in parts: see [`Op::split`].
pub struct Split {
    /// The operation.
    pub op: Rc<dyn Op>,
    /// The shapes of its first two outputs.
    pub outputs: [Shape; 2],
    /// How readers add them up.
    pub sum: Prologue,
}

/// Implements the two CPU entry points of [`Op`] by one generic function `fn(&Self, CpuIo<F>)`.
#[macro_export]
macro_rules! cpu_kernel {
    ($run:ident) => {
        fn cpu_f32(&self, io: $crate::cpu::CpuIo<f32>) {
            self.$run(io)
        }
        fn cpu_f64(&self, io: $crate::cpu::CpuIo<f64>) {
            if $crate::cpu::HAS_F64 {
                self.$run(io)
            }
        }
    };
}

/// The operands of one step of a plan.
pub struct Operands<'a> {
    /// Inputs, in recording order.
    pub inputs: &'a [Operand],
    /// Outputs.
    pub outputs: &'a [Operand],
}

/// What an operation sees when its GPU dispatches are prepared.
pub struct GpuIo<'a> {
    /// Inputs, in recording order. `layout.offset` is relative to what is bound, and 0 for contiguous inputs.
    pub inputs: &'a [Operand],
    /// Outputs, likewise.
    pub outputs: &'a [Operand],
    /// Which family of kernels suits the adapter.
    pub class: AdapterClass,
    /// What the device allows.
    pub limits: Limits,
    /// Whether this is Vulkan, where threads may store the numbers of one vector in workgroup memory. Elsewhere each may
    /// write the whole vector (<https://github.com/gpuweb/gpuweb/issues/2112>).
    pub vulkan: bool,
    /// Whether threads can ask those beside them for a number.
    pub subgroups: bool,
    /// Threads of a subgroup, where all have as many.
    pub lanes: Option<u32>,
    /// See [`choose`](Self::choose).
    pub choice: &'a Choice<'a>,
}

/// Which of the usual kernel and some others is to be used.
pub type Choice<'a> = dyn Fn(Dispatch, &dyn Fn() -> Vec<Dispatch>) -> Dispatch + 'a;

impl GpuIo<'_> {
    /// The index, within the uniform block, of an input that is a per-run scalar; for `run_f32(k)` and `run_u32(k)`.
    ///
    /// # Panics
    /// When input `i` is not a scalar of the graph.
    #[track_caller]
    pub fn scalar(&self, i: usize) -> f64 {
        self.inputs[i].buffer.scalar().expect("the operation needs a per-run scalar here") as f64
    }

    /// Whether eight threads side by side can ask each other, as those of lavapipe. Not in a page: browsers do not tell, and the
    /// kernels for it are left out there.
    pub fn eights(&self) -> bool {
        cfg!(not(target_arch = "wasm32")) && self.subgroups && self.lanes == Some(8)
    }

    /// The usual kernel, or one of `others` that do the same where [`Device::tune`](crate::Device::tune) has found it faster on
    /// this device; the plainest last.
    pub fn choose(&self, usual: Dispatch, others: &dyn Fn() -> Vec<Dispatch>) -> Dispatch {
        (self.choice)(usual, others)
    }

    /// Whether the adapter is a CPU in disguise, which wants kernels without barriers.
    pub fn software(&self) -> bool {
        self.class != AdapterClass::Hardware
    }

    /// Whether to take a kernel without barriers in which one thread runs `trips` loop iterations, all its loops together.
    ///
    /// Mesa's lavapipe leaves every loop of a thread, without a word, once the thread has gone through 65,535 iterations
    /// (`LP_MAX_TGSI_LOOP_ITERATIONS`). Beyond that the kernel for GPUs, which shares the work among threads, is right.
    pub fn software_for(&self, trips: usize) -> bool {
        self.software() && trips < 60_000
    }
}

/// A WGSL file of the folder `shaders/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shader {
    /// File name without extension.
    pub stem: &'static str,
    /// The text, without the prelude.
    pub source: &'static str,
}

impl Shader {
    /// Whether a word stands in the text. `str::contains` is made for long searches, and brings 3 KB along.
    pub(crate) fn mentions(&self, word: &str) -> bool {
        self.source.as_bytes().windows(word.len()).any(|part| part == word.as_bytes())
    }
}

/// Embeds `shaders/<stem>.wgsl`, as `build.rs` has prepared it; where several are named, all, under the name of
/// the last.
#[macro_export]
macro_rules! shader {
    ($stem:literal) => {
        $crate::ops::Shader {
            stem: $stem,
            source: include_str!(concat!(env!("OUT_DIR"), "/", $stem, ".wgsl")),
        }
    };
    ($shared:literal, $($more:literal),+) => {
        $crate::ops::Shader {
            stem: [$($more),+][[$($more),+].len() - 1],
            source: concat!(
                include_str!(concat!(env!("OUT_DIR"), "/", $shared, ".wgsl")),
                $(include_str!(concat!(env!("OUT_DIR"), "/", $more, ".wgsl"))),+
            ),
        }
    };
}

/// A kernel of which a page has no use, so that its text is no part of what pages load.
const fn native(shader: Shader) -> Shader {
    if cfg!(target_arch = "wasm32") { Shader { source: "", ..shader } } else { shader }
}

/// Kernels in the place of others where an adapter has what they need: threads that ask each other (`subgroups`).
pub const NEED_SUBGROUPS: [Shader; 3] =
    [matmul_scalar::QUADS, attention_rows::SHADER[1], attention_grad_rows::SHADER[1]];

/// Likewise where eight of them can ([`GpuIo::eights`]).
pub const NEED_EIGHTS: [Shader; 3] =
    [matmul_blocks::EIGHTS, attention_rows::SHADER[2], attention_grad_rows::SHADER[2]];

/// Files of `shaders/` that are part of other kernels' text and belong to no operation.
pub const SHADER_PARTS: [&str; 20] = [
    "prelude",
    "elementwise",
    "tile",
    "wide_fours",
    "wide_singles",
    "row_plain",
    "blocks_alone",
    "blocks_eights",
    "scalar_alone",
    "scalar_quads",
    "rows_alone",
    "rows_eights",
    "rows_quads",
    "attention_strips",
    "attention_product",
    "attention_few",
    "cos_sin",
    "newest_plain",
    "delta_again",
    "delta_kept",
];

/// What the text of every kernel begins with: `cloche_gpu::PRELUDE`, prepared as the shaders are.
pub const PRELUDE: &str = include_str!(concat!(env!("OUT_DIR"), "/prelude.wgsl"));

/// One dispatch of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// The WGSL file.
    pub shader: Shader,
    /// Its entry point.
    pub entry: &'static str,
    /// Values of WGSL `override`s.
    pub constants: Vec<(&'static str, f64)>,
    /// What is bound at `@binding(1)`, `@binding(2)`, …; binding 0 is the block of per-run values.
    pub bindings: Vec<Bind>,
    /// Workgroups; folded over two dimensions when there are more than 65,535 (see `flat_id` in the prelude).
    pub workgroups: u64,
}

impl Dispatch {
    /// A number for kernel, extents and strides (FNV-1a, <https://datatracker.ietf.org/doc/html/rfc9923>): the same for the
    /// same work, in every build, and of 52 bits, which JavaScript's numbers hold.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mix = |hash: u64, byte: &u8| (hash ^ *byte as u64).wrapping_mul(0x100_0000_01b3);
        let names = self.shader.stem.bytes().chain(self.entry.bytes());
        let names: Vec<u8> = names.chain(self.constants.iter().flat_map(|(name, _)| name.bytes())).collect();
        let hash = names.iter().fold(0xcbf2_9ce4_8422_2325, mix);
        let values = self.constants.iter().flat_map(|(_, value)| (*value as u64).to_le_bytes());
        let hash = values.fold(hash, |hash, byte| mix(hash, &byte));
        hash >> 12 ^ hash & 0xfff
    }

    /// Kernel, extents and strides, for a reader.
    pub(crate) fn work(&self) -> String {
        let mut text = format!("{}.{}", self.shader.stem, self.entry);
        for (name, value) in &self.constants {
            text += &format!(" {name}={}", *value as u64);
        }
        text
    }

    /// The kernel, as a reader would tell it from others for the same work.
    pub(crate) fn kernel(&self) -> String {
        format!("{}.{} in {} workgroups", self.shader.stem, self.entry, self.workgroups)
    }
}

/// What a dispatch binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Input `i`, read only.
    Input(usize),
    /// Output `k`, read and write. An input that is updated in place is bound as the output only.
    Output(usize),
    /// Output `k`, read only: what an earlier dispatch of the operation wrote.
    Written(usize),
}

/// The work of one workgroup item: how many groups of `per_group` cover `n`.
pub fn groups(n: usize, per_group: usize) -> u64 {
    n.div_ceil(per_group) as u64
}

/// Panics with the operation's name and the shapes it was given.
#[track_caller]
pub(crate) fn expect_dtype(op: &str, x: &Tensor, dtype: DType) {
    assert!(x.dtype() == dtype, "{op}: expected {dtype}, found {} of shape {}", x.dtype(), x.shape());
}

/// For tests of single operations: the CPU and, where there is an adapter, all families of kernels on it.
#[cfg(test)]
pub(crate) fn test_devices() -> Vec<crate::Device> {
    let gpu = |class| {
        let options =
            cloche_gpu::OpenOptions { allow_software: true, class: Some(class), ..Default::default() };
        pollster::block_on(cloche_gpu::Gpu::open(options)).map(crate::Device::from_gpu)
    };
    let mut devices = vec![crate::Device::cpu()];
    for class in [AdapterClass::Hardware, AdapterClass::Software, AdapterClass::Scalar] {
        match gpu(class) {
            Ok(device) => devices.push(device),
            Err(error) => {
                assert!(std::env::var("CI").is_err(), "no adapter: {error}");
                eprintln!("SKIPPED: no adapter: {error}");
            }
        }
    }
    devices
}
