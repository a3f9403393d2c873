//! Pure: manifests of retention: what must stay, and what is going.
//! Format: archive_manifest, `docs/formats/archive_manifest.md`.

use super::{Body, malformed};
use crate::archive::naming::Name;
use engine::Stamp;
use engine::error::Damage;

/// What must not be collected for a while: `pin/...`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Pin {
    /// Until when: milliseconds since 1970. Of several renewals the last one counts.
    #[prost(uint64, tag = "1")]
    pub until_ms: u64,
    /// Why: 1 a restore, 2 a drill, 3 a person, 4 a legal hold.
    #[prost(uint32, tag = "2")]
    pub reason: u32,
    /// Snapshots it holds, as text.
    #[prost(string, repeated, tag = "3")]
    pub snapshots: Vec<String>,
    /// It holds every marker, tick file and gap whose tick has stamps behind this one,
    #[prost(fixed64, tag = "4")]
    pub after: u64,
    /// up to this one.
    #[prost(fixed64, tag = "5")]
    pub upto: u64,
}

impl Pin {
    /// The span of the log it holds.
    #[must_use]
    pub fn span(&self) -> (Stamp, Stamp) {
        (Stamp(self.after), Stamp(self.upto))
    }
}

impl Body for Pin {
    const KIND: u16 = 11;

    fn check(&self) -> Result<(), Damage> {
        let is_one = (1..=4).contains(&self.reason) && self.after <= self.upto;
        if is_one { Ok(()) } else { Err(malformed("a pin that is none")) }
    }
}

/// A part of the log that is collected: every marker whose tick ends behind the first stamp and not behind the second, but those that stay.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CollectedSpan {
    /// Behind this stamp,
    #[prost(fixed64, tag = "1")]
    pub after: u64,
    /// up to this one.
    #[prost(fixed64, tag = "2")]
    pub upto: u64,
}

impl CollectedSpan {
    /// Its ends.
    #[must_use]
    pub fn span(&self) -> (Stamp, Stamp) {
        (Stamp(self.after), Stamp(self.upto))
    }
}

fn are_spans(spans: &[CollectedSpan]) -> bool {
    spans.iter().all(|span| span.after < span.upto)
        && spans.windows(2).all(|pair| pair[0].upto < pair[1].after)
}

/// What is going to be collected: `tomb/...`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Tomb {
    /// When it was written: milliseconds since 1970.
    #[prost(uint64, tag = "1")]
    pub made_ms: u64,
    /// The names of the objects, ascending.
    #[prost(string, repeated, tag = "2")]
    pub names: Vec<String>,
    /// What of the log is collected with it, and was before, ascending.
    #[prost(message, repeated, tag = "3")]
    pub collected: Vec<CollectedSpan>,
}

impl Tomb {
    /// The names, those that are names.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        self.names.iter().filter_map(|name| Name::parse(name))
    }
}

impl Body for Tomb {
    const KIND: u16 = 12;

    fn check(&self) -> Result<(), Damage> {
        let are_names = self.names.iter().all(|name| Name::parse(name).is_some());
        let is_sorted = self.names.windows(2).all(|pair| pair[0] < pair[1]);
        if are_names && is_sorted && are_spans(&self.collected) {
            Ok(())
        } else {
            Err(malformed("a tomb of what has no name"))
        }
    }
}

/// That it was collected: beside it, `.done`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TombDone {
    /// When: milliseconds since 1970.
    #[prost(uint64, tag = "1")]
    pub made_ms: u64,
    /// Objects deleted.
    #[prost(uint64, tag = "2")]
    pub deleted: u64,
    /// Objects that were kept after all: pinned meanwhile.
    #[prost(uint64, tag = "3")]
    pub kept: u64,
    /// What of the log is collected by now, ascending.
    #[prost(message, repeated, tag = "4")]
    pub collected: Vec<CollectedSpan>,
}

impl Body for TombDone {
    const KIND: u16 = 13;

    fn check(&self) -> Result<(), Damage> {
        if are_spans(&self.collected) { Ok(()) } else { Err(malformed("spans that are none")) }
    }
}
