//! Fixed runs, so small that every device and browser can repeat them, and what they must come to: one of pre-training, and
//! one of each stage after it.

pub mod stages;

use std::rc::Rc;

use cloche_models::config::{ModelConfig, preset};

use crate::data::{Corpus, DataError, Packer, TokenBuffer, Tokens};
use crate::settings::Settings;
use crate::stories::Stories;

/// The losses of the run's first steps on the CPU, natively. Other devices add numbers up in another order, and agree
/// within 1e-3 relative.
pub const LOSSES: [f32; 20] = [
    4.879872, 4.8452487, 4.780682, 4.712556, 4.601612, 4.493294, 4.396674, 4.3135996, 4.182557, 4.1179285,
    4.040143, 3.97805, 3.885423, 3.847998, 3.820385, 3.7458158, 3.7505279, 3.7948446, 3.6999316, 3.6622767,
];

/// Settings and data of the run: a small GPT-2 with dropout, on built-in stories, a token for each byte.
///
/// # Errors
/// None but those of tokens in memory, which can always be read.
pub fn reference_run() -> Result<(Settings, Corpus), DataError> {
    const VOCAB_SIZE: usize = 128; // the stories are ASCII
    const EOT: u32 = 0;
    let nano = preset("nano").expect("nano is a preset");
    let model =
        ModelConfig { n_layer: 2, n_head: 2, n_kv_head: 2, d_model: 32, d_head: 16, d_ff: 128, ..nano.model };
    let model = ModelConfig { context_len: 32, dropout: 0.1, ..model };
    let settings = Settings {
        model: ModelConfig { vocab_size: VOCAB_SIZE, ..model },
        batch_size: 4,
        steps: LOSSES.len() as u64,
        lr: 3e-3,
        min_lr: 3e-4,
        warmup_steps: 5,
        eval_every: 10,
        eval_batches: 2,
        sample_len: 40,
        sample_prompt: vec![EOT],
        eot: Some(EOT),
        ..Settings::from_preset(nano, VOCAB_SIZE)
    };
    let stories = Stories::new(settings.seed);
    let tokens = |first, n| -> Result<Rc<dyn Tokens>, DataError> {
        let mut packer = Packer::new(TokenBuffer::new(VOCAB_SIZE), Some(EOT));
        for story in stories.documents(first).take(n) {
            packer.document(&story.text.bytes().map(u32::from).collect::<Vec<_>>())?;
        }
        Ok(Rc::new(packer.finish()))
    };
    let (train, val) = (tokens(0, 50)?, tokens(crate::stories::VALIDATION_START, 5)?);
    Ok((settings, Corpus::new(train, val, VOCAB_SIZE, None)?))
}
