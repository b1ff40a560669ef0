//! Leaving out texts that are too short, too long, or that were there before: exactly, or nearly.
//!
//! A model that sees a text ten times learns it by heart, and a text that is in both halves of a split makes the
//! validation loss a lie (Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better",
//! <https://arxiv.org/abs/2107.06499>). Texts stream through: the first of several is kept, and of each text that is
//! kept a few hundred bytes stay in memory.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// What a text must be to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterSettings {
    /// Fewer bytes than this are too few. White space around a text does not count.
    pub min_bytes: usize,
    /// More bytes than this are too many.
    pub max_bytes: usize,
    /// Leaves out texts that were there before, byte for byte.
    pub exact: bool,
    /// Leaves out texts that are nearly the same as one before.
    pub near: Option<NearSettings>,
}

impl Default for FilterSettings {
    fn default() -> Self {
        Self { min_bytes: 1, max_bytes: usize::MAX, exact: true, near: None }
    }
}

/// When two texts are nearly the same.
///
/// A text is taken as the set of its runs of `words` words. Two texts are as similar as the Jaccard index of their sets
/// `J = |A ∩ B| / |A ∪ B|`. Over a random order of all runs, the first run of A is that of B with probability J, so the
/// share of `bands · rows` such orders on which they agree estimates J, with a standard deviation of
/// √(J(1 − J) / (bands · rows)) (Broder 1997, "On the resemblance and containment of documents",
/// <https://doi.org/10.1109/SEQUEN.1997.666900>). A text is compared with those before it with which it agrees in all
/// rows of some band, which happens with probability 1 − (1 − J^rows)^bands: with the default settings 0.27 at J = 0.5,
/// 0.92 at 0.7, 0.998 at 0.8 (Leskovec, Rajaraman & Ullman 2014, "Mining of Massive Datasets", chapter 3).
#[derive(Debug, Clone, PartialEq)]
pub struct NearSettings {
    /// The similarity from which on two texts are nearly the same.
    pub threshold: f64,
    /// Words in a run.
    pub words: usize,
    /// Bands.
    pub bands: usize,
    /// Rows in a band.
    pub rows: usize,
    /// From which the random orders come.
    pub seed: u64,
}

impl Default for NearSettings {
    fn default() -> Self {
        Self { threshold: 0.8, words: 3, bands: 20, rows: 6, seed: 1337 }
    }
}

/// What became of a text. Texts are numbered from 0 in the order in which they came, kept or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// It is kept.
    Kept,
    /// It has fewer bytes than it must.
    TooShort,
    /// It has more bytes than it may.
    TooLong,
    /// It was there before.
    Duplicate {
        /// The text that is kept in its place.
        of: usize,
    },
    /// It was nearly there before.
    NearDuplicate {
        /// The text that is kept in its place.
        of: usize,
        /// The estimated similarity.
        similarity: f64,
    },
}

/// How many texts had which verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilterCounts {
    /// Kept.
    pub kept: usize,
    /// Left out for too few bytes.
    pub too_short: usize,
    /// Left out for too many bytes.
    pub too_long: usize,
    /// Left out as there before.
    pub duplicates: usize,
    /// Left out as nearly there before.
    pub near_duplicates: usize,
}

impl fmt::Display for FilterCounts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} texts kept; left out: {} too short, {} too long, {} duplicates, {} near duplicates",
            self.kept, self.too_short, self.too_long, self.duplicates, self.near_duplicates
        )
    }
}

/// Judges texts as they come.
///
/// # Example
/// ```
/// use cloche_text::{FilterSettings, TextFilter, Verdict};
/// let mut filter = TextFilter::new(FilterSettings { min_bytes: 3, ..Default::default() });
/// assert_eq!(filter.judge("a bell of glass"), Verdict::Kept);
/// assert_eq!(filter.judge("ah"), Verdict::TooShort);
/// assert_eq!(filter.judge("a bell of glass\n"), Verdict::Duplicate { of: 0 });
/// assert_eq!(filter.counts().kept, 1);
/// ```
pub struct TextFilter {
    settings: FilterSettings,
    counts: FilterCounts,
    n_texts: usize,
    /// The texts that are kept, by their digest.
    digests: HashMap<u128, usize>,
    near: Option<NearIndex>,
}

impl TextFilter {
    /// A filter that has seen nothing.
    ///
    /// # Panics
    /// If runs have no words, or there is no band or row.
    pub fn new(settings: FilterSettings) -> Self {
        let near = settings.near.clone().map(NearIndex::new);
        Self { settings, counts: FilterCounts::default(), n_texts: 0, digests: HashMap::new(), near }
    }

    /// Judges the next text.
    pub fn judge(&mut self, text: &str) -> Verdict {
        let number = self.n_texts;
        self.n_texts += 1;
        let verdict = self.verdict(text.trim(), number);
        *match verdict {
            Verdict::Kept => &mut self.counts.kept,
            Verdict::TooShort => &mut self.counts.too_short,
            Verdict::TooLong => &mut self.counts.too_long,
            Verdict::Duplicate { .. } => &mut self.counts.duplicates,
            Verdict::NearDuplicate { .. } => &mut self.counts.near_duplicates,
        } += 1;
        verdict
    }

    fn verdict(&mut self, text: &str, number: usize) -> Verdict {
        if text.len() < self.settings.min_bytes {
            return Verdict::TooShort;
        }
        if text.len() > self.settings.max_bytes {
            return Verdict::TooLong;
        }
        // A text that is near another one is not remembered: what equals it is near the same one.
        let digest = fnv1a([text]);
        if let Some(&of) = self.digests.get(&digest) {
            return Verdict::Duplicate { of };
        }
        if let Some(near) = &mut self.near
            && let Some((of, similarity)) = near.find_or_add(text, number)
        {
            return Verdict::NearDuplicate { of, similarity };
        }
        if self.settings.exact {
            self.digests.insert(digest, number);
        }
        Verdict::Kept
    }

    /// How many texts had which verdict so far.
    pub fn counts(&self) -> FilterCounts {
        self.counts
    }
}

/// The signatures of the texts that are kept, and which of them share a band.
struct NearIndex {
    settings: NearSettings,
    /// `bands · rows` numbers for each text that is kept.
    signatures: Vec<u32>,
    /// The number of each text that is kept.
    numbers: Vec<usize>,
    /// The texts that are kept, by the number of a band and what is in it.
    bands: HashMap<u128, Vec<u32>>,
}

impl NearIndex {
    fn new(settings: NearSettings) -> Self {
        let NearSettings { words, bands, rows, .. } = settings;
        assert!(words * bands * rows > 0, "runs of {words} words, {bands} bands of {rows} rows");
        Self { settings, signatures: Vec::new(), numbers: Vec::new(), bands: HashMap::new() }
    }

    /// The text of those before that is most similar, if it is similar enough; otherwise adds this one.
    fn find_or_add(&mut self, text: &str, number: usize) -> Option<(usize, f64)> {
        let signature = self.signature(text);
        let len = signature.len();
        let key = |(band, rows): (usize, &[u32])| {
            rows.iter().fold(band as u128, |key, &row| fnv_step(key, &row.to_le_bytes()))
        };
        let keys: Vec<u128> = signature.chunks(self.settings.rows).enumerate().map(key).collect();
        let mut best: Option<(u32, usize)> = None;
        let mut compared = HashSet::new();
        for &candidate in keys.iter().filter_map(|key| self.bands.get(key)).flatten() {
            if !compared.insert(candidate) {
                continue;
            }
            let other = &self.signatures[candidate as usize * len..][..len];
            let agree = signature.iter().zip(other).filter(|(a, b)| a == b).count();
            if best.is_none_or(|(_, most)| agree > most) {
                best = Some((candidate, agree));
            }
        }
        if let Some((candidate, agree)) = best {
            let similarity = agree as f64 / len as f64;
            if similarity >= self.settings.threshold {
                return Some((self.numbers[candidate as usize], similarity));
            }
        }
        let place = self.numbers.len() as u32;
        for key in keys {
            match self.bands.entry(key) {
                Entry::Occupied(mut texts) => texts.get_mut().push(place),
                Entry::Vacant(empty) => drop(empty.insert(vec![place])),
            }
        }
        self.numbers.push(number);
        self.signatures.extend(signature);
        None
    }

    /// For each random order, the smallest number that a run of the text has in it. The order is that of a word of
    /// Philox's output with the run as counter, of which each call gives four.
    fn signature(&self, text: &str) -> Vec<u32> {
        let NearSettings { words: n_words, bands, rows, seed, .. } = self.settings;
        let key = [seed as u32, (seed >> 32) as u32];
        let lower = text.to_lowercase();
        let words = words(&lower);
        let mut signature = vec![u32::MAX; bands * rows];
        for run in words.windows(n_words.min(words.len()).max(1)) {
            let run = fnv1a(run.iter().copied()) as u64;
            for (block, smallest) in signature.chunks_mut(4).enumerate() {
                let drawn = philox([run as u32, (run >> 32) as u32, block as u32, 0], key);
                for (smallest, drawn) in smallest.iter_mut().zip(drawn) {
                    *smallest = drawn.min(*smallest);
                }
            }
        }
        signature
    }
}

/// The words of a text, without what is between them. Scripts that do not separate words count letter by letter; a text
/// without words is one word.
fn words(text: &str) -> Vec<&str> {
    // From the radicals of Chinese on; Thai and its neighbours are the last scripts before that do without spaces.
    let stands_alone = |letter: char| letter >= '\u{2e80}' || ('\u{e00}'..'\u{1000}').contains(&letter);
    let mut words = Vec::new();
    let mut start = None;
    for (at, letter) in text.char_indices() {
        if letter.is_alphanumeric() && !stands_alone(letter) {
            start.get_or_insert(at);
            continue;
        }
        words.extend(start.take().map(|start| &text[start..at]));
        if letter.is_alphanumeric() {
            words.push(&text[at..at + letter.len_utf8()]);
        }
    }
    words.extend(start.map(|start| &text[start..]));
    if words.is_empty() {
        words.push(text);
    }
    words
}

/// FNV-1a with 128 bits (Fowler, Noll & Vo, <http://www.isthe.com/chongo/tech/comp/fnv/>) of parts, each with its end:
/// the digest by which texts are told apart. It keeps chance away, not intent.
fn fnv1a<'t>(parts: impl IntoIterator<Item = &'t str>) -> u128 {
    let basis = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    // No text has this byte.
    parts.into_iter().fold(basis, |hash, part| fnv_step(fnv_step(hash, part.as_bytes()), &[0xff]))
}

fn fnv_step(hash: u128, bytes: &[u8]) -> u128 {
    let prime = (1 << 88) + 0x13b;
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(prime))
}

/// Philox4x32-10 (Salmon et al. 2011), the generator of the whole project; this crate does not know the one of tensors.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [left, right] = [(0xd251_1f53, counter[0]), (0xcd9e_8d57, counter[2])]
            .map(|(factor, word): (u64, u32)| factor * u64::from(word));
        let [_, second, _, fourth] = counter;
        counter = [
            (right >> 32) as u32 ^ second ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ fourth ^ key[1],
            left as u32,
        ];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // Salmon et al.'s test vectors.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        // Test vectors of the authors.
        let basis = fnv1a([]);
        assert_eq!(fnv_step(basis, b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(fnv_step(basis, b"foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
        assert_ne!(fnv1a(["ab", "c"]), fnv1a(["a", "bc"]));
    }

    #[test]
    fn words_of_several_scripts() {
        assert_eq!(words("It's 12 o'clock — naïve, isn't it?").join(" "), "It s 12 o clock naïve isn t it");
        assert_eq!(words("我能吞glass下"), ["我", "能", "吞", "glass", "下"]);
        assert_eq!(words("... !"), ["... !"]);
        assert_eq!(words("end"), ["end"]);
    }
}
