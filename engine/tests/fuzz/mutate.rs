//! Bytes made from bytes: flipped, set, cut, inserted, spliced, their lengths edited.

use super::rig::Dice;

/// Bytes of a mutated input at most.
const BYTES_MAX: usize = 64 << 10;
/// Values at which a length or a count turns.
const EDGES: [u64; 14] =
    [0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

fn below(dice: &Dice, n: usize) -> usize {
    usize::try_from(dice.below(n.max(1) as u64)).unwrap()
}

fn pick<'a>(dice: &Dice, of: &'a [Vec<u8>]) -> &'a [u8] {
    &of[below(dice, of.len())]
}

/// A piece of `bytes`, short ones more often.
fn piece(dice: &Dice, bytes: &[u8]) -> std::ops::Range<usize> {
    let start = below(dice, bytes.len() + 1);
    let longest = if dice.one_in(2) { 8 } else { bytes.len() };
    start..(start + below(dice, longest + 1)).min(bytes.len())
}

/// An input for a target whose fixtures hold `own`; those of all targets hold `all`.
pub fn mutated(dice: &Dice, own: &[Vec<u8>], all: &[Vec<u8>]) -> Vec<u8> {
    if dice.one_in(20) {
        return dice.bytes(dice.below(200));
    }
    let mut bytes = pick(dice, if dice.one_in(20) { all } else { own }).to_vec();
    for _ in 0..=dice.below(4) {
        change(dice, &mut bytes, if dice.one_in(8) { all } else { own });
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

fn change(dice: &Dice, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    let at = below(dice, bytes.len());
    match dice.below(11) {
        0..=2 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
        3 if !bytes.is_empty() => bytes[at] = dice.bytes(1)[0],
        4 | 5 => edit_number(dice, bytes),
        6 => bytes.truncate(at),
        7 => drop(bytes.drain(piece(dice, bytes))),
        8 => {
            let inserted =
                if dice.one_in(2) { dice.bytes(dice.below(9)) } else { bytes[piece(dice, bytes)].to_vec() };
            bytes.splice(at..at, inserted);
        }
        9 => {
            let from = pick(dice, others);
            let taken = from[piece(dice, from)].to_vec();
            let replaced = piece(dice, bytes);
            bytes.splice(replaced, taken);
        }
        _ => {
            let other = pick(dice, others);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[below(dice, other.len())..]);
        }
    }
}

/// Takes a number of 1, 2, 4 or 8 bytes for a length, and writes another: an edge, one near by, or one near the bytes left.
fn edit_number(dice: &Dice, bytes: &mut [u8]) {
    let width = 1 << dice.below(4);
    let Some(last) = bytes.len().checked_sub(width) else { return };
    let at = below(dice, last + 1);
    let field = &bytes[at..at + width];
    let number = field.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    let left = (last - at) as u64;
    let edited = match dice.below(5) {
        0 => EDGES[below(dice, EDGES.len())],
        1 => number.wrapping_add(1),
        2 => number.wrapping_sub(1),
        3 => number.wrapping_add(dice.below(64)).wrapping_sub(32),
        _ => left.wrapping_add(dice.below(3)).wrapping_sub(1),
    };
    bytes[at..at + width].copy_from_slice(&edited.to_be_bytes()[8 - width..]);
}
