//! The tokenizer as JavaScript sees it: a second, lazily loaded module.
