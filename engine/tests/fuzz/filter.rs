//! Format: filter. Any filter answers, and none ever rejects what was added, whatever other bits are set.

use engine::Nature;
use engine::sealed::SecretBytes;
use engine::table::filter::{Filter, FilterBuilder};

pub fn run(bytes: &[u8]) {
    let rows = rows(bytes);
    match Filter::new(SecretBytes::from(bytes.to_vec())) {
        Ok(filter) => {
            assert!((1..=30).contains(&bytes[0]) && bytes[1..8] == [0; 7]);
            let held = rows.iter().filter(|row| filter.may_hold(row)).count();
            assert!(bytes.len() > 8 || held == rows.len(), "a filter of no bits holds everything");
            assert!(!bytes[8..].iter().all(|byte| *byte == 0xff) || held == rows.len());
            assert!(bytes.len() == 8 || bytes[8..].iter().any(|byte| *byte != 0) || held == 0);
        }
        Err(damage) => assert_eq!((damage.nature, damage.block), (Nature::Malformed, None)),
    }
    build(bytes, &rows);
}

/// Rows out of any bytes: each is as long as its first byte says, at most 20.
fn rows(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut rows = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        let (row, after) = rest.split_at(usize::from(first % 20).min(rest.len()));
        rows.push(row);
        bytes = after;
    }
    rows
}

fn build(bytes: &[u8], rows: &[&[u8]]) {
    let mut builder = FilterBuilder::default();
    rows.iter().for_each(|row| builder.add(row));
    let length = builder.bytes();
    let mut built = builder.finish();
    assert_eq!(built.len(), length);
    assert_eq!(builder.finish(), [7, 0, 0, 0, 0, 0, 0, 0], "an ended builder is empty");
    rows.iter().for_each(|row| builder.add(row));
    assert_eq!(builder.finish(), built, "the same rows give the same filter");
    holds_all(&built, rows);
    let noise = bytes.iter().cycle();
    built[8..].iter_mut().zip(noise).for_each(|(bits, more)| *bits |= more);
    holds_all(&built, rows);
}

fn holds_all(built: &[u8], rows: &[&[u8]]) {
    let filter = Filter::new(SecretBytes::from(built.to_vec())).unwrap();
    assert!(rows.iter().all(|row| filter.may_hold(row)), "a row that was added is rejected");
}
