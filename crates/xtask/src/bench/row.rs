//! One line of a table: a system on a case.

use super::contestant::System;
use super::machine::date;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What was measured of a system on a case.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The case's name.
    pub(crate) case: String,
    /// The system.
    pub(crate) system: System,
    /// The adapter it ran on, if any.
    pub(crate) adapter: Option<String>,
    /// Seconds of a run, by all samples of all rounds: the best, the first quartile, the median, the third.
    pub(crate) best: f64,
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
    /// The number of samples.
    pub(crate) samples: usize,
    /// The least and the highest load of the machine meanwhile.
    pub(crate) load: (f64, f64),
    /// The share of what the device can do at most, as measured in the same run.
    pub(crate) share: Option<f64>,
    /// The fastest library that is not ours, and this row's best and median time in terms of its.
    pub(crate) fastest: Option<(String, f64, f64)>,
}

/// The best rates that were measured on each device: operations and bytes a second.
pub(crate) struct Ceilings {
    arithmetic: BTreeMap<String, f64>,
    memory: BTreeMap<String, f64>,
}

impl Ceilings {
    /// By the best product of anybody, and by what streams most: a copy as a rule, on some adapters AdamW.
    pub(crate) fn of(rows: &[Row]) -> Ceilings {
        let best = |cases: &[&str], rate: fn(&Row) -> Option<f64>| {
            let mut rates: BTreeMap<String, f64> = BTreeMap::new();
            for row in rows.iter().filter(|row| cases.iter().any(|case| row.case.starts_with(case))) {
                if let Some(rate) = rate(row) {
                    let known = rates.entry(row.system.device.clone()).or_default();
                    *known = known.max(rate);
                }
            }
            rates
        };
        Ceilings {
            arithmetic: best(&["product "], Row::flops_rate),
            memory: best(&["copy, ", "AdamW, "], Row::bytes_rate),
        }
    }
}

impl Row {
    /// A row of samples in seconds, of which there is one at least.
    pub(crate) fn new(
        case: &str,
        system: System,
        adapter: Option<String>,
        mut samples: Vec<f64>,
        loads: &[f64],
    ) -> Row {
        samples.sort_by(f64::total_cmp);
        let at = |share: f64| samples.get(((samples.len() - 1) as f64 * share).round() as usize).copied();
        let at = |share: f64| if samples.is_empty() { f64::NAN } else { at(share).unwrap_or(f64::NAN) };
        Row {
            case: case.into(),
            system,
            adapter,
            best: at(0.0),
            lower: at(0.25),
            median: at(0.5),
            upper: at(0.75),
            samples: samples.len(),
            load: (
                loads.iter().copied().fold(f64::INFINITY, f64::min),
                loads.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            ),
            share: None,
            fastest: None,
        }
    }

    /// Operations a second, at best.
    pub(crate) fn flops_rate(&self) -> Option<f64> {
        self.system.flops.map(|flops| flops / self.best)
    }

    /// Bytes a second, at best.
    pub(crate) fn bytes_rate(&self) -> Option<f64> {
        self.system.bytes.map(|bytes| bytes / self.best)
    }

    /// States the share of the ceiling.
    pub(crate) fn hold_against(&mut self, ceilings: &Ceilings) {
        let (rate, ceilings) = match self.system.by_memory {
            true => (self.bytes_rate(), &ceilings.memory),
            false => (self.flops_rate(), &ceilings.arithmetic),
        };
        self.share = rate.zip(ceilings.get(&self.system.device)).map(|(rate, ceiling)| rate / ceiling);
    }

    /// For other programs.
    pub(crate) fn json(&self, bench: &str) -> Value {
        let ms = |seconds: f64| 1e3 * seconds;
        let giga = |rate: Option<f64>| rate.map(|rate| rate / 1e9);
        json!({
            "bench": bench, "case": self.case, "system": self.system.name, "device": self.system.device,
            "ours": self.system.ours, "adapter": self.adapter, "best_ms": ms(self.best),
            "quartiles_ms": [ms(self.lower), ms(self.median), ms(self.upper)], "samples": self.samples,
            "gflops": giga(self.flops_rate()), "gbytes": giga(self.bytes_rate()),
            "limit": if self.system.by_memory { "memory" } else { "arithmetic" }, "share": self.share,
            "dispatches": self.system.dispatches, "losses": self.system.losses,
            "fastest_other": self.fastest.as_ref().map(|(name, ..)| name),
            "of_fastest_other": self.fastest.as_ref().map(|(_, best, median)| [best, median]),
            "load": [self.load.0, self.load.1], "date": date(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row of a system on a device, that took these seconds.
    pub(crate) fn row(case: &str, system: &str, device: &str, samples: &[f64]) -> Row {
        let system = System {
            name: system.into(),
            device: device.into(),
            ours: system == "ours",
            by_memory: case.starts_with("copy"),
            flops: Some(2e9),
            bytes: Some(1e9),
            dispatches: None,
            losses: Vec::new(),
        };
        Row::new(case, system, None, samples.to_vec(), &[1.0, 2.5])
    }

    #[test]
    fn quartiles_are_of_all_samples() {
        let found = row("product 1", "ours", "cpu", &[5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!([found.best, found.lower, found.median, found.upper], [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(found.load, (1.0, 2.5));
    }

    #[test]
    fn shares_are_of_the_best_of_the_same_device() {
        let mut rows = vec![
            row("product 1", "ours", "cpu", &[2.0]),
            row("product 2", "theirs", "cpu", &[1.0]),
            row("product 1", "ours", "gpu", &[0.1]),
            row("copy, 1", "ours", "cpu", &[4.0]),
        ];
        let ceilings = Ceilings::of(&rows);
        rows.iter_mut().for_each(|row| row.hold_against(&ceilings));
        let shares: Vec<f64> = rows.iter().filter_map(|row| row.share).collect();
        assert_eq!(shares, [0.5, 1.0, 1.0, 1.0]);
    }
}
