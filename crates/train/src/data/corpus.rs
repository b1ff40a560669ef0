//! What a run learns from and what it is judged by, with a name for both together.

use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::{DataError, Tokens};

/// Ids that the fingerprint reads at once.
const BLOCK: usize = 1 << 14;

/// The token streams of a run. Cloning is cheap and yields the same streams.
#[derive(Clone)]
pub struct Corpus {
    /// The training split.
    pub train: Rc<dyn Tokens>,
    /// The held-out split.
    pub val: Rc<dyn Tokens>,
    /// Where the text's own probability is known: its entropy, in nats per token.
    pub floor: Option<f32>,
    fingerprint: String,
}

impl Corpus {
    /// Reads both splits once, to know them again when a run is resumed.
    ///
    /// # Errors
    ///
    /// Those of the tokens.
    pub fn new(
        train: Rc<dyn Tokens>,
        val: Rc<dyn Tokens>,
        vocab_size: usize,
        floor: Option<f32>,
    ) -> Result<Corpus, DataError> {
        let fingerprint = fingerprint(vocab_size, &[&*train, &*val])?;
        Ok(Corpus { train, val, floor, fingerprint })
    }

    /// Identifies the data: equal where vocabulary size and all ids are equal.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// SHA-256 over the vocabulary's size and, for each split, its length and its ids.
fn fingerprint(vocab_size: usize, splits: &[&dyn Tokens]) -> Result<String, DataError> {
    let mut hash = Sha256::new();
    hash.update((vocab_size as u64).to_le_bytes());
    let (mut ids, mut bytes) = (vec![0; BLOCK], Vec::with_capacity(4 * BLOCK));
    for tokens in splits {
        hash.update((tokens.len() as u64).to_le_bytes());
        for start in (0..tokens.len()).step_by(BLOCK) {
            let ids = &mut ids[..BLOCK.min(tokens.len() - start)];
            tokens.read(start, ids)?;
            bytes.clear();
            bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
            hash.update(&bytes);
        }
    }
    Ok(crate::checkpoint::hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TokenBuffer;

    #[test]
    fn a_fingerprint_tells_one_token_apart() {
        let ids: Vec<u32> = (0..BLOCK as u32 + 10).map(|i| i % 60).collect();
        let of = |train: &[u32], val: &[u32], vocab_size| {
            let tokens = |ids| Rc::new(TokenBuffer::from_ids(ids, vocab_size));
            Corpus::new(tokens(train), tokens(val), vocab_size, None).unwrap().fingerprint().to_string()
        };
        let original = of(&ids, &[1, 2], 60);
        assert_eq!(original, of(&ids, &[1, 2], 60));
        assert_eq!(original.len(), 64);
        let mut other = ids.clone();
        *other.last_mut().unwrap() += 1;
        assert_ne!(original, of(&other, &[1, 2], 60));
        assert_ne!(original, of(&ids, &[1, 2], 61));
        // The same ids, cut elsewhere.
        assert_ne!(of(&[1, 2, 3], &[4, 5], 60), of(&[1, 2], &[3, 4, 5], 60));
    }
}
