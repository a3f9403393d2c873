//! Where peers were found last: what a node dials before it can read the meta group.

use super::{BootError, Result, files};
use engine::ids::NodeId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes of the file at most.
const BYTES_MAX: u64 = 1 << 20;

/// Addresses by node.
pub type Known = BTreeMap<NodeId, PeerAddresses>;

/// Where a node is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAddresses {
    /// By its peers.
    pub peer: String,
    /// By clients.
    pub client: String,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("peers.txt")
}

/// Writes them down: a line a node, with its number, its address for peers and that for clients.
///
/// # Errors
/// As [`files::replace`].
pub fn write(folder: &Path, known: &Known) -> Result<()> {
    let line = |(node, at): (&NodeId, &PeerAddresses)| format!("{} {} {}\n", node.0, at.peer, at.client);
    files::replace(&path(folder), known.iter().map(line).collect::<String>().as_bytes())
}

/// What was written down last; nothing if nothing was.
///
/// # Errors
/// The file cannot be read; `Malformed`.
pub fn read(folder: &Path) -> Result<Known> {
    let path = path(folder);
    if !files::exists(&path) {
        return Ok(Known::new());
    }
    let bytes = files::read(&path, BYTES_MAX)?;
    let malformed =
        || BootError::malformed("peers.txt", "a line is not: number, address, address".to_owned());
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
    let mut known = Known::new();
    for line in text.lines() {
        let [node, peer, client] = line.split(' ').collect::<Vec<_>>()[..] else { return Err(malformed()) };
        let node = NodeId(node.parse().map_err(|_| malformed())?);
        known.insert(node, PeerAddresses { peer: peer.to_owned(), client: client.to_owned() });
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_and_nonsense_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap().is_empty());
        let at = |n: u64| PeerAddresses { peer: format!("127.0.0.1:{n}"), client: format!("localhost:{n}") };
        let known: Known = [(NodeId(1), at(1)), (NodeId(u64::MAX), at(2))].into();
        write(dir.path(), &known).unwrap();
        assert_eq!(read(dir.path()).unwrap(), known);
        for bad in ["1 a\n", "x a b\n", "1 a b c\n", "\n"] {
            std::fs::write(path(dir.path()), bad).unwrap();
            assert!(read(dir.path()).is_err(), "{bad:?}");
        }
    }
}
