//! What is done with data before anything is learnt from it: duplicates go, lengths and perplexities are bounded, tokens
//! are chosen, other sources are mixed in. Whatever is left out is told.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};
use cloche_models::Network;
use cloche_text::{FilterSettings, NearSettings, Record, TextFilter, Verdict};
use cloche_train::examples::Example;
use cloche_train::select::{perplexities, select_tokens};
use cloche_train::sft::Mixed;
use serde::{Deserialize, Serialize};

use crate::folder;
use crate::reader::Reader;
use crate::report::Report;
use crate::source::{Material, Source, Wanted};
use crate::tune::Student;

/// Options of what is learnt from, which a run remembers.
#[derive(Args)]
#[command(next_help_heading = "Data")]
pub struct CurationArgs {
    /// Also learn from this source, which has this share of every step: stories=0.2 or old.jsonl=0.1, for instance, so that
    /// what was learnt before is not forgotten. May be given several times.
    #[arg(long, value_name = "SOURCE=SHARE", value_parser = Mix::parse)]
    mix: Vec<Mix>,
    /// Learn the assistant's answers, or all tokens of a record [default: answers].
    #[arg(long, value_enum)]
    learn: Option<Learn>,
    /// Leave out records that were there before, or that are held out: those that are equal, or also those that are nearly
    /// so [default where nothing follows: near].
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "near")]
    dedup: Option<Dedup>,
    /// Leave out records of fewer tokens.
    #[arg(long, value_name = "N")]
    min_length: Option<usize>,
    /// Leave out records of more tokens, instead of cutting them where they exceed the model's context.
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Leave out records whose tokens to learn are less perplexing than this to the reference, or without one to the model
    /// that is about to learn.
    #[arg(long, value_name = "F")]
    min_perplexity: Option<f32>,
    /// Leave out records whose tokens to learn are more perplexing than this.
    #[arg(long, value_name = "F")]
    max_perplexity: Option<f32>,
    /// Learn only this share of the tokens: those that the reference finds more likely than the model by the most.
    #[arg(long, value_name = "SHARE", requires = "reference")]
    select_tokens: Option<f32>,
    /// The folder of a model with the same tokenizer, which knows good text.
    #[arg(long, value_name = "DIR")]
    reference: Option<PathBuf>,
}

/// What these options come to. As a whole it is part of a run's record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Curation {
    mix: Vec<Mix>,
    /// Text that PPO does not forget.
    pub pretraining: Option<String>,
    /// Which tokens are learnt.
    pub learn: Learn,
    dedup: Option<Dedup>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    min_perplexity: Option<f32>,
    max_perplexity: Option<f32>,
    select_tokens: Option<f32>,
    reference: Option<PathBuf>,
}

/// Which tokens of a record are learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Learn {
    /// What the assistant says.
    #[default]
    Answers,
    /// All of them.
    All,
}

/// Which records count as there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dedup {
    /// Those that are equal.
    Exact,
    /// Also those of which four fifths of all runs of three words are the same.
    Near,
}

impl Dedup {
    /// The filter that leaves such texts out.
    pub fn settings(self) -> FilterSettings {
        let near = (self == Dedup::Near).then(NearSettings::default);
        FilterSettings { near, ..FilterSettings::default() }
    }
}

/// A source beside the data, and its share of every step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mix {
    /// A kind, or the path of a file.
    pub data: String,
    /// Above 0 and below 1.
    pub share: f32,
}

impl Mix {
    /// From `SOURCE=SHARE`.
    fn parse(text: &str) -> Result<Mix, String> {
        let wrong = || format!("found {text:?}, expected a source and its share, such as stories=0.2");
        let (data, share) = text.rsplit_once('=').ok_or_else(wrong)?;
        let share = share.parse().ok().filter(|share| *share > 0.0 && *share < 1.0);
        share.map(|share| Mix { data: data.to_string(), share }).ok_or_else(|| {
            format!(
                "found {text:?}, expected a share above 0 and below 1 behind the last =, such as stories=0.2"
            )
        })
    }
}

impl CurationArgs {
    /// Puts what was given in place of what was there.
    pub fn apply(&self, to: &mut Curation) {
        fn set<T: Clone>(place: &mut Option<T>, given: &Option<T>) {
            if given.is_some() {
                place.clone_from(given);
            }
        }
        if !self.mix.is_empty() {
            to.mix = self.mix.iter().map(|mix| Mix { data: absolute(&mix.data), ..mix.clone() }).collect();
        }
        to.learn = self.learn.unwrap_or(to.learn);
        set(&mut to.dedup, &self.dedup);
        set(&mut to.min_length, &self.min_length);
        set(&mut to.max_length, &self.max_length);
        set(&mut to.min_perplexity, &self.min_perplexity);
        set(&mut to.max_perplexity, &self.max_perplexity);
        set(&mut to.select_tokens, &self.select_tokens);
        let reference = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let reference = self.reference.as_ref().map(reference);
        set(&mut to.reference, &reference);
    }
}

/// The path of a file from wherever a run is resumed; a kind as it is.
pub fn absolute(data: &str) -> String {
    let path = PathBuf::from(data);
    match path.is_file() {
        true => std::path::absolute(&path).unwrap_or(path).display().to_string(),
        false => data.to_string(),
    }
}

impl Curation {
    /// Leaves out of the records to learn from those that are held out or were there before.
    ///
    /// # Errors
    /// Nothing that is left.
    pub fn without_duplicates(&self, material: &mut Material, report: &Report) -> Result<()> {
        let Some(dedup) = self.dedup else { return Ok(()) };
        let mut filter = TextFilter::new(dedup.settings());
        let text = |record: &Record| record.contents().join("\n");
        for record in &material.held_out {
            filter.judge(&text(record));
        }
        let (before, all) = (filter.counts(), material.train.len());
        material.train.retain(|record| filter.judge(&text(record)) == Verdict::Kept);
        let counts = filter.counts();
        report.note(format_args!(
            "of {all} records {} are left out as duplicates, and {} as near duplicates, of one before or of one that is \
             held out",
            counts.duplicates - before.duplicates,
            counts.near_duplicates - before.near_duplicates,
        ));
        self.require_some(material.train.len(), all)
    }

    /// Leaves out records that are too short or too long.
    ///
    /// # Errors
    /// A template that fails; bounds that no record keeps.
    pub fn within_lengths(&self, material: &mut Material, reader: &Reader, report: &Report) -> Result<()> {
        let bounds = self.min_length.unwrap_or(0)..=self.max_length.unwrap_or(usize::MAX);
        if bounds == (0..=usize::MAX) {
            return Ok(());
        }
        let all = material.train.len();
        let (mut short, mut long) = (0, 0);
        let mut kept = Vec::with_capacity(all);
        for record in std::mem::take(&mut material.train) {
            let length = reader.longest(std::slice::from_ref(&record))?;
            short += usize::from(length < *bounds.start());
            long += usize::from(length > *bounds.end());
            if bounds.contains(&length) {
                kept.push(record);
            }
        }
        material.train = kept;
        report.note(format_args!(
            "of {all} records {short} are left out as shorter than {} tokens, {long} as longer than {}",
            bounds.start(),
            self.max_length.map_or("any".to_string(), |most| most.to_string()),
        ));
        self.require_some(material.train.len(), all)
    }

    /// Leaves out examples that are too perplexing, or not perplexing enough; of the others, unmarks the tokens that are not
    /// worth learning.
    ///
    /// # Errors
    /// A reference that cannot be opened or is of another kind; bounds that no example keeps.
    pub fn chosen(&self, student: &Student, examples: Vec<Example>, report: &Report) -> Result<Vec<Example>> {
        let Some(reference) = &self.reference else {
            return self.within_perplexity(student, None, examples, report);
        };
        let model = folder::open(reference, &student.device)?;
        let found = folder::tokenizer(reference)?.vocab_size();
        let expected = student.reader.tokenizer.vocab_size();
        if found != expected {
            bail!(
                "{}: found a vocabulary of {found} tokens, the model's has {expected}",
                reference.display()
            );
        }
        let examples = self.within_perplexity(student, Some(&model.network), examples, report)?;
        let Some(share) = self.select_tokens else { return Ok(examples) };
        let choice = select_tokens(&student.device, &student.network, &model.network, examples, share);
        let (examples, selection) =
            pollster::block_on(choice).map_err(|error| anyhow!("{}: {error}", reference.display()))?;
        report.note(format_args!(
            "{} of {} tokens are learnt, with an excess loss of {:.3} nats (the others: {:.3}); {} records with none of \
             them are left out",
            selection.kept, selection.tokens, selection.excess_kept, selection.excess_dropped, selection.lost,
        ));
        Ok(examples)
    }

    fn within_perplexity(
        &self,
        student: &Student,
        reference: Option<&Network>,
        examples: Vec<Example>,
        report: &Report,
    ) -> Result<Vec<Example>> {
        let (least, most) =
            (self.min_perplexity.unwrap_or(0.0), self.max_perplexity.unwrap_or(f32::INFINITY));
        if self.min_perplexity.is_none() && self.max_perplexity.is_none() {
            return Ok(examples);
        }
        let judge = reference.unwrap_or(&student.network);
        let found = pollster::block_on(perplexities(&student.device, judge, &examples))?;
        let all = examples.len();
        let low = found.iter().filter(|x| **x < least).count();
        let kept = examples.into_iter().zip(&found).filter(|(_, x)| (least..=most).contains(x));
        let kept: Vec<Example> = kept.map(|(example, _)| example).collect();
        // What is no number counts as too high.
        let high = all - low - kept.len();
        report.note(format_args!(
            "of {all} records {low} are left out with a perplexity below {least}, {high} with one above {most}"
        ));
        self.require_some(kept.len(), all)?;
        Ok(kept)
    }

    fn require_some(&self, left: usize, all: usize) -> Result<()> {
        match left {
            0 => bail!("data: found none of {all} records left, expected bounds that some of them keep"),
            _ => Ok(()),
        }
    }

    /// What is mixed in, as examples for a model that sees `context_len` tokens.
    ///
    /// # Errors
    /// A source that cannot be read, or has nothing to learn from.
    pub fn mixed(
        &self,
        reader: &Reader,
        context_len: usize,
        wanted: &Wanted,
        report: &Report,
    ) -> Result<Vec<Mixed>> {
        let mixed = |mix: &Mix| {
            let examples = texts(&mix.data, reader, context_len, wanted, report)
                .map_err(|error| anyhow!("mix {}: {error}", mix.data))?;
            let percent = percent(mix.share);
            report.note(format_args!(
                "{percent} % of every step are of {}: {} examples",
                mix.data,
                examples.len()
            ));
            Ok(Mixed { share: mix.share, examples })
        };
        self.mix.iter().map(mixed).collect()
    }

    /// What is learnt from beside the data, in a model card's words; begins with a comma.
    pub fn describe(&self) -> String {
        let source = |data: &str| Source::open(data).map_or(data.to_string(), |source| source.describe());
        let mixed = self.mix.iter().map(|mix| format!(", {} % {}", percent(mix.share), source(&mix.data)));
        let pretraining = self.pretraining.iter().map(|data| format!(", {}", source(data)));
        mixed.chain(pretraining).collect()
    }
}

/// A share in percent, to one place.
fn percent(share: f32) -> f32 {
    (1000.0 * share).round() / 10.0
}

/// The demonstrations or texts of a source, none of them held out.
///
/// # Errors
/// A source that cannot be read, or has nothing to learn from.
pub fn texts(
    data: &str,
    reader: &Reader,
    context_len: usize,
    wanted: &Wanted,
    report: &Report,
) -> Result<Vec<Example>> {
    let material = Source::open(data)?.whole(wanted)?;
    reader.tell_missing(&material, report);
    reader.examples(&material, context_len, report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_a_source_and_its_share() {
        let mix = |data: &str, share| Ok(Mix { data: data.to_string(), share });
        assert_eq!(Mix::parse("stories=0.2"), mix("stories", 0.2));
        assert_eq!(Mix::parse("a=b.jsonl=0.5"), mix("a=b.jsonl", 0.5));
        for wrong in ["stories", "stories=", "stories=1", "stories=0", "stories=NaN", "stories=-1"] {
            assert!(Mix::parse(wrong).unwrap_err().starts_with(&format!("found {wrong:?}, expected a s")));
        }
    }
}
