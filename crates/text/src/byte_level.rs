//! GPT-2's view of a text: words that carry their leading space, and an alphabet in which each byte is a letter.
//!
//! A byte-level tokenizer never meets an unknown character, since there are only 256 bytes. So that bytes can stand
//! in a JSON file and be seen, each is shown as a printable character: the space as `Ġ`, the newline as `Ċ`
//! (Radford et al. 2019, <https://github.com/openai/gpt-2/blob/master/src/encoder.py>).

use std::sync::LazyLock;
use tokenizers::utils::SysRegex;

/// GPT-2's pattern for words: English contractions, then letters, digits or signs with the space before them, then
/// white space, of which the last one is left to the word that follows.
static WORD: LazyLock<SysRegex> = LazyLock::new(|| {
    let pattern = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    SysRegex::new(pattern).expect("the pattern is a constant")
});

/// The bytes in the order of their ids: those that are printable as they are, then the others.
const ORDER: [u8; 256] = order();

const fn order() -> [u8; 256] {
    let mut order = [0; 256];
    let (mut place, mut pass) = (0, 0);
    while pass < 2 {
        let mut byte = 0;
        while byte < 256 {
            if is_printable(byte as u8) == (pass == 0) {
                order[place] = byte as u8;
                place += 1;
            }
            byte += 1;
        }
        pass += 1;
    }
    order
}

const fn is_printable(byte: u8) -> bool {
    matches!(byte, 33..=126 | 161..=172 | 174..=255)
}

/// The inverse of [`ORDER`].
const IDS: [u8; 256] = {
    let mut ids = [0; 256];
    let mut id = 0;
    while id < 256 {
        ids[ORDER[id] as usize] = id as u8;
        id += 1;
    }
    ids
};

/// How many bytes are printable as they are.
const N_PRINTABLE: u32 = 94 + 12 + 82;

/// The 256 bytes as tokens, by id.
pub(crate) fn alphabet() -> Vec<Vec<u8>> {
    ORDER.iter().map(|&byte| vec![byte]).collect()
}

/// The id of each byte of `text` in the alphabet.
pub(crate) fn ids(text: &str) -> Vec<u32> {
    text.bytes().map(|byte| u32::from(IDS[byte as usize])).collect()
}

/// Shows bytes in the printable alphabet: `b" the"` as `Ġthe`.
pub(crate) fn show(bytes: &[u8]) -> String {
    let letter = |&byte: &u8| match u32::from(IDS[byte as usize]) {
        _ if is_printable(byte) => char::from(byte),
        id => char::from_u32(256 + id - N_PRINTABLE).unwrap_or(char::REPLACEMENT_CHARACTER),
    };
    bytes.iter().map(letter).collect()
}

/// The bytes that a token shows; a token with a letter from outside the alphabet, as special tokens may have, stands
/// for its own text.
pub(crate) fn read(token: &str) -> Vec<u8> {
    let byte = |letter: char| match letter as u32 {
        code @ 0..256 => Some(code as u8).filter(|&byte| is_printable(byte)),
        code => ORDER.get((code - 256 + N_PRINTABLE) as usize).copied(),
    };
    token.chars().map(byte).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

/// Splits a text into words, all of it: joined again they are the text.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut end = 0;
    let mut matches = WORD.find_iter(text);
    std::iter::from_fn(move || {
        if end == text.len() {
            return None;
        }
        // Every character begins a match; should the regex engine give up, the rest is one long word.
        let start = end;
        end = matches.next().map_or(text.len(), |(_, end)| end);
        Some(&text[start..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_letter_of_its_own() {
        assert_eq!(ORDER.iter().filter(|&&byte| is_printable(byte)).count(), N_PRINTABLE as usize);
        for byte in 0..=255u8 {
            let shown = show(&[byte]);
            assert_eq!(shown.chars().count(), 1);
            assert_eq!(read(&shown), [byte], "{shown}");
        }
        assert_eq!(show(b" the\n"), "ĠtheĊ");
        assert_eq!(show("é".as_bytes()), "Ã©");
        assert_eq!(read("a b"), b"a b"); // a space is no letter of the alphabet
        assert_eq!(ids("!\0"), [0, 188]); // as in GPT-2
    }

    #[test]
    fn words_carry_their_leading_space() {
        let split = |text| words(text).collect::<Vec<_>>();
        assert_eq!(split("I'll go,  you  2"), ["I", "'ll", " go", ",", " ", " you", " ", " 2"]);
        assert_eq!(split("a\n\nb\n"), ["a", "\n", "\n", "b", "\n"]);
        assert_eq!(split("好的 ok"), ["好的", " ok"]);
        assert!(split("").is_empty());
    }
}
