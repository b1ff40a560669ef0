//! Parameters: declared once, by path, in one flat buffer.

use std::cell::RefCell;
use std::rc::Rc;

use cloche_tensor::{DType, Graph, Shape, Tensor};

use crate::dropout::Dropout;
use crate::init::Init;
use crate::lora::{Layer, LayerFactors, Lora, LoraConfig};
use crate::quantize::Substitute;

/// Every parameter starts at a multiple of this many elements: 256 bytes, where WebGPU allows a binding to begin.
pub const PARAM_ALIGN: usize = 64;

/// Declares the parameters of a model while the model is recorded.
///
/// A declaration names the parameter, gives it a place in the flat state `"params"`, says how it begins, and returns
/// it as a tensor. Recording the same model in another graph declares the same parameters at the same places, so all
/// programs of a model share one buffer. Cloning is cheap; [`at`](Self::at) walks down the path.
///
/// ```
/// use cloche_nn::{Init, Params};
/// use cloche_tensor::Graph;
/// let p = Params::new(&Graph::new());
/// let w = p.at("h").at(0).at("attn").param("weight", (4, 12), Init::Normal { std: 0.02 });
/// assert_eq!(p.specs()[0].path, "h.0.attn.weight");
/// assert_eq!((w.dims(), p.numel(), p.n_params()), (&[4, 12][..], 64, 48));
/// ```
#[derive(Clone)]
pub struct Params {
    registry: Rc<RefCell<Registry>>,
    lora: Option<Rc<Lora>>,
    substitute: Option<Rc<dyn Substitute>>,
    path: String,
}

struct Registry {
    graph: Graph,
    /// The name of the state: `"params"`, `"adapter"`, or that of a second model.
    state: &'static str,
    /// Whether all parameters are known, so that another one is a bug.
    sealed: bool,
    /// The state that holds everything, as long as all that has been declared.
    flat: Tensor,
    specs: Vec<ParamSpec>,
    /// One for each of `specs`.
    tensors: Vec<Tensor>,
    /// Linear layers in recording order.
    layers: Vec<Layer>,
    /// Output matrices that are tables of embeddings.
    tied: Vec<Layer>,
}

/// What is known of a parameter without its values.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// The name that Hugging Face's checkpoint has for it.
    pub path: String,
    /// Its shape.
    pub shape: Shape,
    /// Where it begins in the flat buffer, in elements; a multiple of [`PARAM_ALIGN`].
    pub offset: usize,
    /// Its values before training.
    pub init: Init,
    /// What it is, which decides about weight decay.
    pub kind: Kind,
}

/// What a parameter is to the optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A row for each token or position; a tied output matrix is one too.
    Embedding,
    /// The matrix of a linear layer.
    Matrix,
    /// A bias, or the weight of a norm. Never decays.
    Vector,
}

impl Registry {
    fn find(&self, path: &str) -> Option<&Tensor> {
        self.specs.iter().position(|spec| spec.path == path).map(|place| &self.tensors[place])
    }
}

impl ParamSpec {
    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.numel()
    }

    /// One past its last element in the flat buffer.
    pub fn end(&self) -> usize {
        self.offset + self.numel()
    }
}

impl Params {
    /// No parameters yet, at the root of the path.
    pub fn new(graph: &Graph) -> Self {
        Self::empty(graph, "params")
    }

    /// The parameters of weights that exist; declaring one that is not among them panics.
    ///
    /// Programs that use only some of them, another head for instance, still share the one buffer.
    pub fn from_specs(graph: &Graph, specs: &[ParamSpec]) -> Self {
        Self::sealed(graph, "params", specs)
    }

    /// As [`from_specs`](Self::from_specs), in a state of another name: a second model in one graph, such as a teacher.
    pub fn from_specs_in(graph: &Graph, state: &'static str, specs: &[ParamSpec]) -> Self {
        Self::sealed(graph, state, specs)
    }

    fn empty(graph: &Graph, state: &'static str) -> Self {
        let flat = graph.state(state, (0,), DType::F32);
        let registry = Registry {
            graph: graph.clone(),
            state,
            sealed: false,
            flat,
            specs: Vec::new(),
            tensors: Vec::new(),
            layers: Vec::new(),
            tied: Vec::new(),
        };
        Params {
            registry: Rc::new(RefCell::new(registry)),
            lora: None,
            substitute: None,
            path: String::new(),
        }
    }

    fn sealed(graph: &Graph, state: &'static str, specs: &[ParamSpec]) -> Self {
        let p = Self::empty(graph, state);
        specs.iter().for_each(|s| drop(p.declare(&s.path, s.shape.clone(), s.init, s.kind)));
        p.registry.borrow_mut().sealed = true;
        p
    }

    /// With an adapter, whose parameters, `specs` from [`LoraConfig::specs`], lie in a state of their own, `"adapter"`.
    /// Linear layers add what it has for their paths, and a parameter that it holds whole takes the place of ours.
    pub fn with_adapter(&self, config: &LoraConfig, specs: &[ParamSpec]) -> Params {
        let own = Self::sealed(&self.graph(), "adapter", specs);
        Params { lora: Some(Rc::new(Lora::new(config, own))), ..self.clone() }
    }

    /// With linear layers, and the output matrix, computed by what stands in their place.
    pub fn with_substitute(&self, substitute: Rc<dyn Substitute>) -> Params {
        Params { substitute: Some(substitute), ..self.clone() }
    }

    /// As seen in training: the adapter, where there is one, drops some of its inputs.
    pub fn training(&self, dropout: &Dropout) -> Params {
        let lora = self.lora.as_ref().map(|lora| Rc::new(lora.training(dropout)));
        Params { lora, ..self.clone() }
    }

    /// The same parameters, the adapter switched off: a reference in the same program.
    pub fn without_adapter(&self) -> Params {
        Params { lora: None, ..self.clone() }
    }

    /// What an optimizer changes: the adapter's parameters where there is an adapter, else all.
    pub fn trained(&self) -> Params {
        self.lora.as_ref().map_or_else(|| self.clone(), |lora| lora.own.clone())
    }

    /// The same parameters in another graph, for programs that need the buffer but not the model.
    pub fn again(&self, graph: &Graph) -> Params {
        Self::sealed(graph, self.registry.borrow().state, &self.specs())
    }

    /// The same parameters, one step further down the path.
    pub fn at(&self, name: impl std::fmt::Display) -> Params {
        Params { path: self.join(&name.to_string()), ..self.clone() }
    }

    /// Declares a parameter: a [`Kind::Vector`] with one dimension, else a [`Kind::Matrix`].
    ///
    /// Declaring a path again returns the same tensor; that is how weights are tied.
    ///
    /// # Panics
    /// When the path was declared with another shape.
    #[track_caller]
    pub fn param(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Tensor {
        let shape = shape.into();
        let kind = if shape.len() < 2 { Kind::Vector } else { Kind::Matrix };
        self.declare(&self.join(name), shape, init, kind)
    }

    /// Declares a matrix with a row for each token or position.
    ///
    /// # Panics
    /// As [`param`](Self::param).
    #[track_caller]
    pub fn embedding(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Tensor {
        self.declare(&self.join(name), shape.into(), init, Kind::Embedding)
    }

    /// What has been declared, in order.
    pub fn specs(&self) -> Vec<ParamSpec> {
        self.registry.borrow().specs.clone()
    }

    /// Length of the flat buffer: all parameters, each padded to a multiple of [`PARAM_ALIGN`].
    pub fn numel(&self) -> usize {
        self.registry.borrow().flat.shape().numel()
    }

    /// The number of parameters, without padding; tied ones count once.
    pub fn n_params(&self) -> usize {
        self.registry.borrow().specs.iter().map(ParamSpec::numel).sum()
    }

    /// The graph that the parameters are declared in.
    pub fn graph(&self) -> Graph {
        self.registry.borrow().graph.clone()
    }

    /// All parameters, in the order of [`specs`](Self::specs).
    pub fn tensors(&self) -> Vec<Tensor> {
        self.registry.borrow().tensors.clone()
    }

    /// All linear layers recorded so far, each once.
    pub fn layers(&self) -> Vec<Layer> {
        self.registry.borrow().layers.clone()
    }

    /// Output matrices recorded so far that are tables of embeddings, each once.
    pub fn tied_layers(&self) -> Vec<Layer> {
        self.registry.borrow().tied.clone()
    }

    /// The flat state, shape `(numel,)`. Ask for it when everything has been declared.
    pub fn flat(&self) -> Tensor {
        self.registry.borrow().flat.clone()
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    /// Notes a linear layer at this path, and returns what the adapter has for it.
    pub(crate) fn linear_layer(&self, n: usize, k: usize, transposed: bool) -> Option<LayerFactors> {
        let layers = &mut self.registry.borrow_mut().layers;
        if layers.iter().all(|layer| layer.path != self.path) {
            layers.push(Layer { path: self.path.clone(), n, k, transposed });
        }
        self.lora.as_ref()?.factors(&self.path)
    }

    /// Notes that the embedding at this path is also an output matrix.
    pub(crate) fn unembedding(&self, n: usize, k: usize) {
        let tied = &mut self.registry.borrow_mut().tied;
        if tied.iter().all(|layer| layer.path != self.path) {
            tied.push(Layer { path: self.path.clone(), n, k, transposed: false });
        }
    }

    /// What `x` becomes where something stands in place of the matrix at this path.
    pub(crate) fn substitute(&self, x: &Tensor) -> Option<Tensor> {
        self.substitute.as_ref()?.product(&self.path, x)
    }

    /// The parameter at a full path, if it has been declared.
    pub(crate) fn known(&self, path: &str) -> Option<Tensor> {
        self.registry.borrow().find(path).cloned()
    }

    #[track_caller]
    pub(crate) fn declare(&self, path: &str, shape: Shape, init: Init, kind: Kind) -> Tensor {
        let whole = self.lora.as_ref().and_then(|lora| lora.own.known(path));
        let mut registry = self.registry.borrow_mut();
        if let Some(known) = whole.as_ref().or(registry.find(path)) {
            assert!(
                *known.shape() == shape,
                "parameter \"{path}\": declared as {}, and again as {shape}",
                known.shape()
            );
            return known.clone();
        }
        assert!(!registry.sealed, "parameter \"{path}\": not among the {} there are", registry.specs.len());
        let offset = registry.flat.shape().numel();
        let spec = ParamSpec { path: path.to_string(), shape: shape.clone(), offset, init, kind };
        let end = spec.end().next_multiple_of(PARAM_ALIGN);
        registry.flat = registry.graph.grow_state(&registry.flat, end);
        let tensor = registry.flat.slice(0, offset, spec.end()).reshape(shape);
        registry.specs.push(spec);
        registry.tensors.push(tensor.clone());
        tensor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declare(p: &Params) {
        p.at("wte").embedding("weight", (5, 3), Init::Normal { std: 0.02 });
        p.at("h").at(0).param("bias", (70,), Init::Zeros);
        p.at("h").at(0).param("weight", (2, 32), Init::Ones);
    }

    #[test]
    fn places_follow_from_the_declarations_alone() {
        let p = Params::new(&Graph::new());
        declare(&p);
        let places: Vec<(String, usize)> = p.specs().into_iter().map(|s| (s.path, s.offset)).collect();
        let expected = [("wte.weight", 0), ("h.0.bias", 64), ("h.0.weight", 192)];
        assert_eq!(places, expected.map(|(path, offset)| (path.to_string(), offset)));
        assert_eq!((p.numel(), p.n_params()), (256, 15 + 70 + 64));
        assert_eq!(
            p.specs().iter().map(|s| s.kind).collect::<Vec<_>>(),
            [Kind::Embedding, Kind::Vector, Kind::Matrix]
        );

        let again = Params::new(&Graph::new());
        declare(&again);
        assert_eq!(again.specs(), p.specs());
        assert_eq!(Params::from_specs(&Graph::new(), &p.specs()).specs(), p.specs());
    }

    #[test]
    fn a_tied_weight_is_declared_once() {
        let p = Params::new(&Graph::new());
        declare(&p);
        declare(&p);
        assert_eq!(p.specs().len(), 3);
    }

    #[test]
    #[should_panic(expected = "parameter \"score.weight\": not among the 3 there are")]
    fn weights_that_exist_do_not_grow() {
        let p = Params::new(&Graph::new());
        declare(&p);
        let p = Params::from_specs(&Graph::new(), &p.specs());
        declare(&p);
        p.at("score").param("weight", (1, 3), Init::Zeros);
    }

    #[test]
    #[should_panic(expected = "parameter \"h.0.bias\": declared as (70,), and again as (71,)")]
    fn another_shape_is_a_bug() {
        let p = Params::new(&Graph::new());
        declare(&p);
        p.at("h").at(0).param("bias", (71,), Init::Zeros);
    }
}
