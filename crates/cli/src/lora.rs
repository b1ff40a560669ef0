//! An adapter as a command line describes it.

use anyhow::{Result, anyhow, bail};
use cloche_models::LoraConfig;

/// Reads `rank=8,alpha=16,dropout=0,targets=c_attn+c_proj`. What is left out is as by default, which is what an empty
/// text means.
///
/// # Errors
/// A name that does not exist, a value that is no number.
pub fn parse(text: &str) -> Result<LoraConfig> {
    let mut config = LoraConfig::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| anyhow!("lora: found {part:?}, expected name=value, such as rank=8"))?;
        let number =
            || value.parse::<f32>().map_err(|_| anyhow!("lora: {name}: found {value:?}, expected a number"));
        match name {
            "rank" => {
                let whole = value.parse();
                config.rank =
                    whole.map_err(|_| anyhow!("lora: rank: found {value:?}, expected a whole number"))?;
            }
            "alpha" => config.alpha = number()?,
            "dropout" => config.dropout = number()?,
            "targets" => config.targets = value.split('+').map(str::to_string).collect(),
            _ => bail!("lora: found {name:?}, expected rank, alpha, dropout or targets"),
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_by_default() {
        assert_eq!(parse("").unwrap(), LoraConfig::default());
        let config = parse("rank=4, alpha=8,targets=c_attn+mlp.c_fc").unwrap();
        let targets = vec!["c_attn".to_string(), "mlp.c_fc".to_string()];
        assert_eq!(config, LoraConfig { rank: 4, alpha: 8.0, targets, ..Default::default() });
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let message = |text| parse(text).unwrap_err().to_string();
        assert_eq!(message("8"), "lora: found \"8\", expected name=value, such as rank=8");
        assert_eq!(message("rank=x"), "lora: rank: found \"x\", expected a whole number");
        assert_eq!(message("r=8"), "lora: found \"r\", expected rank, alpha, dropout or targets");
    }
}
