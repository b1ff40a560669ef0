//! Writing the JSON files of a model's folder.
//!
//! Text from the start: a tree of `serde_json`'s values, with the maps in it, would cost a page 3 KB. What comes out is what
//! `serde_json` makes of such a tree: keys in alphabetical order, indented by two blanks.

/// An object: its keys, in alphabetical order, each with a value's text.
#[derive(Default)]
pub(crate) struct Object(Vec<(&'static str, String)>);

impl Object {
    pub fn of<const N: usize>(entries: [(&'static str, String); N]) -> Object {
        let mut object = Object::default();
        object.extend(entries);
        object
    }

    pub fn extend(&mut self, entries: impl IntoIterator<Item = (&'static str, String)>) {
        entries.into_iter().for_each(|(key, value)| self.set(key, value));
    }

    /// Adds an entry, or replaces the one of that key.
    pub fn set(&mut self, key: &'static str, value: String) {
        let at = self.0.iter().take_while(|(other, _)| *other < key).count();
        match self.0.get_mut(at) {
            Some((same, old)) if *same == key => *old = value,
            _ => self.0.insert(at, (key, value)),
        }
    }

    /// The object as a value within another one.
    pub fn text(&self) -> String {
        within("{", self.0.iter().map(|(key, value)| format!("\"{key}\": {value}")), "}")
    }

    /// The object as a file.
    pub fn file(&self) -> String {
        self.text() + "\n"
    }
}

/// The list of these values.
pub(crate) fn list(values: impl IntoIterator<Item = String>) -> String {
    within("[", values, "]")
}

/// A line for each part, indented; parts of several lines are indented as they are.
fn within(open: &str, parts: impl IntoIterator<Item = String>, close: &str) -> String {
    let mut text = String::from(open);
    for (i, part) in parts.into_iter().enumerate() {
        text += if i == 0 { "\n" } else { ",\n" };
        for (k, line) in part.split('\n').enumerate() {
            text += if k == 0 { "  " } else { "\n  " };
            text += line;
        }
    }
    text + "\n" + close
}

/// A name without anything that JSON would want escaped.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// The value, or `null`.
pub(crate) fn or_null(value: Option<u32>) -> String {
    value.map_or("null".into(), |value| value.to_string())
}

/// The shortest decimal that reads back as this f32, as a number with a fraction: 10000.0, and 1e-5, not
/// 9.999999747378752e-6. What is not finite, and no valid configuration holds, is `null`.
pub(crate) fn decimal(value: f32) -> String {
    serde_json::to_string(&value).unwrap_or_default()
}
