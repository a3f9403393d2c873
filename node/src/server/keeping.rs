//! What administrators keep of archives and accept of them: pins, legal holds, gaps.

use super::Server;
use super::backups::{Told, away, upto_ms};
use crate::archive::chain::Gapped;
use crate::archive::manifest::log::GapAck;
use crate::archive::manifest::{self};
use crate::archive::naming::{GapId, Name, SnapshotId};
use crate::archive::retain::sweep::Looked;
use crate::archive::site::SiteError;
use crate::archive::sites::SiteSetting;
use crate::entropy::SystemEntropy;
use crate::meta::archive_change::{ArchiveChange, PinEnd};
use crate::meta::command::{Change, MetaCommand, MetaReply, Reason};
use crate::meta::pin_row::PinRow;
use crate::refused::Refused;
use engine::Stamp;
use engine::clock::Clock;
use engine::error::with_sources;
use proto::errors::code;
use proto::v1;
use std::fmt::Write;

/// Names that one answer tells, at most.
const NAMES_MAX: usize = 1_000;

fn hex(id: [u8; 8]) -> String {
    id.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn id_of(text: &str) -> Told<[u8; 8]> {
    let unknown = || Refused::new(code::PIN_UNKNOWN).saying(format!("{text} is no id of a pin"));
    let is_one = text.len() == 16 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
    let number = u64::from_str_radix(text, 16).ok().filter(|_| is_one);
    number.map(u64::to_be_bytes).ok_or_else(unknown)
}

fn told(row: &PinRow) -> v1::ArchivePin {
    v1::ArchivePin {
        id: hex(row.id),
        renewal: row.renewal,
        is_hold: row.is_hold,
        made_ms: row.made_ms,
        until_ms: row.until_ms,
        after: row.after.0,
        upto: row.upto.0,
        snapshots: row.snapshots.iter().map(ToString::to_string).collect(),
        by: row.by.clone(),
        reason: row.why.clone(),
    }
}

fn gap_told(id: GapId, one: &Gapped) -> v1::ArchiveGap {
    let (after, upto) = one.gap.span();
    let cause = match one.gap.cause {
        1 => "the archive was away and writes went on",
        2 => "the versions were gone before they were archived",
        _ => "objects were lost",
    };
    v1::ArchiveGap {
        id: gap_text(id),
        group: one.gap.group,
        after_ms: upto_ms(after),
        upto_ms: upto_ms(upto),
        cause: cause.to_owned(),
        made_ms: one.gap.made_ms,
        accepted_by: one.accepted_by.clone().unwrap_or_default(),
    }
}

/// The id of a gap, as its name has it.
fn gap_text(id: GapId) -> String {
    let name = Name::Gap(id).to_string();
    name.trim_start_matches("gap/").trim_end_matches(".man").to_owned()
}

fn refused(reason: Reason) -> Refused {
    let code = match reason {
        Reason::NotFound => code::PIN_UNKNOWN,
        Reason::State => code::PIN_ENDED,
        Reason::Impossible => code::PIN_LESS,
        _ => code::CHANGE_REFUSED,
    };
    Refused::new(code)
}

fn site_told(setting: &SiteSetting, looked: &Looked, is_named: bool) -> v1::SiteRetention {
    let mut out = unasked(setting);
    for (_, tomb) in looked.archive.open_tombs() {
        out.announced += tomb.names.len() as u64;
        let due_ms = tomb.made_ms.saturating_add(out.grace_ms);
        out.due_ms = if out.due_ms == 0 { due_ms } else { out.due_ms.min(due_ms) };
    }
    match &looked.marking {
        Ok(marking) => {
            out.edge_ms = upto_ms(marking.edge);
            out.log_from_ms = upto_ms(marking.log_from);
            out.may_go = marking.go.len() as u64;
            let one = |(id, why): (&SnapshotId, &&str)| v1::KeptSnapshot {
                id: id.to_string(),
                why: (*why).to_owned(),
            };
            out.snapshots = marking.snapshots.iter().map(one).collect();
            if is_named {
                out.names = marking.go.iter().take(NAMES_MAX).map(ToString::to_string).collect();
            }
        }
        Err(refusal) => out.refused = refusal.to_string(),
    }
    out
}

fn unasked(setting: &SiteSetting) -> v1::SiteRetention {
    v1::SiteRetention {
        name: setting.name.to_string(),
        keep: setting.policy.to_string(),
        grace_ms: setting.policy.grace_s.saturating_mul(1_000),
        ..v1::SiteRetention::default()
    }
}

impl Server {
    /// Keeps something from being collected, or keeps it for longer; `by` asks.
    ///
    /// # Errors
    /// `CHANGE_REFUSED`: nothing to keep. `PIN_UNKNOWN`, `PIN_ENDED`, `PIN_LESS`: of one that is renewed.
    pub async fn pin(&self, asked: v1::PinRequest, by: String, wait_ms: u64) -> Told<v1::ArchivePin> {
        self.home_setting()?;
        self.refresh(wait_ms).await?;
        let refused_saying = |why: &str| Refused::new(code::CHANGE_REFUSED).saying(why.to_owned());
        let mut snapshots = Vec::new();
        for text in &asked.snapshots {
            let id =
                SnapshotId::parse(text).ok_or_else(|| refused_saying(&format!("{text} is no snapshot")))?;
            snapshots.push(id);
        }
        snapshots.sort_unstable();
        snapshots.dedup();
        let (after, upto) = (Stamp(asked.after), Stamp(asked.upto));
        let mut row = PinRow {
            id: crate::entropy::random(&SystemEntropy),
            renewal: 1,
            is_hold: asked.is_hold,
            made_ms: self.clock.now_ms(),
            until_ms: if asked.is_hold { u64::MAX } else { asked.until_ms },
            after,
            upto,
            snapshots,
            by,
            why: asked.reason,
        };
        if !asked.id.is_empty() {
            let id = id_of(&asked.id)?;
            let meta = self.meta();
            let old = meta.pins.get(&id).ok_or_else(|| refused(Reason::NotFound))?;
            (row.id, row.renewal, row.is_hold, row.made_ms) = (id, old.renewal + 1, old.is_hold, old.made_ms);
            row.snapshots.extend(&old.snapshots);
            row.snapshots.sort_unstable();
            row.snapshots.dedup();
            if upto == Stamp::ZERO {
                (row.after, row.upto) = (old.after, old.upto);
            }
            row.until_ms = if old.is_hold { u64::MAX } else { row.until_ms };
        }
        if row.snapshots.is_empty() && row.after >= row.upto {
            return Err(refused_saying("name a snapshot, or a span of time"));
        }
        let id = row.id;
        self.put_pin(ArchiveChange::PutPin(row), wait_ms).await?;
        self.pin_now(id)
    }

    /// Ends a pin or a legal hold; `by` asks.
    ///
    /// # Errors
    /// `PIN_UNKNOWN`: also if it is of the other kind. `PIN_ENDED`.
    pub async fn unpin(&self, asked: v1::UnpinRequest, by: String, wait_ms: u64) -> Told<v1::ArchivePin> {
        let id = id_of(&asked.id)?;
        let end = PinEnd { id, is_hold: asked.is_hold, by, why: asked.reason };
        self.put_pin(ArchiveChange::EndPin(end), wait_ms).await?;
        self.pin_now(id)
    }

    async fn put_pin(&self, change: ArchiveChange, wait_ms: u64) -> Told<()> {
        match Box::pin(self.change(MetaCommand::new(vec![Change::Archive(change)]), wait_ms)).await? {
            MetaReply::Applied { .. } => self.refresh(wait_ms).await,
            MetaReply::Refused { reason, .. } => Err(refused(reason)),
            MetaReply::Malformed => Err(Refused::new(code::CHANGE_REFUSED)),
        }
    }

    fn pin_now(&self, id: [u8; 8]) -> Told<v1::ArchivePin> {
        self.meta().pins.get(&id).map(told).ok_or_else(|| refused(Reason::NotFound))
    }

    /// All pins and legal holds, those that have ended of late too.
    ///
    /// # Errors
    /// The meta group does not answer.
    pub async fn pins(&self, wait_ms: u64) -> Told<Vec<v1::ArchivePin>> {
        self.refresh(wait_ms).await?;
        Ok(self.meta().pins.values().map(told).collect())
    }

    /// What each site keeps, and what may go; `is_named`: with the names of that.
    ///
    /// # Errors
    /// `CHANGE_REFUSED`: nothing is archived.
    pub async fn retention(&self, is_named: bool) -> Told<Vec<v1::SiteRetention>> {
        self.home_setting()?;
        let mut out = Vec::new();
        for setting in &self.archiving.config.sites {
            let known = self.known_of(&self.meta(), setting);
            let looked = match self.site_of(setting) {
                Ok(site) => self.sweeper(setting, &site).look(&known, self.clock.now_ms()).await,
                Err(error) => Err(error),
            };
            out.push(match looked {
                Ok(looked) => site_told(setting, &looked, is_named),
                Err(error) => v1::SiteRetention { failure: with_sources(&error), ..unasked(setting) },
            });
        }
        Ok(out)
    }

    /// Gaps in the log of the home site, the oldest first.
    ///
    /// # Errors
    /// `CHANGE_REFUSED`: nothing is archived. `ARCHIVE_AWAY`.
    pub async fn gaps(&self) -> Told<Vec<v1::ArchiveGap>> {
        let archive = self.archive_of(self.home_setting()?).await.map_err(away)?;
        Ok(archive.gaps().iter().map(|(id, one)| gap_told(*id, one)).collect())
    }

    /// Says that `by` knows of a gap.
    ///
    /// # Errors
    /// `GAP_UNKNOWN`; as [`Server::gaps`].
    pub async fn accept_gap(&self, text: &str, by: String) -> Told<v1::ArchiveGap> {
        let setting = self.home_setting()?;
        let archive = self.archive_of(setting).await.map_err(away)?;
        let all = archive.gaps();
        let is_meant = |id: &GapId| {
            let whole = gap_text(*id);
            whole == text || whole.rsplit('-').next() == Some(text)
        };
        let mut meant = all.keys().filter(|id| is_meant(id));
        let (Some(id), None) = (meant.next(), meant.next()) else {
            return Err(Refused::new(code::GAP_UNKNOWN));
        };
        let (name, ack) = (Name::GapAck(*id), GapAck { made_ms: self.clock.now_ms(), by });
        let sealed = manifest::seal(self.keys.sealer(), &name, &ack).map_err(|error| away(error.into()))?;
        let home = self.site_of(setting).map_err(away)?;
        match home.put(&name.to_string(), sealed.into()).await {
            // Somebody has accepted it before.
            Ok(()) | Err(SiteError::Taken { .. }) => {}
            Err(error) => return Err(away(error.into())),
        }
        let archive = self.archive_of(setting).await.map_err(away)?;
        let now = archive.gaps().get(id).map(|one| gap_told(*id, one));
        now.ok_or_else(|| Refused::new(code::GAP_UNKNOWN))
    }
}
