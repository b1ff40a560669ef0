//! Tells one story by the grammar, or follows a text that somebody else wrote, and adds up the log-probability.
//!
//! Each choice is made right where its text begins, and at each choice no alternative's opening words are the
//! beginning of another's. So whoever reads along knows each choice from the text alone: one text, one sequence of
//! choices, and the sum of the choices' log-probabilities is the log-probability of the text itself. For the same
//! reason no story is the beginning of another one. The tests check the property at each choice of many stories.

use cloche_tensor::rng::Rng;

use super::grammar::{Body, Expression, Grammar, Piece, Term};
use super::words::{Form, say_number};

/// A story while it is being told.
#[derive(Clone)]
pub(crate) struct Telling<'a> {
    grammar: &'a Grammar,
    guide: Guide<'a>,
    /// What each variable holds.
    held: Vec<Option<Held>>,
    /// The text so far.
    pub text: String,
    /// The sum of `ln p` over the choices so far.
    pub log_prob: f64,
    /// Where each choice was made and where its opening words ended, for the tests.
    #[cfg(test)]
    pub choices: Vec<(usize, usize)>,
}

/// Who makes the choices.
#[derive(Clone)]
pub(crate) enum Guide<'a> {
    /// Chance.
    Dice(Rng),
    /// A text that the story has to equal.
    Text(&'a str),
    /// A text that the grammar cannot tell: the story is dropped at the next opportunity.
    Lost,
    /// Chance, with a look at all alternatives, which must be told apart by their opening words.
    #[cfg(test)]
    Audit(Rng),
}

/// What a variable can hold.
#[derive(Clone, Copy)]
enum Held {
    Word(u16),
    Number(i64),
}

impl<'a> Telling<'a> {
    /// Tells a whole story; `None` where the guide is a text that is no story of the grammar.
    pub fn tell(grammar: &'a Grammar, guide: Guide<'a>) -> Option<Telling<'a>> {
        let mut telling = Telling::begin(grammar, guide);
        telling.expand(grammar.rule("story"), None, Form::Plain);
        match telling.guide {
            Guide::Lost => None,
            Guide::Text(whole) if whole != telling.text => None,
            _ => Some(telling),
        }
    }

    /// A telling in which nothing has been said yet.
    pub fn begin(grammar: &'a Grammar, guide: Guide<'a>) -> Telling<'a> {
        Telling {
            grammar,
            guide,
            held: vec![None; grammar.variables.len()],
            text: String::with_capacity(2048),
            log_prob: 0.0,
            #[cfg(test)]
            choices: Vec::new(),
        }
    }

    /// Says one alternative of the rule of a name, and gives what was said to the caller instead of adding it to the
    /// text. The variables hold what they hold, for the next rule to recall.
    pub fn say_rule(&mut self, name: &str) -> String {
        let start = self.text.len();
        self.expand(self.grammar.rule(name), None, Form::Plain);
        self.text.split_off(start)
    }

    /// Chooses an alternative of `rule` and says it.
    fn expand(&mut self, rule: usize, keep: Option<usize>, form: Form) {
        let grammar = self.grammar;
        match &grammar.rules[rule].body {
            Body::Sentences(alternatives) => {
                let total = alternatives.iter().map(|(weight, _)| *weight as u64).sum();
                let weight = |i: usize| alternatives[i].0 as u64;
                let opening =
                    |story: &Self, i: usize, out: &mut String| story.opening(&alternatives[i].1, out);
                let Some(chosen) = self.choose(alternatives.len(), total, weight, opening) else { return };
                for piece in &alternatives[chosen].1 {
                    self.say(piece);
                    if let Guide::Lost = self.guide {
                        return;
                    }
                }
            }
            Body::Words(words) => {
                let taken = self.taken(words);
                let count = words.len() - taken.len();
                // The i-th word that no variable holds: step over the taken places, which are in rising order.
                let word = |i: usize| words[taken.iter().fold(i, |i, &place| i + (place <= i) as usize)];
                let opening = |story: &Self, i: usize, out: &mut String| {
                    story.grammar.words[word(i) as usize].say(form, out);
                };
                let Some(chosen) = self.choose(count, count as u64, |_| 1, opening) else { return };
                grammar.words[word(chosen) as usize].say(form, &mut self.text);
                if let Some(variable) = keep {
                    self.held[variable] = Some(Held::Word(word(chosen)));
                }
            }
        }
    }

    /// Places in `words` of those that a variable holds, in rising order.
    fn taken(&self, words: &[u16]) -> Vec<usize> {
        let held = self.held.iter().filter_map(|held| match held {
            Some(Held::Word(word)) => words.binary_search(word).ok(),
            _ => None,
        });
        let mut taken: Vec<usize> = held.collect();
        taken.sort_unstable();
        taken.dedup();
        taken
    }

    fn say(&mut self, piece: &Piece) {
        match piece {
            Piece::Choose { rule, keep, form } => self.expand(*rule, *keep, *form),
            Piece::Draw { low, high, keep, form } => {
                let (low, high) = (self.value(low), self.value(high));
                assert!(
                    low <= high,
                    "stories: no number from {low} to {high} for {}",
                    self.grammar.variables[*keep]
                );
                let count = (high - low + 1) as usize;
                let opening = |_: &Self, i: usize, out: &mut String| say_number(low + i as i64, *form, out);
                let Some(chosen) = self.choose(count, count as u64, |_| 1, opening) else { return };
                say_number(low + chosen as i64, *form, &mut self.text);
                self.held[*keep] = Some(Held::Number(low + chosen as i64));
            }
            settled => {
                let mut text = std::mem::take(&mut self.text);
                self.say_settled(settled, &mut text);
                self.text = text;
            }
        }
    }

    /// Says a piece that leaves no choice.
    fn say_settled(&self, piece: &Piece, out: &mut String) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Recall { variable, form } => match self.held[*variable] {
                Some(Held::Word(word)) => self.grammar.words[word as usize].say(*form, out),
                Some(Held::Number(n)) => say_number(n, *form, out),
                None => panic!(
                    "stories: {} is not known yet after: {}",
                    self.grammar.variables[*variable], self.text
                ),
            },
            Piece::Work { expression, form } => say_number(self.value(expression), *form, out),
            Piece::Choose { .. } | Piece::Draw { .. } => unreachable!("a choice is not settled"),
        }
    }

    /// Appends what an alternative says before the first choice within it.
    fn opening(&self, template: &[Piece], out: &mut String) {
        for piece in template.iter().take_while(|p| !matches!(p, Piece::Choose { .. } | Piece::Draw { .. })) {
            self.say_settled(piece, out);
        }
    }

    fn value(&self, expression: &Expression) -> i64 {
        expression.0.iter().fold(0, |left, (operator, term)| {
            let right = match term {
                Term::Literal(n) => *n,
                Term::Variable(variable) => match self.held[*variable] {
                    Some(Held::Number(n)) => n,
                    _ => panic!("stories: {} holds no number", self.grammar.variables[*variable]),
                },
            };
            match operator {
                '+' => left + right,
                '-' => left - right,
                _ => left * right,
            }
        })
    }

    /// Makes one choice among `count` alternatives and accounts for it; `None` where the text fits none of them.
    fn choose(
        &mut self,
        count: usize,
        total: u64,
        weight: impl Fn(usize) -> u64,
        opening: impl Fn(&Self, usize, &mut String),
    ) -> Option<usize> {
        #[cfg(test)]
        if let Guide::Audit(_) = self.guide {
            let openings: Vec<String> = (0..count).map(|i| self.said(&opening, i)).collect();
            self.audit(openings);
        }
        let chosen = match &mut self.guide {
            Guide::Dice(rng) => roll(rng, count, total, &weight),
            #[cfg(test)]
            Guide::Audit(rng) => roll(rng, count, total, &weight),
            Guide::Lost => return None,
            Guide::Text(whole) => {
                // The text so far may already differ from the whole; the comparison at the end finds out.
                let rest = whole.get(self.text.len()..).unwrap_or("");
                match (0..count).find(|&i| begins_with(rest, &self.said(&opening, i))) {
                    Some(chosen) => chosen,
                    None => {
                        self.guide = Guide::Lost;
                        return None;
                    }
                }
            }
        };
        #[cfg(test)]
        if count > 1 {
            self.choices.push((self.text.len(), self.text.len() + self.said(&opening, chosen).len()));
        }
        self.log_prob += (weight(chosen) as f64 / total as f64).ln();
        Some(chosen)
    }

    fn said(&self, opening: &impl Fn(&Self, usize, &mut String), alternative: usize) -> String {
        let mut out = String::new();
        opening(self, alternative, &mut out);
        out
    }

    /// Refuses alternatives that cannot be told apart.
    #[cfg(test)]
    fn audit(&self, mut openings: Vec<String>) {
        // Everything that begins with a string stands right behind it in the order.
        openings.sort_unstable();
        for pair in openings.windows(2) {
            assert!(
                !begins_with(&pair[1], &pair[0]),
                "one text, two choices: {:?} and {:?} after: {}",
                pair[0],
                pair[1],
                self.text
            );
        }
    }
}

/// The alternative that chance takes.
fn roll(rng: &mut Rng, count: usize, total: u64, weight: impl Fn(usize) -> u64) -> usize {
    let mut at = rng.below(total);
    if total == count as u64 {
        return at as usize;
    }
    let found = (0..count).find(|&i| match at.checked_sub(weight(i)) {
        Some(left) => {
            at = left;
            false
        }
        None => true,
    });
    found.expect("the weights add up to their total")
}

/// Whether `text` begins with `start` and does not go on inside its last word: "balloon" does not begin with "ball",
/// nor "twenty-one" with "twenty".
///
/// The grammar never lets a letter or a hyphen follow a chosen word, which the tests hold it to.
fn begins_with(text: &str, start: &str) -> bool {
    let inside_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match text.strip_prefix(start) {
        Some(rest) => {
            !(start.ends_with(|c: char| c.is_ascii_alphanumeric()) && rest.starts_with(inside_word))
        }
        None => false,
    }
}
