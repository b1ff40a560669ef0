//! `cloche chat`: a conversation with a model, in the terminal or one message at a time.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use cloche_models::{GenerateSettings, Generator};
use cloche_text::{Message, Role, StreamDecoder, Turns};
use serde_json::json;

use crate::device::{self, Choice};
use crate::folder;
use crate::generate::{Continuation, show};
use crate::reader::Reader;
use crate::report::{Report, print_json};
use crate::sampling::SamplingArgs;

/// The options of `cloche chat`.
#[derive(Args)]
pub struct ChatArgs {
    /// The model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The folder of an adapter to the model.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Say this, print the answer and end; may be given several times. Otherwise each line of the input is a message.
    #[arg(long, value_name = "TEXT")]
    message: Vec<String>,
    /// What the model is told before everything else.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The most tokens of an answer [default: the folder's, else 256; a quarter of the context is always left for it].
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: Choice,
    /// Print a JSON line for each token, and one for each answer.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A model that cannot be opened, a message that it cannot read, settings out of range.
pub fn run(args: &ChatArgs) -> Result<()> {
    let device = device::open(args.device)?;
    let adapter = args.adapter.as_deref();
    let model = folder::open_with(&args.model, adapter, &device)?;
    let reader = Reader::new(folder::tokenizer_of(&args.model, adapter, &model)?, true)?;
    let sampling = args.sampling.over(&model.generation)?;
    let max_tokens = args.max_tokens.or(model.generation.max_new_tokens).unwrap_or(256);
    let stop_ids = reader.stop_ids.clone();
    let settings = GenerateSettings { sampling, max_tokens, stop_ids, slide: false };
    let context_len = model.network.config.context_len;
    let mut chat = Conversation {
        generator: Generator::new(&device, &model.network, 1, settings)?,
        stops: reader.stop_text.iter().cloned().collect(),
        system: args.system.as_ref().map(|text| Message::new(Role::System, text.clone())),
        room: context_len - (context_len / 4).max(1).min(max_tokens.max(1)),
        messages: Vec::new(),
        reader,
        report: Report::new(args.json),
        json: args.json,
    };
    for message in &args.message {
        chat.say(message)?;
    }
    if args.message.is_empty() {
        chat.listen()?;
    }
    Ok(())
}

/// What was said so far, and who answers.
struct Conversation {
    generator: Generator,
    reader: Reader,
    /// The text that ends an answer, where no token can.
    stops: Vec<String>,
    system: Option<Message>,
    messages: Vec<Message>,
    /// The most tokens of what was said, so that there is room to answer.
    room: usize,
    report: Report,
    json: bool,
}

impl Conversation {
    /// Answers line by line until the input ends.
    fn listen(&mut self) -> Result<()> {
        let is_terminal = std::io::stdin().is_terminal() && !self.json;
        let prompt = || {
            if is_terminal {
                show("> ");
            }
        };
        prompt();
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            if !line.trim().is_empty() {
                self.say(line.trim())?;
            }
            prompt();
        }
        if is_terminal {
            show("\n");
        }
        Ok(())
    }

    /// Says something to the model, and shows what it answers while it does.
    fn say(&mut self, message: &str) -> Result<()> {
        let missing = self.reader.tokenizer.missing_chars(message);
        if !missing.is_empty() {
            let shown: Vec<String> = missing.iter().map(|c| format!("{c:?}")).collect();
            bail!("message: the model's vocabulary lacks {}", shown.join(" "));
        }
        self.messages.push(Message::new(Role::User, message));
        let ids = self.prompt()?;
        self.generator.start(&[ids])?;
        // Every answer is drawn anew, also to the same message.
        self.generator.settings.sampling.seed = self.generator.settings.sampling.seed.wrapping_add(1);
        let mut answer = Continuation::new(&self.stops, StreamDecoder::new());
        let tokenizer = &self.reader.tokenizer;
        while let Some(tokens) = pollster::block_on(self.generator.next())? {
            for token in tokens.iter().filter(|token| !self.reader.stop_ids.contains(&token.id)) {
                let certain = answer.take(tokenizer, token.id);
                match self.json {
                    true => print_json(&json!({ "event": "token", "id": token.id, "text": certain })),
                    false => show(&certain),
                }
            }
            if answer.stopped {
                break;
            }
        }
        let rest = answer.finish(tokenizer);
        let text = answer.shown.clone();
        match self.json {
            true => print_json(&json!({ "event": "done", "message": message, "text": text })),
            false => show(&format!("{rest}\n")),
        }
        self.messages.push(Message::new(Role::Assistant, text));
        Ok(())
    }

    /// The conversation as ids. The oldest turns are forgotten where there is no room for all.
    fn prompt(&mut self) -> Result<Vec<u32>> {
        loop {
            let said = self.system.iter().chain(&self.messages).cloned().collect();
            match self.reader.prompt(&Turns::Messages(said), self.room) {
                Err(_) if self.messages.len() > 2 => {
                    self.messages.drain(..2);
                    self.report.warn(
                        "the conversation is longer than the model's context: its beginning is forgotten",
                    );
                }
                other => return other,
            }
        }
    }
}
