//! Pure: keys, values and the order they are asked for in. Everything follows from the number of a row; nothing is kept.

/// Bytes of a key.
pub const KEY_BYTES: usize = 24;
/// Bytes of a value.
pub const VALUE_BYTES: usize = 256;
/// Skew of the Zipfian reads.
pub const THETA: f64 = 0.99;

/// A prime above any number of keys, so that its multiples meet every row once before they repeat.
const STRIDE: u64 = 2_654_435_761;

/// One row to write.
#[derive(Clone)]
pub struct Row {
    /// Its key.
    pub key: [u8; KEY_BYTES],
    /// Its value.
    pub value: [u8; VALUE_BYTES],
}

/// Spreads `n` over all 64 bits (splitmix64): neighbours have nothing in common.
#[must_use]
pub fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The key of row `number`: 96 random bits as text.
#[must_use]
pub fn key(number: u64) -> [u8; KEY_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let (first, second) = (mix(number), mix(mix(number) ^ 0x5bd1_e995));
    let mut key = [0; KEY_BYTES];
    for (at, digit) in key.iter_mut().enumerate() {
        let word = if at < 16 { first } else { second };
        *digit = DIGITS[(word >> (at % 16 * 4) & 15) as usize];
    }
    key
}

/// The value that row `number` got the `generation`th time it was written: bytes that no compression makes fewer.
#[must_use]
pub fn value(number: u64, generation: u64) -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    let seed = seed_of(number, generation);
    for (at, word) in value.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&mix(seed.wrapping_add(at as u64)).to_le_bytes());
    }
    value
}

fn seed_of(number: u64, generation: u64) -> u64 {
    mix(number ^ mix(generation) << 1)
}

/// The first eight bytes of [`value`], by which a reader tells that it got the right one.
#[must_use]
pub fn head(number: u64, generation: u64) -> u64 {
    mix(seed_of(number, generation))
}

/// The first eight bytes of a value somebody read.
#[must_use]
pub fn head_of(value: &[u8]) -> u64 {
    let head = value.first_chunk::<8>().filter(|_| value.len() == VALUE_BYTES);
    head.map_or(0, |head| u64::from_le_bytes(*head))
}

/// The row written as the `turn`th of `keys` in a `generation`. Each generation has its own order.
#[must_use]
pub fn row_at(turn: u64, keys: u64, generation: u64) -> u64 {
    let turn = (turn + generation * (keys / 3)) % keys;
    ((u128::from(turn) * u128::from(STRIDE)) % u128::from(keys)) as u64
}

/// Fills `rows` with the batch that begins at `turn`, fewer at the end of the keys.
pub fn fill(rows: &mut Vec<Row>, turn: u64, rows_max: usize, keys: u64, generation: u64) {
    rows.clear();
    for turn in turn..keys.min(turn + rows_max as u64) {
        let number = row_at(turn, keys, generation);
        rows.push(Row { key: key(number), value: value(number, generation) });
    }
}

/// Random numbers, the same for the same seed.
pub struct Dice(u64);

impl Dice {
    /// The sequence that `seed` names.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// A number below `n`, every one alike.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(n)) >> 64) as u64
    }

    /// A number from 0 up to, but not, 1.
    pub fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }
}

/// Numbers from 0 to `n`, the first ones far more often (Gray and others, "Quickly generating billion-record synthetic
/// databases", as in YCSB).
pub struct Zipf {
    n: f64,
    alpha: f64,
    eta: f64,
    zeta: f64,
    second: f64,
}

impl Zipf {
    /// The distribution over `n` numbers with skew `theta`, which is neither 0 nor 1.
    #[must_use]
    pub fn new(n: u64, theta: f64) -> Self {
        let zeta = |n: u64| (1..=n).map(|rank| (rank as f64).powf(-theta)).sum::<f64>();
        let all = zeta(n);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - theta)) / (1.0 - zeta(2) / all);
        Self { n: n as f64, alpha: 1.0 / (1.0 - theta), eta, zeta: all, second: 1.0 + 0.5f64.powf(theta) }
    }

    /// The rank that `unit`, from 0 to 1, falls on; 0 is the most frequent.
    #[must_use]
    pub fn rank(&self, unit: f64) -> u64 {
        let at = unit * self.zeta;
        if at < 1.0 {
            return 0;
        }
        if at < self.second {
            return 1;
        }
        let rank = self.n * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.n as u64 - 1)
    }
}

/// Which rows are asked for.
pub enum Picker {
    /// Every row alike.
    Uniform(Dice, u64),
    /// Few rows much of the time; which ones has nothing to do with key or age.
    Zipf(Dice, u64, Zipf),
}

impl Picker {
    /// Every one of `keys` rows alike.
    #[must_use]
    pub fn uniform(keys: u64, seed: u64) -> Self {
        Self::Uniform(Dice::new(seed), keys)
    }

    /// Few of `keys` rows much of the time.
    #[must_use]
    pub fn zipf(keys: u64, seed: u64) -> Self {
        Self::Zipf(Dice::new(seed), keys, Zipf::new(keys, THETA))
    }

    /// The next row.
    pub fn next(&mut self) -> u64 {
        match self {
            Self::Uniform(dice, keys) => dice.below(*keys),
            Self::Zipf(dice, keys, zipf) => row_at(zipf.rank(dice.unit()), *keys, 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_generation_writes_every_row_once_in_another_order() {
        for keys in [1_000, 4_097] {
            let order = |generation| (0..keys).map(|turn| row_at(turn, keys, generation)).collect::<Vec<_>>();
            for generation in 0..4 {
                let rows: BTreeSet<u64> = order(generation).into_iter().collect();
                assert_eq!(rows.len() as u64, keys);
                assert!(rows.into_iter().all(|row| row < keys));
            }
            assert_ne!(order(0), order(1));
        }
    }

    #[test]
    fn keys_differ_and_values_can_be_told() {
        let keys: BTreeSet<_> = (0..10_000).map(key).collect();
        assert_eq!(keys.len(), 10_000);
        assert!(keys.iter().flatten().all(u8::is_ascii_hexdigit));
        for (number, generation) in [(0, 0), (7, 1), (2_999_999, 3)] {
            assert_eq!(head_of(&value(number, generation)), head(number, generation));
            assert_ne!(head(number, generation), head(number, generation + 1));
        }
        assert_eq!(head_of(b"short"), 0);
    }

    #[test]
    fn batches_end_with_the_keys() {
        let mut rows = Vec::new();
        fill(&mut rows, 990, 256, 1_000, 0);
        assert_eq!(rows.len(), 10);
        assert!(rows[3].key == key(row_at(993, 1_000, 0)));
    }

    #[test]
    fn zipf_follows_its_law() {
        let (n, draws) = (1_000u64, 200_000);
        let (zipf, mut dice) = (Zipf::new(n, THETA), Dice::new(5));
        let mut counts = vec![0u32; 1_000];
        for _ in 0..draws {
            counts[zipf.rank(dice.unit()) as usize] += 1;
        }
        let zeta: f64 = (1..=n).map(|rank| (rank as f64).powf(-THETA)).sum();
        // The first two are exact, the rest an approximation: sums of ranks must agree within a tenth.
        for (from, to) in [(0, 1), (1, 2), (2, 10), (10, 100), (100, 1_000)] {
            let want: f64 = (from..to).map(|rank| f64::from(rank + 1).powf(-THETA) / zeta).sum();
            let got: f64 =
                counts[from as usize..to as usize].iter().map(|n| f64::from(*n)).sum::<f64>() / draws as f64;
            assert!((got / want - 1.0).abs() < 0.1, "ranks {from}..{to}: {got} of the draws, not {want}");
        }
        assert_eq!((zipf.rank(0.0), zipf.rank(1.0)), (0, n - 1));
    }

    #[test]
    fn dice_are_fair_and_repeat() {
        let (mut one, mut two) = (Dice::new(9), Dice::new(9));
        let mut counts = [0u32; 10];
        for _ in 0..10_000 {
            let n = one.below(10);
            assert_eq!(n, two.below(10));
            counts[n as usize] += 1;
        }
        assert!(counts.iter().all(|n| (850..1_150).contains(n)), "{counts:?}");
    }

    #[test]
    fn pickers_stay_within_the_keys() {
        for mut picker in [Picker::uniform(1_000, 1), Picker::zipf(1_000, 1)] {
            assert!((0..10_000).all(|_| picker.next() < 1_000));
        }
    }
}
