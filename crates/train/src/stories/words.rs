//! Words and their forms: plurals, articles, pronouns and numbers of plain English.

/// A word of the grammar with what its forms are made from.
pub(crate) struct Word {
    /// The forms that the grammar gives, the plain one first; the second, if it is there and not empty, is the plural.
    forms: Vec<&'static str>,
    pronoun: &'static Pronoun,
}

/// A form in which a word or a number may be said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// As it stands; a number in words.
    Plain,
    /// After `a` or `an`.
    Article,
    /// After `A` or `An`.
    CapitalArticle,
    /// With a capital letter.
    Capital,
    /// More than one.
    Plural,
    /// One of the forms that the grammar gives, by its place.
    Given(usize),
    /// Something that a person is called instead, by its place in [`Pronoun`].
    Pronoun(usize),
    /// A number in digits.
    Digits,
}

/// Subject, object, possessive, reflexive, subject and possessive with a capital, and what such a child is.
struct Pronoun([&'static str; 7]);

static SHE: Pronoun = Pronoun(["she", "her", "her", "herself", "She", "Her", "girl"]);
static HE: Pronoun = Pronoun(["he", "him", "his", "himself", "He", "His", "boy"]);
static IT: Pronoun = Pronoun(["it", "it", "its", "itself", "It", "Its", "one"]);

impl Word {
    /// Reads `mouse/mice` under a heading whose pronoun is `she`, `he` or `it`.
    pub fn new(item: &'static str, pronoun: &str) -> Word {
        let pronoun = match pronoun {
            "she" => &SHE,
            "he" => &HE,
            "it" => &IT,
            other => panic!("grammar: pronoun {other:?}, expected she, he or it"),
        };
        Word { forms: item.split('/').collect(), pronoun }
    }

    /// Appends the word in `form`.
    pub fn say(&self, form: Form, out: &mut String) {
        let plain = self.forms[0];
        match form {
            Form::Plain | Form::Digits => out.push_str(plain),
            Form::Article | Form::CapitalArticle => {
                out.push(if form == Form::Article { 'a' } else { 'A' });
                out.push_str(if starts_with_vowel_sound(plain) { "n " } else { " " });
                out.push_str(plain);
            }
            Form::Capital => {
                out.extend(plain.chars().next().map(|first| first.to_ascii_uppercase()));
                out.push_str(&plain[1..]);
            }
            Form::Plural => match self.forms.get(1) {
                Some(plural) if !plural.is_empty() => out.push_str(plural),
                _ => push_regular_plural(plain, out),
            },
            Form::Given(place) => match self.forms.get(place) {
                Some(text) => out.push_str(text),
                None => panic!("grammar: {plain:?} has no form {}", place + 1),
            },
            Form::Pronoun(place) => out.push_str(self.pronoun.0[place]),
        }
    }
}

/// The form that a slot names after its colon.
pub(crate) fn form(name: &str) -> Form {
    match name {
        "a" => Form::Article,
        "A" => Form::CapitalArticle,
        "C" => Form::Capital,
        "s" => Form::Plural,
        "d" => Form::Digits,
        "he" => Form::Pronoun(0),
        "him" => Form::Pronoun(1),
        "his" => Form::Pronoun(2),
        "himself" => Form::Pronoun(3),
        "He" => Form::Pronoun(4),
        "His" => Form::Pronoun(5),
        "child" => Form::Pronoun(6),
        digit => match digit.parse::<usize>() {
            Ok(place) if place > 0 => Form::Given(place - 1),
            _ => panic!("grammar: no form is named {name:?}"),
        },
    }
}

/// Whether a slot's text is a variable's name: small letters only.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase())
}

/// Whether `an` comes before the word. It is the sound that counts: a unicorn, an hour.
fn starts_with_vowel_sound(word: &str) -> bool {
    let consonant_sound = ["uni", "use", "one", "eu"].iter().any(|start| word.starts_with(start));
    let silent_h = ["hour", "honest"].iter().any(|start| word.starts_with(start));
    silent_h || !consonant_sound && word.starts_with(['a', 'e', 'i', 'o', 'u'])
}

fn push_regular_plural(word: &str, out: &mut String) {
    let hisses = ["s", "x", "ch", "sh"].iter().any(|end| word.ends_with(end));
    let vowel_y = ["ay", "ey", "oy", "uy"].iter().any(|end| word.ends_with(end));
    if let (Some(stem), false) = (word.strip_suffix('y'), vowel_y) {
        out.push_str(stem);
        out.push_str("ies");
    } else {
        out.push_str(word);
        out.push_str(if hisses { "es" } else { "s" });
    }
}

/// Appends a number from 0 to 999 in words or digits.
pub(crate) fn say_number(n: i64, form: Form, out: &mut String) {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 10] =
        ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    assert!((0..1000).contains(&n), "stories: the number {n} has no words here, expected 0 to 999");
    let start = out.len();
    match (n, form) {
        (_, Form::Digits) => out.push_str(&n.to_string()),
        (0..20, _) => out.push_str(SMALL[n as usize]),
        (20..100, _) => {
            out.push_str(TENS[n as usize / 10]);
            if n % 10 > 0 {
                out.push('-');
                out.push_str(SMALL[n as usize % 10]);
            }
        }
        _ => {
            out.push_str(SMALL[n as usize / 100]);
            out.push_str(" hundred");
            if n % 100 > 0 {
                out.push_str(" and ");
                say_number(n % 100, Form::Plain, out);
            }
        }
    }
    if form == Form::Capital {
        out[start..].get_mut(..1).expect("a number has letters").make_ascii_uppercase();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(item: &'static str, form: Form) -> String {
        let mut out = String::new();
        Word::new(item, "she").say(form, &mut out);
        out
    }

    #[test]
    fn words_take_their_forms() {
        let plurals = [
            ("box", "boxes"),
            ("berry", "berries"),
            ("key", "keys"),
            ("mouse/mice", "mice"),
            ("owl//hoot", "owls"),
        ];
        for (word, plural) in plurals {
            assert_eq!(said(word, Form::Plural), plural);
        }
        let articles = ["an apple", "a kite", "an hour", "a unicorn", "an umbrella", "a useful map"];
        for expected in articles {
            let word = expected.split_once(' ').expect("two words").1;
            assert_eq!(said(word, Form::Article), expected);
        }
        assert_eq!(said("old owl", Form::CapitalArticle), "An old owl");
        assert_eq!(said("owl//hoot", form("3")), "hoot");
        assert_eq!(said("kite", Form::Capital), "Kite");
        assert_eq!(said("Anna", form("himself")), "herself");
    }

    #[test]
    fn numbers_are_said() {
        let cases =
            [(0, "zero"), (12, "twelve"), (20, "twenty"), (47, "forty-seven"), (300, "three hundred")];
        for (n, expected) in cases {
            let mut out = String::new();
            say_number(n, Form::Plain, &mut out);
            assert_eq!(out, expected);
        }
        let mut out = String::new();
        say_number(115, Form::Digits, &mut out);
        out.push(' ');
        say_number(115, Form::Capital, &mut out);
        assert_eq!(out, "115 One hundred and fifteen");
    }
}
