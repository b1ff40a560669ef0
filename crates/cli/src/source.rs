//! What a stage after pre-training learns from, as text: demonstrations, comparisons and questions, built in or from a
//! file of JSON lines, and a part of them that is held out.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use cloche_text::{Message, Record, Records, Role, Shape, Turns};
use cloche_train::honesty::{Claim, is_dont_know};
use cloche_train::lessons::{self, Lesson, Preference, Truth};
use cloche_train::rollout::Verdict;
use cloche_train::split::Split;
use cloche_train::stories::{Stories, VALIDATION_START};
use cloche_train::tasks::{Item, TASKS, Task, task};

/// Of a file, every so manieth record is held out.
const HELD_OUT_EVERY: usize = 20;

/// Where records come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The built-in stories, which are texts.
    Stories,
    /// The built-in demonstrations.
    Lessons,
    /// Built-in demonstrations by somebody who answers well or badly, politely or not.
    Manners,
    /// The built-in comparisons.
    Preferences,
    /// A built-in task at a difficulty.
    Task(&'static Task, u32),
    /// JSON lines.
    File(PathBuf),
}

/// How much of a source is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Built-in sources do not end: so many records to learn from.
    pub examples: usize,
    /// At most so many records are held out, and as many questions.
    pub exam: usize,
    /// Which of the built-in records.
    pub seed: u64,
    /// A file of records to hold out, in place of a part of the source.
    pub held_out: Option<PathBuf>,
}

/// What was found.
pub struct Material {
    /// Records to learn from.
    pub train: Vec<Record>,
    /// Records that are held out.
    pub held_out: Vec<Record>,
    /// Questions to learn from, in the order of `train`.
    pub practice: Vec<Question>,
    /// Questions of the records that are held out.
    pub exam: Vec<Question>,
}

/// A question, and who knows the answer.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is asked.
    pub prompt: Turns,
    /// A right answer.
    pub answer: String,
    /// Who judges any other one.
    pub judge: Judge,
}

/// Who knows whether an answer is right.
#[derive(Clone, Debug)]
pub enum Judge {
    /// The truth of a lesson: the reward is its judgement, correct is the answer that the lesson shows.
    Truth(Truth),
    /// A task.
    Task(&'static Task, Item),
    /// The answer itself: another text is wrong.
    Text,
}

impl Question {
    /// Judges an answer.
    pub fn verdict(&self, answer: &str) -> Verdict {
        match &self.judge {
            Judge::Truth(truth) => Verdict { reward: truth.judge(answer), correct: truth.is_exact(answer) },
            Judge::Task(task, item) => task.verify(item, answer),
            Judge::Text => {
                let correct = answer.trim() == self.answer.trim();
                Verdict { reward: f32::from(u8::from(correct)), correct }
            }
        }
    }

    /// What an answer claims.
    pub fn claim(&self, answer: &str) -> Claim {
        match &self.judge {
            Judge::Truth(truth) => truth.claim(answer),
            Judge::Task(..) | Judge::Text => Claim::of(answer, self.verdict(answer).correct),
        }
    }

    /// Whether the question tells its answer, so that nobody has to say that one does not know.
    pub fn tells(&self) -> bool {
        match &self.judge {
            Judge::Truth(truth) => truth.tells(),
            Judge::Task(..) | Judge::Text => !is_dont_know(&self.answer),
        }
    }

    /// What is asked, as people read it.
    pub fn asked(&self) -> String {
        self.prompt.asked()
    }

    fn of_lesson(lesson: &Lesson) -> Question {
        Question {
            prompt: Turns::Messages(lesson.prompt().iter().map(message).collect()),
            answer: lesson.answer().to_string(),
            judge: Judge::Truth(lesson.truth.clone()),
        }
    }

    /// The question that a record answers, if it does.
    fn of_record(record: &Record) -> Option<Question> {
        let (prompt, answer) = record.question()?;
        Some(Question { answer: answer.to_string(), prompt, judge: Judge::Text })
    }
}

impl Source {
    /// The source of a name, or the file at a path.
    ///
    /// # Errors
    /// A task or a file that does not exist.
    pub fn open(data: &str) -> Result<Source> {
        if let Some(source) = Source::built_in(data) {
            return Ok(source);
        }
        match data.strip_prefix("task:") {
            Some(name) => Source::task(name),
            None if Path::new(data).is_file() => Ok(Source::File(data.into())),
            None => bail!(
                "data: found {data:?}, expected a .jsonl file, lessons, manners, preferences, stories or task:NAME"
            ),
        }
    }

    /// A source that is not a task, by its name.
    pub fn built_in(name: &str) -> Option<Source> {
        match name {
            "lessons" => Some(Source::Lessons),
            "manners" => Some(Source::Manners),
            "preferences" => Some(Source::Preferences),
            "stories" => Some(Source::Stories),
            _ => None,
        }
    }

    /// A task by `NAME` or `NAME:DIFFICULTY`.
    ///
    /// # Errors
    /// A task that does not exist, a difficulty that it does not have.
    pub fn task(text: &str) -> Result<Source> {
        let (name, difficulty) =
            text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
        let Some(task) = task(name) else {
            let names: Vec<&str> = TASKS.iter().map(|task| task.name).collect();
            bail!("task: found {name:?}, expected one of {}", names.join(", "));
        };
        let hardest = task.hardest;
        let level = |text: &str| text.parse().ok().filter(|level| (1..=hardest).contains(level));
        match difficulty.map_or(Some(1), level) {
            Some(difficulty) => Ok(Source::Task(task, difficulty)),
            None => bail!(
                "difficulty of {name}: found {:?}, expected 1 to {hardest}",
                difficulty.unwrap_or_default()
            ),
        }
    }

    /// Demonstrations.
    ///
    /// # Errors
    /// A file that cannot be read, a line that is no demonstration; nothing to hold out.
    pub fn demonstrations(&self, wanted: &Wanted) -> Result<Material> {
        self.records(wanted, &[Shape::Completion, Shape::Conversation, Shape::Text])
    }

    /// Comparisons of answers.
    ///
    /// # Errors
    /// As [`demonstrations`](Self::demonstrations), and a source that has no comparisons.
    pub fn comparisons(&self, wanted: &Wanted) -> Result<Material> {
        match self {
            Source::Preferences | Source::File(_) => {
                self.records(wanted, &[Shape::Preference, Shape::Ranking])
            }
            _ => bail!("data: found no comparisons, expected preferences or a .jsonl file"),
        }
    }

    /// Questions whose answers can be judged.
    ///
    /// # Errors
    /// As [`demonstrations`](Self::demonstrations).
    pub fn questions(&self, wanted: &Wanted) -> Result<Material> {
        self.records(wanted, &[Shape::Question, Shape::Completion, Shape::Preference, Shape::Conversation])
    }

    /// All demonstrations and texts to learn from, none of which is held out.
    ///
    /// # Errors
    /// A file that cannot be read, a line that is no demonstration.
    pub fn whole(&self, wanted: &Wanted) -> Result<Vec<Record>> {
        let shapes = [Shape::Completion, Shape::Conversation, Shape::Text];
        match self {
            Source::File(path) => Ok(read(path, &shapes)?.into_iter().map(|(record, _)| record).collect()),
            _ => Ok(self.records(&Wanted { exam: 0, held_out: None, ..wanted.clone() }, &shapes)?.train),
        }
    }

    fn records(&self, wanted: &Wanted, shapes: &[Shape]) -> Result<Material> {
        let (train, held_out) = match self {
            Source::File(path) => self.of_file(path, wanted, shapes)?,
            _ => {
                let side = |split, n: usize| -> Vec<(Record, Option<Question>)> {
                    (0..n as u64).filter_map(|index| self.draw(wanted.seed, split, index)).collect()
                };
                let train = side(Split::Train, wanted.examples);
                match &wanted.held_out {
                    Some(path) => (train, read(path, shapes)?),
                    None => (train, side(Split::HeldOut, wanted.exam)),
                }
            }
        };
        let held_out = held_out.into_iter().take(wanted.exam);
        let (train, practice): (Vec<_>, Vec<_>) = train.into_iter().unzip();
        let (held_out, exam): (Vec<_>, Vec<_>) = held_out.unzip();
        let questions = |some: Vec<Option<Question>>| some.into_iter().flatten().collect();
        Ok(Material { train, held_out, practice: questions(practice), exam: questions(exam) })
    }

    /// A record of a built-in source, and its question.
    fn draw(&self, seed: u64, split: Split, index: u64) -> Option<(Record, Option<Question>)> {
        let conversation = |lesson: Lesson| {
            let messages = lesson.messages.iter().map(message).collect();
            (Record::Conversation(messages), Some(Question::of_lesson(&lesson)))
        };
        Some(match self {
            Source::Stories => {
                let first = if split == Split::Train { 0 } else { VALIDATION_START };
                (Record::Text(Stories::new(seed).document(first + index).text), None)
            }
            Source::Lessons => conversation(Lesson::new(seed, split, index)),
            Source::Manners => conversation(Lesson::of_mixed_manners(seed, split, index)),
            Source::Preferences => {
                let it = Preference::new(seed, split, index);
                let answer = |text: &str| Turns::Messages(vec![Message::new(Role::Assistant, text)]);
                let prompt = Turns::Messages(it.prompt.iter().map(message).collect());
                let (chosen, rejected) = (answer(&it.chosen), answer(&it.rejected));
                let judge = Judge::Truth(it.truth);
                let question = Question { prompt: prompt.clone(), answer: it.chosen, judge };
                (Record::Preference { prompt, chosen, rejected }, Some(question))
            }
            Source::Task(task, difficulty) => {
                let item = task.item(seed, split, index, *difficulty);
                let prompt = Turns::Text(item.prompt.clone());
                let answer = task.demonstration(&item);
                let record =
                    Record::Completion { prompt: prompt.clone(), completion: Turns::Text(answer.clone()) };
                (record, Some(Question { prompt, answer, judge: Judge::Task(task, item) }))
            }
            Source::File(_) => return None,
        })
    }

    /// The records of a file, in two parts.
    fn of_file(&self, path: &Path, wanted: &Wanted, shapes: &[Shape]) -> Result<(Part, Part)> {
        let records = read(path, shapes)?;
        if let Some(held_out) = &wanted.held_out {
            return Ok((records, read(held_out, shapes)?));
        }
        if records.len() < 2 {
            bail!("{}: found 1 record, expected at least 2, or --held-out with another file", path.display());
        }
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for (at, record) in records.into_iter().enumerate() {
            let is_held_out = at.is_multiple_of(HELD_OUT_EVERY) && held_out.len() < wanted.exam;
            if is_held_out { held_out.push(record) } else { train.push(record) }
        }
        Ok((train, held_out))
    }

    /// What a model card calls it.
    pub fn describe(&self) -> String {
        match self {
            Source::Stories => "Cloche's built-in stories".into(),
            Source::Lessons => "Cloche's built-in lessons".into(),
            Source::Manners => "Cloche's built-in lessons of mixed manners".into(),
            Source::Preferences => "Cloche's built-in comparisons".into(),
            Source::Task(task, difficulty) => {
                format!("Cloche's task {}, difficulty {difficulty}", task.name)
            }
            Source::File(path) => {
                path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
            }
        }
    }
}

/// Records and the questions that they answer.
type Part = Vec<(Record, Option<Question>)>;

fn read(path: &Path, shapes: &[Shape]) -> Result<Part> {
    let file = File::open(path).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let records = Records::new(BufReader::new(file), path.display().to_string()).expecting(shapes);
    let with_question = |record: Record| {
        let question = Question::of_record(&record);
        (record, question)
    };
    records.map(|record| Ok(record.map(with_question)?)).collect()
}

/// A message of a lesson as the text layer has it.
fn message((role, content): &(lessons::Role, String)) -> Message {
    let role = match role {
        lessons::Role::System => Role::System,
        lessons::Role::User => Role::User,
        lessons::Role::Assistant => Role::Assistant,
    };
    Message::new(role, content.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted { examples: 30, exam: 10, seed: 1, held_out: None }
    }

    #[test]
    fn every_built_in_source_answers_its_own_questions() {
        for name in ["lessons", "task:addition:2", "task:stories_qa:4", "task:format"] {
            let material = Source::open(name).unwrap().demonstrations(&wanted()).unwrap();
            assert_eq!((material.train.len(), material.exam.len()), (30, 10), "{name}");
            for question in material.practice.iter().chain(&material.exam) {
                assert!(question.verdict(&question.answer).correct, "{question:?}");
                assert!(!question.verdict("Nobody knows.").correct, "{question:?}");
            }
        }
        let material = Source::Preferences.comparisons(&wanted()).unwrap();
        assert!(material.train.iter().all(|record| matches!(record, Record::Preference { .. })));
    }

    #[test]
    fn every_twentieth_record_of_a_file_is_held_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums.jsonl");
        let line = |n| format!("{{\"prompt\": \"{n}+1=\", \"completion\": \"{}\"}}\n", n + 1);
        std::fs::write(&path, (0..40).map(line).collect::<String>()).unwrap();
        let source = Source::open(path.to_str().unwrap()).unwrap();
        let material = source.demonstrations(&wanted()).unwrap();
        assert_eq!((material.train.len(), material.held_out.len()), (38, 2));
        assert!(material.exam[1].verdict("21").correct && !material.exam[1].verdict("22").correct);
        std::fs::write(&path, line(1)).unwrap();
        let error = source.demonstrations(&wanted()).err().unwrap().to_string();
        assert!(error.ends_with("found 1 record, expected at least 2, or --held-out with another file"));
    }

    #[test]
    fn what_is_no_source_is_named() {
        let message = |data: &str| Source::open(data).unwrap_err().to_string();
        assert!(
            message("leessons").starts_with("data: found \"leessons\", expected a .jsonl file, lessons,")
        );
        assert!(message("task:adition").starts_with("task: found \"adition\", expected one of copy,"));
        assert_eq!(message("task:addition:9"), "difficulty of addition: found \"9\", expected 1 to 8");
    }
}
