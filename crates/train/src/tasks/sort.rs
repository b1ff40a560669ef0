//! Sort digits: each answer token is the smallest that has not been said as often as it was read.

use super::{Item, Task, apart, exact, plainly, symbols};

/// `sort: 7 3 9 3 =` → `3 3 7 9`. From 3 digits to 2 more than the difficulty.
pub(super) const TASK: Task = Task {
    name: "sort",
    description: "Say the digits from the smallest to the greatest.",
    hardest: 8,
    draw: |rng, difficulty| {
        let mut digits = symbols(rng, difficulty, b"0123456789");
        let prompt = format!("sort: {} =", apart(&digits));
        digits.sort_unstable();
        Item { prompt, answer: apart(&digits) }
    },
    demonstrate: plainly,
    grade: exact,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_digit_is_said_as_often_as_it_was_read() {
        let item = Item { prompt: "sort: 7 3 9 3 =".to_owned(), answer: "3 3 7 9".to_owned() };
        for (answer, correct) in [
            ("3 3 7 9", true),
            ("3 7 9", false),
            ("9 7 3 3", false),
            ("3, 3, 7, 9", false),
            ("\u{ff13} \u{ff13} \u{ff17} \u{ff19}", false), // full-width digits
        ] {
            assert_eq!(TASK.verify(&item, answer).correct, correct, "{answer:?}");
        }
    }
}
