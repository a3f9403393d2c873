//! Bytes that change on the disk of a whole node, where there are some.

use super::outside::Machine;
use crate::seed::Dice;
use std::path::{Path, PathBuf};

/// A place counts as used if so many bytes around it are not all zeros.
const AROUND_BYTES: usize = 64;
/// Places that are tried.
const TRIES_MAX: u32 = 200;

/// Whose bytes change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The tables', while the node runs.
    Tables,
    /// The log's.
    Log,
    /// The catalog's.
    Catalog,
}

/// Flips bits of one to eight bytes in a used place, and says where; nothing, if nothing is there.
pub fn rot((machine, folder): (&Machine, &Path), part: Part, dice: &mut Dice) -> Option<String> {
    match part {
        Part::Catalog => {
            let rows: Vec<Vec<u8>> = machine.catalog.all().into_keys().collect();
            let row = dice.pick(&rows)?.clone();
            let mut at = None;
            machine.catalog.tamper(&row, |value| at = flip(value, dice));
            at.map(|at| format!("byte {at} of a row of the catalog"))
        }
        Part::Tables => in_files(machine, &folder.join("pool"), dice),
        Part::Log => in_files(machine, &folder.join("log"), dice),
    }
}

fn in_files(machine: &Machine, below: &Path, dice: &mut Dice) -> Option<String> {
    let files = machine.disk.files();
    let files: Vec<&PathBuf> = files
        .iter()
        .filter(|(path, bytes)| path.starts_with(below) && !bytes.is_empty())
        .map(|(path, _)| path)
        .collect();
    for _ in 0..TRIES_MAX {
        let path = dice.pick(&files)?;
        let mut at = None;
        machine.disk.tamper(path, |bytes| at = flip(bytes, dice)).ok()?;
        if let Some(at) = at {
            return Some(format!("{} at {at}", path.display()));
        }
    }
    None
}

/// Where bits were flipped, if something was there.
fn flip(bytes: &mut [u8], dice: &mut Dice) -> Option<usize> {
    let below = |dice: &mut Dice, end: usize| usize::try_from(dice.below(end as u64)).unwrap_or(0);
    let at = below(dice, bytes.len());
    let around = at.saturating_sub(AROUND_BYTES / 2)..(at + AROUND_BYTES / 2).min(bytes.len());
    if bytes[around].iter().all(|byte| *byte == 0) {
        return None;
    }
    let end = (at + 1 + below(dice, 8)).min(bytes.len());
    for byte in &mut bytes[at..end] {
        *byte ^= u8::try_from(1 + dice.below(255)).unwrap_or(1);
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn used_bytes_change_and_what_is_empty_stays() {
        let mut dice = Dice::new(Seed(1), "rot");
        assert_eq!(flip(&mut [], &mut dice), None);
        assert_eq!(flip(&mut [0; 4_096], &mut dice), None);
        for _ in 0..100 {
            let before = [vec![0; 500], vec![7; 40], vec![0; 500]].concat();
            let mut bytes = before.clone();
            let is_changed = flip(&mut bytes, &mut dice).is_some();
            assert_eq!(is_changed, bytes != before);
            assert!(bytes.iter().zip(&before).filter(|(now, then)| now != then).count() <= 8);
        }
    }
}
