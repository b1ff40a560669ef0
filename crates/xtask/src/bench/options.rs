//! What `bench` may be told.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// The options of all benchmarks.
pub(crate) struct Options {
    /// Rows as JSON lines, in place of a table.
    pub(crate) json: bool,
    /// Whether the table in BENCHMARKS.md is replaced.
    pub(crate) write: bool,
    /// How often each system has its turn.
    pub(crate) rounds: usize,
    /// How long a turn takes at least.
    pub(crate) seconds: f64,
    /// Only cases whose name contains one of these.
    pub(crate) only: Vec<String>,
    /// Only systems whose contestant's name contains one of these.
    pub(crate) systems: Vec<String>,
    /// The Node that runs wasm, and Chromium's driver.
    pub(crate) node: String,
    /// A Python with PyTorch.
    pub(crate) python: Option<PathBuf>,
    /// The native contestant, where it was built elsewhere.
    pub(crate) program: Option<PathBuf>,
    /// As given, for the line above a table.
    pub(crate) line: String,
}

impl Options {
    /// The benchmark's name, if there is one, and the options after it.
    pub(crate) fn parse<'a>(args: &[&'a str]) -> Result<(Option<&'a str>, Options)> {
        let (name, mut rest) = match args {
            [name, rest @ ..] if !name.starts_with("--") => (Some(*name), rest),
            rest => (None, rest),
        };
        let mut options = Options {
            json: false,
            write: false,
            rounds: 5,
            seconds: 0.5,
            only: Vec::new(),
            systems: Vec::new(),
            node: "node".into(),
            python: None,
            program: None,
            line: String::new(),
        };
        let mut shown = vec!["cargo xtask bench"];
        shown.extend(name);
        while let [option, after @ ..] = rest {
            let value = || after.first().copied().with_context(|| format!("{option} needs a value"));
            let takes_value = !matches!(*option, "--json" | "--write");
            match *option {
                "--json" => options.json = true,
                "--write" => options.write = true,
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--seconds" => options.seconds = value()?.parse()?,
                "--only" => options.only.push(value()?.to_lowercase()),
                "--system" => options.systems.push(value()?.to_lowercase()),
                "--node" => options.node = value()?.into(),
                "--python" => options.python = Some(value()?.into()),
                "--program" => options.program = Some(value()?.into()),
                _ => bail!(
                    "`bench` takes --json, --write, --rounds N, --seconds S, --only CASE, --system NAME, --node PATH, \
                     --python PATH and --program PATH, not `{option}`"
                ),
            }
            match *option {
                "--json" => {}
                // A path is that of one machine.
                "--node" | "--python" | "--program" => shown.extend([*option, "PATH"]),
                option if takes_value => shown.extend([option, value()?]),
                option => shown.push(option),
            }
            rest = &after[usize::from(takes_value)..];
        }
        options.line = shown.join(" ");
        Ok((name, options))
    }

    /// Whether a name is among those asked for.
    pub(crate) fn wants(list: &[String], name: &str) -> bool {
        list.is_empty() || list.iter().any(|word| name.to_lowercase().contains(word.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn options_follow_the_name() {
        let args = ["step", "--rounds", "3", "--only", "Nano", "--node", "/a/node", "--write"];
        let (name, options) = Options::parse(&args).unwrap();
        assert_eq!((name, options.rounds, options.write), (Some("step"), 3, true));
        assert_eq!(options.line, "cargo xtask bench step --rounds 3 --only Nano --node PATH --write");
        assert!(
            Options::wants(&options.only, "training step of nano") && !Options::wants(&options.only, "copy")
        );
        assert!(Options::parse(&["--round", "3"]).is_err() && Options::parse(&["ops", "--rounds"]).is_err());
    }
}
