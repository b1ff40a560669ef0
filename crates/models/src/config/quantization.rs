//! What `config.json` says of quantised weights, under `quantization_config`: Hugging Face's entry for compressed-tensors
//! (<https://github.com/vllm-project/compressed-tensors>).

use cloche_nn::{GROUP, Precision};
use serde_json::Value;

use super::hf::TokenIds;
use super::json::{Object, list, quoted};
use super::keys::Keys;
use super::{ConfigError, ModelConfig};

/// Where the entry lies.
const ENTRY: &str = "quantization_config";

/// The only group size there is, as a file has it.
const GROUP_TEXT: &str = "32";
const _: () = assert!(GROUP == 32);

impl ModelConfig {
    /// Writes `config.json` of a model whose linear layers are rounded to codes, but for those at the paths `whole`.
    pub fn to_hf_quantized_json(&self, tokens: &TokenIds, precision: Precision, whole: &[&str]) -> String {
        let mut json = self.hf_json(tokens);
        let weights = Object::of([
            ("num_bits", precision.bits().to_string()),
            ("type", quoted("int")),
            ("symmetric", "true".into()),
            ("strategy", quoted("group")),
            ("group_size", GROUP_TEXT.into()),
        ]);
        let group = Object::of([("targets", list([quoted("Linear")])), ("weights", weights.text())]);
        // A tied output matrix is an embedding, of which the file holds the numbers themselves.
        let tied = self.tied.then_some("lm_head");
        let ignored = list(whole.iter().copied().chain(tied).map(quoted));
        let entry = Object::of([
            ("quant_method", quoted("compressed-tensors")),
            ("format", quoted("pack-quantized")),
            ("quantization_status", quoted("compressed")),
            ("config_groups", Object::of([("group_0", group.text())]).text()),
            ("ignore", ignored),
        ]);
        json.set(ENTRY, entry.text());
        json.file()
    }
}

/// How exact the linear layers are in the files of a `config.json`, or nothing where they are whole.
///
/// # Errors
/// Another way to quantise than that which this crate implements: the first setting that differs.
pub fn quantization(json: &str) -> Result<Option<Precision>, ConfigError> {
    let keys = Keys::parse(json)?;
    let Some(entry) = keys.0.get(ENTRY).filter(|entry| !entry.is_null()) else { return Ok(None) };
    let mut at = (ENTRY.to_string(), entry);
    expect(&at, "quant_method", "\"compressed-tensors\"")?;
    expect(&at, "format", "\"pack-quantized\"")?;
    expect_none(&at, &["transform_config", "kv_cache_scheme"])?;
    at = within(&at, "config_groups")?;
    let groups = at.1.as_object().map_or(0, |groups| groups.len());
    let Some((name, _)) = at.1.as_object().and_then(|groups| groups.iter().next()).filter(|_| groups == 1)
    else {
        return Err(ConfigError::value(&at.0, groups, "one group of layers that are quantised alike"));
    };
    at = within(&at, name)?;
    expect_none(&at, &["input_activations", "output_activations"])?;
    at = within(&at, "weights")?;
    for (key, known) in
        [("type", "\"int\""), ("symmetric", "true"), ("strategy", "\"group\""), ("group_size", GROUP_TEXT)]
    {
        expect(&at, key, known)?;
    }
    let (path, bits) = within(&at, "num_bits")?;
    match bits.as_u64() {
        Some(8) => Ok(Some(Precision::Int8)),
        Some(4) => Ok(Some(Precision::Int4)),
        _ => Err(ConfigError::value(&path, bits, "8 or 4")),
    }
}

/// The value of a key, and what the key is called from the top of the file.
fn within<'a>((path, object): &(String, &'a Value), key: &str) -> Result<(String, &'a Value), ConfigError> {
    let path = [path, ".", key].concat();
    match object.get(key) {
        Some(value) => Ok((path, value)),
        None => Err(ConfigError::value(&path, "nothing", "an entry of that name")),
    }
}

/// Requires that none of these keys asks for something.
fn expect_none((path, object): &(String, &Value), keys: &[&str]) -> Result<(), ConfigError> {
    let asks = |value: &Value| !value.is_null() && value.as_object().is_none_or(|object| !object.is_empty());
    match keys.iter().find_map(|key| Some((key, object.get(key).filter(|value| asks(value))?))) {
        Some((key, found)) => Err(ConfigError::value(&[path, ".", key].concat(), found, "null")),
        None => Ok(()),
    }
}

/// Requires the one value of a key that is implemented, given as the file has it.
fn expect(at: &(String, &Value), key: &str, known: &str) -> Result<(), ConfigError> {
    let (path, found) = within(at, key)?;
    let text = found.to_string();
    if text == known { Ok(()) } else { Err(ConfigError::value(&path, found, known)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::preset;

    #[test]
    fn what_is_written_is_read() {
        let model = preset("tiny").unwrap().model;
        for precision in [Precision::Int8, Precision::Int4] {
            let json = model.to_hf_quantized_json(&TokenIds::default(), precision, &[]);
            assert_eq!(quantization(&json).unwrap(), Some(precision));
            assert_eq!(ModelConfig::from_hf_json(&json).unwrap(), model);
        }
        assert_eq!(quantization(&model.to_hf_json(&TokenIds::default())).unwrap(), None);
    }

    #[test]
    fn what_is_not_implemented_is_named() {
        let json =
            preset("tiny").unwrap().model.to_hf_quantized_json(&TokenIds::default(), Precision::Int4, &[]);
        for (was, is, message) in [
            (
                "\"compressed-tensors\"",
                "\"gptq\"",
                "quant_method: found \"gptq\", expected \"compressed-tensors\"",
            ),
            (
                "\"group_size\": 32",
                "\"group_size\": 128",
                "config_groups.group_0.weights.group_size: found 128, expected 32",
            ),
            (
                "\"group_size\": 32,",
                "",
                "config_groups.group_0.weights.group_size: found nothing, expected an entry of that name",
            ),
            (
                "\"num_bits\": 4",
                "\"num_bits\": 3",
                "config_groups.group_0.weights.num_bits: found 3, expected 8 or 4",
            ),
            (
                "\"symmetric\": true",
                "\"symmetric\": false",
                "config_groups.group_0.weights.symmetric: found false, expected true",
            ),
            (
                "\"targets\"",
                "\"input_activations\": {\"num_bits\": 8}, \"targets\"",
                "config_groups.group_0.input_activations: found {\"num_bits\":8}, expected null",
            ),
            ("\"group_0\"", "\"group_0\": {}, \"group_1\"", "config_groups: found 2, expected one group"),
        ] {
            assert!(json.contains(was), "{was}");
            let error = quantization(&json.replace(was, is)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("quantization_config.{message}")), "{error}");
        }
    }
}
