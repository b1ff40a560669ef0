//! What a module and its face call functions of each other. wasm-bindgen ends each name with sixteen digits, by which it tells
//! it from others: no compression makes them shorter, and in the engine they weigh two kilobytes on either side. A number of
//! as many digits does as well, and leaves every length in the module what it is.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Digits at the end of a name.
const DIGITS: usize = 16;

/// Numbers the names of a module in a folder.
///
/// # Errors
/// Where its files cannot be read or written.
pub(crate) fn number(folder: &Path, module: &str) -> Result<()> {
    let file = |end: &str| folder.join(format!("{module}{end}"));
    let face = fs::read_to_string(file(".js")).context("wasm-bindgen wrote no face")?;
    let names = numbered(&face);
    for file in [".js", ".d.ts", "_bg.wasm", "_bg.wasm.d.ts"].map(file) {
        // One character for each byte, whatever it stands for.
        let text: String = fs::read(&file)?.into_iter().map(char::from).collect();
        let text = names.iter().fold(text, |text, (from, to)| text.replace(from, to));
        fs::write(&file, text.chars().map(|c| c as u8).collect::<Vec<u8>>())?;
    }
    Ok(())
}

/// The names in a text that end with such digits, and what they become: the first with the same beginning has the number 0.
fn numbered(text: &str) -> Vec<(String, String)> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let (mut counts, mut seen, mut names) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    for (beginning, digits) in words.filter_map(parts) {
        if seen.insert((beginning, digits)) {
            let count = counts.entry(beginning).or_insert(0);
            names.push((format!("{beginning}{digits}"), format!("{beginning}{count:0DIGITS$}")));
            *count += 1;
        }
    }
    names
}

/// A word up to its digits, and these: after `_` or `_h`, and no number yet.
fn parts(word: &str) -> Option<(&str, &str)> {
    let digits = |at: usize| word.get(at..at + DIGITS);
    let at = (1..word.len()).find(|&at| {
        let after = word[..at].ends_with('_') || word[..at].ends_with("_h");
        after
            && digits(at).is_some_and(|digits| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    })?;
    let (beginning, digits) = (&word[..at], digits(at)?);
    (!digits.starts_with("00000000")).then_some((beginning, digits))
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn names_are_numbered_by_their_beginnings() {
        let text = "imports.__wbg_get_0123456789abcdef = f; __wbg_get_fedcba9876543210(wasm.invoke__h00112233aabbccdd_22)
            __wbg_set_0123456789abcdef, __wbg_get_0123456789abcdef, __wbindgen_cast_0000000000000001, __wbg_get_short_1";
        let expected = [
            ("__wbg_get_0123456789abcdef", "__wbg_get_0000000000000000"),
            ("__wbg_get_fedcba9876543210", "__wbg_get_0000000000000001"),
            ("invoke__h00112233aabbccdd", "invoke__h0000000000000000"),
            ("__wbg_set_0123456789abcdef", "__wbg_set_0000000000000000"),
        ];
        assert_eq!(numbered(text), expected.map(|(from, to)| (from.to_string(), to.to_string())));
    }
}
