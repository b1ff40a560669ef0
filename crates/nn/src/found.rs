//! What was found, as errors show it.

/// A value of a setting, in words. Numbers with a fraction are written by `serde_json`, which the engine has for its files:
/// the standard library's way of writing them would cost a page 6 KB more.
pub trait Found {
    /// The value as text: `0.001`, `1`, `NaN`.
    fn shown(&self) -> String;
}

impl Found for f32 {
    fn shown(&self) -> String {
        let text = if self.is_finite() { serde_json::to_string(self).ok() } else { None };
        match text {
            Some(text) => text.strip_suffix(".0").map_or_else(|| text.clone(), String::from),
            None if self.is_nan() => "NaN".into(),
            None if *self > 0.0 => "inf".into(),
            None => "-inf".into(),
        }
    }
}

/// Whatever has a text of its own.
macro_rules! found {
    ($($t:ty),*) => {
        $(impl Found for $t {
            fn shown(&self) -> String {
                self.to_string()
            }
        })*
    };
}

found!(u32, u64, usize, bool, str, String, serde_json::Value);

impl<T: Found + ?Sized> Found for &T {
    fn shown(&self) -> String {
        (**self).shown()
    }
}

#[cfg(test)]
mod tests {
    use super::Found;

    #[test]
    fn numbers_are_shown_as_people_write_them() {
        let shown =
            [0.0, -1.0, 1e-3, 0.1, 3e-4, 1e30, f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|x| x.shown());
        assert_eq!(shown, ["0", "-1", "0.001", "0.1", "0.0003", "1e+30", "NaN", "inf", "-inf"]);
        assert_eq!(
            (7usize.shown(), "none".shown(), true.shown()),
            ("7".into(), "none".into(), "true".into())
        );
    }
}
