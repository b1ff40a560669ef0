//! The engine as JavaScript sees it.

mod self_test;
