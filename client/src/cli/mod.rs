//! The command line `dew`.
