//! The server `dewpond`.

#![forbid(unsafe_code)]

fn main() {}
