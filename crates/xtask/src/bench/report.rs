//! Rows as a table, on the terminal and in BENCHMARKS.md.

use super::contest::Measured;
use super::machine::{date, processor};
use super::options::Options;
use super::row::Row;
use crate::shell::root;
use anyhow::{Context, Result, bail};
use std::fmt::Write;

/// Where tables are kept.
const FILE: &str = "BENCHMARKS.md";

const COLUMNS: [&str; 10] = [
    "case",
    "system",
    "best",
    "median (quartiles)",
    "GFLOP/s",
    "GB/s",
    "of ceiling",
    "kernels",
    "of the fastest other, best and median",
    "which",
];

/// Prints the rows, and replaces the table of this benchmark where that is asked for.
///
/// # Errors
/// Somebody's results were wrong: what was measured of the others is shown, but not written.
pub(crate) fn show(bench: &str, Measured { rows, failures }: &Measured, options: &Options) -> Result<()> {
    if options.json {
        rows.iter().for_each(|row| println!("{}", row.json(bench)));
    } else {
        println!("\n{}", table(rows, options));
    }
    if !failures.is_empty() {
        bail!("left out, because of wrong results or none:\n{}", failures.join("\n"));
    }
    if !options.write {
        return Ok(());
    }
    let path = root().join(FILE);
    let text = std::fs::read_to_string(&path)?;
    // Libraries that are rivals in every case are named beside us; they need no lines of their own.
    let ours: Vec<Row> = rows.iter().filter(|row| row.system.ours).cloned().collect();
    let rows = if matches!(bench, "ops" | "web") { &ours } else { rows };
    std::fs::write(&path, replaced(&text, bench, &table(rows, options))?)?;
    println!("{FILE} has a new table `{bench}`");
    Ok(())
}

/// The text with what stands between `<!-- bench NAME -->` and `<!-- end -->` replaced.
fn replaced(text: &str, bench: &str, table: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- bench {bench} -->\n"), "<!-- end -->");
    let (before, rest) =
        text.split_once(&begin).with_context(|| format!("{FILE} has no line `{}`", begin.trim()))?;
    let Some((_, after)) = rest.split_once(end) else {
        bail!("{FILE} has no `{end}` after `{}`", begin.trim())
    };
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

/// Where and when, then one line for each row.
fn table(rows: &[Row], options: &Options) -> String {
    let mut text = String::new();
    let least = rows.iter().map(|row| row.load.0).fold(f64::INFINITY, f64::min);
    let most = rows.iter().map(|row| row.load.1).fold(0.0, f64::max);
    let _ = writeln!(
        text,
        "`{}`: {}, load {least:.1} to {most:.1}, {}, {} rounds of {} s.",
        options.line,
        processor(),
        date(),
        options.rounds,
        options.seconds,
    );
    let mut adapters: Vec<String> = Vec::new();
    for row in rows {
        let Some(adapter) = &row.adapter else { continue };
        let line = format!("{}: {adapter}.", row.system.device);
        if !adapters.contains(&line) {
            adapters.push(line);
        }
    }
    for line in adapters {
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(text, "\n| {} |", COLUMNS.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(COLUMNS.len()));
    let mut case = "";
    for row in rows {
        // A case is named once, above its other rows.
        let name = if row.case == case { "" } else { row.case.as_str() };
        case = &row.case;
        let _ = writeln!(text, "| {} |", cells(name, row).join(" | "));
    }
    text
}

fn cells(case: &str, row: &Row) -> [String; COLUMNS.len()] {
    let giga = |rate: Option<f64>| rate.map_or(String::new(), |rate| digits(rate / 1e9));
    let (which, of) = match &row.fastest {
        Some((name, ..)) if *name == row.system.name => (String::new(), "1".into()),
        Some((name, best, median)) => (name.clone(), format!("{best:.2}×, {median:.2}×")),
        None => Default::default(),
    };
    [
        case.to_owned(),
        row.system.name.clone(),
        format!("{} ms", digits(1e3 * row.best)),
        format!("{} ({} to {})", digits(1e3 * row.median), digits(1e3 * row.lower), digits(1e3 * row.upper)),
        giga(row.flops_rate()),
        giga(row.bytes_rate()),
        row.share.map_or(String::new(), |share| format!("{:.0} %", 100.0 * share)),
        row.system.dispatches.map_or(String::new(), |n| n.to_string()),
        of,
        which,
    ]
}

/// Three digits that count.
fn digits(x: f64) -> String {
    let decimals =
        if x == 0.0 || !x.is_finite() { 0 } else { (2 - x.abs().log10().floor() as i32).clamp(0, 6) };
    format!("{x:.*}", decimals as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::tests::row;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.001234, 0.5, 12.345, 1234.5, 0.0].map(digits);
        assert_eq!(shown, ["0.00123", "0.500", "12.3", "1234", "0"]);
    }

    #[test]
    fn a_case_is_named_once_and_the_fastest_is_one() {
        let mut rows = [row("product 1", "ours", "cpu", &[2.0]), row("product 1", "theirs", "cpu", &[1.0])];
        rows[0].fastest = Some(("theirs".into(), 2.0, 2.0));
        rows[1].fastest = Some(("theirs".into(), 1.0, 1.0));
        let (_, options) = Options::parse(&["ops"]).unwrap();
        let text = table(&rows, &options);
        let lines: Vec<&str> = text.lines().skip(4).collect();
        assert_eq!(
            lines[0],
            "| product 1 | ours | 2000 ms | 2000 (2000 to 2000) | 1.00 | 0.500 |  |  | 2.00×, 2.00× | theirs |"
        );
        assert_eq!(lines[1], "|  | theirs | 1000 ms | 1000 (1000 to 1000) | 2.00 | 1.00 |  |  | 1 |  |");
    }

    #[test]
    fn only_the_marked_table_is_replaced() {
        let text = "a\n<!-- bench ops -->\nold\n<!-- end -->\nb\n<!-- bench web -->\nother\n<!-- end -->\n";
        let expected =
            "a\n<!-- bench ops -->\nnew\n<!-- end -->\nb\n<!-- bench web -->\nother\n<!-- end -->\n";
        assert_eq!(replaced(text, "ops", "new\n").unwrap(), expected);
        let error = replaced(text, "step", "new\n").unwrap_err().to_string();
        assert_eq!(error, "BENCHMARKS.md has no line `<!-- bench step -->`");
    }
}
