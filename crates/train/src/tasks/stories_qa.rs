//! Answer questions about people of the stories' world, with a reward for knowing what one does not know.

use super::{Item, Task, Verdict};
use crate::lessons::DONT_KNOW;
use crate::lessons::scene::Scene;

/// `Mia lived by the lake. Where did Mia live?` → `By the lake.` One time in four the text does not tell, and the right
/// answer is `I don't know.`
///
/// | answer | reward |
/// |---|---|
/// | right | 1 |
/// | right, but hedged: `By the lake, I think.` | ½ |
/// | `I don't know.` | 0 |
/// | wrong, but hedged | −2 |
/// | wrong, or anything else | −4 |
///
/// So an answer pays only where it is right more than four times of five, hedged or not. The text tells one fact of one
/// person, two facts of one, two of two, or two of three, by difficulty.
pub(super) const TASK: Task = Task {
    name: "stories_qa",
    description: "Answer a question about a short text, or say that you do not know.",
    hardest: 4,
    draw: |rng, difficulty| {
        let (people, facts) = [(1, 1), (1, 2), (2, 2), (3, 2)][difficulty as usize - 1];
        let scene = Scene::tell(rng, people, facts);
        let told = rng.below(4) > 0;
        let (person, fact) = scene.choose(rng, told);
        let query = scene.query(person, fact);
        let (question, answer) = if rng.below(2) == 0 { query.who } else { (query.ask, query.answer) };
        Item { prompt: format!("{} {question}", scene.passage), answer }
    },
    demonstrate: |item| {
        // One in four is hedged, so that a model has seen how that is done.
        let hedged = item.answer != DONT_KNOW && item.prompt.len().is_multiple_of(4);
        if hedged { format!("{}, I think.", bare(&item.answer)) } else { item.answer.clone() }
    },
    grade: |item, said| {
        let (right, said) = (bare(&item.answer).to_ascii_lowercase(), bare(said).to_ascii_lowercase());
        let dont_know = bare(DONT_KNOW).to_ascii_lowercase();
        let unhedged = without_hedge(&said);
        let (reward, correct) = match unhedged {
            None if said == dont_know => (0.0, said == right),
            None if said == right => (1.0, true),
            None => (-4.0, false),
            Some(said) if said == right && right != dont_know => (0.5, true),
            Some(_) => (-2.0, false),
        };
        Verdict { reward, correct }
    },
};

/// What may stand before an answer, or after it, that one is not sure of.
const HEDGES: [&str; 4] = ["i think", "maybe", "perhaps", "probably"];

/// The answer without its hedge; `None` where it has none.
fn without_hedge(said: &str) -> Option<&str> {
    HEDGES.iter().find_map(|hedge| {
        let before = said.strip_prefix(hedge).and_then(|rest| rest.strip_prefix(' '));
        before.or_else(|| said.strip_suffix(hedge).and_then(|rest| rest.strip_suffix(", ")))
    })
}

/// The text without a full stop.
fn bare(text: &str) -> &str {
    text.strip_suffix('.').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knowing_what_one_does_not_know_is_rewarded() {
        let passage = "Mia lived by the lake.";
        let told =
            Item { prompt: format!("{passage} Where did Mia live?"), answer: "By the lake.".to_owned() };
        let untold = Item { prompt: format!("{passage} Who helped Mia?"), answer: DONT_KNOW.to_owned() };
        for (said, of_told, of_untold) in [
            ("By the lake.", 1.0, -4.0),
            ("by the lake", 1.0, -4.0),
            ("By the lake, I think.", 0.5, -2.0),
            ("I think by the lake.", 0.5, -2.0),
            ("Perhaps by the lake", 0.5, -2.0),
            ("I don't know.", 0.0, 0.0),
            ("I don't know", 0.0, 0.0),
            ("I think I don't know.", -2.0, -2.0),
            ("On a farm, probably.", -2.0, -2.0),
            ("On a farm.", -4.0, -4.0),
            ("By the lake. On a farm.", -4.0, -4.0),
            ("Maybe by the lake, maybe", -2.0, -2.0),
            ("By the lake, I don't know.", -4.0, -4.0),
            ("Mia lived by the lake. Where did Mia live?", -4.0, -4.0),
            ("By the lake..", -4.0, -4.0),
            ("\u{ff22}y the lake.", -4.0, -4.0),
            ("I think", -4.0, -4.0),
            ("", -4.0, -4.0),
        ] {
            for (item, reward) in [(&told, of_told), (&untold, of_untold)] {
                let verdict = TASK.verify(item, said);
                assert_eq!(verdict.reward, reward, "{said:?} to {}", item.prompt);
                let right = reward > 0.0 || item == &untold && reward == 0.0;
                assert_eq!(verdict.correct, right, "{said:?} to {}", item.prompt);
            }
        }
    }
}
