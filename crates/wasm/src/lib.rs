//! The engine as JavaScript sees it.
