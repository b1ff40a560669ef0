//! What PPO's two models minimise.

use cloche_models::Pass;
use cloche_models::config::ModelConfig;
use cloche_nn::loss::policy::{Actions, Clip, clipped_surrogate};
use cloche_nn::loss::value::{Values, clipped_value_loss};
use cloche_nn::{Params, loss};
use cloche_tensor::{DType, Graph};

use super::Settings;
use crate::learner::Recorded;

/// Records the policy's loss on `(B, T)` tokens, of which `count` are actions, and on a text of `text_count` targets.
pub(super) fn record_policy(
    config: &ModelConfig,
    graph: &Graph,
    p: &Params,
    [shape, text_shape]: [(usize, usize); 2],
    settings: &Settings,
) -> Recorded {
    let x = graph.input("x", shape, DType::U32); // (B, T)
    let y = graph.input("y", shape, DType::U32); // (B, T)
    let old_log_probs = graph.input("old_log_probs", shape, DType::F32); // (B, T)
    let advantages = graph.input("advantages", shape, DType::F32); // (B, T)
    let count = graph.scalar("count");
    let logits = cloche_models::logits(config, p, &x, &Pass::eval()); // (B, T, V)
    let (log_probs, marks) = (loss::token_log_probs(&logits, &y), loss::marks(&y)); // (B, T) each
    let (log_probs, old_log_probs, advantages) = (&log_probs, &old_log_probs, &advantages);
    let actions = Actions { log_probs, old_log_probs, advantages, marks: &marks };
    let surrogate = clipped_surrogate(actions, Clip::both(settings.clip as f64));
    let mean = |tokens| loss::mean_over(&tokens, &count); // () of (B, T)
    let mut recorded = Recorded {
        loss: mean(surrogate.losses),
        metrics: vec![
            ("clip_fraction", mean(surrogate.clipped)),
            ("approx_kl", mean(surrogate.kl)),
            ("entropy", mean(loss::token_entropy(&logits, &marks))),
        ],
    };
    if settings.pretraining_weight > 0.0 {
        let x = graph.input("text_x", text_shape, DType::U32); // (B, T')
        let y = graph.input("text_y", text_shape, DType::U32); // (B, T')
        let logits = cloche_models::logits(config, p, &x, &Pass::eval()); // (B, T', V)
        let text = loss::mean_over(&loss::token_losses(&logits, &y), &graph.scalar("text_count")); // ()
        recorded.loss = recorded.loss + &text * settings.pretraining_weight as f64;
        recorded.metrics.push(("pretraining_loss", text));
    }
    recorded
}

/// Records the critic's loss on `(B, T)` tokens, of which `count` are actions.
pub(super) fn record_critic(
    config: &ModelConfig,
    graph: &Graph,
    p: &Params,
    shape: (usize, usize),
    settings: &Settings,
) -> Recorded {
    let x = graph.input("x", shape, DType::U32); // (B, T)
    let marks = loss::marks(&graph.input("y", shape, DType::U32)); // (B, T)
    let old_values = graph.input("old_values", shape, DType::F32); // (B, T)
    let returns = graph.input("returns", shape, DType::F32); // (B, T)
    let values = cloche_models::score(config, p, &x, &Pass::eval()); // (B, T)
    let values = Values { values: &values, old_values: &old_values, returns: &returns, marks: &marks };
    let found = clipped_value_loss(values, settings.value_clip as f64);
    let loss = loss::mean_over(&found.losses, &graph.scalar("count"));
    Recorded { metrics: vec![("value_loss", loss.clone())], loss }
}
