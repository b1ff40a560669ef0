//! The model card: a README.md that says what a model is, for whoever finds the folder.

use std::fmt::Write;

use super::{Arch, ModelConfig};

/// What is known about a training run. What is `None` is left out of the card.
#[derive(Clone, Debug, Default)]
pub struct CardFacts {
    /// The name of the model.
    pub name: String,
    /// What it was trained on.
    pub data: String,
    /// The tokenizer, such as "characters" or "byte-level BPE".
    pub tokenizer: String,
    /// The seed of the run.
    pub seed: u64,
    /// Training steps taken.
    pub steps: u64,
    /// Tokens seen, counting repetitions.
    pub tokens: u64,
    /// The last training loss, in nats per token.
    pub train_loss: Option<f32>,
    /// The last loss on the held-out split, in nats per token.
    pub val_loss: Option<f32>,
    /// The licence of the weights, as an SPDX name such as `mit`.
    pub licence: Option<String>,
}

/// Writes README.md, with the YAML block that the Hugging Face Hub reads.
pub fn model_card(config: &ModelConfig, facts: &CardFacts) -> String {
    let arch = match config.arch {
        Arch::Gpt2 => "GPT-2",
        Arch::Llama => "Llama",
    };
    let mut card =
        String::from("---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- cloche\n");
    if let Some(licence) = facts.licence.as_deref().filter(|name| is_spdx(name)) {
        let _ = writeln!(card, "license: {}", licence.to_ascii_lowercase());
    }
    let name = one_line(&facts.name);
    let _ = writeln!(
        card,
        "---\n\n# {name}\n\n\
         A small {arch} language model of {} parameters, trained from scratch with Cloche.\n",
        thousands(config.n_params())
    );
    let losses = |loss: Option<f32>| loss.map(|loss| format!("{} nats per token", decimals(loss)));
    let rows = [
        ("Layers, heads, width", Some(format!("{}, {}, {}", config.n_layer, config.n_head, config.d_model))),
        ("Context", Some(format!("{} tokens", config.context_len))),
        (
            "Vocabulary",
            Some(format!("{} ({})", thousands(config.vocab_size as u64), one_line(&facts.tokenizer))),
        ),
        ("Data", Some(one_line(&facts.data))),
        ("Training", Some(format!("{} steps, {} tokens", thousands(facts.steps), thousands(facts.tokens)))),
        ("Seed", Some(facts.seed.to_string())),
        ("Training loss", losses(facts.train_loss)),
        ("Held-out loss", losses(facts.val_loss)),
        ("Licence", facts.licence.as_deref().map(one_line)),
    ];
    card.push_str("| | |\n|---|---|\n");
    for (label, value) in rows.iter().filter_map(|(label, value)| Some((label, value.as_ref()?))) {
        let _ = writeln!(card, "| {label} | {value} |");
    }
    card.push_str(
        "\n```python\n\
         from transformers import AutoModelForCausalLM, AutoTokenizer\n\
         model, tokenizer = AutoModelForCausalLM.from_pretrained(\".\"), AutoTokenizer.from_pretrained(\".\")\n\
         ids = tokenizer(\"Once\", return_tensors=\"pt\").input_ids\n\
         print(tokenizer.decode(model.generate(ids, max_new_tokens=100, do_sample=True)[0]))\n\
         ```\n",
    );
    if config.arch == Arch::Gpt2 && !config.bias {
        card.push_str(
            "\nThe model was trained without biases. `GPT2LMHeadModel` always has them, so the file holds biases of \
             zero, which compute the same.\n",
        );
    }
    card.push_str(
        "\nA model of this size repeats the style of its data, not facts: do not rely on what it says.\n",
    );
    card
}

/// What is known about a model, or an adapter, that was trained further.
#[derive(Clone, Debug, Default)]
pub struct TunedFacts {
    /// The name of the model.
    pub name: String,
    /// The stage that it comes from, such as `sft`.
    pub stage: String,
    /// The name of the model that it began as: a folder's, or a preset's.
    pub base: String,
    /// Whether that was a new model with random weights.
    pub is_new: bool,
    /// Whether the folder holds an adapter and not a model.
    pub is_adapter: bool,
    /// What it was trained on.
    pub data: String,
    /// The seed of the run.
    pub seed: u64,
    /// Training steps taken.
    pub steps: u64,
    /// How many numbers were trained.
    pub trained: u64,
    /// What the last evaluation measured on what was held out.
    pub measured: Vec<(String, f32)>,
}

/// Writes README.md for a model that was trained further, or for the adapter beside it.
pub fn tuned_card(config: &ModelConfig, facts: &TunedFacts) -> String {
    let (library, kind) =
        if facts.is_adapter { ("peft", "A LoRA adapter for") } else { ("transformers", "A copy of") };
    let task = if facts.stage == "reward" { "text-classification" } else { "text-generation" };
    let (stage, name) = (&facts.stage, one_line(&facts.name));
    let mut card = format!(
        "---\nlibrary_name: {library}\npipeline_tag: {task}\ntags:\n- cloche\n- {stage}\n---\n\n# {name}\n\n"
    );
    let (parameters, base) = (thousands(config.n_params()), one_line(&facts.base));
    let _ = match facts.is_new {
        true => writeln!(card, "A new language model of {parameters} parameters, trained with Cloche.\n"),
        false => {
            writeln!(
                card,
                "{kind} {base}, a language model of {parameters} parameters, trained with Cloche.\n"
            )
        }
    };
    let rows = [
        ("Stage".to_string(), facts.stage.clone()),
        ("Data".to_string(), one_line(&facts.data)),
        ("Training".to_string(), format!("{} steps", thousands(facts.steps))),
        ("Trained".to_string(), format!("{} numbers", thousands(facts.trained))),
        ("Seed".to_string(), facts.seed.to_string()),
    ];
    let measured = facts.measured.iter().map(|(name, x)| (one_line(name), format!("{x:.4}")));
    card.push_str("| | |\n|---|---|\n");
    for (label, value) in rows.into_iter().chain(measured) {
        let _ = writeln!(card, "| {label} | {value} |");
    }
    card.push_str(
        "\nThe tokenizer brings the chat template along: `tokenizer.apply_chat_template(messages)`.\n\nA model of this \
         size knows little but what it was trained on: do not rely on what it says.\n",
    );
    card
}

/// A file name could carry line breaks and table bars, which would end the cell it stands in.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ").replace('|', "\\|")
}

/// Whether a licence may stand unquoted in YAML.
fn is_spdx(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
}

/// 1.88037 → 1.8804. Formatting with a precision would cost a page another 9 KB.
fn decimals(loss: f32) -> String {
    let n = (loss as f64 * 1e4).round() as u64;
    format!("{}.{:04}", n / 10_000, n % 10_000)
}

/// 1234567 → 1,234,567
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).expect("digits")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::super::preset;
    use super::*;

    #[test]
    fn a_card_says_what_was_trained_further() {
        let facts = TunedFacts {
            name: "asker".into(),
            stage: "sft".into(),
            base: "bard".into(),
            is_adapter: true,
            data: "a|b.jsonl".into(),
            steps: 1500,
            trained: 4096,
            measured: vec![("exam correct".into(), 0.9)],
            ..Default::default()
        };
        let card = tuned_card(&preset("tiny").unwrap().model, &facts);
        for expected in [
            "library_name: peft",
            "- sft",
            "A LoRA adapter for bard",
            "a\\|b.jsonl",
            "1,500 steps",
            "4,096 numbers",
            "| exam correct | 0.9000 |",
        ] {
            assert!(card.contains(expected), "{expected} in {card}");
        }
        let new = tuned_card(&preset("tiny").unwrap().model, &TunedFacts { is_new: true, ..facts });
        assert!(new.contains("A new language model of") && !new.contains("bard"), "{new}");
    }

    #[test]
    fn a_card_says_what_the_model_is() {
        let facts = CardFacts {
            name: "bard".into(),
            data: "shake|speare.txt\n# not a heading".into(),
            tokenizer: "characters".into(),
            seed: 1337,
            steps: 2000,
            tokens: 1_536_000,
            val_loss: Some(1.8899),
            licence: Some("MIT".into()),
            ..Default::default()
        };
        let card = model_card(&preset("nano").unwrap().model, &facts);
        for line in [
            "license: mit",
            "# bard",
            "A small GPT-2 language model of 804,096 parameters, trained from scratch with Cloche.",
            "| Data | shake\\|speare.txt # not a heading |",
            "| Training | 2,000 steps, 1,536,000 tokens |",
            "| Held-out loss | 1.8899 nats per token |",
            "| Licence | MIT |",
        ] {
            assert!(card.lines().any(|found| found == line), "{line:?} is not in\n{card}");
        }
        assert!(!card.contains("Training loss") && card.contains("biases of zero"), "{card}");
    }
}
