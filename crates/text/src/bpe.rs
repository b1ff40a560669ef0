//! Learning byte-pair merges from counted words: the fast form of what [`crate::train_trace`] shows slowly.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Two neighbouring token ids.
type Pair = (u32, u32);

/// A pair seen only once would be merged into a token that no model could learn anything about.
const MIN_PAIR_COUNT: u64 = 2;

/// A word of the corpus: its tokens so far, and how often it occurs.
pub(crate) struct Word {
    pub tokens: Vec<u32>,
    pub count: u64,
}

/// A vocabulary learnt by merging: the byte string of each token, and the pairs in the order they were merged.
pub(crate) struct Merges {
    pub tokens: Vec<Vec<u8>>,
    pub pairs: Vec<Pair>,
}

/// Byte-pair encoding (Gage 1994; Sennrich, Haddow and Birch 2016, <https://arxiv.org/abs/1508.07909>): joins the
/// most frequent pair of neighbours into a new token, again and again, until there are `vocab_size` tokens or no
/// pair occurs twice. Ties go to the pair with the smaller ids, as in Hugging Face's trainer, whose merges these are.
///
/// `alphabet` holds the single bytes in the order of their ids. Pairs are counted with overlaps: `aaa` has `aa`
/// twice. `report` hears the number of tokens now and then.
///
/// # Cost
/// A heap of pairs with lazily corrected counts, and for each pair the words it occurs in: a merge touches only those.
pub(crate) fn learn(
    mut words: Vec<Word>,
    alphabet: Vec<Vec<u8>>,
    vocab_size: usize,
    report: &mut dyn FnMut(usize),
) -> Merges {
    let mut ids: HashMap<Vec<u8>, u32> = alphabet.iter().cloned().zip(0..).collect();
    let mut learnt = Merges { tokens: alphabet, pairs: Vec::new() };
    let mut pairs = PairIndex::default();
    for (at, word) in words.iter().enumerate() {
        pairs.add(word, at, |_| true);
    }
    pairs.queue_all();
    let mut merged = HashSet::new();

    while learnt.tokens.len() < vocab_size {
        let Some(pair) = pairs.pop_most_frequent() else { break };
        let text = [learnt.tokens[pair.0 as usize].as_slice(), &learnt.tokens[pair.1 as usize]].concat();
        // "t"+"he" may spell what "th"+"e" already does: then the merge leads to the token that exists.
        let token = *ids.entry(text.clone()).or_insert(learnt.tokens.len() as u32);
        if token as usize == learnt.tokens.len() {
            learnt.tokens.push(text);
        }
        // Through such a detour a pair can come back after it was merged; its place in the order stays the first.
        if merged.insert(pair) {
            learnt.pairs.push(pair);
        }
        pairs.merge_everywhere(&mut words, pair, token);
        if learnt.pairs.len().is_multiple_of(64) {
            report(learnt.tokens.len());
        }
    }
    report(learnt.tokens.len());
    learnt
}

/// How often each pair occurs and in which words, with a queue by frequency.
#[derive(Default)]
struct PairIndex {
    counts: HashMap<Pair, u64>,
    /// Words in which a pair occurs or once occurred: never too few, sometimes too many.
    places: HashMap<Pair, Vec<usize>>,
    /// Counts as they were when queued; an entry that no longer holds is corrected when it comes up.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl PairIndex {
    /// Counts the pairs of a word, and notes where those that `is_new` says are not yet known to be there.
    fn add(&mut self, word: &Word, at: usize, is_new: impl Fn(Pair) -> bool) {
        for pair in neighbours(&word.tokens) {
            *self.counts.entry(pair).or_default() += word.count;
            if !is_new(pair) {
                continue;
            }
            let places = self.places.entry(pair).or_default();
            if places.last() != Some(&at) {
                places.push(at);
            }
        }
    }

    fn subtract(&mut self, word: &Word) {
        for pair in neighbours(&word.tokens) {
            if let Some(count) = self.counts.get_mut(&pair) {
                *count -= word.count;
            }
        }
    }

    fn queue_all(&mut self) {
        let frequent = self.counts.iter().filter(|(_, count)| **count >= MIN_PAIR_COUNT);
        self.queue = frequent.map(|(&pair, &count)| (count, Reverse(pair))).collect();
    }

    fn pop_most_frequent(&mut self) -> Option<Pair> {
        while let Some((queued, Reverse(pair))) = self.queue.pop() {
            let count = self.counts.get(&pair).copied().unwrap_or(0);
            if count == queued {
                return Some(pair);
            }
            if count >= MIN_PAIR_COUNT {
                self.queue.push((count, Reverse(pair)));
            }
        }
        None
    }

    /// Replaces `pair` by `token` in every word, and queues the pairs that this creates.
    fn merge_everywhere(&mut self, words: &mut [Word], pair: Pair, token: u32) {
        let is_new = |found: Pair| found.0 == token || found.1 == token;
        let mut created: Vec<Pair> = Vec::new();
        for at in self.places.remove(&pair).unwrap_or_default() {
            let word = &mut words[at];
            if !neighbours(&word.tokens).any(|found| found == pair) {
                continue;
            }
            self.subtract(word);
            merge_in_place(&mut word.tokens, pair, token);
            self.add(word, at, is_new);
            created.extend(neighbours(&word.tokens).filter(|&found| is_new(found)));
        }
        self.counts.remove(&pair);
        created.sort_unstable();
        created.dedup();
        for pair in created {
            let count = self.counts.get(&pair).copied().unwrap_or(0);
            if count >= MIN_PAIR_COUNT {
                self.queue.push((count, Reverse(pair)));
            }
        }
    }
}

fn neighbours(tokens: &[u32]) -> impl Iterator<Item = Pair> + '_ {
    tokens.windows(2).map(|pair| (pair[0], pair[1]))
}

/// Replaces each occurrence of `pair`, from left to right and without overlaps.
fn merge_in_place(tokens: &mut Vec<u32>, pair: Pair, token: u32) {
    let (mut read, mut write) = (0, 0);
    while read < tokens.len() {
        let found = read + 1 < tokens.len() && (tokens[read], tokens[read + 1]) == pair;
        tokens[write] = if found { token } else { tokens[read] };
        read += if found { 2 } else { 1 };
        write += 1;
    }
    tokens.truncate(write);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn_text(text: &str, vocab_size: usize) -> Vec<String> {
        let alphabet = (0..=255u8).map(|byte| vec![byte]).collect();
        let word = Word { tokens: text.bytes().map(u32::from).collect(), count: 1 };
        let learnt = learn(vec![word], alphabet, vocab_size, &mut |_| {});
        learnt.tokens[256..].iter().map(|token| String::from_utf8(token.clone()).unwrap()).collect()
    }

    #[test]
    fn merges_the_most_frequent_pair_and_breaks_ties_by_id() {
        assert_eq!(learn_text("aaabdaaabac", 259), ["aa", "ab", "aaab"]);
    }

    #[test]
    fn stops_when_no_pair_occurs_twice() {
        assert_eq!(learn_text("aaabdaaabac", 1000), ["aa", "ab", "aaab"]);
        assert!(learn_text("abcdef", 1000).is_empty());
        assert!(learn_text("a", 1000).is_empty());
        assert!(learn_text("", 1000).is_empty());
    }

    #[test]
    fn overlapping_occurrences_merge_from_the_left() {
        let mut tokens = vec![1, 1, 1, 1, 1];
        merge_in_place(&mut tokens, (1, 1), 9);
        assert_eq!(tokens, [9, 9, 1]);
    }

    #[test]
    fn agrees_with_the_slow_trainer_of_the_lesson() {
        for text in ["she sells sea shells by the sea shore", "abababab cdcdcd ababab", "aaaaaaaaaaaaaaaa"] {
            let lesson = crate::train_trace(text, 50).unwrap();
            let slow: Vec<String> = lesson.steps.into_iter().map(|step| step.token).collect();
            assert_eq!(learn_text(text, 256 + slow.len()), slow, "{text}");
        }
    }
}
