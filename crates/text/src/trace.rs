//! A look inside: how a text is split into tokens, and how a vocabulary is learnt, step by step.

use crate::{TextError, Tokenizer};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use tokenizers::{
    Model, ModelWrapper, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

/// A trace is for reading; of a longer text only this many characters are traced.
const MAX_TRACED: usize = 10_000;

/// How a text becomes tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace {
    /// The text that was traced, at most its first 10,000 characters.
    pub text: String,
    /// The pieces it is cut into first; a merge never crosses from one to the next.
    pub pieces: Vec<Piece>,
}

/// A piece of the text on its way through the merges.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Piece {
    /// The piece as it stands in the text.
    pub text: String,
    /// The symbols that merging starts from, as they stand in the vocabulary (a space is `Ġ`).
    pub symbols: Vec<String>,
    /// The merges, in the order they are applied.
    pub steps: Vec<MergeStep>,
    /// The tokens in the end.
    pub tokens: Vec<TraceToken>,
}

/// One merge, applied wherever the pair stands in the piece.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MergeStep {
    /// The left neighbour.
    pub left: String,
    /// The right neighbour.
    pub right: String,
    /// The place of this merge in the order in which merges were learnt: the lowest goes first.
    pub rank: usize,
    /// The piece after the merge.
    pub symbols: Vec<String>,
}

/// A token of the result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TraceToken {
    /// Its id.
    pub id: u32,
    /// The token as it stands in the vocabulary.
    pub token: String,
    /// The token as it looks in a text.
    pub text: String,
}

impl Tokenizer {
    /// Shows how a text is split and merged. Pipelines other than plain BPE show their pieces and tokens, but no
    /// merges.
    pub fn trace(&self, text: &str) -> Trace {
        let text: String = text.chars().take(MAX_TRACED).collect();
        let ranks = self.merge_ranks();
        let mut split = PreTokenizedString::from(text.as_str());
        if let Some(normalizer) = self.hf.get_normalizer() {
            // A step that refuses the text leaves it as it was; encoding does the same.
            let _ = split.normalize(|piece| normalizer.normalize(piece));
        }
        if let Some(pre_tokenizer) = self.hf.get_pre_tokenizer() {
            let _ = pre_tokenizer.pre_tokenize(&mut split);
        }
        let pieces = split
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .filter(|(symbols, _, _)| !symbols.is_empty())
            .map(|(symbols, (start, end), _)| {
                let piece = text.get(start..end).unwrap_or(symbols);
                self.trace_piece(piece, symbols, ranks.as_ref())
            })
            .collect();
        Trace { text, pieces }
    }

    fn trace_piece(&self, text: &str, symbols: &str, ranks: Option<&MergeRanks>) -> Piece {
        let ids = self.hf.get_model().tokenize(symbols).unwrap_or_default();
        let tokens = ids
            .into_iter()
            .map(|token| TraceToken { id: token.id, text: self.token_text(token.id), token: token.value })
            .collect();
        let unk = self.unk_token().filter(|unk| !unk.is_empty());
        let known = |symbol: String| match self.token_id(&symbol) {
            Some(_) => Some(symbol),
            None => unk.map(String::from),
        };
        let symbols: Vec<String> = symbols.chars().map(String::from).filter_map(known).collect();
        let steps = ranks.map_or_else(Vec::new, |ranks| merge_steps(symbols.clone(), ranks));
        Piece { text: text.to_string(), symbols, steps, tokens }
    }

    /// The order of the merges, if the model is BPE without the variations that change how merging starts.
    fn merge_ranks(&self) -> Option<MergeRanks> {
        let ModelWrapper::BPE(bpe) = self.hf.get_model() else { return None };
        let has = |affix: &Option<String>| affix.as_ref().is_some_and(|affix| !affix.is_empty());
        let varied = bpe.ignore_merges || bpe.byte_fallback || bpe.fuse_unk;
        if varied || has(&bpe.continuing_subword_prefix) || has(&bpe.end_of_word_suffix) {
            return None;
        }
        // The library does not hand its merges out; they stand in the file.
        let pipeline: Value = serde_json::from_str(self.json()).ok()?;
        let pair = |merge: &Value| match merge {
            Value::String(line) if line.starts_with("#version") => None,
            Value::String(line) => {
                line.split_once(' ').map(|(left, right)| (left.to_string(), right.to_string()))
            }
            pair => Some((pair[0].as_str()?.to_string(), pair[1].as_str()?.to_string())),
        };
        let merges = pipeline["model"]["merges"].as_array()?.iter().filter_map(pair);
        Some(merges.zip(0..).collect())
    }
}

type MergeRanks = HashMap<(String, String), usize>;

/// Applies the pair of lowest rank, wherever it stands, until no neighbours can be merged.
fn merge_steps(mut symbols: Vec<String>, ranks: &MergeRanks) -> Vec<MergeStep> {
    let mut steps = Vec::new();
    loop {
        let pairs = symbols.windows(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        let known = pairs.filter_map(|pair| ranks.get(&pair).map(|&rank| (rank, pair)));
        let Some((rank, (left, right))) = known.min_by_key(|(rank, _)| *rank) else { return steps };
        symbols = merge(&symbols, &left, &right);
        steps.push(MergeStep { left, right, rank, symbols: symbols.clone() });
    }
}

/// Joins the two neighbours wherever they stand, from left to right.
fn merge(symbols: &[String], left: &str, right: &str) -> Vec<String> {
    let mut merged = Vec::with_capacity(symbols.len());
    let mut rest = symbols.iter().peekable();
    while let Some(symbol) = rest.next() {
        match rest.peek() {
            Some(next) if symbol == left && *next == right => {
                merged.push(format!("{left}{right}"));
                rest.next();
            }
            _ => merged.push(symbol.clone()),
        }
    }
    merged
}

/// How a vocabulary is learnt from a short text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainTrace {
    /// The symbols at the start: the characters of the text.
    pub symbols: Vec<String>,
    /// The merges in the order they are learnt.
    pub steps: Vec<TrainStep>,
}

/// One merge being learnt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainStep {
    /// The left neighbour of the most frequent pair.
    pub left: String,
    /// The right neighbour.
    pub right: String,
    /// How often the pair was there, overlaps counted: `aaa` has `aa` twice.
    pub count: usize,
    /// The new token: the two joined.
    pub token: String,
    /// A letter that stands for the new token, one that the text does not have: Z, then Y, then X.
    pub letter: char,
    /// The text after the merge.
    pub symbols: Vec<String>,
    /// The text after the merge, each new token written as its letter.
    pub compressed: String,
}

/// Byte-pair encoding as its inventor described it (Gage 1994), for looking at: find the most frequent pair of
/// neighbours, give it a letter of its own, replace it everywhere, repeat, at most `n_merges` times or until no pair
/// occurs twice. Ties go to the pair whose symbols are older. Unlike the tokenizer it does not stop at words.
///
/// # Errors
/// [`TextError::Empty`] for a text without a character.
///
/// # Cost
/// Reads the whole text for each merge; only the first 10,000 characters are taken.
///
/// # Example
/// ```
/// let lesson = cloche_text::train_trace("aaabdaaabac", 10).unwrap();
/// let lines: Vec<_> = lesson.steps.iter().map(|step| step.compressed.as_str()).collect();
/// assert_eq!(lines, ["ZabdZabac", "ZYdZYac", "XdXac"]);
/// ```
pub fn train_trace(text: &str, n_merges: usize) -> Result<TrainTrace, TextError> {
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    let symbols: Vec<String> = text.chars().take(MAX_TRACED).map(String::from).collect();
    // The age of a symbol decides ties: characters by code point, then the tokens as they come.
    let mut vocab = symbols.clone();
    vocab.sort();
    vocab.dedup();
    let mut letters = ('A'..='Z').rev().chain('\u{100}'..).filter(|&letter| !text.contains(letter));
    let mut written: HashMap<String, char> = HashMap::new();

    let mut lesson = TrainTrace { symbols, steps: Vec::new() };
    while lesson.steps.len() < n_merges {
        // 1. Count the pairs and take the most frequent.
        let symbols = lesson.steps.last().map_or(&lesson.symbols, |step| &step.symbols);
        let Some(((left, right), count)) = most_frequent_pair(symbols, &vocab) else { break };
        // 2. Give it a name.
        let token = format!("{left}{right}");
        let Some(letter) = letters.next() else { break };
        written.entry(token.clone()).or_insert(letter);
        if !vocab.contains(&token) {
            vocab.push(token.clone());
        }
        // 3. Replace it everywhere.
        let symbols = merge(symbols, &left, &right);
        let compressed = symbols
            .iter()
            .map(|symbol| written.get(symbol).map_or_else(|| symbol.clone(), char::to_string))
            .collect();
        lesson.steps.push(TrainStep { left, right, count, token, letter, symbols, compressed });
    }
    Ok(lesson)
}

/// The pair of neighbours that occurs most often, if one occurs twice.
fn most_frequent_pair(symbols: &[String], vocab: &[String]) -> Option<((String, String), usize)> {
    let ages: HashMap<&str, usize> = vocab.iter().map(String::as_str).zip(0..).collect();
    let mut counts: HashMap<(usize, usize), usize> = HashMap::new();
    for pair in symbols.windows(2) {
        *counts.entry((ages[pair[0].as_str()], ages[pair[1].as_str()])).or_default() += 1;
    }
    let (pair, count) = counts.into_iter().max_by_key(|&(pair, count)| (count, std::cmp::Reverse(pair)))?;
    (count >= 2).then(|| ((vocab[pair.0].clone(), vocab[pair.1].clone()), count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenizerKind;

    /// The example by which byte-pair encoding is usually explained
    /// (<https://en.wikipedia.org/wiki/Byte_pair_encoding>).
    #[test]
    fn the_classic_example_step_by_step() {
        let lesson = train_trace("aaabdaaabac", 10).unwrap();
        assert_eq!(lesson.symbols.concat(), "aaabdaaabac");
        let steps: Vec<_> = lesson
            .steps
            .iter()
            .map(|step| {
                let pair = (step.left.as_str(), step.right.as_str());
                (pair, step.count, step.letter, step.token.as_str(), step.compressed.as_str())
            })
            .collect();
        assert_eq!(
            steps,
            [
                (("a", "a"), 4, 'Z', "aa", "ZabdZabac"),
                (("a", "b"), 2, 'Y', "ab", "ZYdZYac"),
                (("aa", "ab"), 2, 'X', "aaab", "XdXac"),
            ]
        );
        assert_eq!(lesson.steps[2].symbols, ["aaab", "d", "aaab", "a", "c"]);
    }

    #[test]
    fn a_lesson_ends_where_nothing_repeats() {
        assert_eq!(train_trace("", 3), Err(TextError::Empty));
        assert!(train_trace("a", 3).unwrap().steps.is_empty());
        assert!(train_trace("abcdef", 3).unwrap().steps.is_empty());
        assert_eq!(train_trace("abababab", 1).unwrap().steps.len(), 1);
        // Letters of the text are not used as names.
        let letters: String =
            train_trace("ZXZXZX", 2).unwrap().steps.iter().map(|step| step.letter).collect();
        assert_eq!(letters, "YW");
    }

    #[test]
    fn a_trace_shows_pieces_then_merges_by_rank() {
        let vocab_size = 256 + 1 + 3;
        let tokenizer =
            Tokenizer::train(TokenizerKind::Bpe { vocab_size }, ["the cat the cat the hat"]).unwrap();
        let trace = tokenizer.trace("the chat");
        let pieces: Vec<_> = trace.pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(pieces, ["the", " chat"]);

        let first = &trace.pieces[0];
        assert_eq!(first.symbols, ["t", "h", "e"]);
        let steps: Vec<_> = first.steps.iter().map(|step| (step.rank, step.symbols.join("|"))).collect();
        assert_eq!(steps, [(1, "t|he".to_string()), (2, "the".to_string())]);
        assert_eq!((first.tokens[0].text.as_str(), first.tokens.len()), ("the", 1));

        let second = &trace.pieces[1];
        assert_eq!(second.symbols.join("|"), "Ġ|c|h|a|t");
        assert_eq!(second.steps.len(), 1);
        assert_eq!((second.steps[0].left.as_str(), second.steps[0].right.as_str()), ("a", "t"));
        assert_eq!(second.tokens[0].text, " ");
    }

    #[test]
    fn the_end_of_a_trace_is_what_encoding_gives() {
        let text = "Peter Piper picked a peck of pickled peppers;\n\na peck of pickled peppers Peter Piper picked! é🙂";
        for kind in ["char", "byte", "bpe:257", "bpe:280"] {
            let tokenizer = Tokenizer::train(kind.parse().unwrap(), [text]).unwrap();
            let trace = tokenizer.trace(text);
            let tokens = trace.pieces.iter().flat_map(|piece| &piece.tokens);
            assert_eq!(tokens.map(|token| token.id).collect::<Vec<_>>(), tokenizer.encode(text), "{kind}");
            for piece in &trace.pieces {
                let last = piece.steps.last().map_or(&piece.symbols, |step| &step.symbols);
                assert!(last.iter().eq(piece.tokens.iter().map(|token| &token.token)), "{kind}: {piece:?}");
            }
            let joined: String = trace.pieces.iter().map(|piece| piece.text.as_str()).collect();
            assert_eq!(joined, text);
        }
        let long = "word ".repeat(5_000);
        let tokenizer = Tokenizer::train(TokenizerKind::Byte, [&long]).unwrap();
        assert_eq!(tokenizer.trace(&long).text.len(), MAX_TRACED);
    }
}
