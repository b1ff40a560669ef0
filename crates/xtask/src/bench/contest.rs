//! All systems on all cases, in turns: each round gives every system a turn, so that all meet the same load.

use super::contestant::{Contestant, System};
use super::machine::load;
use super::options::Options;
use super::row::{Ceilings, Row};
use anyhow::{Result, bail};

/// How far the losses of two systems may be apart, relative, that make the same training step.
const LOSS_TOLERANCE: f64 = 1e-3;

/// Whose time a time is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// The fastest other library on the same device.
    SameDevice,
    /// The fastest other library on the same device; where there is none, of all.
    Any,
}

/// Who takes part.
pub(crate) struct Contest<'a> {
    /// Those that could be started.
    pub(crate) contestants: Vec<Contestant>,
    /// Whose time counts as 1.
    pub(crate) reference: Reference,
    /// Rounds, seconds, and what is left out.
    pub(crate) options: &'a Options,
}

/// What has come of a contest.
pub(crate) struct Measured {
    /// A row for each system and case.
    pub(crate) rows: Vec<Row>,
    /// Who was left out of which case, and why.
    pub(crate) failures: Vec<String>,
}

/// A system with its place, and the samples of all its turns.
struct Entry {
    contestant: usize,
    index: usize,
    system: System,
    samples: Vec<f64>,
}

impl Contest<'_> {
    /// Measures all cases that are wanted, and the ceilings in any case.
    pub(crate) fn run(mut self, wanted: impl Fn(&str) -> bool) -> Result<Measured> {
        let options = self.options;
        self.contestants.retain(|contestant| Options::wants(&options.systems, &contestant.name));
        let mut names: Vec<String> = Vec::new();
        for name in self.contestants.iter().flat_map(|contestant| &contestant.cases) {
            let asked = super::CEILINGS.contains(&name.as_str()) || Options::wants(&options.only, name);
            if asked && wanted(name) && !names.contains(name) {
                names.push(name.clone());
            }
        }
        let (mut rows, mut failures) = (Vec::new(), Vec::new());
        for name in &names {
            rows.extend(self.case(name, &mut failures)?);
        }
        if rows.is_empty() {
            bail!("nothing was measured");
        }
        let ceilings = Ceilings::of(&rows);
        rows.iter_mut().for_each(|row| row.hold_against(&ceilings));
        Ok(Measured { rows, failures })
    }

    /// One case by all systems that know it.
    fn case(&mut self, name: &str, failures: &mut Vec<String>) -> Result<Vec<Row>> {
        eprintln!("{name} …");
        let mut entries = Vec::new();
        for (i, contestant) in self.contestants.iter_mut().enumerate() {
            if !contestant.cases.iter().any(|case| case == name) {
                continue;
            }
            match contestant.open(name) {
                Ok(systems) => entries.extend(systems.into_iter().enumerate().map(|(index, system)| Entry {
                    contestant: i,
                    index,
                    system,
                    samples: Vec::new(),
                })),
                Err(error) => failures.push(format!("{name}: {error:#}")),
            }
        }
        leave_out_strangers(name, &mut entries, failures);
        let mut loads = vec![load()];
        for round in 0..self.options.rounds {
            // Every other round goes backwards, so that nobody always follows the same one.
            let mut turns: Vec<&mut Entry> = entries.iter_mut().collect();
            if round % 2 == 1 {
                turns.reverse();
            }
            for entry in turns {
                let contestant = &mut self.contestants[entry.contestant];
                entry.samples.extend(contestant.time(entry.index, self.options.seconds)?);
            }
            loads.push(load());
        }
        let flops = entries.iter().find_map(|entry| entry.system.flops);
        let bytes = entries.iter().filter(|entry| entry.system.ours).find_map(|entry| entry.system.bytes);
        let mut rows: Vec<Row> = entries
            .into_iter()
            .map(|Entry { contestant, mut system, samples, .. }| {
                // Who does not count has the same to compute.
                system.flops = system.flops.or(flops);
                system.bytes = system.bytes.or(bytes);
                Row::new(name, system, self.contestants[contestant].adapter.clone(), samples, &loads)
            })
            .collect();
        compare(&mut rows, self.reference);
        Ok(rows)
    }
}

/// Leaves out who does not make the same step: whose losses are not ours.
fn leave_out_strangers(name: &str, entries: &mut Vec<Entry>, failures: &mut Vec<String>) {
    let ours = entries.iter().find(|entry| entry.system.ours).map(|entry| entry.system.losses.clone());
    let Some(ours) = ours.filter(|losses| !losses.is_empty()) else { return };
    entries.retain(|Entry { system, .. }| {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= LOSS_TOLERANCE * b.abs();
        let same = !system.losses.is_empty() && system.losses.iter().zip(&ours).all(near);
        if !same {
            failures.push(format!(
                "{name}: the first losses of {} are {:?}, ours {ours:?}",
                system.name, system.losses
            ));
        }
        same
    });
}

/// Says of each row how it stands to the fastest library that is not ours.
fn compare(rows: &mut [Row], reference: Reference) {
    let others: Vec<Row> = rows.iter().filter(|row| !row.system.ours).cloned().collect();
    for row in rows {
        let fastest =
            |rivals: &mut dyn Iterator<Item = &Row>| rivals.min_by(|a, b| a.best.total_cmp(&b.best)).cloned();
        let mut found = fastest(&mut others.iter().filter(|rival| rival.system.device == row.system.device));
        if reference == Reference::Any {
            found = found.or_else(|| fastest(&mut others.iter()));
        }
        row.fastest =
            found.map(|rival| (rival.system.name, row.best / rival.best, row.median / rival.median));
    }
}
