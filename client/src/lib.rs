//! The client of Dewpond for applications.

#![forbid(unsafe_code)]
