//! The tokenizer as JavaScript sees it: `cloche-text`, with JavaScript's types and errors.
//!
//! An error is an `Error` with a `code` that stays the same from version to version, and the message of the library.
//! A value that the types forbid is a `TypeError`.

use cloche_text::{Progress, Stage, TOKENIZERS, TextError, TokenizerKind};
use js_sys::{Array, Function, Reflect, TypeError, Uint32Array};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

mod chat;

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** How far a training has come: bytes read, then tokens in the vocabulary. */
export interface TokenizerProgress { stage: "reading" | "merging"; done: number; total: number | null }

/** How a text becomes tokens: the pieces it is cut into, and the merges in each. */
export interface Trace { text: string; pieces: TracePiece[] }
export interface TracePiece { text: string; symbols: string[]; steps: MergeStep[]; tokens: TraceToken[] }
export interface MergeStep { left: string; right: string; rank: number; symbols: string[] }
export interface TraceToken { id: number; token: string; text: string }

/** How a vocabulary is learnt from a short text, merge by merge. */
export interface TrainTrace { symbols: string[]; steps: TrainStep[] }
export interface TrainStep {
  left: string; right: string; count: number; token: string; letter: string; symbols: string[]; compressed: string;
}
"#;

type Result<T> = std::result::Result<T, JsValue>;

/// An `Error` with the code and the message.
fn thrown(error: TextError) -> JsValue {
    let object = js_sys::Error::new(&error.to_string());
    // Setting a property of a fresh object does not fail.
    let _ = Reflect::set(&object, &"code".into(), &error.code().into());
    object.into()
}

fn to_js(value: &impl Serialize) -> Result<JsValue> {
    Ok(value.serialize(&Serializer::json_compatible())?)
}

fn parse_kind(kind: &str) -> Result<TokenizerKind> {
    kind.parse().map_err(thrown)
}

fn string_of(value: &JsValue) -> Result<String> {
    value.as_string().ok_or_else(|| TypeError::new("expected a string").into())
}

fn finished() -> JsValue {
    TypeError::new("this trainer has finished").into()
}

/// A progress callback. What it throws is kept until the training, which cannot stop halfway, has ended.
struct Listener {
    callback: Option<Function>,
    thrown: Result<()>,
}

impl Listener {
    fn new(callback: Option<Function>) -> Self {
        Self { callback, thrown: Ok(()) }
    }

    fn hear(&mut self, progress: Progress) {
        let Some(callback) = &self.callback else { return };
        let called = to_js(&progress).and_then(|progress| callback.call1(&JsValue::UNDEFINED, &progress));
        if self.thrown.is_ok() {
            self.thrown = called.map(drop);
        }
    }
}

/// The kinds of tokenizer that can be trained, as `[name, description]`.
#[wasm_bindgen(unchecked_return_type = "[name: string, about: string][]")]
pub fn tokenizers() -> Result<JsValue> {
    to_js(&TOKENIZERS.iter().map(|entry| (entry.name, entry.about)).collect::<Vec<_>>())
}

/// Learns a vocabulary from a short text and shows each merge.
#[wasm_bindgen(js_name = trainTrace, unchecked_return_type = "TrainTrace")]
pub fn train_trace(text: &str, #[wasm_bindgen(js_name = nMerges)] n_merges: usize) -> Result<JsValue> {
    to_js(&cloche_text::train_trace(text, n_merges).map_err(thrown)?)
}

/// Text to ids and back.
#[wasm_bindgen]
pub struct Tokenizer(Rc<cloche_text::Tokenizer>);

#[wasm_bindgen]
impl Tokenizer {
    /// Learns a tokenizer (`"char"`, `"byte"` or `"bpe:SIZE"`) from one document or several.
    pub fn train(
        kind: &str,
        #[wasm_bindgen(unchecked_param_type = "string | Iterable<string>")] documents: JsValue,
        #[wasm_bindgen(js_name = onProgress, unchecked_optional_param_type = "(progress: TokenizerProgress) => void")]
        on_progress: Option<Function>,
    ) -> Result<Tokenizer> {
        let mut trainer = TokenizerTrainer::new(kind)?;
        let mut listener = Listener::new(on_progress);
        let mut reported = 0;
        if let Some(document) = documents.as_string() {
            trainer.feed(&document)?;
        } else {
            let expected = || JsValue::from(TypeError::new("expected a string or an iterable of strings"));
            for document in js_sys::try_iter(&documents).ok().flatten().ok_or_else(expected)? {
                trainer.feed(&string_of(&document?)?)?;
                trainer.end_document()?;
                // Documents may be a line each: a report per quarter megabyte is often enough.
                let done = trainer.trainer()?.bytes();
                if done - reported >= 1 << 18 {
                    reported = done;
                    listener.hear(Progress { stage: Stage::Reading, done, total: None });
                }
            }
        }
        trainer.finish_with(listener)
    }

    /// Reads a `tokenizer.json`, with its `tokenizer_config.json` if there is one.
    #[wasm_bindgen(js_name = fromJson)]
    pub fn from_json(json: &str, config: Option<String>) -> Result<Tokenizer> {
        let tokenizer = match config {
            Some(config) => cloche_text::Tokenizer::from_files(json, &config),
            None => cloche_text::Tokenizer::from_json(json),
        };
        Ok(Self(Rc::new(tokenizer.map_err(thrown)?)))
    }

    /// The ids of a text, in which special tokens are plain text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.0.encode(text)
    }

    /// The ids of a text in which special tokens are recognised.
    #[wasm_bindgen(js_name = encodeWithSpecial)]
    pub fn encode_with_special(&self, text: &str) -> Vec<u32> {
        self.0.encode_with_special(text)
    }

    /// The ids of each text.
    #[wasm_bindgen(js_name = encodeMany, unchecked_return_type = "Uint32Array[]")]
    pub fn encode_many(&self, texts: Vec<String>) -> Array {
        let batch = self.0.encode_batch(&texts);
        batch.iter().map(|ids| JsValue::from(Uint32Array::from(ids.as_slice()))).collect()
    }

    /// The text of some ids.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.0.decode(ids)
    }

    /// Text from ids that arrive one at a time, behind a text that has been shown, whose ids these are.
    #[wasm_bindgen(js_name = streamDecoder)]
    pub fn stream_decoder(&self, shown: &[u32]) -> StreamDecoder {
        let decoder = cloche_text::StreamDecoder::behind(&self.0, shown);
        StreamDecoder { tokenizer: Rc::clone(&self.0), decoder }
    }

    /// How many ids there are: the `vocab_size` of a model.
    #[wasm_bindgen(getter, js_name = vocabSize)]
    pub fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    /// How many of the tokens are not special.
    #[wasm_bindgen(getter, js_name = nPlain)]
    pub fn n_plain(&self) -> usize {
        self.0.n_plain()
    }

    /// The token that ends a document.
    #[wasm_bindgen(getter, js_name = eotId)]
    pub fn eot_id(&self) -> Option<u32> {
        self.0.eot_id()
    }

    /// `"char"`, `"byte"`, `"bpe:SIZE"`, or undefined for a pipeline of another kind.
    #[wasm_bindgen(getter)]
    pub fn kind(&self) -> Option<String> {
        self.0.kind().map(|kind| kind.to_string())
    }

    /// A token as it stands in the vocabulary, for example `Ġthe`.
    pub fn token(&self, id: u32) -> Option<String> {
        self.0.token(id).map(str::to_string)
    }

    /// What a token looks like in a text, for example ` the`.
    #[wasm_bindgen(js_name = tokenText)]
    pub fn token_text(&self, id: u32) -> String {
        self.0.token_text(id)
    }

    /// The bytes that a token adds to a text.
    #[wasm_bindgen(js_name = tokenBytes)]
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.0.token_bytes(id).to_vec()
    }

    /// How many bytes of a text a token covers on average.
    #[wasm_bindgen(js_name = bytesPerToken)]
    pub fn bytes_per_token(&self, text: &str) -> f64 {
        self.0.bytes_per_token(text)
    }

    /// The distinct characters of a text that the vocabulary cannot express and that encoding leaves out.
    #[wasm_bindgen(js_name = missingChars)]
    pub fn missing_chars(&self, text: &str) -> Vec<String> {
        self.0.missing_chars(text).into_iter().map(String::from).collect()
    }

    /// The files of a Hugging Face folder, as `[name, content]`.
    #[wasm_bindgen(unchecked_return_type = "[name: string, content: string][]")]
    pub fn files(
        &self,
        #[wasm_bindgen(js_name = modelMaxLength)] model_max_length: usize,
    ) -> Result<JsValue> {
        to_js(&self.0.files(model_max_length))
    }

    /// How a text is split and merged, step by step.
    #[wasm_bindgen(unchecked_return_type = "Trace")]
    pub fn trace(&self, text: &str) -> Result<JsValue> {
        to_js(&self.0.trace(text))
    }
}

/// Text from ids that arrive one at a time; never half a character.
#[wasm_bindgen]
pub struct StreamDecoder {
    tokenizer: Rc<cloche_text::Tokenizer>,
    decoder: cloche_text::StreamDecoder,
}

#[wasm_bindgen]
impl StreamDecoder {
    /// Takes the next id and gives the text that is now certain, sometimes none.
    pub fn push(&mut self, id: u32) -> String {
        self.decoder.push(&self.tokenizer, id)
    }

    /// Takes several ids at once.
    #[wasm_bindgen(js_name = pushMany)]
    pub fn push_many(&mut self, ids: &[u32]) -> String {
        ids.iter().map(|&id| self.decoder.push(&self.tokenizer, id)).collect()
    }

    /// Ends the text; the decoder can start again.
    pub fn finish(&mut self) -> String {
        self.decoder.finish(&self.tokenizer)
    }
}

/// Learns a tokenizer from text that arrives in pieces, so that a file of any size can stream through.
#[wasm_bindgen]
pub struct TokenizerTrainer {
    /// None once the tokenizer is made.
    trainer: Option<cloche_text::TokenizerTrainer>,
}

#[wasm_bindgen]
impl TokenizerTrainer {
    /// A trainer for `"char"`, `"byte"` or `"bpe:SIZE"`.
    #[wasm_bindgen(constructor)]
    pub fn new(kind: &str) -> Result<TokenizerTrainer> {
        Ok(Self { trainer: Some(cloche_text::TokenizerTrainer::new(parse_kind(kind)?)) })
    }

    /// Continues the current document.
    pub fn feed(&mut self, text: &str) -> Result<()> {
        self.trainer()?.feed(text);
        Ok(())
    }

    /// Ends the current document.
    #[wasm_bindgen(js_name = endDocument)]
    pub fn end_document(&mut self) -> Result<()> {
        self.trainer()?.end_document();
        Ok(())
    }

    /// Decides whether a character vocabulary has `<|endoftext|>`; by default it has if there are several documents.
    #[wasm_bindgen(js_name = endOfText)]
    pub fn end_of_text(&mut self, wanted: bool) -> Result<()> {
        self.trainer()?.end_of_text(wanted);
        Ok(())
    }

    /// Decides whether the vocabulary has a token before each message of a conversation, and one after it.
    #[wasm_bindgen(js_name = chatTokens)]
    pub fn chat_tokens(&mut self, wanted: bool) -> Result<()> {
        self.trainer()?.chat_tokens(wanted);
        Ok(())
    }

    /// Bytes of text fed so far.
    #[wasm_bindgen(getter)]
    pub fn bytes(&self) -> f64 {
        self.trainer.as_ref().map_or(0.0, |trainer| trainer.bytes() as f64)
    }

    /// Makes the tokenizer; afterwards the trainer is of no more use.
    pub fn finish(
        &mut self,
        #[wasm_bindgen(js_name = onProgress, unchecked_optional_param_type = "(progress: TokenizerProgress) => void")]
        on_progress: Option<Function>,
    ) -> Result<Tokenizer> {
        self.finish_with(Listener::new(on_progress))
    }
}

impl TokenizerTrainer {
    fn trainer(&mut self) -> Result<&mut cloche_text::TokenizerTrainer> {
        self.trainer.as_mut().ok_or_else(finished)
    }

    fn finish_with(&mut self, mut listener: Listener) -> Result<Tokenizer> {
        let trainer = self.trainer.take().ok_or_else(finished)?;
        let tokenizer = trainer.finish(&mut |progress| listener.hear(progress));
        listener.thrown?;
        Ok(Tokenizer(Rc::new(tokenizer.map_err(thrown)?)))
    }
}

/// Reads the bytes of a file of any size as UTF-8 text, chunk by chunk, and names the byte at which it is not.
#[wasm_bindgen]
pub struct Utf8Reader(cloche_text::Utf8Reader);

#[wasm_bindgen]
impl Utf8Reader {
    /// A reader at the start of the file called `name`.
    #[wasm_bindgen(constructor)]
    pub fn new(name: String) -> Self {
        Self(cloche_text::Utf8Reader::new(name))
    }

    /// The text of the next bytes, as far as it is whole.
    pub fn push(&mut self, bytes: &[u8]) -> Result<String> {
        self.0.push(bytes).map_err(thrown)
    }

    /// Ends the file.
    pub fn finish(self) -> Result<()> {
        self.0.finish().map_err(thrown)
    }
}
