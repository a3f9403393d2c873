//! Pure: the names of objects in an archive. Each object has one name, each name one printed form, and no name is ever given twice.
//! Format: archive_names, `docs/formats/archive_names.md`.
//!
//! Names are below the folder of the cluster, `dewpond/<cluster>/` ([`root`]). They hold numbers, digests and random digits, and nothing
//! that a client or an operator wrote but the names of sites and drills.

use super::civil::{self, Parts};
use engine::Stamp;
use engine::ids::{ClusterId, NodeId};
use raft::types::GroupId;
use std::fmt::{self, Write};

/// Bytes of a name, at most.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of the name of a site or a drill, at most.
pub const WORD_BYTES_MAX: usize = 32;
/// Beyond this second no name can be printed: the end of the year 9999.
pub const SECONDS_MAX: u64 = 253_402_300_799;

/// The end of a tick, or another whole second that names something: seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TickEnd(pub u64);

impl TickEnd {
    /// The same in milliseconds since 1970.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0.saturating_mul(1_000)
    }

    /// The last stamp that belongs to a tick of this end: the last one before this second.
    #[must_use]
    pub fn upto(self) -> Stamp {
        Stamp(Stamp::new(self.ms(), 0).0.saturating_sub(1))
    }

    /// The newest end of a tick of `tick_s` seconds that is not after `ms`.
    #[must_use]
    pub fn before(ms: u64, tick_s: u64) -> Self {
        let seconds = ms / 1_000;
        Self(seconds - seconds % tick_s.max(1))
    }

    fn parts(self) -> Parts {
        civil::parts(self.0.min(SECONDS_MAX))
    }
}

/// Number of the cluster's life line; raised by a takeover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Which residency class the tenants of a file belong to; 0 is that of all who have none of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResidencyClass(pub u16);

/// The word by which a site or a drill is called: lower case, digits, `-`, `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(String);

impl Word {
    /// The word, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
        let is_word = (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_one);
        is_word.then(|| Self(text.to_owned()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a tick file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TickFileName {
    /// The tick in which it was written.
    pub end: TickEnd,
    /// By whom.
    pub node: NodeId,
    /// Of which class its tenants are.
    pub class: ResidencyClass,
    /// The first bytes of the id of the table it is.
    pub random: [u8; 4],
}

/// Which snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The cut: the end of a tick.
    pub cut: TickEnd,
    /// Four random bytes.
    pub random: [u8; 4],
}

impl SnapshotId {
    /// The id that `text`, as printed by `Display`, names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (time, random) = text.split_once('-')?;
        Some(Self { cut: parse_time(time)?, random: unhex(random)? })
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", time(self.cut), hex(&self.random))
    }
}

/// Which gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GapId {
    /// From when on: the second in which its first missing stamp lies.
    pub from: TickEnd,
    /// Whose log has the hole.
    pub group: GroupId,
    /// Two random bytes.
    pub random: [u8; 2],
}

/// The name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// What everything else is checked against.
    Genesis,
    /// A life line of the cluster.
    Generation(Generation),
    /// A tick file.
    TickFile(TickFileName),
    /// A close marker.
    Marker(TickEnd, Generation),
    /// An index of the markers of an hour; the end is the first second of that hour.
    Roll(TickEnd, Generation),
    /// A table file, named by its SHA-256.
    Data([u8; 32]),
    /// What a snapshot sets out to hold.
    SnapshotOpen(SnapshotId),
    /// One group's part of a snapshot.
    SnapshotPart(SnapshotId, GroupId),
    /// That a snapshot is whole.
    SnapshotDone(SnapshotId),
    /// What a drill has proved of a snapshot.
    Proof(SnapshotId, Word),
    /// A hole in the log.
    Gap(GapId),
    /// That a person knows of a hole.
    GapAck(GapId),
    /// What must not be collected; renewals count up.
    Pin([u8; 8], u32),
    /// What is going to be collected; the end is the first second of the day.
    Tomb(TickEnd, [u8; 8]),
    /// That it was collected.
    TombDone(TickEnd, [u8; 8]),
    /// That another site has everything up to a marker.
    Receipt(Word, TickEnd, Generation),
    /// Wrapped keys, below the folder of keys: version of the root file, and a number that rises.
    Keyring(u32, u64),
}

/// The folder of a cluster, below which its names are.
#[must_use]
pub fn root(cluster: ClusterId) -> String {
    format!("dewpond/{cluster}/")
}

/// The folder of a cluster's wrapped keys, in a store of its own.
#[must_use]
pub fn keyring_root(cluster: ClusterId) -> String {
    format!("keyring/{cluster}/")
}

fn hour(end: TickEnd) -> String {
    let at = end.parts();
    format!("{}/{:02}", day(end), at.hour)
}

fn day(end: TickEnd) -> String {
    let at = end.parts();
    format!("{:04}-{:02}-{:02}", at.year, at.month, at.day)
}

fn minute(end: TickEnd) -> String {
    let at = end.parts();
    format!("{:02}{:02}", at.minute, at.second)
}

fn time(end: TickEnd) -> String {
    let at = end.parts();
    format!("{:04}{:02}{:02}t{:02}{}", at.year, at.month, at.day, at.hour, minute(end))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Genesis => f.write_str("genesis.man"),
            Self::Generation(generation) => write!(f, "gen/{:08}.man", generation.0),
            Self::TickFile(TickFileName { end, node, class, random }) => {
                write!(f, "log/{}/{}-n{}-r{}-{}.blk", hour(*end), minute(*end), node.0, class.0, hex(random))
            }
            Self::Marker(end, generation) => {
                write!(f, "tick/{}/{}.g{}.man", hour(*end), minute(*end), generation.0)
            }
            Self::Roll(end, generation) => write!(f, "roll/{}.g{}.man", hour(*end), generation.0),
            Self::Data(content) => write!(f, "data/{:02x}/{}.blk", content[0], hex(content)),
            Self::SnapshotOpen(id) => write!(f, "snap/{id}/open.man"),
            Self::SnapshotPart(id, group) => write!(f, "snap/{id}/grp{}.part", group.0),
            Self::SnapshotDone(id) => write!(f, "snap/{id}/done.man"),
            Self::Proof(id, drill) => write!(f, "proof/{id}/{drill}.man"),
            Self::Gap(id) => write!(f, "gap/{}-grp{}-{}.man", time(id.from), id.group.0, hex(&id.random)),
            Self::GapAck(id) => write!(f, "gap/{}-grp{}-{}.ack", time(id.from), id.group.0, hex(&id.random)),
            Self::Pin(id, renewal) => write!(f, "pin/{}.{renewal}.man", hex(id)),
            Self::Tomb(end, id) => write!(f, "tomb/{}/{}.man", day(*end), hex(id)),
            Self::TombDone(end, id) => write!(f, "tomb/{}/{}.done", day(*end), hex(id)),
            Self::Keyring(version, number) => write!(f, "e{version}-{number}.env"),
            Self::Receipt(site, end, generation) => {
                write!(f, "rcpt/{site}/{}/{}.g{}.man", hour(*end), minute(*end), generation.0)
            }
        }
    }
}

/// The bytes that lower-case digits spell.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(out)
}

/// A number of digits and nothing else, as it would be printed.
fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|c| c.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// A number of exactly so many digits.
fn digits(text: &str, count: usize) -> Option<u64> {
    (text.len() == count && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse().ok())?
}

fn at(date: &[Option<u64>; 3], clock: [Option<u64>; 3]) -> Option<TickEnd> {
    let [year, month, day] = *date;
    let [hour, minute, second] = clock;
    let parts =
        Parts { year: year?, month: month?, day: day?, hour: hour?, minute: minute?, second: second? };
    civil::seconds(parts).map(TickEnd)
}

fn parse_date(text: &str) -> Option<[Option<u64>; 3]> {
    let mut pieces = text.split('-');
    let date = [digits(pieces.next()?, 4), digits(pieces.next()?, 2), digits(pieces.next()?, 2)];
    pieces.next().is_none().then_some(date)
}

/// `date`, `hour` and `mmss`, each as it stands in a name.
fn parse_at(date: &str, hour: &str, minute: &str) -> Option<TickEnd> {
    let clock = [digits(hour, 2), digits(minute.get(..2)?, 2), digits(minute.get(2..)?, 2)];
    at(&parse_date(date)?, clock)
}

fn parse_time(text: &str) -> Option<TickEnd> {
    let (date, clock) = text.split_once('t')?;
    if !text.is_ascii() || date.len() != 8 || clock.len() != 6 {
        return None;
    }
    let date = [digits(&date[..4], 4), digits(&date[4..6], 2), digits(&date[6..], 2)];
    at(&date, [digits(&clock[..2], 2), digits(&clock[2..4], 2), digits(&clock[4..], 2)])
}

fn parse_generation(text: &str) -> Option<Generation> {
    number(text.strip_prefix('g')?).map(Generation)
}

fn parse_tick_file(date: &str, hour: &str, file: &str) -> Option<Name> {
    let mut pieces = file.strip_suffix(".blk")?.split('-');
    let mut next = || pieces.next();
    let (minute, node, class, random) = (next()?, next()?, next()?, next()?);
    let name = TickFileName {
        end: parse_at(date, hour, minute)?,
        node: NodeId(number(node.strip_prefix('n')?)?),
        class: ResidencyClass(u16::try_from(number(class.strip_prefix('r')?)?).ok()?),
        random: unhex(random)?,
    };
    next().is_none().then_some(Name::TickFile(name))
}

fn parse_marker(date: &str, hour: &str, file: &str) -> Option<(TickEnd, Generation)> {
    let (minute, generation) = file.strip_suffix(".man")?.split_once('.')?;
    Some((parse_at(date, hour, minute)?, parse_generation(generation)?))
}

fn parse_snapshot(id: &str, file: &str) -> Option<Name> {
    let id = SnapshotId::parse(id)?;
    match file {
        "open.man" => Some(Name::SnapshotOpen(id)),
        "done.man" => Some(Name::SnapshotDone(id)),
        _ => {
            let group = number(file.strip_prefix("grp")?.strip_suffix(".part")?)?;
            Some(Name::SnapshotPart(id, GroupId(group)))
        }
    }
}

fn parse_gap(file: &str) -> Option<Name> {
    let (stem, end) = file.split_once('.')?;
    let mut pieces = stem.split('-');
    let mut next = || pieces.next();
    let (from, group, random) = (parse_time(next()?)?, next()?, next()?);
    let group = GroupId(number(group.strip_prefix("grp")?)?);
    let id = GapId { from, group, random: unhex(random)? };
    match (next(), end) {
        (None, "man") => Some(Name::Gap(id)),
        (None, "ack") => Some(Name::GapAck(id)),
        _ => None,
    }
}

fn parse_tomb(date: &str, file: &str) -> Option<Name> {
    let day = at(&parse_date(date)?, [Some(0); 3])?;
    let (id, end) = file.split_once('.')?;
    match end {
        "man" => Some(Name::Tomb(day, unhex(id)?)),
        "done" => Some(Name::TombDone(day, unhex(id)?)),
        _ => None,
    }
}

impl Name {
    /// The name that `text`, below the folder of the cluster and as printed by `Display`, spells.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > NAME_BYTES_MAX {
            return None;
        }
        let pieces: Vec<&str> = text.split('/').collect();
        let name = match pieces[..] {
            ["genesis.man"] => Self::Genesis,
            [file] => {
                let (version, number) = file.strip_prefix('e')?.strip_suffix(".env")?.split_once('-')?;
                Self::Keyring(u32::try_from(self::number(version)?).ok()?, self::number(number)?)
            }
            ["gen", file] => Self::Generation(Generation(digits(file.strip_suffix(".man")?, 8)?)),
            ["log", date, hour, file] => parse_tick_file(date, hour, file)?,
            ["tick", date, hour, file] => {
                let (end, generation) = parse_marker(date, hour, file)?;
                Self::Marker(end, generation)
            }
            ["roll", date, file] => {
                let (hour, generation) = file.strip_suffix(".man")?.split_once('.')?;
                Self::Roll(parse_at(date, hour, "0000")?, parse_generation(generation)?)
            }
            ["data", first, file] => {
                let content: [u8; 32] = unhex(file.strip_suffix(".blk")?)?;
                (unhex(first)? == [content[0]]).then_some(Self::Data(content))?
            }
            ["snap", id, file] => parse_snapshot(id, file)?,
            ["proof", id, file] => {
                Self::Proof(SnapshotId::parse(id)?, Word::parse(file.strip_suffix(".man")?)?)
            }
            ["gap", file] => parse_gap(file)?,
            ["pin", file] => {
                let (id, renewal) = file.strip_suffix(".man")?.split_once('.')?;
                Self::Pin(unhex(id)?, u32::try_from(number(renewal)?).ok()?)
            }
            ["tomb", date, file] => parse_tomb(date, file)?,
            ["rcpt", site, date, hour, file] => {
                let (end, generation) = parse_marker(date, hour, file)?;
                Self::Receipt(Word::parse(site)?, end, generation)
            }
            _ => return None,
        };
        Some(name)
    }
}

/// Folders under which names of a kind are, to list them by.
pub mod prefix {
    use super::{SnapshotId, TickEnd};

    /// All registers of generations.
    pub const GENERATIONS: &str = "gen/";
    /// All tick files.
    pub const TICK_FILES: &str = "log/";
    /// All close markers.
    pub const MARKERS: &str = "tick/";
    /// All table files.
    pub const DATA: &str = "data/";
    /// All snapshots.
    pub const SNAPSHOTS: &str = "snap/";
    /// All proofs.
    pub const PROOFS: &str = "proof/";
    /// All gaps.
    pub const GAPS: &str = "gap/";
    /// All pins.
    pub const PINS: &str = "pin/";
    /// All tombs.
    pub const TOMBS: &str = "tomb/";
    /// All receipts.
    pub const RECEIPTS: &str = "rcpt/";

    /// The markers of the hour in which `end` lies.
    #[must_use]
    pub fn markers_of_hour(end: TickEnd) -> String {
        format!("tick/{}/", super::hour(end))
    }

    /// The objects of one snapshot.
    #[must_use]
    pub fn snapshot(id: SnapshotId) -> String {
        format!("snap/{id}/")
    }
}
