//! What is said on the wire between clients and servers, and the table of errors.

#![forbid(unsafe_code)]
