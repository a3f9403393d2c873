//! Both backends give the same bytes, and each opens what the other has sealed.

use super::{TAG_BYTES, both};
use crate::entropy::{Entropy, Seeded};
use crate::sealed::SecretKey;

#[test]
fn both_backends_give_the_same_bytes() {
    let random = Seeded::new(42);
    for round in 0..400_usize {
        let (mut key, mut nonce, mut place) = ([0; 32], [0; 12], [0; 64]);
        random.fill(&mut key);
        random.fill(&mut nonce);
        random.fill(&mut place);
        let mut plain = vec![0; if round < 130 { round } else { round * 37 % 20_000 }];
        random.fill(&mut plain);
        let [(_, first), (_, second)] = both(&SecretKey::new(key));
        let associated = &place[..round % 65];
        let (mut a, mut b) = (plain.clone(), plain.clone());
        let (tag_a, tag_b) = (first.seal(nonce, associated, &mut a), second.seal(nonce, associated, &mut b));
        assert_eq!((&a, tag_a), (&b, tag_b), "{} bytes", plain.len());
        assert!(
            second.open(nonce, associated, &mut a, &tag_a) && first.open(nonce, associated, &mut b, &tag_b)
        );
        assert_eq!((&a, &b), (&plain, &plain));
    }
}

#[test]
fn both_backends_refuse_every_flipped_bit_of_a_tag() {
    let [first, second] = both(&SecretKey::new([3; 32]));
    for (name, cipher) in [first, second] {
        let mut sealed = *b"some plain text";
        let tag = cipher.seal([1; 12], b"place", &mut sealed);
        for bit in 0..TAG_BYTES * 8 {
            let mut flipped = tag;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!cipher.open([1; 12], b"place", &mut sealed.clone(), &flipped), "{name} bit {bit}");
        }
        assert!(!cipher.open([1; 12], b"plate", &mut sealed.clone(), &tag), "{name}");
        assert!(cipher.open([1; 12], b"place", &mut sealed, &tag), "{name}");
    }
}
