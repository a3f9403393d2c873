//! Pure: the row of the cluster, those of its tokens, and those of its settings.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use super::fields::{
    append_option, append_text, append_u32, append_u64, malformed, read_name, read_option, read_text,
    read_version, text,
};
use crate::limits;
use crate::tenants::rules::is_name;
use engine::error::Damage;
use engine::ids::ClusterId;
use engine::wire::{Reader, append_bytes32};
use std::fmt;

/// Version of the rows this build writes.
pub const VERSION: u8 = 1;

/// The cluster itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClusterRow {
    /// Its id; never another one.
    pub id: ClusterId,
    /// What people call it.
    pub name: String,
    /// The certificate of its authority.
    pub ca_certificate: Vec<u8>,
    /// The key of its authority, sealed.
    pub sealed_ca_key: Vec<u8>,
    /// How many shards it began with.
    pub shard_count: u32,
    /// Rises by one with every change of this row.
    pub version: u64,
}

impl fmt::Debug for ClusterRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterRow({} {}, version {})", self.name, self.id, self.version)
    }
}

impl ClusterRow {
    /// The key of its row: there is only one.
    #[must_use]
    pub fn key() -> Vec<u8> {
        Vec::new()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.id.0);
        append_u64(&mut out, self.version);
        append_u32(&mut out, self.shard_count);
        append_text(&mut out, &self.name);
        append_bytes32(&mut out, &self.ca_certificate);
        append_bytes32(&mut out, &self.sealed_ca_key);
        out
    }

    /// Reads what [`ClusterRow::key`] and [`ClusterRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        Reader::new(key).end()?;
        let mut reader = Reader::new(value);
        read_version(&mut reader, VERSION)?;
        let row = Self {
            id: ClusterId(reader.array()?),
            version: reader.u64()?,
            shard_count: reader.u32()?,
            name: read_name(&mut reader)?,
            ca_certificate: reader.bytes32(limits::SECRET_BYTES_MAX)?.to_vec(),
            sealed_ca_key: reader.bytes32(limits::SECRET_BYTES_MAX)?.to_vec(),
        };
        reader.end()?;
        if row.version == 0 || !(1..=limits::FIRST_SHARDS_MAX).contains(&row.shard_count) {
            return Err(malformed("a cluster that cannot be"));
        }
        Ok(row)
    }
}

/// A token, good for one node that joins. Only its hash is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenRow {
    /// Its SHA-256.
    pub hash: [u8; 32],
    /// Until when it is good, in milliseconds since 1970.
    pub expires_ms: u64,
    /// When it was used, in milliseconds since 1970, if it was.
    pub used_ms: Option<u64>,
}

impl TokenRow {
    /// The key of its row.
    #[must_use]
    pub fn key(hash: &[u8; 32]) -> Vec<u8> {
        hash.to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        append_u64(&mut out, self.expires_ms);
        append_option(&mut out, self.used_ms);
        out
    }

    /// Reads what [`TokenRow::key`] and [`TokenRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let hash = key.try_into().map_err(|_| malformed("a token whose hash is none"))?;
        let mut reader = Reader::new(value);
        read_version(&mut reader, VERSION)?;
        let (expires_ms, used_ms) = (reader.u64()?, read_option(&mut reader)?);
        reader.end()?;
        Ok(Self { hash, expires_ms, used_ms })
    }

    /// When its row may go: a while after it has ended, so that whoever comes late is told why.
    #[must_use]
    pub fn forgotten_ms(&self) -> u64 {
        self.expires_ms.saturating_add(limits::TOKEN_KEPT_MS)
    }
}

/// A setting of the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingRow {
    /// What it is called.
    pub name: String,
    /// What it is set to.
    pub value: String,
}

impl SettingRow {
    /// The key of its row.
    #[must_use]
    pub fn key(name: &str) -> Vec<u8> {
        name.as_bytes().to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        append_text(&mut out, &self.value);
        out
    }

    /// Reads what [`SettingRow::key`] and [`SettingRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (name, mut reader) = (text(key)?, Reader::new(value));
        read_version(&mut reader, VERSION)?;
        let value = read_text(&mut reader, limits::SETTING_BYTES_MAX)?;
        reader.end()?;
        if is_name(&name) { Ok(Self { name, value }) } else { Err(malformed("a setting without a name")) }
    }
}
