//! Pure: how tenants stand to restores: which of them holds one, where one comes from, and which stands aside for another.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use crate::meta::fields::{append_u64, malformed, read_version};
use engine::Stamp;
use engine::error::Damage;
use engine::ids::TenantId;
use engine::wire::Reader;

/// Version of the rows this build writes.
const VERSION: u8 = 1;

fn read_tenant_key(key: &[u8]) -> Result<TenantId, Damage> {
    let mut key = Reader::new(key);
    let tenant = TenantId(key.u64()?);
    key.end()?;
    if tenant.0 == 0 { Err(malformed("a tenant of number 0")) } else { Ok(tenant) }
}

/// Which restore holds a tenant: of one tenant there is one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldRow {
    /// The tenant.
    pub tenant: TenantId,
    /// The restore.
    pub restore: u64,
}

impl HeldRow {
    /// The key of its row.
    #[must_use]
    pub fn key(tenant: TenantId) -> Vec<u8> {
        tenant.0.to_be_bytes().to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        append_u64(&mut out, self.restore);
        out
    }

    /// Reads what [`HeldRow::key`] and [`HeldRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (tenant, mut reader) = (read_tenant_key(key)?, Reader::new(value));
        read_version(&mut reader, VERSION)?;
        let restore = reader.u64()?;
        reader.end()?;
        Ok(Self { tenant, restore })
    }
}

/// Where a tenant comes from that a restore has made, or put back in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginRow {
    /// The tenant.
    pub tenant: TenantId,
    /// Of which it is a copy; 0: of none.
    pub of: TenantId,
    /// As of when.
    pub at: Stamp,
    /// The restore that made it.
    pub restore: u64,
    /// Before this stamp of its own shard it was not whole: nothing is read as of then. [`Stamp::MAX`]: it is not whole yet.
    pub whole: Stamp,
    /// Who watched under its name before this stamp watched another; [`Stamp::ZERO`]: nobody did.
    pub forked: Stamp,
}

impl OriginRow {
    /// The key of its row.
    #[must_use]
    pub fn key(tenant: TenantId) -> Vec<u8> {
        tenant.0.to_be_bytes().to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for number in [self.of.0, self.at.0, self.restore, self.whole.0, self.forked.0] {
            append_u64(&mut out, number);
        }
        out
    }

    /// Reads what [`OriginRow::key`] and [`OriginRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (tenant, mut reader) = (read_tenant_key(key)?, Reader::new(value));
        read_version(&mut reader, VERSION)?;
        let row = Self {
            tenant,
            of: TenantId(reader.u64()?),
            at: Stamp(reader.u64()?),
            restore: reader.u64()?,
            whole: Stamp(reader.u64()?),
            forked: Stamp(reader.u64()?),
        };
        reader.end()?;
        Ok(row)
    }
}

/// A tenant in whose place another is put, or was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsideRow {
    /// The tenant.
    pub tenant: TenantId,
    /// The other.
    pub now: TenantId,
    /// The restore that does it.
    pub restore: u64,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// How long it is kept, in milliseconds since 1970; 0: the other is just put in its place, and nothing of either is served.
    pub until_ms: u64,
}

impl AsideRow {
    /// The key of its row.
    #[must_use]
    pub fn key(tenant: TenantId) -> Vec<u8> {
        tenant.0.to_be_bytes().to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for number in [self.now.0, self.restore, self.since_ms, self.until_ms] {
            append_u64(&mut out, number);
        }
        out
    }

    /// Reads what [`AsideRow::key`] and [`AsideRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (tenant, mut reader) = (read_tenant_key(key)?, Reader::new(value));
        read_version(&mut reader, VERSION)?;
        let now = TenantId(reader.u64()?);
        let row =
            Self { tenant, now, restore: reader.u64()?, since_ms: reader.u64()?, until_ms: reader.u64()? };
        reader.end()?;
        if now.0 == 0 || now == tenant { Err(malformed("a tenant aside for nobody")) } else { Ok(row) }
    }
}
