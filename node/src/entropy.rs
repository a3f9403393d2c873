//! The one caller of the operating system's randomness.

use engine::entropy::Entropy;

/// The randomness of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the operating system gives none: nothing may be sealed without it.
    #[expect(clippy::disallowed_methods, reason = "the one caller")]
    fn fill(&self, out: &mut [u8]) {
        #[cfg(feature = "simulated")]
        if let Some(world) = crate::simulated::world() {
            return world.fill(out);
        }
        getrandom::fill(out).expect("the operating system gives randomness");
    }
}

/// So many random bytes.
#[must_use]
pub fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut out = [0; N];
    entropy.fill(&mut out);
    out
}

/// A random number that is not 0.
#[must_use]
pub fn random_id(entropy: &dyn Entropy) -> u64 {
    loop {
        let id = u64::from_be_bytes(random(entropy));
        if id != 0 {
            return id;
        }
    }
}
