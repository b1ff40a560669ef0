//! What a chapter has told: the lines of its log, as numbers over steps.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow};
use serde_json::Value;

use super::chapters::Line;
use super::plot::Series;

/// The log of a chapter.
pub struct Journal(Vec<Value>);

impl Journal {
    /// Reads a log; one that does not exist is empty.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(path: &Path) -> Result<Journal> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.map_err(|error| anyhow!("{}: {error}", path.display()))?,
        };
        // The line that was being written when a process was killed is none.
        Ok(Journal(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()))
    }

    /// Whether all steps are done.
    pub fn is_finished(&self) -> bool {
        self.0
            .iter()
            .rev()
            .find(|line| line["event"] == "done")
            .is_some_and(|end| end["reason"] == "finished")
    }

    /// Seconds spent in steps, over all that the chapter was begun.
    pub fn seconds(&self) -> f64 {
        self.of("done").filter_map(|end| end["seconds"].as_f64()).sum()
    }

    /// A line of a chart. Steps that were made again, after the chapter had been cut off, count once.
    pub fn series(&self, line: &Line) -> Series {
        let number = |event: &Value| Some((event["step"].as_u64()?, event[line.field].as_f64()?));
        let mut points: BTreeMap<u64, f64> = self.of(line.event).filter_map(number).collect();
        // What holds from the beginning holds to the end.
        if let (1, Some(&constant)) = (points.len(), points.get(&0)) {
            points.insert(
                self.of("step").filter_map(|step| step["step"].as_u64()).max().unwrap_or(0),
                constant,
            );
        }
        Series {
            label: line.label.to_string(),
            points: points.into_iter().map(|(step, number)| (step as f64, number)).collect(),
        }
    }

    /// Names and numbers of the first evaluation and of the last one.
    pub fn measured(&self) -> Vec<(String, f64, f64)> {
        let mut evals = self.of("eval");
        let Some(first) = evals.next() else { return Vec::new() };
        let last = evals.last().unwrap_or(first);
        let fields = first.as_object().into_iter().flatten().filter(|(name, _)| *name != "step");
        let both =
            fields.filter_map(|(name, x)| Some((name.replace('_', " "), x.as_f64()?, last[name].as_f64()?)));
        both.collect()
    }

    fn of(&self, event: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |line| line["event"] == event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chapter_that_was_cut_off_counts_each_step_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        assert!(!Journal::read(&path).unwrap().is_finished());
        let told = "{\"event\":\"start\",\"step\":0,\"floor\":0.5}\n{\"event\":\"eval\",\"step\":0,\"val_loss\":4.0}\n\
                    {\"event\":\"step\",\"step\":1,\"loss\":3.0}\n{\"event\":\"step\",\"step\":2,\"loss\":2.0}\n\
                    {\"event\":\"done\",\"reason\":\"stopped\",\"seconds\":2.0}\n{\"event\":\"st";
        std::fs::write(&path, told).unwrap();
        assert!(!Journal::read(&path).unwrap().is_finished());
        let more = "\n{\"event\":\"step\",\"step\":2,\"loss\":2.5}\n{\"event\":\"eval\",\"step\":2,\"val_loss\":1.0}\n\
                    {\"event\":\"done\",\"reason\":\"finished\",\"seconds\":1.5}\n";
        std::fs::write(&path, [told, more].concat()).unwrap();
        let journal = Journal::read(&path).unwrap();
        assert!(journal.is_finished());
        assert_eq!(journal.seconds(), 3.5);
        let points = |event, field| journal.series(&Line { event, field, label: "" }).points;
        assert_eq!(points("step", "loss"), [(1.0, 3.0), (2.0, 2.5)]);
        assert_eq!(points("start", "floor"), [(0.0, 0.5), (2.0, 0.5)]);
        assert_eq!(journal.measured(), [("val loss".to_string(), 4.0, 1.0)]);
    }
}
