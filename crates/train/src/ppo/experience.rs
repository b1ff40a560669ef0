//! From answers and what three models say of them to what each token was worth.

use super::Settings;
use crate::advantage::{Gae, explained_variance, k1, token_rewards, whiten};
use crate::events::Metrics;
use crate::policy;
use crate::rollout::Answer;

/// The answers of a step, with numbers for each of their tokens.
pub(super) struct Experience {
    pub answers: Vec<Answer>,
    /// Whitened over the whole step.
    pub advantages: Vec<Vec<f32>>,
    /// What the critic expected before the token.
    pub values: Vec<Vec<f32>>,
    /// What it should have expected.
    pub returns: Vec<Vec<f32>>,
    /// What there is to say about the answers before anything is learnt from them.
    pub metrics: Metrics,
}

impl Experience {
    /// `scores` are the rewards of the answers; `reference` is ln π_ref of each token.
    pub fn new(
        settings: &Settings,
        answers: Vec<Answer>,
        scores: &[f32],
        reference: &[Vec<f32>],
        values: Vec<Vec<f32>>,
    ) -> Experience {
        // 1. Each token pays for its divergence, the last one receives the reward.
        let mut divergence = 0.0;
        let mut rewards = Vec::with_capacity(answers.len());
        for ((answer, score), reference) in answers.iter().zip(scores).zip(reference) {
            let kl: Vec<f32> = answer.log_probs.iter().zip(reference).map(|(p, q)| k1(*p, *q)).collect();
            divergence += kl.iter().sum::<f32>();
            let penalty = if answer.ended { 0.0 } else { settings.missing_end_penalty };
            rewards.push(token_rewards(score - penalty, &kl, settings.beta));
        }
        // 2. Scaled, where that is wanted, but not shifted: that would pay for longer answers, or for shorter ones.
        if settings.whiten_rewards {
            let scale = 1.0 / (policy::spread(&rewards.concat()).1 + 1e-8);
            rewards.iter_mut().flatten().for_each(|reward| *reward *= scale);
        }
        // 3. Against what the critic expected; nothing comes after an answer.
        let gae = Gae { gamma: settings.gamma, lambda: settings.lambda };
        let (mut advantages, mut returns) = (Vec::new(), Vec::new());
        for (rewards, values) in rewards.iter().zip(&values) {
            let found = gae.estimate(rewards, values, 0.0);
            advantages.push(found.advantages);
            returns.push(found.returns);
        }
        let mut flat = advantages.concat();
        let marks = vec![true; flat.len()];
        whiten(&mut flat, &marks);
        let whitened = advantages.iter_mut().flatten().zip(flat);
        whitened.for_each(|(advantage, x)| *advantage = x);
        // 4. What there is to say.
        let n = answers.len() as f32;
        let (reward, reward_std) = policy::spread(scores);
        let metrics = Metrics(vec![
            ("reward", reward),
            ("reward_std", reward_std),
            ("kl", divergence / n),
            ("answer_tokens", policy::n_tokens(&answers) as f32 / n),
            ("truncated", policy::truncated(&answers)),
            ("explained_variance", explained_variance(&values.concat(), &returns.concat(), &marks)),
        ]);
        Experience { answers, advantages, values, returns, metrics }
    }

    /// Tokens that were read or written for it.
    pub fn tokens_read(&self) -> usize {
        self.answers.iter().map(|answer| answer.prompt.len() + answer.ids.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(n: usize, ended: bool) -> Answer {
        Answer { index: 0, prompt: vec![1], ids: vec![2; n], log_probs: vec![-1.0; n], ended }
    }

    /// By hand, with λ = γ = 1 and a critic that expects nothing: returns are the sums of the rewards still to come.
    #[test]
    fn tokens_pay_for_divergence_and_an_answer_for_its_missing_end() {
        let settings = Settings { lambda: 1.0, beta: 0.5, missing_end_penalty: 3.0, ..Settings::default() };
        let reference = [vec![-1.0, -2.0], vec![-1.0]];
        let answers = vec![answer(2, true), answer(1, false)];
        let found =
            Experience::new(&settings, answers, &[2.0, 1.0], &reference, vec![vec![0.0; 2], vec![0.0]]);
        // The divergences are (0, 1) and (0): the second token pays ½.
        assert_eq!(found.returns, [vec![1.5, 1.5], vec![-2.0]]);
        assert_eq!(found.metrics.get("kl"), Some(0.5));
        assert_eq!(found.metrics.get("reward"), Some(1.5));
        assert_eq!(found.metrics.get("truncated"), Some(0.5));
        let advantages = found.advantages.concat();
        assert!(advantages.iter().sum::<f32>().abs() < 1e-6 && advantages[0] > 0.0 && advantages[2] < 0.0);
    }

    #[test]
    fn scaled_rewards_keep_their_sign() {
        let settings = Settings { lambda: 1.0, beta: 0.0, whiten_rewards: true, ..Settings::default() };
        let reference = [vec![-1.0], vec![-1.0]];
        let answers = vec![answer(1, true), answer(1, true)];
        let found = Experience::new(&settings, answers, &[1.0, 3.0], &reference, vec![vec![0.0]; 2]);
        let deviation = 2.0f32.sqrt();
        for (returns, reward) in found.returns.iter().zip([1.0, 3.0]) {
            assert!((returns[0] - reward / deviation).abs() < 1e-6);
        }
    }
}
