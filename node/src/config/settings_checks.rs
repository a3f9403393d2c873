//! Pure: the settings of what looks for damage by itself.

use super::settings::{LIVE, MIB, NODE, Setting, TIB, setting};
use super::shape::Shape;
use crate::limits;

/// Of walks over tables, and of comparisons of replicas.
pub(super) const CHECKS: [Setting; 3] = [
    setting(
        "scrub.interval",
        LIVE,
        Shape::Duration(0, limits::HISTORY_MS_MAX),
        "7d",
        [
            "How often a node walks all its tables for damage, and mends from its peers what it finds; 0: only when `dew scrub` asks.",
            "Disks are read for nothing most of the time.",
            "Damage lies unseen until the copies that would mend it are damaged too.",
        ],
    ),
    setting(
        "scrub.bytes_per_second",
        NODE,
        Shape::Bytes(MIB, TIB),
        "16 MiB",
        [
            "How fast a scrub reads at most.",
            "A walk takes longer than the time to the next.",
            "Whoever reads and writes meanwhile waits for the disk.",
        ],
    ),
    setting(
        "verify.interval",
        LIVE,
        Shape::Duration(0, limits::HISTORY_MS_MAX),
        "1d",
        [
            "How often a node has the replicas of the groups it leads compared, row by row; 0: only when `dew group verify` asks.",
            "Disks and links are read for nothing most of the time.",
            "Replicas that hold different rows go unseen, and one of them may lead.",
        ],
    ),
];
