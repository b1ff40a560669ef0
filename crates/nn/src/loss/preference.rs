//! Learning from comparisons: the reward model, and direct preference optimisation.
//!
//! Everything has one number for each pair of answers. A stage takes [`mean_over`](super::mean_over) the step's pairs.

use cloche_tensor::Tensor;

use super::log_sigmoid;

/// How unlikely the reward model finds the preference: `−ln σ(r_chosen − r_rejected − margin)`, in nats.
///
/// Bradley and Terry's model of comparisons; Ouyang et al. 2022 (InstructGPT), equation 1,
/// <https://arxiv.org/abs/2203.02155>. A margin asks for more distance where people were surer (Touvron et al. 2023,
/// <https://arxiv.org/abs/2307.09288>).
///
/// # Shapes
/// rewards `(N,)` and `(N,)`, margins `(N,)` or `()` → `(N,)`
pub fn bradley_terry(chosen: &Tensor, rejected: &Tensor, margins: Option<&Tensor>) -> Tensor {
    let difference = chosen - rejected;
    -log_sigmoid(&margins.map_or(difference.clone(), |margins| difference - margins))
}

/// How far a pair of rewards is from being centred at zero: `(r_chosen + r_rejected)²`.
///
/// Comparisons leave a reward model's zero open. A small multiple of this (0.01), added to the loss of the pair, settles
/// it (Eisenstein et al. 2023, <https://arxiv.org/abs/2312.09244>).
///
/// # Shapes
/// `(N,)`, `(N,)` → `(N,)`
pub fn centring(chosen: &Tensor, rejected: &Tensor) -> Tensor {
    let sum = chosen + rejected;
    &sum * &sum
}

/// All comparisons that rankings imply, as indices into the answers of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RankedPairs {
    /// The preferred answer of each pair.
    pub better: Vec<u32>,
    /// The other one.
    pub worse: Vec<u32>,
    /// 1 over the number of pairs of the same prompt.
    pub weights: Vec<f32>,
}

impl RankedPairs {
    /// The K(K − 1)/2 pairs of each prompt, of whose answers there are `sizes[i]`, stored best first and prompt after
    /// prompt.
    ///
    /// ```
    /// # use cloche_nn::loss::preference::RankedPairs;
    /// let pairs = RankedPairs::new(&[2, 3]);
    /// assert_eq!(pairs.better, [0, 2, 2, 3]);
    /// assert_eq!(pairs.worse, [1, 3, 4, 4]);
    /// assert_eq!(pairs.weights, [1.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]);
    /// ```
    pub fn new(sizes: &[usize]) -> RankedPairs {
        let mut pairs = RankedPairs::default();
        let mut first = 0;
        for &k in sizes {
            let weight = 2.0 / (k * k.saturating_sub(1)) as f32;
            for better in first..first + k {
                for worse in better + 1..first + k {
                    pairs.better.push(better as u32);
                    pairs.worse.push(worse as u32);
                    pairs.weights.push(weight);
                }
            }
            first += k;
        }
        pairs
    }

    /// Pairs of weight 0 behind the others, so that there are `len`: the programs of a run have one shape.
    ///
    /// # Panics
    /// When there are more already.
    pub fn padded(mut self, len: usize) -> RankedPairs {
        let found = self.better.len();
        assert!(found <= len, "ranked pairs: there are {found}, room is for {len}");
        self.better.resize(len, 0);
        self.worse.resize(len, 0);
        self.weights.resize(len, 0.0);
        self
    }
}

/// [`bradley_terry`] over all pairs of ranked answers, each weighted so that every prompt counts once; the mean is the
/// sum over the number of prompts.
///
/// All pairs of a prompt stand in one batch, since they are correlated (InstructGPT, section 3.5).
///
/// # Shapes
/// rewards `(N,)`; better, worse (u32) and weights `(P,)`, as [`RankedPairs`] → `(P,)`
pub fn ranked(rewards: &Tensor, better: &Tensor, worse: &Tensor, weights: &Tensor) -> Tensor {
    bradley_terry(&rewards.gather(better), &rewards.gather(worse), None) * weights
}

/// The log-probabilities of pairs of answers, in nats, under the policy and under the reference, each `(N,)`:
/// [`answer_log_probs`](super::answer_log_probs), or for [`Objective::Ipo`]
/// [`mean_answer_log_probs`](super::mean_answer_log_probs).
#[derive(Clone, Copy)]
pub struct PairLogProbs<'a> {
    /// ln π(chosen)
    pub chosen: &'a Tensor,
    /// ln π(rejected)
    pub rejected: &'a Tensor,
    /// ln π_ref(chosen)
    pub reference_chosen: &'a Tensor,
    /// ln π_ref(rejected)
    pub reference_rejected: &'a Tensor,
}

/// What is asked of the margin m, by which the chosen answer's reward exceeds the other's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// `−(1 − ε) ln σ(m) − ε ln σ(−m)`: DPO, where a share ε of the preferences is taken to be the wrong way round
    /// (Mitchell 2023, <https://ericmitchell.ai/cdpo.pdf>; 0: DPO itself).
    Sigmoid {
        /// ε
        label_smoothing: f64,
    },
    /// `(m/β − 1/(2β))²`: a margin that is reached and not exceeded (Azar et al. 2023, equation 17,
    /// <https://arxiv.org/abs/2310.12036>). With mean log-probabilities, so that long answers do not dominate.
    Ipo,
    /// `max(0, 1 − m)`: the hinge of SLiC (Zhao et al. 2023, <https://arxiv.org/abs/2305.10425>), measured from the
    /// reference as in RSO (Liu et al. 2023, <https://arxiv.org/abs/2309.06657>).
    Hinge,
}

/// What direct preference optimisation computes of pairs, each `(N,)`.
pub struct Dpo {
    /// The loss of each pair.
    pub losses: Tensor,
    /// The reward that the policy implies for the chosen answer: `β ln(π/π_ref)`.
    pub chosen_rewards: Tensor,
    /// The same for the rejected answer.
    pub rejected_rewards: Tensor,
    /// The difference of the rewards.
    pub margins: Tensor,
    /// 1 where the chosen answer has the larger reward, else 0.
    pub hits: Tensor,
}

/// Direct preference optimisation: the policy itself is the reward model (Rafailov et al. 2023, equation 7,
/// <https://arxiv.org/abs/2305.18290>). `beta` says how dearly it pays for leaving the reference.
pub fn dpo(pairs: PairLogProbs, beta: f64, objective: Objective) -> Dpo {
    let chosen_rewards = (pairs.chosen - pairs.reference_chosen) * beta;
    let rejected_rewards = (pairs.rejected - pairs.reference_rejected) * beta;
    let margins = &chosen_rewards - &rejected_rewards;
    let losses = match objective {
        Objective::Sigmoid { label_smoothing: e } => {
            -(log_sigmoid(&margins) * (1.0 - e) + log_sigmoid(&-&margins) * e)
        }
        Objective::Ipo => {
            let miss = (&margins - 0.5) * (1.0 / beta);
            &miss * &miss
        }
        Objective::Hinge => (1.0 - &margins).relu(),
    };
    let hits = margins.gt(&margins.graph().constant(0.0));
    Dpo { losses, chosen_rewards, rejected_rewards, margins, hits }
}
