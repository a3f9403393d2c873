//! How a node comes to be: who it is ([`identity`]), who vouches for that ([`authority`], [`certificate`], [`subject`]), and how it is let in
//! ([`token`]). Secrets lie in files that their owner alone may read ([`files`]).

pub mod authority;
pub mod certificate;
pub mod files;
pub mod founding;
pub mod identity;
pub mod init;
pub mod join;
pub mod peers;
pub mod subject;
pub mod token;

use std::path::{Path, PathBuf};

/// Why a node does not come to be.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file cannot be read or written.
    #[error("{verb} {path}", path = path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Others may read a file that holds a secret.
    #[error("{path} has mode {mode:04o}: others may read it; run `chmod 600 {path}`", path = path.display())]
    FileMode {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file is larger than what it holds can be.
    #[error("{path} has {bytes} bytes, at most {max} are allowed", path = path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        max: u64,
    },
    /// The folder holds no node.
    #[error("{path} holds no node: run `dewpond init` or `dewpond join` first", path = path.display())]
    NotInitialised {
        /// Which folder.
        path: PathBuf,
    },
    /// A takeover could not be written down for good, nor taken back.
    #[error(
        "the takeover is in doubt: {path} may be there, and the next start would carry it out; remove it, or start the node to take over",
        path = path.display()
    )]
    TakeoverInDoubt {
        /// Where it may be.
        path: PathBuf,
        /// Why it could not be written.
        source: Box<BootError>,
    },
    /// A file does not say what it should.
    #[error("{what} is not valid: {cause}")]
    Malformed {
        /// Which.
        what: String,
        /// Why.
        cause: String,
    },
    /// A certificate is not what it should be.
    #[error(transparent)]
    Certificate(#[from] certificate::CertificateError),
    /// A key, request or certificate cannot be made.
    #[error("{verb}: {cause}")]
    Make {
        /// What was tried.
        verb: &'static str,
        /// Why it failed.
        cause: String,
    },
}

/// What comes of it, or [`BootError`].
pub type Result<T, E = BootError> = std::result::Result<T, E>;

impl BootError {
    fn io(verb: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { verb, path: path.to_owned(), source }
    }

    pub(crate) fn malformed(what: impl Into<String>, cause: impl ToString) -> Self {
        Self::Malformed { what: what.into(), cause: cause.to_string() }
    }
}
