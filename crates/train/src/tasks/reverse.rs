//! Reverse letters: attention by position, from the far end back.

use super::{ALPHABET, Item, Task, apart, exact, plainly, symbols};

/// `reverse: k f w =` → `w f k`. From 3 letters to 2 more than the difficulty.
pub(super) const TASK: Task = Task {
    name: "reverse",
    description: "Say the letters from the last to the first.",
    hardest: 8,
    draw: |rng, difficulty| {
        let mut letters = symbols(rng, difficulty, ALPHABET);
        let prompt = format!("reverse: {} =", apart(&letters));
        letters.reverse();
        Item { prompt, answer: apart(&letters) }
    },
    demonstrate: plainly,
    grade: exact,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reversed_letters_count() {
        let item = Item { prompt: "reverse: k f w =".to_owned(), answer: "w f k".to_owned() };
        for (answer, correct) in
            [("w f k", true), ("k f w", false), ("= w f k", false), ("w f k = w f k", false)]
        {
            assert_eq!(TASK.verify(&item, answer).correct, correct, "{answer:?}");
        }
    }
}
