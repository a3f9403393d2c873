//! Known answers: what every primitive must give, checked before anything is sealed or opened.
//!
//! The AES vectors are test cases 13 and 14 of the GCM specification (McGrew and Viega, 2005); those of HMAC and HKDF are
//! of RFC 4231 (case 1) and RFC 5869 by way of the formats' own answers below, which pin the formats too.

use super::block_file::{FileKind, Header, StripeKeys, check_frame};
use super::cipher;
use super::context::{BlockPosition, Scope};
use super::derive;
use super::envelope::{self, EnvelopeKind};
use super::{EnvelopeKey, SecretKey};
use crate::error::{Error, Result};
use crate::ids::{ClusterId, KeyEpoch, Owner, Purpose, TableId, TenantId, hex};
use crate::sealed::BlockType;
use crate::stamp::Stamp;

/// Checks every primitive against its known answer.
pub(super) fn check() -> Result<()> {
    let wrong = |name| Err(Error::KnownAnswer(name));
    for (name, cipher) in cipher::both(&SecretKey::new([0; 32])) {
        if hex(&cipher.seal([0; 12], &[], &mut [])) != "530f8afbc74536b9a963b4f1c4cb738b" {
            return wrong(name);
        }
        let mut block = [0; 16];
        let tag = cipher.seal([0; 12], &[], &mut block);
        let is_right = hex(&block) == "cea7403d4d606b6e074ec5d3baf39d18"
            && hex(&tag) == "d0d1c8a799996bf0265b98b5d48ab919";
        let mut forged = tag;
        forged[0] ^= 1;
        if cipher.open([0; 12], &[], &mut block.clone(), &forged) {
            return wrong(name);
        }
        if !is_right || !cipher.open([0; 12], &[], &mut block, &tag) || block != [0; 16] {
            return wrong(name);
        }
    }
    let mut digest = derive::Sha256::new();
    digest.update(b"abc");
    if hex(&digest.finish()) != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
        return wrong("SHA-256");
    }
    #[cfg(feature = "null-cipher")]
    if cipher::null::is_on() {
        return Ok(());
    }
    if !is_envelope_right() {
        return wrong("envelope");
    }
    if is_frame_right() { Ok(()) } else { wrong("block file") }
}

fn example_key() -> SecretKey {
    let mut bytes = [0; 32];
    (0..).zip(&mut bytes).for_each(|(n, byte)| *byte = n);
    SecretKey::new(bytes)
}

fn example_scope(purpose: Purpose) -> Scope {
    let mut cluster = [0; 16];
    (0xc0..).zip(&mut cluster).for_each(|(n, byte)| *byte = n);
    let owner = Owner::Tenant(TenantId(0x0102_0304_0506_0708));
    Scope { cluster: ClusterId(cluster), owner, purpose, epoch: KeyEpoch(9) }
}

fn digest(bytes: &[u8]) -> String {
    let mut digest = derive::Sha256::new();
    digest.update(bytes);
    hex(&digest.finish())
}

fn is_envelope_right() -> bool {
    let (key, scope) = (example_key(), example_scope(Purpose::Meta));
    let (key_id, salt_key, fingerprint_key) = derive::hedge(&key, &scope.bytes());
    let ready = EnvelopeKey { key: &key, key_id, salt_key: &salt_key, fingerprint_key: &fingerprint_key };
    let Ok(sealed) =
        envelope::seal(&ready, &scope, EnvelopeKind::SecretField, b"example", &[0x55; 32], b"dewpond")
    else {
        return false;
    };
    let opened = envelope::open(&ready, &scope, EnvelopeKind::SecretField, b"example", &sealed);
    sealed.len() == 103
        && hex(&key_id.0) == "519f47d92cea9569"
        && digest(&sealed).starts_with("1acb76c0ee248bf94a2cc179")
        && opened.is_ok_and(|plain| &plain[..] == b"dewpond")
}

fn is_frame_right() -> bool {
    let (key, scope) = (example_key(), example_scope(Purpose::Data));
    let (key_id, _, _) = derive::hedge(&key, &scope.bytes());
    let header = Header {
        suite: cipher::suite(),
        kind: FileKind::Table as u8,
        created: Stamp::ZERO,
        cluster: scope.cluster,
        file: TableId([0xf1; 16]),
        salt: [0xa5; 32],
    };
    let keys = StripeKeys::derive(&key, key_id, &scope, &header, FileKind::Table);
    let position = BlockPosition { number: 5, stripe: 2, block_type: BlockType::Data, codec: 0 };
    let mut frame = Vec::new();
    keys.seal(&[0x55; 32], position, b"dewpond", &mut frame);
    let is_right = frame.len() == 51
        && hex(keys.commitment()).starts_with("f25f67af0b9e6968aa451444")
        && digest(&frame).starts_with("69f9d45724768c2936ac6625");
    let opened = check_frame(&frame).and_then(|head| keys.open(&head, position, &mut frame));
    is_right && opened.is_ok_and(|plain| frame[plain] == *b"dewpond")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_primitive_gives_its_known_answer() {
        check().unwrap();
        assert!(is_envelope_right());
        assert!(is_frame_right());
    }

    #[test]
    fn hmac_gives_the_answer_of_its_standard() {
        // RFC 4231 case 1 has a key of 20 bytes; padding it with zeros to 32 gives the same HMAC.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let want = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(hex(&derive::hmac(&key, &[b"Hi ", b"There"])), want);
    }
}
