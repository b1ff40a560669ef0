//! Add two numbers: digit by digit, with carries.

use super::{Item, Task, exact, plainly};

/// `12+39=` → `51`. The difficulty is the most digits that a number has.
pub(super) const TASK: Task = Task {
    name: "addition",
    description: "Add two whole numbers.",
    hardest: 8,
    draw: |rng, difficulty| {
        let bound = 10u64.pow(difficulty);
        let (a, b) = (rng.below(bound), rng.below(bound));
        Item { prompt: format!("{a}+{b}="), answer: (a + b).to_string() }
    },
    demonstrate: plainly,
    grade: exact,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Split;

    #[test]
    fn sums_are_right_and_half_of_them_carry() {
        let mut carries = 0;
        for index in 0..2000 {
            let item = TASK.item(5, Split::Train, index, 2);
            let (a, b) = item.prompt.trim_end_matches('=').split_once('+').expect("a sum");
            let (a, b): (u64, u64) = (a.parse().expect("a number"), b.parse().expect("a number"));
            assert_eq!(item.answer, (a + b).to_string());
            carries += (a % 10 + b % 10 > 9) as usize;
        }
        assert!((800..1200).contains(&carries), "{carries}");
    }

    #[test]
    fn only_the_sum_itself_counts() {
        let item = Item { prompt: "12+39=".to_owned(), answer: "51".to_owned() };
        for (answer, correct) in [
            ("51", true),
            (" 51 ", true),
            ("051", false),
            ("+51", false),
            ("51.0", false),
            ("51 52", false),
            ("12+39=51", false),
            ("\u{665}\u{661}", false), // Arabic-Indic digits
        ] {
            assert_eq!(TASK.verify(&item, answer).correct, correct, "{answer:?}");
        }
    }
}
