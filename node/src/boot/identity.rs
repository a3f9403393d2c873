//! Who the node in a data directory is: `node.toml`, beside its key, its certificate, that of the authority, and the root file.

use super::{BootError, Result, files};
use crate::limits;
use crate::tenants::rules::is_name;
use engine::ids::{ClusterId, NodeId};
use engine::sealed::SecretBytes;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;

/// Who a node is. Fixed at its first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Generation of the cluster.
    pub generation: u64,
    /// Its id.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// Where it stands.
    pub region: String,
}

/// The file, as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    cluster: String,
    generation: u64,
    // As text: TOML has no numbers above i64.
    node: String,
    name: String,
    region: String,
}

impl NodeIdentity {
    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        let written = Written {
            version: VERSION,
            cluster: self.cluster.to_string(),
            generation: self.generation,
            node: self.node.0.to_string(),
            name: self.name.clone(),
            region: self.region.clone(),
        };
        let body = toml::to_string(&written).expect("plain fields are always TOML");
        format!("# Who this node is. Do not change it.\n{body}")
    }

    /// From its text.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn parse(text: &str) -> Result<Self> {
        let malformed = |cause: &str| BootError::malformed("node.toml", cause);
        let written: Written = toml::from_str(text).map_err(|error| malformed(error.message()))?;
        if written.version != VERSION {
            return Err(malformed(&format!("version {} is not known to this build", written.version)));
        }
        let cluster = ClusterId::parse(&written.cluster).ok_or_else(|| malformed("no id of a cluster"))?;
        let node = written.node.parse().ok().filter(|id| *id != 0);
        let node = NodeId(node.ok_or_else(|| malformed("no id of a node"))?);
        if !is_name(&written.name) || !is_name(&written.region) {
            return Err(malformed("a name that is none"));
        }
        let Written { generation, name, region, .. } = written;
        Ok(Self { cluster, generation, node, name, region })
    }
}

/// The files of a data directory that say who its node is.
#[derive(Clone, Debug)]
pub struct NodeFolder(PathBuf);

impl NodeFolder {
    /// Those of the data directory at `path`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Whether there is a node.
    #[must_use]
    pub fn is_initialised(&self) -> bool {
        files::exists(&self.identity_path())
    }

    fn identity_path(&self) -> PathBuf {
        self.0.join("node.toml")
    }

    /// The root file.
    #[must_use]
    pub fn root_path(&self) -> PathBuf {
        self.0.join("root.dpk")
    }

    /// The key of the node.
    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        self.0.join("node.key")
    }

    /// The certificate of the node.
    #[must_use]
    pub fn certificate_path(&self) -> PathBuf {
        self.0.join("node.crt")
    }

    /// The certificate of the authority.
    #[must_use]
    pub fn authority_path(&self) -> PathBuf {
        self.0.join("ca.crt")
    }

    fn sealed_authority_path(&self) -> PathBuf {
        self.0.join("ca.key.sealed")
    }

    /// Who the node is.
    ///
    /// # Errors
    /// `NotInitialised`. `Malformed`. `Io`.
    pub fn identity(&self) -> Result<NodeIdentity> {
        if !self.is_initialised() {
            return Err(BootError::NotInitialised { path: self.0.clone() });
        }
        let bytes = files::read(&self.identity_path(), limits::IDENTITY_FILE_BYTES_MAX)?;
        NodeIdentity::parse(text(&bytes, "node.toml")?)
    }

    /// Writes all files, `node.toml` last: whoever finds it finds the others.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, identity: &NodeIdentity, keys: &NodeFiles) -> Result<()> {
        files::make_folder(&self.0)?;
        files::replace(&self.root_path(), &keys.root)?;
        files::replace(&self.authority_path(), keys.authority.as_bytes())?;
        self.write_certificate(&keys.certificate, &keys.key)?;
        self.write_identity(identity)
    }

    /// Writes who the node is: with another generation, after a takeover.
    ///
    /// # Errors
    /// `Io`.
    pub fn write_identity(&self, identity: &NodeIdentity) -> Result<()> {
        files::replace(&self.identity_path(), identity.text().as_bytes())
    }

    /// Puts a new certificate in place. A key that is new goes first: TLS holds on to the old pair until both belong together.
    ///
    /// # Errors
    /// `Io`.
    pub fn write_certificate(&self, certificate: &str, key: &[u8]) -> Result<()> {
        files::replace(&self.key_path(), key)?;
        files::replace(&self.certificate_path(), certificate.as_bytes())
    }

    /// Certificate (PEM), key (PEM) and the certificate of the authority (PEM).
    ///
    /// # Errors
    /// `FileMode`: others may read the key. `Io`. `Malformed`.
    pub fn credentials(&self) -> Result<(String, SecretBytes, String)> {
        let max = limits::IDENTITY_FILE_BYTES_MAX;
        let certificate = files::read(&self.certificate_path(), max)?;
        let key = files::read_secret(&self.key_path(), max)?;
        let authority = files::read(&self.authority_path(), max)?;
        Ok((text(&certificate, "node.crt")?.to_owned(), key, text(&authority, "ca.crt")?.to_owned()))
    }

    /// The key of the authority, sealed as in the row of the cluster; nothing if the node has not heard of that yet.
    ///
    /// # Errors
    /// `FileMode`. `Io`. `TooLarge`.
    pub fn sealed_authority(&self) -> Result<Option<SecretBytes>> {
        let path = self.sealed_authority_path();
        if !files::exists(&path) {
            return Ok(None);
        }
        files::read_secret(&path, limits::SECRET_BYTES_MAX as u64).map(Some)
    }

    /// Keeps the key of the authority, sealed.
    ///
    /// # Errors
    /// `Io`.
    pub fn write_sealed_authority(&self, sealed: &[u8]) -> Result<()> {
        files::replace(&self.sealed_authority_path(), sealed)
    }

    /// The bytes of the root file.
    ///
    /// # Errors
    /// `FileMode`. `Io`. `TooLarge`.
    pub fn root(&self) -> Result<SecretBytes> {
        files::read_secret(&self.root_path(), limits::ROOT_FILE_BYTES_MAX)
    }

    /// Puts a new root file in place.
    ///
    /// # Errors
    /// `Io`.
    pub fn write_root(&self, bytes: &[u8]) -> Result<()> {
        files::replace(&self.root_path(), bytes)
    }
}

/// What lies beside `node.toml`.
pub struct NodeFiles {
    /// The root file.
    pub root: Vec<u8>,
    /// Certificate of the authority, PEM.
    pub authority: String,
    /// Certificate of the node, PEM.
    pub certificate: String,
    /// Key of the node, PEM.
    pub key: SecretBytes,
}

fn text<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| BootError::malformed(what, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn identity() -> NodeIdentity {
        NodeIdentity {
            cluster: ClusterId([0xc1; 16]),
            generation: 1,
            node: NodeId(u64::MAX),
            name: "node-1".to_owned(),
            region: "north".to_owned(),
        }
    }

    #[test]
    fn who_a_node_is_is_read_back_and_nothing_else_is() {
        let text = identity().text();
        assert_eq!(NodeIdentity::parse(&text).unwrap(), identity());
        for (from, to) in [
            ("version = 1", "version = 2"),
            ("c1c1", "c1C1"),
            ("18446744073709551615", "0"),
            ("18446744073709551615", "18446744073709551616"),
            ("node-1", "node 1"),
            ("north", ""),
            ("region", "regio"),
            ("generation = 1", ""),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(NodeIdentity::parse(&changed).is_err(), "{from} to {to}");
        }
    }

    #[test]
    fn a_folder_without_a_node_says_so_and_one_with_it_is_for_its_owner_alone() {
        let above = tempfile::tempdir().unwrap();
        let folder = NodeFolder::at(&above.path().join("data"));
        assert!(matches!(folder.identity(), Err(BootError::NotInitialised { .. })));
        let keys = NodeFiles {
            root: b"root".to_vec(),
            authority: "authority".to_owned(),
            certificate: "certificate".to_owned(),
            key: SecretBytes::from(b"key".to_vec()),
        };
        folder.write(&identity(), &keys).unwrap();
        assert!(folder.is_initialised());
        assert_eq!(folder.identity().unwrap(), identity());
        assert_eq!(&folder.root().unwrap()[..], b"root");
        let (certificate, key, authority) = folder.credentials().unwrap();
        assert_eq!(
            (certificate.as_str(), &key[..], authority.as_str()),
            ("certificate", &b"key"[..], "authority")
        );
        fs::set_permissions(folder.key_path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(folder.credentials(), Err(BootError::FileMode { .. })));
        fs::set_permissions(folder.root_path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(folder.root(), Err(BootError::FileMode { .. })));
    }
}
