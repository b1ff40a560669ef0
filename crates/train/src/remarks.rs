//! What the numbers of a step mean, in words, where there is something to say: for people who see them for the first time.

use crate::events::Metrics;

/// What there is to say of a step's numbers.
pub type Remarks = fn(&Metrics) -> Vec<&'static str>;

/// The remarks of a stage of this name; of most stages there are none.
pub fn of(stage: &str) -> Remarks {
    match stage {
        "grpo" => grpo,
        "ppo" => ppo,
        _ => |_| Vec::new(),
    }
}

/// Of a step of [`grpo`](crate::grpo).
pub fn grpo(metrics: &Metrics) -> Vec<&'static str> {
    let number = |name| metrics.get(name).unwrap_or(0.0);
    let (alike, easy) = (number("zero_signal"), number("correct") > 0.5);
    let known = [
        (
            number("kl").abs() < 1e-5 && alike < 1.0,
            "The loss is near 0, and that is as it should be: until the policy moves away from the one that answered, the loss is \
             minus the mean advantage, and the advantages of a group add up to 0. Its gradient is not 0. Watch the reward.",
        ),
        (
            alike == 1.0 && !easy,
            "In every group all answers have the same reward, so there is nothing to learn from: the task is too hard. Warm the \
             model up with demonstrations, or ask easier questions.",
        ),
        (
            alike == 1.0 && easy,
            "In every group all answers have the same reward, so there is nothing to learn from: the task is too easy. Ask harder \
             questions.",
        ),
        (
            alike > 0.5 && alike < 1.0,
            "In more than half of the groups all answers have the same reward; only the others teach. Larger groups, or questions \
             that are solved about half of the time, teach more.",
        ),
        (
            number("truncated") > 0.2,
            "Many answers were cut off before they ended. Raise max_tokens, or demonstrate shorter answers.",
        ),
        (
            number("entropy") < 0.01,
            "The policy is almost certain of every token: it has stopped exploring, and the answers of a group will be alike.",
        ),
        (
            number("clip_fraction") > 0.3,
            "The clip holds back more than three tokens in ten: fewer epochs or a smaller learning rate would waste less.",
        ),
    ];
    known.into_iter().filter(|(holds, _)| *holds).map(|(_, words)| words).collect()
}

/// Of a step of [`ppo`](crate::ppo).
pub fn ppo(metrics: &Metrics) -> Vec<&'static str> {
    let number = |name| metrics.get(name).unwrap_or(0.0);
    let known = [
        (
            number("reward_std") == 0.0,
            "All answers have the same reward, so there is nothing to learn from but the distance to the reference.",
        ),
        (
            number("kl") > 10.0,
            "The policy is more than 10 nats an answer away from the reference: rewards that rise from here on may come from what \
             the rewarder overlooks. A larger beta holds it back.",
        ),
        (
            number("explained_variance") < 0.0,
            "The critic expects worse than a constant would: usual at first; later, a larger critic_lr or fewer epochs may help.",
        ),
        (
            number("clip_fraction") > 0.3,
            "The clip holds back more than three tokens in ten: fewer epochs or a smaller learning rate would waste less.",
        ),
        (
            number("truncated") > 0.2,
            "Many answers were cut off before they ended. Raise max_tokens, or the penalty for a missing end.",
        ),
        (number("entropy") < 0.01, "The policy is almost certain of every token: it has stopped exploring."),
    ];
    known.into_iter().filter(|(holds, _)| *holds).map(|(_, words)| words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthy_step_needs_no_words_and_a_runaway_one_does() {
        let healthy = [("reward_std", 0.5), ("kl", 2.0), ("explained_variance", 0.4), ("entropy", 1.0)];
        assert!(ppo(&Metrics(healthy.to_vec())).is_empty());
        let words = ppo(&Metrics([&[("kl", 30.0)], &healthy[..1], &healthy[2..]].concat()));
        assert!(words.len() == 1 && words[0].contains("larger beta"), "{words:?}");
    }
}
