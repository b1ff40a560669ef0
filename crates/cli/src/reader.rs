//! Between texts and ids: records become examples that a model can learn from, and its answers become texts again.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Result, bail};
use cloche_text::{
    Chat, ChatSettings, Encoded, Record, Side, TextError, Tokenizer, TokenizerKind, TokenizerTrainer, Turns,
};
use cloche_train::examples::{Example, Pair, Prompt, Ranking};
use cloche_train::rollout::{Answer, Exam, Verifier};

use crate::report::Report;
use crate::source::Question;

/// How many answers of an exam are shown.
const SHOWN: usize = 3;

/// Reads and writes for a model: it knows the tokenizer, how a conversation is written, and what ends an answer.
pub struct Reader {
    /// The tokenizer; it has the chat template that is used.
    pub tokenizer: Tokenizer,
    settings: ChatSettings,
    /// The tokens that end an answer.
    pub stop_ids: Vec<u32>,
    /// The text that does, where no token can.
    pub stop_text: Option<String>,
}

/// Questions as a model reads them.
pub struct Asked {
    /// Their tokens.
    pub prompts: Vec<Prompt>,
    /// The questions, in the same order.
    pub questions: Rc<Vec<Question>>,
    /// The most tokens of an answer.
    pub max_tokens: usize,
}

impl Asked {
    /// An exam on these questions; `None` where there are none.
    pub fn exam(&self, reader: &Rc<Reader>) -> Option<Exam> {
        let verifier = reader.verifier(&self.questions);
        let (prompts, max_tokens) = (self.prompts.clone(), self.max_tokens);
        (!prompts.is_empty()).then_some(Exam { prompts, max_tokens, shown: SHOWN, verifier })
    }
}

impl Reader {
    /// A reader for a tokenizer. With `turns`, prompts and answers that are plain strings are turns of a conversation.
    ///
    /// # Errors
    /// A chat template that cannot be used, a vocabulary in which no conversation can be written.
    pub fn new(tokenizer: Tokenizer, turns: bool) -> Result<Reader> {
        let settings = ChatSettings { strings_are_turns: turns, ..ChatSettings::default() };
        let chat = Chat::with(&tokenizer, settings.clone())?;
        let (stop_ids, stop_text) = (chat.stop_ids(), chat.stop_text().map(str::to_string));
        let template = chat.jinja();
        Ok(Reader { tokenizer: tokenizer.with_chat_template(template)?, settings, stop_ids, stop_text })
    }

    fn chat(&self) -> Chat<'_> {
        Chat::with(&self.tokenizer, self.settings.clone()).expect("tried in `new`")
    }

    /// The same, for which every token of a record is to be learnt.
    pub fn learning_everything(mut self) -> Reader {
        self.settings.learn_everything = true;
        self
    }

    /// A record's tokens, however many, with a mark on those to be learnt.
    ///
    /// # Errors
    /// A template that fails.
    pub fn encoded(&self, record: &Record) -> Result<Encoded> {
        Ok(self.chat().demonstration(record)?)
    }

    /// The tokens of the longest record.
    ///
    /// # Errors
    /// As [`examples`](Self::examples).
    pub fn longest(&self, records: &[Record]) -> Result<usize> {
        let chat = self.chat();
        records
            .iter()
            .map(|record| Ok(chat.demonstration(record)?.ids.len()))
            .try_fold(0, |most, length| length.map(|length: usize| most.max(length)))
    }

    /// Demonstrations as examples for a model that sees `context_len` tokens. What has to be cut is told; a plain text goes
    /// on in a further example.
    ///
    /// # Errors
    /// A template that fails; records of which none fits.
    pub fn examples(&self, records: &[Record], context_len: usize, report: &Report) -> Result<Vec<Example>> {
        let chat = self.chat();
        let (mut examples, mut cut, mut lost) = (Vec::with_capacity(records.len()), (0, 0), 0);
        for record in records {
            let mut encoded = chat.demonstration(record)?;
            if matches!(record, Record::Text(_)) {
                while encoded.ids.len() > context_len + 1 {
                    let Encoded { ids, learn } = &encoded;
                    let (ids, learn) = (ids[..=context_len].to_vec(), learn[..=context_len].to_vec());
                    examples.push(Example { ids, learn });
                    // The last token was only predicted: it is read next.
                    encoded.ids.drain(..context_len);
                    encoded.learn.drain(..context_len);
                }
            }
            // The last token is only predicted, never read.
            if let Some(shortened) = encoded.truncate(context_len + 1, Side::End) {
                cut = (cut.0 + 1, cut.1 + shortened.tokens);
            }
            // The first token cannot be learnt: nothing comes before it.
            if encoded.learn.iter().skip(1).any(|&learn| learn) {
                examples.push(Example { ids: encoded.ids, learn: encoded.learn });
            } else {
                lost += 1;
            }
        }
        if cut.0 > 0 {
            report.warn(format_args!(
                "{} of {} records are longer than the model's context of {context_len} tokens: {} tokens were cut at \
                 their ends, and {lost} records with nothing left to learn are left out",
                cut.0,
                records.len(),
                cut.1
            ));
        }
        if examples.is_empty() {
            bail!(
                "data: found no token to learn in {} records, expected at least one within the model's context of \
                 {context_len} tokens",
                records.len()
            );
        }
        Ok(examples)
    }

    /// Comparisons as rankings for a model that sees `context_len` tokens. Those that do not fit whole are left out, which
    /// is told; of responses of equal rank the first counts.
    ///
    /// # Errors
    /// A template that fails; comparisons of which none fits.
    pub fn rankings(&self, records: &[Record], context_len: usize, report: &Report) -> Result<Vec<Ranking>> {
        let chat = self.chat();
        let mut rankings = Vec::with_capacity(records.len());
        for record in records {
            let answers: Vec<Example> = chat
                .comparison(record)?
                .into_iter()
                .map(|Encoded { ids, learn }| Example { ids, learn })
                .collect();
            if answers.len() > 1 && answers.iter().all(|answer| answer.ids.len() <= context_len) {
                rankings.push(Ranking { answers });
            }
        }
        let (all, lost) = (records.len(), records.len() - rankings.len());
        if rankings.is_empty() {
            bail!(
                "data: found no comparison of {all} that fits in the model's context of {context_len} tokens"
            );
        }
        if lost > 0 {
            report.warn(format_args!(
                "{lost} of {all} comparisons compare nothing, or are longer than the model's context of {context_len} \
                 tokens, and are left out"
            ));
        }
        Ok(rankings)
    }

    /// Comparisons as pairs, each of a ranking's answers with each that follows it.
    ///
    /// # Errors
    /// As [`rankings`](Self::rankings).
    pub fn pairs(&self, records: &[Record], context_len: usize, report: &Report) -> Result<Vec<Pair>> {
        let mut pairs = Vec::with_capacity(records.len());
        for Ranking { answers } in self.rankings(records, context_len, report)? {
            for (at, chosen) in answers.iter().enumerate() {
                let worse = answers[at + 1..].iter().cloned();
                pairs.extend(worse.map(|rejected| Pair { chosen: chosen.clone(), rejected }));
            }
        }
        Ok(pairs)
    }

    /// The ids of a prompt of at most `room` tokens, up to where the model goes on.
    ///
    /// # Errors
    /// A longer prompt, a template that fails.
    pub fn prompt(&self, prompt: &Turns, room: usize) -> Result<Vec<u32>> {
        Ok(self.chat().prompt(prompt, room)?)
    }

    /// Tokens that suffice for the answers to these questions, and for answers half as long again.
    pub fn answer_tokens(&self, questions: &[Question]) -> usize {
        let longest = questions.iter().map(|question| self.tokenizer.encode(&question.answer).len()).max();
        let longest = longest.unwrap_or(0);
        longest + longest / 2 + 1 + self.stop_text.as_ref().map_or(0, String::len)
    }

    /// Questions as prompts, in the order of those that leave room for their right answers, of which `max_tokens` count;
    /// how many do not is told.
    ///
    /// # Errors
    /// A template that fails; questions of which none fits.
    pub fn prompts(
        &self,
        questions: Vec<Question>,
        context_len: usize,
        max_tokens: usize,
        report: &Report,
    ) -> Result<Asked> {
        let chat = self.chat();
        let all = questions.len();
        let (mut prompts, mut fitting, mut tried) = (Vec::with_capacity(all), Vec::with_capacity(all), None);
        for question in questions {
            // Of an answer, what the right one needs, and a token to end it.
            let right = self.tokenizer.encode(&question.answer).len() + 1;
            let room = context_len.saturating_sub(right.min(max_tokens)).max(1);
            match chat.prompt(&question.prompt, room) {
                Ok(ids) => {
                    prompts.push(Prompt { ids, index: fitting.len() });
                    fitting.push(question);
                }
                Err(error @ TextError::Prompt { .. }) => tried = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(error) = tried {
            if prompts.is_empty() {
                bail!("data: no question leaves room for its answer: {error}");
            }
            report.warn(format_args!(
                "{} of {all} questions leave no room for their answers in the model's context of {context_len} tokens, and \
                 are left out",
                all - prompts.len(),
            ));
        }
        Ok(Asked { prompts, questions: Rc::new(fitting), max_tokens })
    }

    /// A question with an answer to it, of which the answer is marked.
    ///
    /// # Errors
    /// A template that fails.
    pub fn answered(&self, question: &Question, answer: &str) -> Result<Example> {
        let Encoded { ids, learn } = self.chat().answer(&question.prompt, &Turns::Text(answer.into()))?;
        Ok(Example { ids, learn })
    }

    /// Judges answers to these questions by their index.
    pub fn verifier(self: &Rc<Self>, questions: &Rc<Vec<Question>>) -> Verifier {
        let (reader, questions) = (self.clone(), questions.clone());
        Box::new(move |answers: &[Answer]| {
            let verdict = |answer: &Answer| questions[answer.index].verdict(&reader.answer(&answer.ids));
            Ok(answers.iter().map(verdict).collect())
        })
    }

    /// An answer's text, up to what ends it.
    pub fn answer(&self, ids: &[u32]) -> String {
        let end = ids.iter().position(|id| self.stop_ids.contains(id)).unwrap_or(ids.len());
        let text = self.tokenizer.decode(&ids[..end]);
        match self.stop_text.as_ref().and_then(|stop| text.find(stop.as_str())) {
            Some(at) => text[..at].to_string(),
            None => text,
        }
    }

    /// Whether an answer has ended and was not cut off, as far as one can tell.
    pub fn is_whole(&self, answer: &Answer) -> bool {
        answer.ended
            || match &self.stop_text {
                Some(stop) => self.tokenizer.decode(&answer.ids).contains(stop.as_str()),
                None => self.stop_ids.is_empty(),
            }
    }

    /// Tells which characters of the records the vocabulary lacks.
    pub fn tell_missing(&self, records: &[Record], report: &Report) {
        let mut missing: Vec<char> = Vec::new();
        for record in records {
            for text in record.contents() {
                missing.extend(self.tokenizer.missing_chars(text));
            }
        }
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            let shown: Vec<String> = missing.iter().take(10).map(|c| format!("{c:?}")).collect();
            report.warn(format_args!("the vocabulary lacks characters of the data: {}", shown.join(" ")));
        }
    }
}

/// Requires that the tokenizer in a folder gives the model's tokens the model's ids; `why` says what they are needed for.
///
/// # Errors
/// The first id that means another token.
pub fn expect_same_tokens(place: &Path, theirs: &Tokenizer, ours: &Tokenizer, why: &str) -> Result<()> {
    let size = theirs.vocab_size().max(ours.vocab_size()) as u32;
    let shown = |token: Option<&str>| token.map_or("nothing".to_string(), |token| format!("{token:?}"));
    match (0..size).find(|&id| theirs.token(id) != ours.token(id)) {
        None => Ok(()),
        Some(id) => bail!(
            "{}: tokenizer.json: found {} as token {id}, the model has {}: {why}",
            place.display(),
            shown(theirs.token(id)),
            shown(ours.token(id))
        ),
    }
}

/// The tokenizer of a model from nothing: the printable characters of ASCII, the line break, and the tokens of a chat.
pub fn plain_tokenizer() -> Tokenizer {
    let mut trainer = TokenizerTrainer::new(TokenizerKind::Char);
    let printable: String = (' '..='~').chain(['\n']).collect();
    trainer.feed(&printable);
    trainer.end_of_text(true);
    trainer.chat_tokens(true);
    trainer.finish(&mut |_| {}).expect("96 characters are a vocabulary")
}
