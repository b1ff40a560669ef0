//! Close brackets: a stack, which a model has to keep in its head.

use super::{Item, Task, apart, exact, plainly};

/// `close: ( [ ] { =` → `} )`. From 4 brackets to 3 more than the difficulty, at least one of them open.
pub(super) const TASK: Task = Task {
    name: "brackets",
    description: "Close all brackets that are open, the innermost first.",
    hardest: 8,
    draw: |rng, difficulty| {
        let count = 4 + rng.below(difficulty as u64);
        let (mut said, mut open) = (Vec::new(), Vec::new());
        for left in (0..count).rev() {
            // The last one may not close everything: something has to be left to say.
            let may_close = open.len() > 1 || open.len() == 1 && left > 0;
            if may_close && rng.below(2) == 0 {
                said.extend(open.pop());
            } else {
                let (opening, closing) = *rng.choose(&[('(', ')'), ('[', ']'), ('{', '}')]);
                said.push(opening);
                open.push(closing);
            }
        }
        open.reverse();
        Item { prompt: format!("close: {} =", apart(&said)), answer: apart(&open) }
    },
    demonstrate: plainly,
    grade: exact,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Split;

    #[test]
    fn the_answer_closes_what_is_open() {
        for (index, difficulty) in (0..2000).map(|index| (index, index as u32 % 8 + 1)) {
            let item = TASK.item(5, Split::Train, index, difficulty);
            let read = item.prompt.strip_prefix("close: ").and_then(|rest| rest.strip_suffix('='));
            let mut open = Vec::new();
            for c in format!("{} {}", read.expect("a prompt"), item.answer).split_whitespace() {
                match c {
                    "(" => open.push(")"),
                    "[" => open.push("]"),
                    "{" => open.push("}"),
                    closing => assert_eq!(open.pop(), Some(closing), "{item:?}"),
                }
            }
            assert!(open.is_empty() && !item.answer.is_empty(), "{item:?}");
        }
    }

    #[test]
    fn only_the_shortest_way_counts() {
        let item = Item { prompt: "close: ( [ ] { =".to_owned(), answer: "} )".to_owned() };
        for (answer, correct) in
            [("} )", true), ("})", false), (") }", false), ("} ( ) )", false), ("}", false)]
        {
            assert_eq!(TASK.verify(&item, answer).correct, correct, "{answer:?}");
        }
    }
}
