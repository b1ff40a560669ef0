//! Text to ids and back: character, byte and BPE tokenizers, with a trace of how a text is split.
