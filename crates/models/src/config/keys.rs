//! Reading the values of a JSON file from elsewhere, one by one, so that an error names the key.

use serde_json::{Map, Value};

use super::ConfigError;

/// The object of a JSON file, asked key by key; `null` is as good as absent.
pub(crate) struct Keys(pub Map<String, Value>);

impl Keys {
    /// # Errors
    /// A text that is not a JSON object.
    pub fn parse(text: &str) -> Result<Keys, ConfigError> {
        Ok(Keys(serde_json::from_str(text)?))
    }

    pub fn get<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(ConfigError::value(key, value, expected)),
            },
        }
    }

    pub fn optional_size(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        self.get(key, "a whole number", |value| value.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    pub fn size(&self, key: &str) -> Result<usize, ConfigError> {
        self.optional_size(key)?.ok_or_else(|| ConfigError::value(key, "nothing", "a whole number"))
    }

    pub fn number(&self, key: &str, default: f32) -> Result<f32, ConfigError> {
        Ok(self.get(key, "a number", number)?.unwrap_or(default))
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        Ok(self.get(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>, ConfigError> {
        self.get(key, "a string", Value::as_str)
    }

    pub fn must_be(&self, key: &str, only: bool, default: bool) -> Result<(), ConfigError> {
        let found = self.flag(key, default)?;
        if found == only { Ok(()) } else { Err(ConfigError::value(key, found, only.to_string())) }
    }
}

pub(crate) fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32)
}

pub(crate) fn token_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}
