//! Pure: the settings of archives, behind all others.

use super::settings::{LIVE, NODE, Setting, setting};
use super::shape::Shape;

/// Of archives.
pub(super) const ARCHIVE: [Setting; 6] = [
    setting(
        "archive.sites",
        NODE,
        Shape::Sites,
        "",
        [
            "Where history is shipped to, the same on all nodes: sites, separated by blanks, each `NAME=file:///FOLDER` or `NAME=s3://BUCKET` and \
             what else is said of it behind `;`: `role=home` (one is) or `role=copy`, `region=`, `required`, `rate=` bytes a second, \
             `keep=` what stays (`keep=35d,hourly:48,daily:35,weekly:12,monthly:24,yearly:7` if nothing is said: every instant of 35 days, then \
             points; or `keep=all`), `grace=` how long what goes is announced before (`24h`), `quiet=mon-fri/08:00-18:00` (several behind commas; UTC) \
             when nothing of a snapshot is moved there, and of a bucket `credentials=` FILE and `endpoint=`. Empty: nothing is archived.",
            "Without an archive a cluster that is lost is lost for good.",
            "",
        ],
    ),
    setting(
        "archive.keyring",
        NODE,
        Shape::Site,
        "",
        [
            "Where the wrapped keys of the cluster and its tenants are kept for a restore, as a site of `archive.sites`: in another folder or \
             bucket, with other credentials. Empty: they are kept by the nodes alone.",
            "Without keys an archive cannot be restored once all nodes are lost.",
            "",
        ],
    ),
    setting(
        "archive.tick",
        NODE,
        Shape::Duration(1_000, 60_000),
        "5s",
        [
            "How often what was committed is shipped, the same on all nodes; whole seconds.",
            "Objects are many and small.",
            "So much may be lost when the whole cluster is.",
        ],
    ),
    setting(
        "archive.protect",
        NODE,
        Shape::Word(&["recovery", "availability"]),
        "recovery",
        [
            "What goes first when the home site has been away until the disk is nearly full: `recovery` takes no writes then; `availability` goes \
             on, and leaves a gap in the archive that is told.",
            "Writes stop, or a span of history cannot be restored.",
            "",
        ],
    ),
    setting(
        "archive.calm_p99",
        LIVE,
        Shape::Duration(0, 60_000),
        "100ms",
        [
            "While 1 of a hundred calls for data takes longer than that, snapshots are moved slower; ticks never are. 0: however long.",
            "Snapshots take long though nobody would notice them.",
            "Clients wait for the disk and the links while a snapshot is taken.",
        ],
    ),
    setting(
        "archive.calm_calls",
        LIVE,
        Shape::Count(0, 1_000_000),
        "1000",
        [
            "While more calls for data than that are under way at a node, it moves snapshots slower. 0: however many.",
            "Snapshots take long though nobody would notice them.",
            "Clients pile up while a snapshot is taken.",
        ],
    ),
];
