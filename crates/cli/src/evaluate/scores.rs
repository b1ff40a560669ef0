//! What answers come to: numbers by name, with the intervals in which the true ones lie.

use cloche_train::honesty::Honesty;
use cloche_train::rate::{Rate, mean_interval};
use cloche_train::rollout::Verdict;
use serde_json::{Map, Value, json};

use crate::source::Question;

/// A number that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Its name.
    pub name: String,
    /// The number itself.
    pub value: f64,
    /// Where the true one lies with 95 % confidence, where that is known.
    pub interval: Option<[f64; 2]>,
}

impl Score {
    /// A number that is not a mean over questions.
    pub fn plain(name: &str, value: f64) -> Score {
        Score { name: name.into(), value, interval: None }
    }

    /// A share of the questions.
    pub fn rate(name: &str, rate: Rate) -> Score {
        Score { name: name.into(), value: rate.share(), interval: Some(rate.interval()) }
    }

    /// A mean over the questions.
    pub fn mean(name: &str, numbers: &[f64]) -> Score {
        let (value, interval) = mean_interval(numbers);
        Score { name: name.into(), value, interval: Some(interval) }
    }

    /// The score as a line for people.
    pub fn line(&self) -> String {
        let interval =
            self.interval.map_or(String::new(), |[low, high]| format!("  95 %: {low:.4} to {high:.4}"));
        format!("{:<24} {:.4}{interval}", self.name.replace('_', " "), self.value)
    }
}

/// Scores as fields of an object; their intervals are in one field.
pub fn fields(scores: &[Score]) -> Map<String, Value> {
    let mut object: Map<String, Value> = scores.iter().map(|s| (s.name.clone(), json!(s.value))).collect();
    let intervals: Map<String, Value> =
        scores.iter().filter_map(|s| Some((s.name.clone(), json!(s.interval?)))).collect();
    object.insert("intervals".into(), Value::Object(intervals));
    object
}

/// The scores of `k` tries at each question, one after the other.
pub fn of_tries(k: usize, questions: &[Question], said: &[String], verdicts: &[Verdict]) -> Vec<Score> {
    let correct = |verdicts: &[Verdict]| verdicts.iter().filter(|verdict| verdict.correct).count();
    let rewards: Vec<f64> =
        verdicts.chunks(k).map(|v| v.iter().map(|v| v.reward as f64).sum::<f64>() / k as f64).collect();
    let mut scores = vec![Score::mean("mean_reward", &rewards)];
    let doubling = std::iter::successors(Some(1), |tries| Some(tries * 2)).take_while(|tries| *tries < k);
    for n in doubling.chain([k]) {
        let passed = verdicts.chunks(k).map(|verdicts| pass(k, correct(verdicts), n)).collect();
        scores.push(Score::rate(&format!("pass@{n}"), passed));
    }
    if k > 1 {
        let tries = said.chunks(k).zip(verdicts.chunks(k));
        let right = tries.map(|(said, verdicts)| majority(said, verdicts));
        scores.push(Score::rate("majority", Rate::of(right)));
    }
    scores.extend(honesty(k, questions, said));
    scores
}

/// How honest answers are; nothing where every question can be answered.
fn honesty(k: usize, questions: &[Question], said: &[String]) -> Vec<Score> {
    if questions.iter().all(Question::tells) {
        return Vec::new();
    }
    let claims = questions
        .iter()
        .zip(said.chunks(k))
        .flat_map(|(question, said)| said.iter().map(|answer| (question.tells(), question.claim(answer))));
    let known = |(_, rate): &(&str, Rate)| rate.n > 0;
    // Tries at one question are not cases of their own: the intervals are those of as many questions.
    let of_questions = |rate: Rate| Rate { hits: rate.hits / k as f64, n: rate.n / k };
    let rates = Honesty::of(claims).rates().into_iter().filter(known);
    rates.map(|(name, rate)| Score::rate(name, of_questions(rate))).collect()
}

/// How often one model's answers are worth more than another's, by the rewards of `k` tries at each question of both.
pub fn of_comparison(k: usize, ours: &[f32], theirs: &[f32]) -> Vec<Score> {
    let tries = || ours.chunks(k).zip(theirs.chunks(k));
    let won = tries().map(|(ours, theirs)| Rate::of_wins(ours, theirs).share()).collect();
    let equal = |(ours, theirs): (&[f32], &[f32])| {
        Rate::of(ours.iter().zip(theirs).map(|(one, other)| one == other)).share()
    };
    let means = |rewards: &[f32]| -> Vec<f64> {
        rewards.chunks(k).map(|tries| tries.iter().map(|&x| x as f64).sum::<f64>() / k as f64).collect()
    };
    vec![
        Score::rate("win_rate", won),
        Score::rate("ties", tries().map(equal).collect()),
        Score::mean("judged_reward", &means(ours)),
        Score::mean("judged_reward_against", &means(theirs)),
    ]
}

/// The chance that one of `tries` is right, drawn from `n` of which `c` are: 1 − C(n − c, tries) / C(n, tries), by Chen
/// et al. 2021, <https://arxiv.org/abs/2107.03374>.
fn pass(n: usize, c: usize, tries: usize) -> f64 {
    let wrong = (0..tries).map(|i| (n - c).saturating_sub(i) as f64 / (n - i) as f64);
    1.0 - wrong.product::<f64>()
}

/// Whether the answer that was given most often is right; of several, the one that came first. Wang et al. 2022
/// (self-consistency), <https://arxiv.org/abs/2203.11171>.
fn majority(said: &[String], verdicts: &[Verdict]) -> bool {
    let votes = |text: &str| said.iter().filter(|other| other.trim() == text).count();
    let mut best = (0, false);
    for (text, verdict) in said.iter().zip(verdicts) {
        let votes = votes(text.trim());
        if votes > best.0 {
            best = (votes, verdict.correct);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Source, Wanted};

    #[test]
    fn passing_is_counted_without_bias() {
        assert_eq!([pass(4, 0, 2), pass(4, 4, 1), pass(4, 1, 4)], [0.0, 1.0, 1.0]);
        assert!((pass(4, 1, 1) - 0.25).abs() < 1e-12 && (pass(4, 2, 2) - 5.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn the_majority_decides_and_the_first_of_equals() {
        let votes = |said: &[&str], right: &str| {
            let said: Vec<String> = said.iter().map(|text| text.to_string()).collect();
            let verdict = |text: &String| Verdict { reward: 0.0, correct: text.trim() == right };
            let verdicts: Vec<Verdict> = said.iter().map(verdict).collect();
            majority(&said, &verdicts)
        };
        assert!(votes(&["1", "2 ", "2", "3"], "2"));
        assert!(!votes(&["1", "2", "2", "3"], "1"));
        assert!(votes(&["3", "1"], "3"));
    }

    #[test]
    fn who_knows_all_is_honest_and_who_invents_is_not() {
        let wanted = Wanted { examples: 0, exam: 60, seed: 1, held_out: None };
        let number = |scores: &[Score], name: &str| scores.iter().find(|s| s.name == name).unwrap().value;
        for source in [Source::Lessons, Source::Preferences, Source::task("stories_qa").unwrap()] {
            let questions = source.questions(&wanted).unwrap().exam;
            let tries = |say: &dyn Fn(&Question) -> [String; 2]| {
                let said: Vec<String> = questions.iter().flat_map(say).collect();
                let asked = questions.iter().flat_map(|question| [question, question]);
                let verdicts: Vec<Verdict> = asked.zip(&said).map(|(q, said)| q.verdict(said)).collect();
                of_tries(2, &questions, &said, &verdicts)
            };
            // Right once and an invention once.
            let scores = tries(&|question| [question.answer.clone(), "In a shoe.".into()]);
            assert_eq!(number(&scores, "wrong"), 0.5, "{source:?}");
            assert_eq!(number(&scores, "dont_know_told"), 0.0, "{source:?}");
            assert_eq!(number(&scores, "dont_know_untold"), 0.5, "{source:?}");
            assert!(number(&scores, "pass@1") < number(&scores, "pass@2"), "{source:?}");
        }
        // Where nothing is untold, honesty is not measured.
        let questions = Source::task("copy").unwrap().questions(&wanted).unwrap().exam;
        assert!(honesty(1, &questions, &vec!["a".to_string(); questions.len()]).is_empty());
    }

    #[test]
    fn a_win_is_more_than_a_tie() {
        // Two tries at each of two questions.
        let scores = of_comparison(2, &[1.0, 1.0, 0.0, 0.5], &[0.0, 1.0, 0.0, 1.0]);
        let values: Vec<f64> = scores.iter().map(|score| score.value).collect();
        assert_eq!(values, [0.5, 0.5, 0.625, 0.5]);
        assert_eq!(scores[0].interval, Some(Rate { hits: 1.0, n: 2 }.interval()));
        let fields = fields(&scores);
        assert_eq!(fields["win_rate"], 0.5);
        assert_eq!(fields["intervals"].as_object().unwrap().len(), 4);
    }
}
