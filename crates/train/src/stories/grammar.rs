//! The grammar of the stories: reads the text files of `grammar/` into rules that can be told quickly.
//!
//! A file is a list of rules. A line at the margin begins one, indented lines are its alternatives:
//!
//! ```text
//! rule greeting                              each line is an alternative; all are as likely as each other
//!     {hero} waved.
//!     3* "Hello, {friend}!" said {hero}.     unless a weight stands before it
//! words pets it                              words, separated by commas; "it": the pronoun that they take
//!     kitten, puppy, mouse/mice              forms of a word, separated by slashes; the second is the plural
//! ```
//!
//! A rule named again goes on where it stopped, so each file adds its own ways into a story. Inside an alternative:
//!
//! | slot | meaning |
//! |---|---|
//! | `{=rule}` | one of a rule's alternatives; of words, one that no variable holds yet |
//! | `{hero=girls}` | the same, and the variable `hero` holds the word from here on |
//! | `{hero}` | the word that the variable holds |
//! | `{n=2..9}` | a whole number from 2 to 9; the bounds may be sums of numbers: `{m=1..n-1}` |
//! | `{n+m}`, `{n*2-m}` | the value of a sum, worked from left to right |
//! | `{hero:he}` | a form: `a` `A` (with article), `s` (plural), `C` (capital), `2` `3` … (the word's own forms), `he` `him` `his` `himself` `He` `His` `child`, `d` (a number in digits) |
//! | ` // ` | a new line |

use super::words::{Form, Word, form, is_name};

/// All rules, resolved: names have become numbers, slots have become [`Piece`]s.
pub(crate) struct Grammar {
    pub rules: Vec<Rule>,
    pub words: Vec<Word>,
    /// Names of the variables; a variable's number is its place here.
    pub variables: Vec<&'static str>,
}

/// What may stand in one place.
pub(crate) struct Rule {
    pub name: &'static str,
    pub body: Body,
}

/// The alternatives of a [`Rule`].
pub(crate) enum Body {
    /// Templates with their weights.
    Sentences(Vec<(u32, Vec<Piece>)>),
    /// Numbers of [`Word`]s, in rising order, each as likely as the others.
    Words(Vec<u16>),
}

/// A part of a template.
pub(crate) enum Piece {
    /// Said as it stands.
    Text(&'static str),
    /// One alternative of a rule, kept in a variable where one is named.
    Choose { rule: usize, keep: Option<usize>, form: Form },
    /// A number within bounds, both included, kept in a variable.
    Draw { low: Expression, high: Expression, keep: usize, form: Form },
    /// What a variable holds.
    Recall { variable: usize, form: Form },
    /// The value of a sum.
    Work { expression: Expression, form: Form },
}

/// `first ± × …`, worked from left to right, as a child reads it.
pub(crate) struct Expression(pub Vec<(char, Term)>);

/// An operand of an [`Expression`].
pub(crate) enum Term {
    /// A number written in the grammar.
    Literal(i64),
    /// A number that a variable holds.
    Variable(usize),
}

impl Grammar {
    /// Reads the grammar's files, in order.
    ///
    /// # Panics
    ///
    /// Where a file breaks the notation or names a rule that is not there: the files are part of the program.
    pub fn read(files: &[&'static str]) -> Grammar {
        let mut grammar = Grammar { rules: Vec::new(), words: Vec::new(), variables: Vec::new() };
        let lines = || files.iter().flat_map(|file| file.lines()).filter(|line| !line.trim().is_empty());
        // First the names, so that a rule may be used before the line that makes it.
        for line in lines().filter(|line| !line.starts_with([' ', '#'])) {
            let mut heading = line.split_whitespace();
            let body = match heading.next() {
                Some("rule") => Body::Sentences(Vec::new()),
                Some("words") => Body::Words(Vec::new()),
                other => panic!(
                    "grammar: a line at the margin begins with {other:?}, expected rule or words: {line}"
                ),
            };
            let name = heading.next().expect("grammar: a heading has a name");
            if !grammar.rules.iter().any(|rule| rule.name == name) {
                grammar.rules.push(Rule { name, body });
            }
        }
        let (mut rule, mut pronoun) = (0, "it");
        for line in lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with(' ') {
                grammar.read_alternatives(rule, pronoun, line.trim());
            } else {
                let heading: Vec<&'static str> = line.split_whitespace().collect();
                rule = grammar.rule(heading[1]);
                pronoun = heading.get(2).copied().unwrap_or("it");
            }
        }
        grammar
    }

    fn read_alternatives(&mut self, rule: usize, pronoun: &'static str, line: &'static str) {
        if let Body::Sentences(_) = self.rules[rule].body {
            let (weight, text) = match line.split_once("* ") {
                Some((digits, text)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                    (digits.parse().expect("digits"), text)
                }
                _ => (1, line),
            };
            let template = self.template(text);
            if let Body::Sentences(alternatives) = &mut self.rules[rule].body {
                alternatives.push((weight, template));
            }
            return;
        }
        let mut found = Vec::new();
        for item in line.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            // `+girls` takes in all words of another list.
            if let Some(list) = item.strip_prefix('+') {
                match &self.rules[self.rule(list)].body {
                    Body::Words(words) => found.extend_from_slice(words),
                    Body::Sentences(_) => panic!("grammar: {list} is a rule, expected words"),
                }
            } else {
                found.push(self.words.len() as u16);
                self.words.push(Word::new(item, pronoun));
            }
        }
        if let Body::Words(words) = &mut self.rules[rule].body {
            words.extend(found);
            words.sort_unstable();
        }
    }

    fn template(&mut self, text: &'static str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('{') {
                let (slot, after) =
                    inner.split_once('}').unwrap_or_else(|| panic!("grammar: no }} after {inner}"));
                pieces.push(self.slot(slot));
                rest = after;
            } else if let Some(after) = rest.strip_prefix(" // ") {
                pieces.push(Piece::Text("\n"));
                rest = after;
            } else {
                let end =
                    [rest.find('{'), rest.find(" // ")].into_iter().flatten().min().unwrap_or(rest.len());
                pieces.push(Piece::Text(&rest[..end]));
                rest = &rest[end..];
            }
        }
        pieces
    }

    fn slot(&mut self, slot: &'static str) -> Piece {
        let (what, form) = match slot.rsplit_once(':') {
            Some((what, name)) => (what, form(name)),
            None => (slot, Form::Plain),
        };
        let Some((keep, source)) = what.split_once('=') else {
            return match self.variables.iter().position(|name| *name == what) {
                Some(variable) => Piece::Recall { variable, form },
                None if is_name(what) => Piece::Recall { variable: self.variable(what), form },
                None => Piece::Work { expression: self.expression(what), form },
            };
        };
        if let Some((low, high)) = source.split_once("..") {
            let (low, high) = (self.expression(low), self.expression(high));
            return Piece::Draw { low, high, keep: self.variable(keep), form };
        }
        let keep = if keep.is_empty() { None } else { Some(self.variable(keep)) };
        Piece::Choose { rule: self.rule(source), keep, form }
    }

    fn expression(&mut self, text: &'static str) -> Expression {
        let mut terms = Vec::new();
        let (mut operator, mut rest) = ('+', text);
        loop {
            let end = rest.find(['+', '-', '*']).unwrap_or(rest.len());
            let term = &rest[..end];
            let value = match term.parse() {
                Ok(number) => Term::Literal(number),
                Err(_) if is_name(term) => Term::Variable(self.variable(term)),
                Err(_) => panic!("grammar: {term:?} in {text:?} is neither a number nor a name"),
            };
            terms.push((operator, value));
            let Some(next) = rest[end..].chars().next() else { return Expression(terms) };
            (operator, rest) = (next, &rest[end + 1..]);
        }
    }

    fn variable(&mut self, name: &'static str) -> usize {
        self.variables.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.variables.push(name);
            self.variables.len() - 1
        })
    }

    /// The number of the rule of a name.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn rule(&self, name: &str) -> usize {
        let found = self.rules.iter().position(|rule| rule.name == name);
        found.unwrap_or_else(|| panic!("grammar: no rule is named {name:?}"))
    }
}
