//! The game of 24: make 24 of four numbers, each used once, with + − × ÷. The classic: 4, 4, 7, 7 make (4 − 4/7) · 7.

use super::{Item, Task, Verdict};

/// `24: 4 4 7 7 =` → `(4-4/7)*7`, or any other expression that uses each number once and makes 24.
///
/// Difficulty 1 deals three cards from 1 to 13, difficulties 2 and 3 four; only difficulty 3 has items that cannot be
/// solved without fractions on the way. Each has a solution. An expression of just the cards is worth a tenth of a solution,
/// so that there is something to learn from before the first one is found.
pub(super) const TASK: Task = Task {
    name: "game24",
    description: "Make 24 of the numbers, each used once, with + - * / and parentheses.",
    hardest: 3,
    draw: |rng, difficulty| {
        let count = if difficulty == 1 { 3 } else { 4 };
        loop {
            let cards: Vec<i64> = (0..count).map(|_| 1 + rng.below(13) as i64).collect();
            if let Some(answer) = solve(&cards, difficulty == 3) {
                let words: Vec<String> = cards.iter().map(i64::to_string).collect();
                return Item { prompt: format!("24: {} =", words.join(" ")), answer };
            }
        }
    },
    demonstrate: |item| item.answer.clone(),
    grade: |item, said| {
        let mut cards: Vec<i64> = item.prompt.split(' ').filter_map(|word| word.parse().ok()).collect();
        let mut reader = Reader { rest: said.as_bytes(), numbers: Vec::new() };
        // A short expression is a shallow one, so the reader cannot run out of stack.
        let value = if said.len() <= MAX_BYTES { reader.sum() } else { None };
        let whole = value.is_some() && reader.space().is_empty();
        reader.numbers.sort_unstable();
        cards.sort_unstable();
        let form = whole && reader.numbers == cards;
        let correct = form && value == Some(Fraction { over: 24, under: 1 });
        let reward = match form {
            true if correct => 1.0,
            true => FORM,
            false => 0.0,
        };
        Verdict { reward, correct }
    },
};

/// What an expression of the cards is worth that makes another number.
const FORM: f32 = 0.1;

/// No solution needs to be longer.
const MAX_BYTES: usize = 64;

/// A rational number in lowest terms; `under` is positive.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fraction {
    over: i64,
    under: i64,
}

impl Fraction {
    /// The value of `self operator other`; `None` for a division by zero, or where a number grows too great.
    fn apply(self, operator: u8, other: Fraction) -> Option<Fraction> {
        let (a, b, c, d) = (self.over, self.under, other.over, other.under);
        let (over, under) = match operator {
            b'+' => (a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?, b.checked_mul(d)?),
            b'-' => (a.checked_mul(d)?.checked_sub(c.checked_mul(b)?)?, b.checked_mul(d)?),
            b'*' => (a.checked_mul(c)?, b.checked_mul(d)?),
            _ => (a.checked_mul(d)?, b.checked_mul(c)?),
        };
        let (mut x, mut y) = (over.checked_abs()?, under.checked_abs()?);
        while y > 0 {
            (x, y) = (y, x % y);
        }
        // `x` is the greatest common divisor.
        (under != 0).then(|| Fraction { over: over / x * under.signum(), under: under.abs() / x })
    }
}

/// Reads an arithmetic expression and works it out, exactly. Each method reads what it is named after from the front
/// of `rest`; `None` where there is none.
struct Reader<'a> {
    rest: &'a [u8],
    /// The numbers so far, in the order in which they stand.
    numbers: Vec<i64>,
}

impl<'a> Reader<'a> {
    /// Steps over spaces; what follows them.
    fn space(&mut self) -> &'a [u8] {
        self.rest = self.rest.trim_ascii_start();
        self.rest
    }

    fn sum(&mut self) -> Option<Fraction> {
        let mut value = self.product()?;
        while let [operator @ (b'+' | b'-'), rest @ ..] = self.space() {
            self.rest = rest;
            value = value.apply(*operator, self.product()?)?;
        }
        Some(value)
    }

    fn product(&mut self) -> Option<Fraction> {
        let mut value = self.operand()?;
        while let [operator @ (b'*' | b'/'), rest @ ..] = self.space() {
            self.rest = rest;
            value = value.apply(*operator, self.operand()?)?;
        }
        Some(value)
    }

    /// A number, or a sum in parentheses.
    fn operand(&mut self) -> Option<Fraction> {
        if let [b'(', rest @ ..] = self.space() {
            self.rest = rest;
            let value = self.sum()?;
            self.rest = self.space().strip_prefix(b")")?;
            return Some(value);
        }
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at(digits);
        // Cards have no more than two digits; `0` before them is no way to write one.
        if !(1..=2).contains(&digits) || number[0] == b'0' {
            return None;
        }
        self.rest = rest;
        let number = number.iter().fold(0, |n, digit| n * 10 + (digit - b'0') as i64);
        self.numbers.push(number);
        Some(Fraction { over: number, under: 1 })
    }
}

/// A way to make a number of some of the cards.
#[derive(Clone, Copy)]
struct Node {
    value: Fraction,
    /// The operator and its two operands, by their places in the list of nodes; a card has none.
    made: Option<(u8, usize, usize)>,
}

/// One solution, the same for the same cards in whatever order; `None` where there is none. Where `fractions` is false,
/// every number on the way is a whole one.
fn solve(cards: &[i64], fractions: bool) -> Option<String> {
    let mut cards = cards.to_vec();
    cards.sort_unstable();
    let card = |over| Node { value: Fraction { over, under: 1 }, made: None };
    let mut nodes: Vec<Node> = cards.into_iter().map(card).collect();
    let live: Vec<usize> = (0..nodes.len()).collect();
    search(&mut nodes, &live, fractions).then(|| {
        let mut text = String::new();
        write(&nodes, nodes.len() - 1, &mut text);
        text
    })
}

/// Joins any two of the `live` nodes in any way, until one is left. On success the last node is 24.
fn search(nodes: &mut Vec<Node>, live: &[usize], fractions: bool) -> bool {
    if let [only] = live {
        return nodes[*only].value == Fraction { over: 24, under: 1 };
    }
    for (i, &first) in live.iter().enumerate() {
        for (j, &second) in live.iter().enumerate() {
            for operator in *b"+*-/" {
                // The order of what is added or multiplied does not matter.
                if i == j || i > j && matches!(operator, b'+' | b'*') {
                    continue;
                }
                let value = nodes[first].value.apply(operator, nodes[second].value);
                // A difference below zero is never needed: its opposite does, with the signs around it changed.
                let fits = |value: &Fraction| value.over >= 0 && (fractions || value.under == 1);
                let Some(value) = value.filter(fits) else { continue };
                nodes.push(Node { value, made: Some((operator, first, second)) });
                let mut left = vec![nodes.len() - 1];
                left.extend(live.iter().filter(|&&node| node != first && node != second));
                if search(nodes, &left, fractions) {
                    return true;
                }
                nodes.pop();
            }
        }
    }
    false
}

/// Appends the expression of a node, with the parentheses that it needs.
fn write(nodes: &[Node], node: usize, out: &mut String) {
    let Some((operator, first, second)) = nodes[node].made else {
        out.push_str(&nodes[node].value.over.to_string());
        return;
    };
    let sum = |node: usize| matches!(nodes[node].made, Some((b'+' | b'-', ..)));
    let quotient = |node: usize| matches!(nodes[node].made, Some((b'*' | b'/', ..)));
    let first_parenthesised = matches!(operator, b'*' | b'/') && sum(first);
    let second_parenthesised = operator != b'+' && sum(second) || operator == b'/' && quotient(second);
    for (operand, parenthesised) in [(first, first_parenthesised), (second, second_parenthesised)] {
        if operand == second {
            out.push(operator as char);
        }
        if parenthesised {
            out.push('(');
        }
        write(nodes, operand, out);
        if parenthesised {
            out.push(')');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Split;

    #[test]
    fn expressions_are_worked_out_exactly() {
        let item = Item { prompt: "24: 4 4 7 7 =".to_owned(), answer: String::new() };
        for (answer, correct) in [
            ("(4-4/7)*7", true),
            ("7 * ( 4 - 4 / 7 )", true),
            ("((4-(4/7)))*7", true),
            ("(7-4/7)*4", false),       // 180/7
            ("(4-4/7)*7=24", false),    // no expression
            ("4-4/7*7", false),         // 0
            ("7*4-4", false),           // 24, but not of all cards
            ("7*4-4*(7-7+7)/7", false), // some cards too often
            ("24", false),
            ("4*7-47+4*7", false), // two cards are not one number
            ("(4-4/7)*7 (4-4/7)*7", false),
            ("(4-4/7)*7)", false),
            ("((4-4/7)*7", false),
            ("(4--4/7)*7", false),
            ("-(4/7-4)*7", false),
            ("4/(7-7)*4", false),
            ("(4-4/07)*7", false),
            ("(4\u{2212}4/7)\u{b7}7", false), // the signs of print, not of the keyboard
            ("24: 4 4 7 7 =", false),
            ("", false),
        ] {
            assert_eq!(TASK.verify(&item, answer).correct, correct, "{answer:?}");
        }
        for (answer, reward) in [("(4-4/7)*7", 1.0), ("(7-4/7)*4", FORM), ("7*4-4", 0.0), ("4-4/(7-7)", 0.0)]
        {
            assert_eq!(TASK.verify(&item, answer).reward, reward, "{answer:?}");
        }
        let deep = format!("{}1{}", "(".repeat(500), ")".repeat(500));
        assert!(!TASK.verify(&item, &deep).correct);
        let great =
            Item { prompt: "24: 99 99 99 99 99 99 99 99 99 99 99 =".to_owned(), answer: String::new() };
        assert!(!TASK.verify(&great, "99*99*99*99*99*99*99*99*99*99*99").correct);
    }

    #[test]
    fn solutions_are_found_where_there_are_some() {
        assert_eq!(solve(&[4, 4, 7, 7], true).as_deref(), Some("(4-4/7)*7"));
        assert_eq!(solve(&[4, 7, 4, 7], true), solve(&[7, 7, 4, 4], true));
        assert_eq!(solve(&[4, 4, 7, 7], false), None);
        assert_eq!(solve(&[1, 1, 1, 1], true), None);
        // Of the 1820 hands of four cards from 1 to 13, 1362 can be solved.
        let mut solved = 0;
        for a in 1..=13 {
            for b in a..=13 {
                for c in b..=13 {
                    solved += (c..=13).filter(|&d| solve(&[a, b, c, d], true).is_some()).count();
                }
            }
        }
        assert_eq!(solved, 1362);
    }

    #[test]
    fn the_easy_hands_are_short_and_whole() {
        for index in 0..200 {
            let item = TASK.item(5, Split::Train, index, 1);
            assert_eq!(item.prompt.split(' ').count(), 5, "{item:?}");
            let hand: Vec<i64> = TASK
                .item(5, Split::Train, index, 2)
                .prompt
                .split(' ')
                .filter_map(|w| w.parse().ok())
                .collect();
            assert!(hand.len() == 4 && solve(&hand, false).is_some(), "{hand:?}");
        }
    }
}
