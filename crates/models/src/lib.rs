//! Architectures, key/value cache, sampling and generation.
