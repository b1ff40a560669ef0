//! Several sources of examples, each with its share of every step: new data with some of the old, against forgetting.

use crate::examples::Deck;
use crate::settings::{SettingsError, require};

/// Deals from several decks. Which cards a step gets is a function of the seed and of the step, so there is no cursor to
/// save; alone, the first source is dealt as by a [`Deck`].
pub(crate) struct Mixture {
    decks: Vec<Deck>,
    /// Of the sources but the first.
    shares: Vec<f64>,
}

impl Mixture {
    /// Sources with so many cards each; all but the first have a share, and the first has the rest.
    ///
    /// # Errors
    /// A share that is none, or all of them together leave nothing to the first source.
    ///
    /// # Panics
    /// When there is not one share less than sources.
    pub fn new(cards: &[usize], shares: &[f32], seed: u64) -> Result<Mixture, SettingsError> {
        assert_eq!(cards.len(), shares.len() + 1, "mixture: sources and shares");
        for &share in shares {
            require("mix", share, share > 0.0 && share < 1.0, "a share above 0 and below 1")?;
        }
        let sum: f32 = shares.iter().sum();
        require("mix", sum, sum < 1.0, "shares that are below 1 together")?;
        let decks = (0..).zip(cards).map(|(k, &cards)| Deck::new(cards, seed.wrapping_add(k))).collect();
        Ok(Mixture { decks, shares: shares.iter().map(|&share| share as f64).collect() })
    }

    /// The cards of a step, the first being step 0: `(source, card)` each, source by source.
    pub fn hand(&mut self, step: u64, size: usize) -> Vec<(usize, usize)> {
        let [before, after] = [step, step + 1].map(|step| self.dealt(step * size as u64));
        let mut hand = Vec::with_capacity(size);
        for (source, deck) in self.decks.iter_mut().enumerate() {
            hand.extend((before[source]..after[source]).map(|n| (source, deck.card(n))));
        }
        hand
    }

    /// How many of the first `n` cards are of each source. None of these numbers falls as `n` grows: sources take their part
    /// of what those behind them have left, one after the other.
    fn dealt(&self, n: u64) -> Vec<u64> {
        let mut dealt = vec![0; self.decks.len()];
        let (mut left, mut share_left) = (n, 1.0);
        for (k, &share) in self.shares.iter().enumerate().rev() {
            dealt[k + 1] = (left as f64 * (share / share_left)) as u64;
            left -= dealt[k + 1];
            share_left -= share;
        }
        dealt[0] = left;
        dealt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_gets_its_share_and_each_card_once_an_epoch() {
        let mut mixture = Mixture::new(&[10, 7, 3], &[0.25, 0.3], 7).unwrap();
        let hands: Vec<Vec<(usize, usize)>> = (0..200).map(|step| mixture.hand(step, 5)).collect();
        assert!(hands.iter().all(|hand| hand.len() == 5));
        let of = |source| hands.iter().flatten().filter(move |card| card.0 == source).map(|card| card.1);
        assert_eq!([0, 1, 2].map(|source| of(source).count()), [450, 250, 300]);
        for (source, cards) in [10, 7, 3].into_iter().enumerate() {
            let mut epoch: Vec<usize> = of(source).skip(2 * cards).take(cards).collect();
            epoch.sort();
            assert_eq!(epoch, (0..cards).collect::<Vec<_>>());
        }
        // Out of order, as after resuming.
        assert_eq!(Mixture::new(&[10, 7, 3], &[0.25, 0.3], 7).unwrap().hand(150, 5), hands[150]);
    }

    #[test]
    fn alone_a_source_is_dealt_as_by_a_deck() {
        let mut mixture = Mixture::new(&[10], &[], 7).unwrap();
        let mut deck = Deck::new(10, 7);
        for step in [0, 1, 5] {
            let cards: Vec<usize> = mixture.hand(step, 4).into_iter().map(|card| card.1).collect();
            assert_eq!(cards, deck.hand(step, 4));
        }
    }

    #[test]
    fn shares_leave_something_to_the_first() {
        let message = |shares: &[f32]| Mixture::new(&[1, 1, 1], shares, 1).err().unwrap().to_string();
        assert_eq!(message(&[0.0, 0.5]), "mix: found 0, expected a share above 0 and below 1");
        assert_eq!(message(&[0.5, 0.5]), "mix: found 1, expected shares that are below 1 together");
    }
}
