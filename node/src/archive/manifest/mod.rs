//! Pure: manifests: what an archive says of itself. Each is signed as it was written, and is never written again from what was read.
//! Format: archive_manifest, `docs/formats/archive_manifest.md`.
//!
//! The signature covers the cluster, the name and the kind, so that a manifest is of use only where it was made for. Bodies hold ids,
//! sizes, counts, stamps and digests, and nothing that a client wrote.

pub mod keep;
pub mod keyring;
pub mod log;
pub mod snapshot;

use super::naming::{NAME_BYTES_MAX, Name};
use engine::error::{Damage, Nature};
use engine::ids::ClusterId;
use engine::sealed::derive::Sha256;
use engine::sealed::{PublicKey, Sealer, Signature};
use engine::wire::Reader;
use prost::Message;

/// The first bytes of every manifest.
pub const MAGIC: [u8; 4] = *b"DPAM";
/// The version that is written.
pub const VERSION: u16 = 1;
/// Bytes of a manifest: that of a snapshot of a group of a hundred thousand tables.
pub const MANIFEST_BYTES_MAX: usize = 32 << 20;
const SIGNATURE_BYTES: usize = 64;
const CRC_BYTES: usize = 4;

/// What a manifest says. Kinds are given once and never again.
pub trait Body: Message + Default {
    /// Which kind it is.
    const KIND: u16;

    /// Checks what its fields must be, beyond their types.
    ///
    /// # Errors
    /// `Malformed`.
    fn check(&self) -> Result<(), Damage>;
}

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(bytes);
    digest.finish()
}

pub(super) fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

/// Field of exactly `N` bytes.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Damage> {
    bytes.try_into().map_err(|_| malformed("a field of another length"))
}

fn append(kind: u16, cluster: ClusterId, name: &str, body: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&cluster.0);
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name.as_bytes());
    engine::wire::append_bytes32(&mut out, body);
    out
}

/// The bytes of a manifest, signed by the cluster of `sealer`. The same body always becomes the same bytes.
///
/// # Errors
/// `KeyMissing`: no signing key. `TooLarge`. `Damaged`: a body that could not be read again.
pub fn seal<B: Body>(sealer: &Sealer, name: &Name, body: &B) -> engine::Result<Vec<u8>> {
    let text = name.to_string();
    body.check().map_err(|damage| damage.at(&text))?;
    let mut out = append(B::KIND, sealer.cluster(), &text, &body.encode_to_vec());
    let got = out.len() + SIGNATURE_BYTES + CRC_BYTES;
    if got > MANIFEST_BYTES_MAX {
        let (got, max) = (got as u64, MANIFEST_BYTES_MAX as u64);
        return Err(engine::Error::TooLarge { what: "bytes of a manifest", got, max });
    }
    let signature = sealer.sign(&out)?;
    out.extend_from_slice(&signature.0);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    Ok(out)
}

/// A manifest whose signature nobody has checked yet.
struct Unverified<'a> {
    kind: u16,
    cluster: ClusterId,
    name: &'a [u8],
    body: &'a [u8],
    signed: &'a [u8],
    signature: Signature,
}

fn parse(bytes: &[u8]) -> Result<Unverified<'_>, Damage> {
    let early = || Damage::of(Nature::Missing, "the manifest ends early");
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(malformed("a manifest over its limit"));
    }
    let (framed, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or_else(early)?;
    if crc32fast::hash(framed) != u32::from_be_bytes(*crc) {
        return Err(Damage::of(Nature::Rot, "checksum of a manifest"));
    }
    let (signed, signature) = framed.split_last_chunk::<SIGNATURE_BYTES>().ok_or_else(early)?;
    let mut reader = Reader::new(signed);
    if reader.array()? != MAGIC {
        return Err(Damage::of(Nature::WrongPlace, "no manifest"));
    }
    if reader.u16()? != VERSION {
        return Err(malformed("a manifest of an unknown version: take another build"));
    }
    let (kind, cluster) = (reader.u16()?, ClusterId(reader.array()?));
    let length = usize::from(reader.u8()?);
    let name = reader.take(length)?;
    let body = reader.bytes32(MANIFEST_BYTES_MAX)?;
    reader.end()?;
    Ok(Unverified { kind, cluster, name, body, signed, signature: Signature(*signature) })
}

/// What the manifest found as `name` in the archive of `cluster` says, if the owner of `public` has signed it for that place.
///
/// # Errors
/// `Damage`, which names the object: `Missing` (cut), `Rot`, `Tampered` (signed by nobody, or another), `WrongPlace` (another cluster's,
/// another object's), `Malformed`.
pub fn open<B: Body>(public: &PublicKey, cluster: ClusterId, name: &Name, bytes: &[u8]) -> Result<B, Damage> {
    let text = name.to_string();
    open_at(public, cluster, &text, bytes).map_err(|damage| damage.at(&text))
}

fn open_at<B: Body>(public: &PublicKey, cluster: ClusterId, name: &str, bytes: &[u8]) -> Result<B, Damage> {
    let found = parse(bytes)?;
    if !public.has_signed(found.signed, &found.signature) {
        return Err(Damage::of(Nature::Tampered, "signature of a manifest"));
    }
    if found.cluster != cluster {
        return Err(Damage::of(Nature::WrongPlace, "the manifest is another cluster's"));
    }
    if found.name != name.as_bytes() || found.kind != B::KIND {
        return Err(Damage::of(Nature::WrongPlace, "the manifest was made for another name"));
    }
    let body = B::decode(found.body).map_err(|_| malformed("a body that is none"))?;
    body.check()?;
    Ok(body)
}

/// What `genesis.man` says, checked by the key that stands in it: whoever knows the cluster's key already compares.
///
/// # Errors
/// As [`open`].
pub fn open_genesis(cluster: ClusterId, bytes: &[u8]) -> Result<log::Genesis, Damage> {
    let name = Name::Genesis.to_string();
    let key = || {
        let found = parse(bytes)?;
        let genesis = log::Genesis::decode(found.body).map_err(|_| malformed("a body that is none"))?;
        Ok(PublicKey(array(&genesis.public_key)?))
    };
    let key = key().map_err(|damage: Damage| damage.at(&name))?;
    open(&key, cluster, &Name::Genesis, bytes)
}

const _: () = assert!(NAME_BYTES_MAX <= u8::MAX as usize);
