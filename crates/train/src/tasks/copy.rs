//! Copy letters: the first thing that attention learns, by looking for what followed the last letter before.

use super::{ALPHABET, Item, Task, apart, exact, plainly, symbols};

/// `copy: k f w =` → `k f w`. From 3 letters to 2 more than the difficulty.
pub(super) const TASK: Task = Task {
    name: "copy",
    description: "Say the same letters again.",
    hardest: 8,
    draw: |rng, difficulty| {
        let letters = apart(&symbols(rng, difficulty, ALPHABET));
        Item { prompt: format!("copy: {letters} ="), answer: letters }
    },
    demonstrate: plainly,
    grade: exact,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_letters_in_the_same_order_count() {
        let item = Item { prompt: "copy: k f w =".to_owned(), answer: "k f w".to_owned() };
        for (answer, correct) in [
            ("k f w", true),
            (" k f w\n", true),
            ("k w f", false),
            ("kfw", false),
            ("K f w", false),
            ("k f w k f w", false),
            ("copy: k f w =", false),
            ("k f", false),
            ("", false),
        ] {
            assert_eq!(TASK.verify(&item, answer).correct, correct, "{answer:?}");
        }
    }
}
