//! The project's pages. This package holds no code, only the test in `tests/tidy.rs`.
#![forbid(unsafe_code)]
