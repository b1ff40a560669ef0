//! What the records of data sets become: demonstrations, comparisons, questions.

use super::{Chat, Encoded};
use crate::TextError;
use crate::dataset::{Record, Role, Turns};

impl Chat<'_> {
    /// A record as a demonstration. Of answers that are compared it is the best one.
    ///
    /// # Errors
    /// As [`conversation`](Self::conversation).
    pub fn demonstration(&self, record: &Record) -> Result<Encoded, TextError> {
        match record {
            Record::Text(text) => Ok(self.text(text)),
            Record::Conversation(messages) => self.conversation(messages),
            Record::Completion { prompt, completion } => self.answer(prompt, completion),
            Record::Preference { prompt, chosen, .. } => self.answer(prompt, chosen),
            Record::Ranking { prompt, responses, .. } => self.answer(prompt, &responses[0]),
            Record::Question { prompt, answer } => self.answer(prompt, &Turns::Text(answer.clone())),
        }
    }

    /// The answers that a record compares, best first, each with the prompt before it. Of answers of equal rank the first
    /// counts; a record that compares nothing has none.
    ///
    /// # Errors
    /// As [`conversation`](Self::conversation).
    pub fn comparison(&self, record: &Record) -> Result<Vec<Encoded>, TextError> {
        match record {
            Record::Preference { prompt, chosen, rejected } => {
                [chosen, rejected].into_iter().map(|answer| self.answer(prompt, answer)).collect()
            }
            Record::Ranking { prompt, responses, ranks } => {
                let is_first = |at: usize| at == 0 || ranks[at] != ranks[at - 1];
                let firsts = (0..responses.len()).filter(|&at| is_first(at));
                firsts.map(|at| self.answer(prompt, &responses[at])).collect()
            }
            _ => Ok(Vec::new()),
        }
    }
}

impl Record {
    /// The question that a record asks, and its right answer: the last thing that an assistant says, behind all that was said
    /// before. Plain text asks nothing.
    pub fn question(&self) -> Option<(Turns, &str)> {
        match self {
            Self::Completion { prompt, completion: answer }
            | Self::Preference { prompt, chosen: answer, .. } => prompt.before_last_of(answer),
            Self::Ranking { prompt, responses, .. } => prompt.before_last_of(responses.first()?),
            Self::Question { prompt, answer } => Some((prompt.clone(), answer)),
            Self::Conversation(messages) => {
                let at = messages.iter().rposition(|message| message.role == Role::Assistant)?;
                Some((Turns::Messages(messages[..at].to_vec()), &messages[at].content))
            }
            Self::Text(_) => None,
        }
    }
}

impl Turns {
    /// This and all but the last message of an answer to it, and that one.
    fn before_last_of<'a>(&self, answer: &'a Turns) -> Option<(Turns, &'a str)> {
        let mut before = self.clone();
        if let (Turns::Messages(before), Turns::Messages(answer)) = (&mut before, answer) {
            before.extend_from_slice(&answer[..answer.len().saturating_sub(1)]);
        }
        Some((before, answer.contents().last()?))
    }

    /// What is said, as people read it: each message after the name of its role.
    pub fn asked(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Messages(messages) => {
                let line = |message: &crate::Message| [message.role.name(), ": ", &message.content].concat();
                messages.iter().map(line).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Shape, Tokenizer, TokenizerKind};

    fn record(json: &str) -> Record {
        Record::parse(json, "here", 1, &Shape::ALL).unwrap()
    }

    #[test]
    fn every_shape_shows_an_answer_and_asks_a_question() {
        let tokenizer = Tokenizer::train(TokenizerKind::Char, ["SystemUserAssistant: \n?012!"]).unwrap();
        let chat = Chat::new(&tokenizer).unwrap();
        for (json, asked, answer) in [
            (r#"{"prompt": "0?", "completion": "1"}"#, "0?", "1"),
            (r#"{"prompt": "0?", "answer": "1"}"#, "0?", "1"),
            (r#"{"prompt": "0?", "chosen": "1", "rejected": "2"}"#, "0?", "1"),
            (r#"{"prompt": "0?", "responses": ["2", "1"], "ranks": [2, 1]}"#, "0?", "1"),
            (
                r#"{"messages": [{"role": "user", "content": "0?"}, {"role": "assistant", "content": "1"}]}"#,
                "user: 0?",
                "1",
            ),
        ] {
            let record = record(json);
            let (prompt, right) = record.question().unwrap();
            assert_eq!((prompt.asked().as_str(), right), (asked, answer), "{json}");
            let shown = chat.demonstration(&record).unwrap();
            let learnt = shown.ids.iter().zip(&shown.learn).filter(|(_, learn)| **learn);
            let learnt: Vec<u32> = learnt.map(|(id, _)| *id).collect();
            assert!(tokenizer.decode(&learnt).starts_with(answer), "{json}");
        }
        assert_eq!(record(r#"{"text": "0?"}"#).question(), None);
        // Of several turns the last one is the answer, to all that was said before.
        let two = r#"{"prompt": [{"role": "user", "content": "0?"}], "completion": [{"role": "assistant", "content": "2"},
            {"role": "user", "content": "1?"}, {"role": "assistant", "content": "1"}]}"#;
        let two = record(two);
        let (prompt, right) = two.question().unwrap();
        assert_eq!((prompt.asked().as_str(), right), ("user: 0?\nassistant: 2\nuser: 1?", "1"));
    }

    #[test]
    fn answers_stand_best_first_and_equal_ones_once() {
        let tokenizer = Tokenizer::train(TokenizerKind::Char, ["SystemUserAssistant: \n?012!"]).unwrap();
        let chat = Chat::new(&tokenizer).unwrap();
        let texts = |json| -> Vec<String> {
            let answers = chat.comparison(&record(json)).unwrap();
            answers.iter().map(|answer| tokenizer.decode(&answer.ids)).collect()
        };
        let ranked = r#"{"prompt": "0?", "responses": ["2", "1", "0"], "ranks": [2, 1, 2]}"#;
        assert_eq!(texts(ranked), ["0?1", "0?2"]);
        assert_eq!(texts(r#"{"prompt": "0?", "chosen": "1", "rejected": "2"}"#), ["0?1", "0?2"]);
        assert!(texts(r#"{"text": "0?"}"#).is_empty());
    }
}
