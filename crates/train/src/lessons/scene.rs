//! A few sentences about people, and the questions that they answer or leave open.
//!
//! A person is told by facts, which `grammar/facts.txt` lists: where somebody lived, what somebody wanted, lost, and so
//! on. Whoever tells a scene knows what it tells and what it does not, so each question has a known answer.

use std::sync::LazyLock;

use cloche_tensor::rng::Rng;

use super::truth::DONT_KNOW;
use crate::stories::{Grammar, Guide, Telling, WORDS};

/// What can be told of a person, in the order in which it is told: names of rules.
pub(crate) const FACTS: [&str; 7] = ["home", "pet", "hat", "wish", "loss", "trip", "help"];

/// The words of the stories, what is told with them here, and what is counted.
pub(super) static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| {
    Grammar::read(&[WORDS, include_str!("grammar/facts.txt"), include_str!("grammar/numbers.txt")])
});

/// A short text about one person or several.
pub(crate) struct Scene {
    /// The text.
    pub passage: String,
    people: Vec<Person>,
}

struct Person {
    name: String,
    pronoun: String,
    /// Places in [`FACTS`], in rising order.
    told: Vec<usize>,
    /// It holds what was told of this person.
    telling: Telling<'static>,
}

/// Everything that one can ask about a fact of a person.
pub(crate) struct Query {
    /// Such as "Where did Mia live?".
    pub ask: String,
    /// "Can you tell me where Mia lived?"
    pub please: String,
    /// "And where did she live?"
    pub more: String,
    /// "Who lived by the lake?", and the name. Where the passage does not tell the fact of this person, nobody did what
    /// it asks for.
    pub who: (String, String),
    /// "By the lake.", or that one does not know.
    pub answer: String,
    /// "Mia lived by the lake.", or that one does not know.
    pub sentence: String,
    /// "On a farm.": an answer of which the passage says nothing.
    pub lie: String,
}

/// A telling with random numbers of its own.
pub(super) fn telling(rng: &mut Rng) -> Telling<'static> {
    Telling::begin(&GRAMMAR, Guide::Dice(Rng::new(rng.next_u64(), 0)))
}

/// Says a rule until it says something that `text` does not contain.
pub(super) fn say_new(telling: &mut Telling, rule: &str, text: &str) -> String {
    loop {
        let said = telling.say_rule(rule);
        if !text.to_ascii_lowercase().contains(&said.trim_end_matches('.').to_ascii_lowercase()) {
            return said;
        }
    }
}

impl Scene {
    /// Tells `facts` facts of each of `people` people.
    pub fn tell(rng: &mut Rng, people: usize, facts: usize) -> Scene {
        let mut scene = Scene { passage: String::new(), people: Vec::new() };
        let mut telling = telling(rng);
        for _ in 0..people {
            let mut told: Vec<usize> = (0..FACTS.len()).collect();
            rng.shuffle(&mut told);
            told.truncate(facts);
            told.sort_unstable();
            let name = say_new(&mut telling, "person", &scene.passage);
            let pronoun = telling.say_rule("pronoun");
            let sentences: Vec<String> = told
                .chunks(2)
                .enumerate()
                .map(|(i, facts)| {
                    let said: Vec<String> = facts.iter().map(|&fact| telling.say_rule(FACTS[fact])).collect();
                    format!("{} {}.", if i == 0 { &name } else { &pronoun }, said.join(" and "))
                })
                .collect();
            if !scene.passage.is_empty() {
                scene.passage.push(' ');
            }
            scene.passage.push_str(&sentences.join(" "));
            scene.people.push(Person { name, pronoun, told, telling: telling.clone() });
        }
        scene
    }

    /// The name of a person and the pronoun that begins a sentence about her or him.
    pub fn person(&self, person: usize) -> (&str, &str) {
        (&self.people[person].name, &self.people[person].pronoun)
    }

    /// The places in [`FACTS`] of what the passage tells of a person.
    pub fn told(&self, person: usize) -> &[usize] {
        &self.people[person].told
    }

    /// What is said of a person, fact by fact: "lived by the lake", "wanted a kite".
    pub fn predicates(&self, person: usize) -> Vec<String> {
        let Person { told, telling, .. } = &self.people[person];
        let mut telling = telling.clone();
        told.iter().map(|&fact| telling.say_rule(&format!("{}.again", FACTS[fact]))).collect()
    }

    /// Any person, and the place in [`FACTS`] of a fact that the passage tells of this person, or does not.
    pub fn choose(&self, rng: &mut Rng, told: bool) -> (usize, usize) {
        let person = rng.below(self.people.len() as u64) as usize;
        let known = &self.people[person].told;
        let facts: Vec<usize> = (0..FACTS.len()).filter(|fact| known.contains(fact) == told).collect();
        (person, *rng.choose(&facts))
    }

    /// What one can ask about a fact of a person.
    pub fn query(&self, person: usize, fact: usize) -> Query {
        let Person { name, told, telling, .. } = &self.people[person];
        let (mut telling, told, fact) = (telling.clone(), told.contains(&fact), FACTS[fact]);
        let mut say = |part: &str| telling.say_rule(&format!("{fact}.{part}"));
        let (ask, please, more) = (say("ask"), say("please"), say("more"));
        let known = told.then(|| (say("again"), say("answer")));
        let lie = say_new(&mut telling, &format!("{fact}.lie"), &self.passage);
        let (who, answer, sentence) = match known {
            Some((again, answer)) => {
                ((format!("Who {again}?"), format!("{name}.")), answer, format!("{name} {again}."))
            }
            None => {
                let nobody = say_new(&mut telling, fact, &self.passage);
                let dont_know = || DONT_KNOW.to_owned();
                ((format!("Who {nobody}?"), dont_know()), dont_know(), dont_know())
            }
        };
        Query { ask, please, more, who, answer, sentence, lie }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_by_the_passage_or_not_at_all() {
        for index in 0..1000 {
            let mut rng = Rng::new(3, index);
            let scene = Scene::tell(&mut rng, 1 + index as usize % 3, 1 + index as usize % 4);
            let passage = scene.passage.to_ascii_lowercase();
            let bare = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
            for told in [true, false] {
                let (person, fact) = scene.choose(&mut rng, told);
                let query = scene.query(person, fact);
                assert!(!passage.contains(&bare(&query.lie)), "{} in {passage}", query.lie);
                let (name, _) = scene.person(person);
                assert!(query.ask.contains(name) && query.please.contains(name), "{}", query.ask);
                assert!(!query.more.contains(name), "{}", query.more);
                let predicate = query.who.0.trim_start_matches("Who ").trim_end_matches('?');
                assert_eq!(
                    passage.contains(&predicate.to_ascii_lowercase()),
                    told,
                    "{predicate} in {passage}"
                );
                if told {
                    let bare = bare(&query.answer);
                    // "To the mill." is told as "went to the mill", "Blue." as "a blue hat".
                    assert!(passage.contains(&bare), "{bare} in {passage}");
                    assert_eq!(query.sentence, format!("{name} {predicate}."));
                    assert_eq!(query.who.1, format!("{name}."));
                } else {
                    assert_eq!([&*query.answer, &*query.sentence, &*query.who.1], [DONT_KNOW; 3]);
                }
            }
        }
    }

    #[test]
    fn everything_said_of_a_person_can_be_said_again() {
        let mut rng = Rng::new(4, 0);
        let scene = Scene::tell(&mut rng, 1, 2);
        let (name, _) = scene.person(0);
        assert_eq!(scene.passage, format!("{name} {}.", scene.predicates(0).join(" and ")));
    }
}
