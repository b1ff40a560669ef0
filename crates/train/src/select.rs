//! Which texts, and which of their tokens, are worth learning, by what models say of them.
//!
//! A text that a model finds very unlikely is often none that anybody would want it to write (Wenzek et al. 2020, CCNet,
//! <https://arxiv.org/abs/1911.00359>). A token that a reference finds much more likely than the model that is about to
//! learn can be learnt and is not yet; the others are known, or noise (Lin et al. 2024, "Rho-1: Not All Tokens Are What You
//! Need", <https://arxiv.org/abs/2404.07965>). Departure from Rho-1: tokens are chosen once, by the model as it is at the
//! beginning, and over all texts; there it is done anew for each batch, by the model as it is then.

use cloche_models::{Network, Pass};
use cloche_nn::loss;
use cloche_tensor::{DType, Device, Graph, Program};

use crate::error::Error;
use crate::examples::{Example, Rows, check_texts};
use crate::learner::expect_alike;
use crate::settings::require;

/// Texts that are read at once.
const ROWS: usize = 16;

/// Reads the losses of single tokens.
pub struct TokenLosses {
    program: Program,
    rows: Rows,
}

impl TokenLosses {
    /// Prepares to read these texts, by the weights that the network has when it reads.
    ///
    /// # Errors
    /// A text that is empty, too long or has an unknown token; a device that cannot hold the program.
    pub fn new(device: &Device, network: &Network, texts: &[Example]) -> Result<TokenLosses, Error> {
        let config = &network.config;
        let ids: Vec<&[u32]> = texts.iter().map(|text| &text.ids[..]).collect();
        check_texts(&ids, config.vocab_size, config.context_len + 1)?;
        let width = Rows::width_of(texts.iter(), config.context_len);
        let graph = Graph::new();
        let x = graph.input("x", (ROWS, width), DType::U32); // (B, T)
        let y = graph.input("y", (ROWS, width), DType::U32); // (B, T)
        let logits = cloche_models::logits(config, &network.params(&graph), &x, &Pass::eval()); // (B, T, V)
        let losses = loss::token_losses(&logits, &y); // (B·T,)
        let program = device.compile(&graph, &[("losses", &losses)], &network.states())?;
        Ok(TokenLosses { program, rows: Rows::new(ROWS, width) })
    }

    /// `−ln p` of each marked token of each text but its first one, in nats.
    ///
    /// # Errors
    /// A lost device.
    ///
    /// # Panics
    /// When a text is longer than those that this was prepared for.
    pub async fn read(&mut self, texts: &[Example]) -> Result<Vec<Vec<f32>>, Error> {
        let mut found = Vec::with_capacity(texts.len());
        for texts in texts.chunks(ROWS) {
            self.rows.fill(texts.iter());
            self.program.write("x", &self.rows.x);
            self.program.write("y", &self.rows.y);
            self.program.run();
            let losses = self.program.read("losses").await?;
            for (row, text) in losses.f32().chunks_exact(self.rows.width).zip(texts) {
                let marked = text.learn[1..].iter().zip(row).filter(|(learn, _)| **learn);
                found.push(marked.map(|(_, loss)| *loss).collect());
            }
        }
        Ok(found)
    }
}

/// The perplexity of what is marked in each text, `exp` of its mean loss.
///
/// # Errors
/// As [`TokenLosses`].
pub async fn perplexities(device: &Device, network: &Network, texts: &[Example]) -> Result<Vec<f32>, Error> {
    let losses = TokenLosses::new(device, network, texts)?.read(texts).await?;
    Ok(losses.iter().map(|losses| perplexity(losses)).collect())
}

/// `exp` of the mean loss; infinite where there is none.
fn perplexity(losses: &[f32]) -> f32 {
    let sum: f64 = losses.iter().map(|&loss| loss as f64).sum();
    if losses.is_empty() { f32::INFINITY } else { (sum / losses.len() as f64).exp() as f32 }
}

/// What a choice of tokens came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selection {
    /// Tokens that could be learnt.
    pub tokens: usize,
    /// Those that stay marked.
    pub kept: usize,
    /// Texts of which none is.
    pub lost: usize,
    /// The mean excess loss of the tokens that stay, in nats.
    pub excess_kept: f32,
    /// That of the others; 0 where there are none.
    pub excess_dropped: f32,
}

/// Takes the marks from all tokens but the `share` with the highest excess loss, `ln p_reference − ln p_model`, and leaves
/// out the texts of which nothing stays. Which tokens count among equals is decided by their order.
///
/// # Errors
/// A share that is none, a reference of another vocabulary or with a shorter context, and as [`TokenLosses`].
pub async fn select_tokens(
    device: &Device,
    network: &Network,
    reference: &Network,
    texts: Vec<Example>,
    share: f32,
) -> Result<(Vec<Example>, Selection), Error> {
    require("select_tokens", share, share > 0.0 && share <= 1.0, "a share above 0, at most 1")?;
    expect_alike("reference", reference, &network.config)?;
    let own = TokenLosses::new(device, network, &texts)?.read(&texts).await?;
    let theirs = TokenLosses::new(device, reference, &texts)?.read(&texts).await?;
    let excess: Vec<f32> =
        own.concat().iter().zip(theirs.concat()).map(|(own, theirs)| own - theirs).collect();
    let stays = highest(&excess, share);
    let mean = |wanted: bool| {
        let some = excess.iter().zip(&stays).filter(|(_, stays)| **stays == wanted);
        let (sum, n) = some.fold((0.0, 0), |(sum, n), (x, _)| (sum + *x as f64, n + 1));
        if n == 0 { 0.0 } else { (sum / n as f64) as f32 }
    };
    let mut selection = Selection {
        tokens: stays.len(),
        kept: stays.iter().filter(|stays| **stays).count(),
        lost: 0,
        excess_kept: mean(true),
        excess_dropped: mean(false),
    };
    let (n_texts, mut places) = (texts.len(), stays.into_iter());
    let mut left = Vec::with_capacity(n_texts);
    for mut text in texts {
        let marked = text.learn[1..].iter_mut().filter(|learn| **learn);
        marked.for_each(|learn| *learn = places.next().expect("a place for each marked token"));
        if text.n_targets() > 0 {
            left.push(text);
        }
    }
    selection.lost = n_texts - left.len();
    Ok((left, selection))
}

/// Which of the numbers are among the highest `share`; at least one is. What is no number counts as the lowest.
fn highest(numbers: &[f32], share: f32) -> Vec<bool> {
    let wanted = (numbers.len() as f64 * share as f64).round().max(1.0) as usize;
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    let rank = |at: usize| if numbers[at].is_nan() { f32::NEG_INFINITY } else { numbers[at] };
    order.sort_by(|&a, &b| rank(b).total_cmp(&rank(a))); // stable
    let mut stays = vec![false; numbers.len()];
    order.into_iter().take(wanted).for_each(|at| stays[at] = true);
    stays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_share_stays() {
        let numbers = [1.0, 5.0, -2.0, 5.0, f32::NAN, 3.0];
        assert_eq!(highest(&numbers, 0.5), [false, true, false, true, false, true]);
        assert_eq!(highest(&numbers, 0.17), [false, true, false, false, false, false]);
        assert_eq!(highest(&numbers, 0.001).iter().filter(|stays| **stays).count(), 1);
        assert!(highest(&numbers, 1.0).iter().all(|stays| *stays));
        assert_eq!(highest(&[], 0.5), [false; 0]);
    }

    #[test]
    fn perplexity_is_the_size_of_a_fair_die() {
        let die = 6f32.ln();
        assert!((perplexity(&[die; 5]) - 6.0).abs() < 1e-5);
        assert!((perplexity(&[2f32.ln(), 8f32.ln()]) - 4.0).abs() < 1e-5);
        assert_eq!(perplexity(&[]), f32::INFINITY);
    }
}
