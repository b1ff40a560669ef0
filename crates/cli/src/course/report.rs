//! The report of a course, in Markdown and in HTML, from the same facts. It is written anew after every chapter.

use std::path::Path;

use anyhow::Result;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value};
use serde::Serialize;

use super::chapters::Chapter;
use super::interview::Interview;
use super::journal::Journal;
use super::plot::svg;
use crate::folder::write_file;

/// What is known of a chapter that is done.
pub struct Done<'a> {
    /// The chapter.
    pub chapter: &'a Chapter,
    /// The command as it was run.
    pub command: String,
    /// What it told.
    pub journal: Journal,
    /// What its model said then, where it makes words.
    pub interview: Option<Interview>,
}

/// What the columns of the first table are called.
const SCORES: [&str; 5] = [
    "lessons answered to the letter",
    "worth of answers to comparisons' questions",
    "wrong answers to both",
    "\"I don't know\" where the text tells",
    "the same where it does not tell",
];

#[derive(Serialize)]
struct Facts {
    about: String,
    scores: [&'static str; 5],
    chapters: Vec<ChapterFacts>,
    questions: Vec<QuestionFacts>,
}

#[derive(Serialize)]
struct ChapterFacts {
    title: &'static str,
    text: &'static str,
    command: String,
    time: String,
    /// What its model's answers come to, in the order of the columns; empty where it makes no words.
    scores: Vec<String>,
    charts: Vec<ChartFacts>,
    measured: Vec<Measured>,
}

#[derive(Serialize)]
struct ChartFacts {
    title: &'static str,
    file: String,
    svg: String,
}

#[derive(Serialize)]
struct Measured {
    name: String,
    first: String,
    last: String,
}

#[derive(Serialize)]
struct QuestionFacts {
    text: String,
    answers: Vec<AnswerFacts>,
}

#[derive(Serialize)]
struct AnswerFacts {
    chapter: &'static str,
    answer: String,
    worth: String,
}

/// Writes `report.md`, `report.html` and the charts into a folder.
///
/// # Errors
/// What the system says.
pub fn write(out: &Path, about: &str, done: &[Done<'_>]) -> Result<()> {
    let facts = Facts {
        about: about.to_string(),
        scores: SCORES,
        chapters: done.iter().map(chapter).collect(),
        questions: questions(done),
    };
    for chart in facts.chapters.iter().flat_map(|chapter| &chapter.charts) {
        write_file(out, &chart.file, chart.svg.as_bytes())?;
    }
    let mut templates = Environment::new();
    templates.add_filter("md", markdown);
    templates.set_auto_escape_callback(|name| match name.ends_with(".html") {
        true => AutoEscape::Html,
        false => AutoEscape::None,
    });
    templates.add_template("report.md", include_str!("report.md.jinja"))?;
    templates.add_template("report.html", include_str!("report.html.jinja"))?;
    let facts = Value::from(Serde(facts));
    for name in ["report.md", "report.html"] {
        write_file(out, name, templates.get_template(name)?.render(facts.clone())?.as_bytes())?;
    }
    Ok(())
}

fn chapter(done: &Done<'_>) -> ChapterFacts {
    let Done { chapter, command, journal, interview } = done;
    let chart = |(number, chart): (usize, &super::chapters::Chart)| {
        let series: Vec<_> = chart.lines.iter().map(|line| journal.series(line)).collect();
        ChartFacts {
            title: chart.title,
            file: format!("{}-{}.svg", chapter.name, number + 1),
            svg: svg(chart.title, chart.unit, &series),
        }
    };
    let measured = journal.measured().into_iter();
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let scores = |it: &Interview| {
        let rates = [it.wrong, it.dont_know_told, it.dont_know_untold].map(percent);
        [vec![percent(it.exact), format!("{:.2}", it.judgement)], rates.to_vec()].concat()
    };
    ChapterFacts {
        title: chapter.title,
        text: chapter.text,
        command: command.clone(),
        time: format!("{:.0} s", journal.seconds()),
        scores: interview.as_ref().map_or(vec!["–".to_string(); SCORES.len()], scores),
        charts: chapter.charts.iter().enumerate().map(chart).collect(),
        measured: measured
            .map(|(name, first, last)| Measured {
                name,
                first: format!("{first:.3}"),
                last: format!("{last:.3}"),
            })
            .collect(),
    }
}

/// The questions to read, and what each model answered.
fn questions(done: &[Done<'_>]) -> Vec<QuestionFacts> {
    let spoke = || done.iter().filter_map(|done| Some((done.chapter, done.interview.as_ref()?)));
    let Some((_, first)) = spoke().next() else { return Vec::new() };
    let answers = |question: &str| {
        let answer = |(chapter, interview): (&Chapter, &Interview)| {
            let found = interview.answers.iter().find(|answered| answered.question == question)?;
            Some(AnswerFacts {
                chapter: chapter.name,
                answer: found.answer.trim().to_string(),
                worth: found.worth.to_string(),
            })
        };
        spoke().filter_map(answer).collect()
    };
    let texts = first.answers.iter().map(|answered| answered.question.clone());
    texts.map(|text| QuestionFacts { answers: answers(&text), text }).collect()
}

/// A text in which nothing is Markdown any more, on one line: models say what they like.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            // Any of these may have a backslash before it, <https://spec.commonmark.org/0.31.2/#backslash-escapes>.
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '(' | ')' | '#' | '+' | '!'
            | '|' | '~' | '&' => {
                out.extend(['\\', c]);
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::chapters::CHAPTERS;
    use super::super::interview::Answered;
    use super::*;

    #[test]
    fn what_a_model_says_is_text_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path();
        std::fs::write(out.join("log"), "{\"event\":\"eval\",\"step\":0,\"val_loss\":3.5}\n").unwrap();
        let answer = "<script>alert(1)</script> | *bold*\n# head";
        let answers = vec![Answered { question: "Who & what?".into(), answer: answer.into(), worth: -1.0 }];
        let done = Done {
            chapter: &CHAPTERS[0],
            command: "cloche train".into(),
            journal: Journal::read(&out.join("log")).unwrap(),
            interview: Some(Interview { answers, exact: 0.25, judgement: -0.5, ..Interview::default() }),
        };
        write(out, "About.", &[done]).unwrap();
        let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
        let (html, md) = (read("report.html"), read("report.md"));
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;"), "{html}");
        assert!(html.contains("<svg") && html.contains("25 %") && html.contains("Who &amp; what?"), "{html}");
        assert!(
            md.contains("\\<script\\>alert\\(1\\)") && md.contains("\\| \\*bold\\* \\# head | -1 |"),
            "{md}"
        );
        assert!(md.contains("| val loss | 3.500 | 3.500 |") && md.contains("](1-base-1.svg)"), "{md}");
        assert!(read("1-base-1.svg").starts_with("<svg"));
    }
}
