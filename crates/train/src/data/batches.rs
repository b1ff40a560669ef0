//! Batches: random windows to train on, windows side by side to evaluate with.

pub use cloche_nn::loss::IGNORE_INDEX;
use cloche_tensor::rng::{Rng, stream_id};

use super::{DataError, Tokens};

/// Random windows of a text, as in Karpathy's nanoGPT (2022, <https://github.com/karpathy/nanoGPT>).
///
/// Row `row` of step `step` begins at a place drawn evenly from all `len − T` places where a window of `T` tokens and
/// the one after it fit. The place is a function of seed, step and row, so there is no cursor to save: a resumed run
/// goes on with the step's number alone.
pub struct Batches<T> {
    tokens: T,
    batch_size: usize,
    context_len: usize,
    seed: u64,
}

impl<T: Tokens> Batches<T> {
    /// Batches of shape `(B, T)`: `batch_size` windows of `context_len` tokens.
    ///
    /// # Errors
    ///
    /// [`DataError::TooShort`] where not even one window and the token after it fit.
    pub fn new(tokens: T, batch_size: usize, context_len: usize, seed: u64) -> Result<Batches<T>, DataError> {
        let (len, needed) = (tokens.len(), context_len + 1);
        if len < needed {
            return Err(DataError::TooShort { len, context_len, needed });
        }
        Ok(Batches { tokens, batch_size, context_len, seed })
    }

    /// Where row `row` of step `step` begins.
    pub fn start(&self, step: u64, row: usize) -> usize {
        let number = step * self.batch_size as u64 + row as u64;
        // Each draw takes two words of the stream.
        let mut rng = Rng::new(self.seed, stream_id("batches")).at(2 * number);
        rng.below((self.tokens.len() - self.context_len) as u64) as usize
    }

    /// Writes the batch of a step: inputs into `x`, the tokens that follow them into `y`.
    ///
    /// Where a step accumulates gradients over several micro-batches, each of them counts as a step here.
    ///
    /// # Shapes
    ///
    /// `x` and `y`: `(B, T)`, row by row.
    ///
    /// # Errors
    ///
    /// Those of the tokens.
    ///
    /// # Panics
    ///
    /// Where `x` or `y` has another size.
    pub fn fill(&self, step: u64, x: &mut [u32], y: &mut [u32]) -> Result<(), DataError> {
        assert_shape("Batches::fill", self.batch_size, self.context_len, x, y);
        let rows = x.chunks_exact_mut(self.context_len).zip(y.chunks_exact_mut(self.context_len));
        for (row, (x, y)) in rows.enumerate() {
            read_window(&self.tokens, self.start(step, row), x, y)?;
        }
        Ok(())
    }
}

/// Windows side by side, from the first token to the last: the same ones at each evaluation.
///
/// Each token but the first is predicted exactly once where all windows are taken. Where the number of batches is
/// bounded, the windows that are taken lie evenly over the whole text. The last window may be shorter; what is
/// missing is filled up with [`IGNORE_INDEX`], and so are missing rows of the last batch.
pub struct Windows<T> {
    tokens: T,
    batch_size: usize,
    context_len: usize,
    /// Windows in the text, and how many of them are taken.
    windows: usize,
    taken: usize,
}

impl<T: Tokens> Windows<T> {
    /// Batches of shape `(B, T)`, at most `max_batches` of them where that is given.
    ///
    /// # Errors
    ///
    /// [`DataError::TooShort`] where there are not two tokens: one to read, one to predict.
    pub fn new(
        tokens: T,
        batch_size: usize,
        context_len: usize,
        max_batches: Option<usize>,
    ) -> Result<Windows<T>, DataError> {
        let len = tokens.len();
        if len < 2 {
            return Err(DataError::TooShort { len, context_len, needed: 2 });
        }
        let windows = (len - 1).div_ceil(context_len);
        let taken = max_batches.map_or(windows, |max| windows.min(max.saturating_mul(batch_size)));
        Ok(Windows { tokens, batch_size, context_len, windows, taken })
    }

    /// Number of batches.
    pub fn len(&self) -> usize {
        self.taken.div_ceil(self.batch_size)
    }

    /// Whether there are no batches, which is so where `max_batches` was 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes batch number `batch`, and returns how many of its targets count.
    ///
    /// # Shapes
    ///
    /// `x` and `y`: `(B, T)`, row by row.
    ///
    /// # Errors
    ///
    /// Those of the tokens.
    ///
    /// # Panics
    ///
    /// Where `x` or `y` has another size, or there is no such batch.
    pub fn fill(&self, batch: usize, x: &mut [u32], y: &mut [u32]) -> Result<usize, DataError> {
        assert_shape("Windows::fill", self.batch_size, self.context_len, x, y);
        assert!(batch < self.len(), "Windows::fill: batch {batch} of {}", self.len());
        x.fill(0);
        y.fill(IGNORE_INDEX);
        let mut targets = 0;
        let rows = x.chunks_exact_mut(self.context_len).zip(y.chunks_exact_mut(self.context_len));
        for (row, (x, y)) in rows.enumerate() {
            let number = batch * self.batch_size + row;
            if number >= self.taken {
                break;
            }
            // The products stay far below 2⁶⁴, but a usize of wasm has 32 bits.
            let window = (number as u64 * self.windows as u64 / self.taken as u64) as usize;
            let start = window * self.context_len;
            let count = self.context_len.min(self.tokens.len() - 1 - start);
            read_window(&self.tokens, start, &mut x[..count], &mut y[..count])?;
            targets += count;
        }
        Ok(targets)
    }
}

/// Reads `x` from `start` on, and `y` from one token later on.
fn read_window(tokens: &impl Tokens, start: usize, x: &mut [u32], y: &mut [u32]) -> Result<(), DataError> {
    tokens.read(start, x)?;
    // What they share need not be read twice from a file.
    let last = y.len() - 1;
    y[..last].copy_from_slice(&x[1..]);
    tokens.read(start + x.len(), &mut y[last..])
}

fn assert_shape(who: &str, batch_size: usize, context_len: usize, x: &[u32], y: &[u32]) {
    let numel = batch_size * context_len;
    assert!(
        x.len() == numel && y.len() == numel,
        "{who}: x holds {} and y {} ids, expected ({batch_size}, {context_len})",
        x.len(),
        y.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TokenBuffer;

    fn counting(len: u32) -> TokenBuffer {
        TokenBuffer::from_ids(&(0..len).collect::<Vec<_>>(), len as usize)
    }

    fn filled<T: Tokens>(batches: &Batches<T>, step: u64) -> (Vec<u32>, Vec<u32>) {
        let numel = batches.batch_size * batches.context_len;
        let (mut x, mut y) = (vec![0; numel], vec![0; numel]);
        batches.fill(step, &mut x, &mut y).unwrap();
        (x, y)
    }

    #[test]
    fn y_is_x_one_token_later() {
        let tokens = counting(1000);
        let batches = Batches::new(&tokens, 12, 64, 1337).unwrap();
        for step in 0..50 {
            let (x, y) = filled(&batches, step);
            for (row, x) in x.chunks(64).enumerate() {
                assert_eq!(x[0] as usize, batches.start(step, row));
                assert!(x.windows(2).all(|pair| pair[0] + 1 == pair[1]));
            }
            assert!(x.iter().zip(&y).all(|(x, y)| x + 1 == *y));
        }
    }

    #[test]
    fn a_step_is_the_same_whenever_it_is_asked_for() {
        let tokens = counting(1000);
        let batches = Batches::new(&tokens, 4, 8, 1).unwrap();
        let first: Vec<_> = (0..10).map(|step| filled(&batches, step)).collect();
        let again = Batches::new(&tokens, 4, 8, 1).unwrap();
        for step in (0..10).rev() {
            assert_eq!(filled(&again, step), first[step as usize]);
        }
        assert_ne!(filled(&Batches::new(&tokens, 4, 8, 2).unwrap(), 0), first[0]);
        assert!(first.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn every_place_is_drawn_evenly_and_the_last_one_too() {
        let tokens = counting(14);
        let batches = Batches::new(&tokens, 10, 4, 3).unwrap();
        let mut counts = [0u32; 10];
        for step in 0..2000 {
            (0..10).for_each(|row| counts[batches.start(step, row)] += 1);
        }
        // 2,000 ± 42 each.
        assert!(counts.iter().all(|n| n.abs_diff(2000) < 210), "{counts:?}");
    }

    #[test]
    fn a_context_longer_than_the_text_is_refused() {
        let message =
            |len, context_len| Batches::new(counting(len), 1, context_len, 0).map(|_| ()).unwrap_err();
        assert_eq!(message(37, 64).to_string(), "text has 37 tokens, context_len 64 needs at least 65");
        assert!(Batches::new(counting(65), 1, 64, 0).is_ok());
        let error = Windows::new(counting(1), 1, 64, None).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "text has 1 tokens, context_len 64 needs at least 2");
    }

    #[test]
    fn windows_predict_each_token_once() {
        for len in [2, 3, 4, 5, 9, 13, 30, 31] {
            let windows = Windows::new(counting(len), 3, 4, None).unwrap();
            let (mut x, mut y) = (vec![0; 12], vec![0; 12]);
            let mut predicted = Vec::new();
            for batch in 0..windows.len() {
                let before = predicted.len();
                let targets = windows.fill(batch, &mut x, &mut y).unwrap();
                for (x, y) in x.iter().zip(&y).filter(|(_, y)| **y != IGNORE_INDEX) {
                    assert_eq!(x + 1, *y);
                    predicted.push(*y);
                }
                assert_eq!(predicted.len() - before, targets);
            }
            assert_eq!(predicted, (1..len).collect::<Vec<_>>(), "{len} tokens");
        }
    }

    #[test]
    fn bounded_windows_lie_over_the_whole_text() {
        let windows = Windows::new(counting(4001), 5, 4, Some(2)).unwrap();
        let (mut x, mut y) = (vec![0; 20], vec![0; 20]);
        let mut starts: Vec<u32> = Vec::new();
        for batch in 0..windows.len() {
            assert_eq!(windows.fill(batch, &mut x, &mut y).unwrap(), 20);
            starts.extend(x.iter().copied().step_by(4));
        }
        assert_eq!(starts, (0..10).map(|i| i * 400).collect::<Vec<_>>());
        assert!(Windows::new(counting(9), 5, 4, Some(0)).unwrap().is_empty());
    }
}
