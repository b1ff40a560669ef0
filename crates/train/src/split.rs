//! Which made-up texts are to train on, and which are held out to be asked later.

use cloche_tensor::rng::{Rng, philox, stream_id};

/// A side of the wall between what a model trains on and what it is examined with.
///
/// The prompt alone decides on which side it lies, whatever the seed, so no run trains on what another one is examined
/// with. The order of the characters does not matter to it: 12+39 and 39+12, or the same four cards in another order,
/// are on the same side, and having seen one of them does not give the other away.
///
/// # Example
///
/// ```
/// use cloche_train::split::Split;
/// assert_eq!(Split::of("12+39="), Split::of("39+12="));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To train on: about seven prompts of eight.
    Train,
    /// To examine with.
    HeldOut,
}

impl Split {
    /// The side on which a prompt lies.
    pub fn of(prompt: &str) -> Split {
        // A sum does not depend on the order of what it adds up.
        let sum = prompt.bytes().map(|byte| scatter(byte as u64)).fold(0, u64::wrapping_add);
        if scatter(sum).is_multiple_of(8) { Split::HeldOut } else { Split::Train }
    }

    /// Draws number `index` of the draws called `name` that fall on this side.
    ///
    /// Draws are repeated, each with random numbers of its own, until `side` says this one; that takes 8 of them on
    /// average where prompts are held out. Whoever calls has made sure that both sides come up.
    pub(crate) fn draw<T>(
        self,
        name: &str,
        seed: u64,
        index: u64,
        draw: impl Fn(Rng) -> T,
        side: impl Fn(&T) -> Split,
    ) -> T {
        let rng = Rng::new(seed ^ stream_id(name), index);
        let mut draws = (0..).map(|attempt: u64| draw(rng.clone().at(attempt << 32)));
        draws.find(|drawn| side(drawn) == self).expect("attempts do not end")
    }
}

/// 64 bits that look random, the same each time for the same number.
fn scatter(x: u64) -> u64 {
    let [low, high, ..] = philox([x as u32, (x >> 32) as u32, 0, 0], [0x5eed, 0]);
    low as u64 | (high as u64) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_prompt_of_eight_is_held_out() {
        let held_out = (0..20_000).filter(|n| Split::of(&format!("prompt {n:05}")) == Split::HeldOut).count();
        // 20,000 prompts have 252 sets of digits or more; a share of 1/8 of those, give or take.
        assert!((1500..3500).contains(&held_out), "{held_out}");
    }

    #[test]
    fn order_does_not_matter_and_letters_do() {
        assert_eq!(Split::of("24: 4 4 7 7 ="), Split::of("24: 7 4 7 4 ="));
        let sides: Vec<Split> = ('a'..='z').map(|c| Split::of(&c.to_string())).collect();
        assert!(sides.contains(&Split::Train) && sides.contains(&Split::HeldOut));
    }

    #[test]
    fn a_draw_is_named_by_seed_name_and_index() {
        let draw = |split: Split, name: &str, seed, index| {
            split.draw(name, seed, index, |mut rng| rng.next_u64().to_string(), |text| Split::of(text))
        };
        let first = draw(Split::HeldOut, "sums", 1, 0);
        assert_eq!(draw(Split::HeldOut, "sums", 1, 0), first);
        assert_eq!(Split::of(&first), Split::HeldOut);
        for other in [
            draw(Split::HeldOut, "sums", 1, 1),
            draw(Split::HeldOut, "sums", 2, 0),
            draw(Split::HeldOut, "words", 1, 0),
            draw(Split::Train, "sums", 1, 0),
        ] {
            assert_ne!(other, first);
        }
    }
}
