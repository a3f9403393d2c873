//! Pure: the settings of a delayed node.

use super::settings::{LIVE, NODE, Setting, setting};
use super::shape::Shape;
use super::value::Duration;
use crate::delayed::hold::Thresholds;
use crate::limits;

/// In the order in which they are shown.
pub(super) const DELAYED: [Setting; 6] = [
    setting(
        "delayed.delay",
        NODE,
        Shape::Duration(0, *limits::DELAY_MS.end()),
        "0ms",
        [
            "How late the node applies what it stores; `dewpond join --delay` says the same. 0: at once, or on a node that is delayed already, as late as it was. Changed later, the gate waits or goes on.",
            "A mistake is applied before anybody has noticed it.",
            "The log of so long a time lies on its disk, and it takes long to bring the node to a moment.",
        ],
    ),
    setting(
        "delayed.hold.auto",
        LIVE,
        Shape::Word(&["true", "false"]),
        "true",
        [
            "Whether a delayed node holds its gate by itself when something suspicious comes in. It never lets go by itself.",
            "A mass delete that nobody has noticed is applied when its time has come.",
            "",
        ],
    ),
    setting(
        "delayed.hold.deletes_min",
        LIVE,
        Shape::Count(1, 1_000_000_000),
        "1000",
        [
            "Keys of one tenant deleted within `delayed.hold.window`, at least, to be suspicious.",
            "What small tenants do every day holds the gate.",
            "A small tenant can lose all it has.",
        ],
    ),
    setting(
        "delayed.hold.deletes_percent",
        LIVE,
        Shape::Count(1, 100),
        "5",
        [
            "Percent of the keys of the tenant that these are at least, as the node holds them.",
            "What tenants do every day holds the gate.",
            "A large part of a tenant can be deleted unnoticed.",
        ],
    ),
    setting(
        "delayed.hold.window",
        LIVE,
        Shape::Duration(limits::SUSPECT_SLOT_MS, 3_600_000),
        "60s",
        [
            "Within which deletes are counted together.",
            "A slow mass delete is not seen as one.",
            "What is deleted day by day adds up to a mass delete.",
        ],
    ),
    setting(
        "delayed.hold.range_keys",
        LIVE,
        Shape::Count(1, 1_000_000),
        "1000",
        [
            "Keys in ranges that one command deletes, about, to be suspicious.",
            "Small clean-ups hold the gate.",
            "A range with many keys is deleted unnoticed.",
        ],
    ),
];

/// All of several lists, in their order.
pub(super) const fn joined<const N: usize>(lists: &[&[Setting]]) -> [Setting; N] {
    let mut all = [lists[0][0]; N];
    let (mut list, mut to) = (0, 0);
    while list < lists.len() {
        let mut at = 0;
        while at < lists[list].len() {
            all[to] = lists[list][at];
            (at, to) = (at + 1, to + 1);
        }
        list += 1;
    }
    assert!(to == N, "as many as there are");
    all
}

/// The thresholds that these say.
pub(super) fn thresholds(
    is_on: bool,
    [deletes_min, deletes_percent, range_keys]: [u64; 3],
    window: Duration,
) -> Thresholds {
    Thresholds { is_on, deletes_min, deletes_percent, window_ms: window.ms(), range_keys }
}
