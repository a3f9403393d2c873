//! Format: manifest_edit. What decodes encodes to the same bytes and keeps the limits; a picture it makes survives its own edit.

use engine::key::KeyRange;
use engine::manifest::edit::Edit;
use engine::manifest::levels::Levels;
use engine::table::TableMeta;
use engine::{Error, Nature, limits};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// The picture that the second edit of the fixture makes.
static BEFORE: LazyLock<Levels> = LazyLock::new(|| {
    let items = super::world::split(&super::fixture("manifest_edit"));
    Levels::default().apply(&Edit::decode(&items[1]).unwrap()).unwrap()
});

pub fn run(bytes: &[u8]) {
    match Edit::decode(bytes) {
        Ok(edit) => {
            assert_eq!(edit.encode(), bytes);
            check(&edit);
            apply(&Levels::default(), &edit);
            apply(&BEFORE, &edit);
            // The same tables as a change of a picture that is there.
            apply(&BEFORE, &Edit { is_reset: false, range: None, ..edit });
        }
        Err(Error::Damaged(damage)) => assert_eq!((damage.nature, damage.block), (Nature::Malformed, None)),
        Err(Error::Unsupported { .. }) => assert!(bytes[..2] != [0, 1] && bytes[..2] != [0, 2]),
        Err(error) => panic!("{error}"),
    }
}

fn check_range(range: &KeyRange) {
    assert!(range.start.len() <= limits::BOUND_BYTES_MAX);
    assert!(range.end.as_ref().is_none_or(|end| end.len() <= limits::BOUND_BYTES_MAX));
}

fn check_meta(meta: &TableMeta) {
    check_range(&meta.span);
    assert!(meta.least.len().max(meta.greatest.len()) <= limits::VERSION_KEY_BYTES_MAX);
    assert!(meta.least <= meta.greatest && meta.deletes <= meta.entries);
    assert_eq!(meta.entries == 0, meta.least.is_empty());
    assert!(meta.superseded < meta.entries || meta.superseded == 0);
}

fn check(edit: &Edit) {
    edit.range.iter().for_each(check_range);
    assert!(edit.applied.as_ref().is_none_or(|applied| applied.note.len() <= limits::NOTE_BYTES_MAX));
    edit.added.iter().for_each(|(_, meta)| check_meta(meta));
    let levels = edit.added.iter().map(|(level, _)| *level).chain(edit.moved.iter().map(|(_, level)| *level));
    assert!(levels.max().is_none_or(|level| usize::from(level) < limits::LEVELS));
}

fn apply(before: &Levels, edit: &Edit) {
    let after = match before.apply(edit) {
        Ok(after) => after,
        Err(damage) => return assert_eq!(damage.nature, Nature::Malformed),
    };
    assert_eq!(after.levels.len(), limits::LEVELS);
    assert!(edit.is_reset || after.applied.index >= before.applied.index);
    let ids: BTreeSet<_> = after.tables().map(|meta| meta.id).collect();
    assert_eq!(ids.len(), after.tables().count());
    let whole = after.whole_edit(edit.tablet, 1);
    assert_eq!(Levels::default().apply(&Edit::decode(&whole.encode()).unwrap()), Ok(after.clone()));
    let bytes: u128 = after.tables().map(|meta| u128::from(meta.bytes)).sum();
    assert_eq!(after.bytes_by_level().into_iter().map(u128::from).sum::<u128>(), bytes);
    let stripes = after.tables().flat_map(|meta| &meta.stripes);
    assert_eq!(
        after.coverage().into_values().map(u128::from).sum::<u128>(),
        stripes.map(|stripe| u128::from(stripe.bytes)).sum::<u128>()
    );
    let within = after.within(&KeyRange { start: vec![1], end: Some(vec![2]) });
    assert!(within.tables().all(|meta| ids.contains(&meta.id)));
}
