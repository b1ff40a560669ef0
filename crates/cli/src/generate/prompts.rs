//! `cloche generate --prompts`: the lines of a file continued, each as soon as there is room for it.

use std::io::Read;

use cloche_models::Batcher;
use cloche_text::{StreamDecoder, decode_utf8};

use super::*;

/// Continues every line of a file, `-` for standard input.
///
/// # Errors
/// A file without a line, a line that the model cannot read, and those of [`super::run`].
pub(super) fn run(args: &GenerateArgs, file: &Path) -> Result<()> {
    // 1. All lines, before anything is computed.
    expect_rows("slots", args.slots)?;
    let device = device::open(args.device)?;
    let tokenizer = folder::tokenizer(&args.model)?;
    let (name, bytes) = read(file)?;
    let prompts: Vec<&str> = decode_utf8(&bytes, &name)?.lines().collect();
    if prompts.is_empty() {
        bail!("{name}: is empty, expected a prompt on each line");
    }
    let ids = |(prompt, line): (&&str, _)| prompt_ids(&format!("{name}: line {line}"), prompt, &tokenizer);
    let ids = prompts.iter().zip(1..).map(ids).collect::<Result<Vec<_>>>()?;
    // 2. The model, and no more room than is needed.
    let model = folder::open_quantized(&args.model, args.quantize, &device)?;
    let settings = GenerateSettings { slide: false, ..args.settings(&model.generation, &tokenizer)? };
    let slots = args.slots.min(prompts.len());
    let cache = cache_bytes(&model.network.config, slots);
    device::require_memory(&device, "the cache of keys and values", cache)?;
    let mut batcher = Batcher::new(&device, &model.network, slots, settings)?;
    let mut texts: Vec<Continuation> =
        ids.iter().map(|ids| Continuation::new(&args.stop, StreamDecoder::behind(&tokenizer, ids))).collect();
    for ids in ids {
        batcher.push(ids)?;
    }
    // 3. Whoever has ended is printed and makes room.
    loop {
        let tokens = pollster::block_on(batcher.next())?;
        for &token in tokens.iter().flatten() {
            let text = &mut texts[token.sequence];
            if text.stopped {
                continue;
            }
            let ends = batcher.settings.stop_ids.contains(&token.id);
            text.tell(&tokenizer, token, ends, args.json);
            if text.stopped {
                batcher.end(token.sequence);
            }
        }
        for ended in batcher.take_ended() {
            let text = &mut texts[ended.sequence];
            text.finish(&tokenizer);
            let stopped = text.stopped || ended.finish == Finish::Stop;
            text.tell_end(ended.sequence, prompts[ended.sequence], stopped, args.json.then_some([0; 2]));
        }
        if tokens.is_none() {
            return Ok(());
        }
    }
}

/// What errors call a file, and its bytes.
fn read(file: &Path) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(("standard input".into(), bytes));
    }
    let name = file.display().to_string();
    match std::fs::read(file) {
        Ok(bytes) => Ok((name, bytes)),
        Err(error) => bail!("{name}: {error}"),
    }
}
