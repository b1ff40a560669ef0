//! Distillation: a student learns a teacher's whole distribution, not only the token that was said.

use cloche_tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::where_marked;

/// Which way the divergence from teacher to student is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Divergence {
    /// KL(teacher ‖ student): the student covers all that the teacher might say (Hinton et al. 2015,
    /// <https://arxiv.org/abs/1503.02531>).
    #[default]
    Forward,
    /// KL(student ‖ teacher): the student says only what the teacher might say (Gu et al. 2023, MiniLLM,
    /// <https://arxiv.org/abs/2306.08543>).
    Reverse,
}

/// The divergence between two distributions at each token, in nats, times τ²; 0 where a token is not marked.
///
/// Both logits are divided by the temperature τ, which brings out what the teacher thinks of unlikely tokens. That makes
/// gradients smaller by 1/τ², for which the factor makes up: the weight beside a loss on targets keeps its meaning. Gradients
/// flow to both; a teacher whose parameters nobody differentiates costs nothing.
///
/// # Shapes
/// student and teacher logits `(…, V)`, marks `(…)` → as the marks
///
/// # Cost
/// Keeps both log-softmaxes: two tensors of the size of the logits.
pub fn distillation(
    student: &Tensor,
    teacher: &Tensor,
    marks: &Tensor,
    temperature: f64,
    divergence: Divergence,
) -> Tensor {
    let log_softmax = |logits: &Tensor| (logits * (1.0 / temperature)).log_softmax(); // (…, V)
    let (student, teacher) = (log_softmax(student), log_softmax(teacher));
    let (p, q) = match divergence {
        Divergence::Forward => (teacher, student),
        Divergence::Reverse => (student, teacher),
    };
    let kl = (p.exp() * (&p - q)).sum(p.dims().len() - 1); // Σᵥ p(v) ln(p(v)/q(v))
    where_marked(marks, &(kl * (temperature * temperature)))
}
