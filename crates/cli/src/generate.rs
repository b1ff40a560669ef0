//! `cloche generate`: a model continues a prompt, word by word, or many prompts.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use cloche_models::config::{GenerationConfig, ModelConfig};
use cloche_models::{Finish, GenerateSettings, Generator, Token};
use cloche_text::{StreamDecoder, Tokenizer};
use serde_json::json;

use crate::device::{self, Choice};
use crate::folder::{self, Quantize};
use crate::report::{print_json, print_line};
use crate::sampling::SamplingArgs;

mod prompts;

/// The options of `cloche generate`.
#[derive(Args)]
pub struct GenerateArgs {
    /// The model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// What to continue; empty for a new document.
    #[arg(long, value_name = "TEXT", required_unless_present = "prompts")]
    prompt: Option<String>,
    /// Continue each line of this file instead, `-` for standard input, and print each continuation when it ends. It ends where
    /// the model's context does.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "n", "draft"])]
    prompts: Option<PathBuf>,
    /// So many of the prompts at once; where one ends, the next begins.
    #[arg(long, value_name = "N", default_value_t = 8, requires = "prompts")]
    slots: usize,
    /// The most tokens of a continuation [default: the folder's, else 256].
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// End before this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// So many continuations at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    n: usize,
    /// Round the weights of linear layers: less memory, and on the CPU more tokens a second, for a little of the quality.
    #[arg(long, value_enum)]
    quantize: Option<Quantize>,
    /// A smaller model with the same tokenizer, which guesses tokens that the model then reads at once: the same text, sooner
    /// where it guesses well. May be the model itself, rounded.
    #[arg(long, value_name = "DIR")]
    draft: Option<PathBuf>,
    /// So many guesses at once.
    #[arg(long, value_name = "N", default_value_t = 4, requires = "draft")]
    ahead: usize,
    /// Round the draft's weights.
    #[arg(long, value_enum, requires = "draft")]
    draft_quantize: Option<Quantize>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: Choice,
    /// Print a JSON line for each token, and one for each continuation.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A model that cannot be opened, a prompt that it cannot read, settings out of range.
pub fn run(args: &GenerateArgs) -> Result<()> {
    if let Some(file) = &args.prompts {
        return prompts::run(args, file);
    }
    expect_rows("n", args.n)?;
    let device = device::open(args.device)?;
    let tokenizer = folder::tokenizer(&args.model)?;
    let model = folder::open_quantized(&args.model, args.quantize, &device)?;
    let prompt = args.prompt.as_deref().unwrap_or_default();
    let ids = prompt_ids("prompt", prompt, &tokenizer)?;
    let settings = args.settings(&model.generation, &tokenizer)?;
    let config = &model.network.config;
    device::require_memory(&device, "the cache of keys and values", cache_bytes(config, args.n))?;

    let mut generator = Generator::new(&device, &model.network, args.n, settings)?;
    if let Some(folder) = &args.draft {
        let draft = folder::open_quantized(folder, args.draft_quantize, &device)?;
        expect_same_tokens(folder, &tokenizer)?;
        device::require_memory(&device, "the draft's cache", cache_bytes(&draft.network.config, 1))?;
        generator = generator.with_draft(&draft.network, args.ahead)?;
    }
    generator.start(std::slice::from_ref(&ids))?;
    let mut texts: Vec<Continuation> =
        (0..args.n).map(|_| Continuation::new(&args.stop, StreamDecoder::behind(&tokenizer, &ids))).collect();
    let live = !args.json && args.n == 1;
    if live {
        show(prompt);
    }
    while let Some(tokens) = pollster::block_on(generator.next())? {
        for token in tokens {
            let text = &mut texts[token.sequence];
            if text.stopped {
                continue;
            }
            let ends = generator.settings.stop_ids.contains(&token.id);
            let certain = text.tell(&tokenizer, token, ends, args.json);
            if live {
                show(&certain);
            }
        }
        if texts.iter().all(|text| text.stopped) {
            break;
        }
    }
    for (sequence, text) in texts.iter_mut().enumerate() {
        let rest = text.finish(&tokenizer);
        let stopped = text.stopped || generator.finish(sequence) == Some(Finish::Stop);
        match live {
            true => print_line(rest),
            false => text.tell_end(sequence, prompt, stopped, args.json.then(|| generator.guessed())),
        }
    }
    if let (Some(_), [guessed, right], false) = (&args.draft, generator.guessed(), args.json) {
        eprintln!("the draft guessed {guessed} tokens, {right} of them right");
    }
    Ok(())
}

/// Requires that so many sequences can be continued at once.
fn expect_rows(what: &str, n: usize) -> Result<()> {
    match n {
        1..=1024 => Ok(()),
        _ => bail!("{what}: found {n}, expected 1 to 1024"),
    }
}

/// What keys and values of `n` sequences take.
fn cache_bytes(config: &ModelConfig, n: usize) -> u64 {
    let extents = [2, 4, n, config.n_layer, config.context_len, config.n_kv_head, config.d_head];
    extents.iter().fold(1u64, |bytes, &n| bytes.saturating_mul(n as u64))
}

/// Requires that a draft means by each id what the model does.
fn expect_same_tokens(draft: &Path, tokenizer: &Tokenizer) -> Result<()> {
    let other = folder::tokenizer(draft)?;
    let ids = 0..tokenizer.vocab_size().max(other.vocab_size()) as u32;
    if let Some(id) = ids.into_iter().find(|&id| tokenizer.token(id) != other.token(id)) {
        let name = |token: Option<&str>| token.map_or("nothing".into(), |token| format!("{token:?}"));
        let [found, expected] = [other.token(id), tokenizer.token(id)].map(name);
        bail!("{}: tokenizer.json: token {id} is {found}, the model's is {expected}", draft.display());
    }
    Ok(())
}

/// The prompt's ids; an empty one is the beginning of a document.
///
/// # Errors
/// Characters that the vocabulary lacks, or nothing to begin with; `what` is what the prompt is called there.
fn prompt_ids(what: &str, prompt: &str, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let missing = tokenizer.missing_chars(prompt);
    if !missing.is_empty() {
        let shown: Vec<String> = missing.iter().map(|c| format!("{c:?}")).collect();
        bail!("{what}: the model's vocabulary lacks {}", shown.join(" "));
    }
    let mut ids = tokenizer.encode(prompt);
    if ids.is_empty() {
        let newline = || tokenizer.encode("\n").first().copied();
        ids.extend(tokenizer.eot_id().or_else(newline));
    }
    if ids.is_empty() {
        bail!("{what}: is empty, and the vocabulary has no token that begins a document; give a few words");
    }
    Ok(ids)
}

impl GenerateArgs {
    /// What the command line says, else the folder, else the plain probabilities.
    fn settings(&self, folder: &GenerationConfig, tokenizer: &Tokenizer) -> Result<GenerateSettings> {
        let sampling = self.sampling.over(folder)?;
        let mut stop_ids = folder.tokens.eos.clone();
        stop_ids.extend(tokenizer.eot_id());
        let max_tokens = self.max_tokens.or(folder.max_new_tokens).unwrap_or(256);
        Ok(GenerateSettings { sampling, max_tokens, stop_ids, ..Default::default() })
    }
}

/// A text that grows until one of the stop strings occurs in it, which may begin in one token and end in another.
pub struct Continuation<'a> {
    decoder: StreamDecoder,
    stop: &'a [String],
    /// What is certain to belong to the text.
    pub shown: String,
    /// What may be the beginning of a stop string.
    held: String,
    /// Whether a stop string has occurred.
    pub stopped: bool,
    n_tokens: usize,
}

impl<'a> Continuation<'a> {
    /// An empty text that ends before one of these, behind what the decoder knows of.
    pub fn new(stop: &'a [String], decoder: StreamDecoder) -> Self {
        Continuation { decoder, stop, shown: String::new(), held: String::new(), stopped: false, n_tokens: 0 }
    }

    /// Takes the next token, and returns what is now certain.
    pub fn take(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        let piece = self.decoder.push(tokenizer, id);
        self.push(&piece)
    }

    /// The same of a token of which JSON lines tell, where they are wanted. One that `ends` a document is no part of it.
    fn tell(&mut self, tokenizer: &Tokenizer, token: Token, ends: bool, json: bool) -> String {
        let Token { sequence, id, log_prob } = token;
        let piece = if ends { String::new() } else { self.decoder.push(tokenizer, id) };
        self.n_tokens += 1;
        if json {
            print_json(&json!({
                "event": "token", "sequence": sequence, "id": id, "text": piece, "log_prob": log_prob,
            }));
        }
        self.push(&piece)
    }

    /// Prints the whole text, below a line with its number; or, as JSON, with the guesses that it took and how many were right.
    fn tell_end(&self, sequence: usize, prompt: &str, stopped: bool, guesses: Option<[u64; 2]>) {
        let finish = if stopped { "stop" } else { "length" };
        match guesses {
            Some([guessed, right]) => print_json(&json!({
                "event": "done", "sequence": sequence, "text": self.shown, "finish": finish, "tokens": self.n_tokens,
                "guessed": guessed, "right": right,
            })),
            None => print_line(format_args!("--- {} ({finish}) ---\n{prompt}{}", sequence + 1, self.shown)),
        }
    }

    /// Takes the next piece, and returns what is now certain.
    fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        let stops = self.stop.iter().filter(|stop| !stop.is_empty());
        let certain = match stops.clone().filter_map(|stop| self.held.find(stop.as_str())).min() {
            Some(at) => {
                self.stopped = true;
                at
            }
            None => {
                stops.map(|stop| self.held.len() - overlap(&self.held, stop)).min().unwrap_or(self.held.len())
            }
        };
        let rest = self.held.split_off(certain);
        let certain = std::mem::replace(&mut self.held, rest);
        self.shown.push_str(&certain);
        certain
    }

    /// Ends the text: what was held back belongs to it, unless it stopped.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> String {
        if self.stopped {
            return String::new();
        }
        let last = self.decoder.finish(tokenizer);
        let mut rest = self.push(&last);
        if !self.stopped {
            let held = std::mem::take(&mut self.held);
            self.shown.push_str(&held);
            rest.push_str(&held);
        }
        rest
    }
}

/// Bytes at the end of `text` that are the beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let lengths = stop.char_indices().map(|(at, _)| at).rev();
    lengths.into_iter().find(|&length| text.ends_with(&stop[..length])).unwrap_or(0)
}

/// Shows a part of a line at once.
pub fn show(text: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever reads may have gone away, which is no error of ours.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str], stop: &[&str]) -> (Vec<String>, String, bool) {
        let stop: Vec<String> = stop.iter().map(|stop| stop.to_string()).collect();
        let mut text = Continuation::new(&stop, StreamDecoder::new());
        let certain = pieces.iter().map(|piece| text.push(piece)).collect();
        (certain, text.held.clone(), text.stopped)
    }

    #[test]
    fn a_stop_string_is_found_across_tokens() {
        let (certain, _, stopped) = shown(&["One ", "two th", "re", "e four"], &["three"]);
        assert_eq!((certain.join("|"), stopped), ("One |two ||".to_string(), true));
        // What only looked like the beginning is shown after all.
        let (certain, held, stopped) = shown(&["a th", "at é", "t"], &["three", "ét"]);
        assert_eq!((certain.join("|"), held, stopped), ("a |that |".to_string(), "ét".to_string(), true));
        // The earliest one counts.
        let (certain, _, _) = shown(&["x.y!z"], &["!", "."]);
        assert_eq!(certain, ["x"]);
        assert_eq!(shown(&["plain"], &[]).0, ["plain"]);
        assert_eq!(shown(&["plain"], &[""]).0, ["plain"]);
    }
}
