//! Writes keys of a tenant that serves as they were once: as new versions, each on the condition that nobody has written the key since somebody
//! looked. What somebody has is left as it is and told, or written all the same, as it was asked for. Nothing is lost: every older version stays
//! in the history of its key.

use super::asked::PageRow;
use super::hands::Hands;
use super::past::{KeyRange, Past, Rows};
use super::plan::{OnConflict, Ttl};
use super::rows::Tally;
use crate::entropy::{self, SystemEntropy};
use crate::limits;
use crate::refused::Refused;
use crate::shard::command::{Condition, Expected, Expiry, KvCommand, Operation};
use crate::shard::door::WriteId;
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use proto::errors::code;

/// How often one key is looked at again that somebody writes all the time.
const LOOKS_MAX: usize = 16;

/// How keys are written back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// When somebody has looked at what is there now: what was written later is a conflict.
    pub seen: Stamp,
    /// What is done with conflicts.
    pub on_conflict: OnConflict,
    /// Keys that were not there then go.
    pub mirror: bool,
    /// What becomes of values that expire.
    pub ttl: Ttl,
    /// What is gone to.
    pub target: Stamp,
}

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it was, or is not to be touched.
    Leave,
    /// Its value is over.
    Expired,
    /// It is written, if its newest version is still this one; `None`: if it has none.
    Put(Option<Stamp>),
    /// It goes, if its newest version is still this one.
    Delete(Stamp),
    /// Somebody has written it, and it is left as it is.
    Conflict,
}

/// When a value that is brought back expires; nothing: it has already.
#[must_use]
pub fn expiry(expires_ms: u64, ttl: Ttl, target: Stamp, now_ms: u64) -> Option<Expiry> {
    match (expires_ms, ttl) {
        (0, _) => Some(Expiry::Never),
        (at_ms, Ttl::Keep) => (at_ms > now_ms).then_some(Expiry::At(at_ms)),
        (at_ms, Ttl::Shift) => {
            Some(Expiry::At(at_ms.saturating_add(now_ms.saturating_sub(target.ms())).min(u64::MAX >> 16)))
        }
    }
}

/// What is done with a key that `was` so once and is so `now`. One that is as it was is left, whoever has written it.
#[must_use]
pub fn decide(was: Option<&PageRow>, now: Option<&PageRow>, rules: &Rules, now_ms: u64) -> Verdict {
    let is_same = match (was, now) {
        (Some(was), Some(now)) => {
            let is_written_back = was.value == now.value && (was.expires_ms == 0) == (now.expires_ms == 0);
            was.stamp == now.stamp || is_written_back
        }
        (was, now) => was.is_none() && now.is_none(),
    };
    if is_same {
        return Verdict::Leave;
    }
    let now = now.map(|now| now.stamp);
    let is_brought = was.is_some_and(|was| expiry(was.expires_ms, rules.ttl, rules.target, now_ms).is_some());
    let wanted = match (was, now) {
        (Some(_), _) if is_brought => Verdict::Put(now),
        (Some(_), _) => return Verdict::Expired,
        (None, Some(now)) if rules.mirror => Verdict::Delete(now),
        (None, _) => return Verdict::Leave,
    };
    let is_conflict = now.is_some_and(|now| now > rules.seen);
    if is_conflict && rules.on_conflict != OnConflict::Overwrite { Verdict::Conflict } else { wanted }
}

/// What is written of one key, and what was counted for it.
struct Piece {
    key: Bytes,
    was: Option<PageRow>,
    verdict: Verdict,
}

/// Writes the keys of one range back.
pub struct WriteBack {
    hands: Hands,
    tenant: TenantId,
    collection: CollectionId,
    rules: Rules,
    was: Rows,
    now: Rows,
    session: [u8; 16],
    number: u64,
    /// What was done.
    pub tally: Tally,
    /// Some keys that were left as they are.
    pub conflicting: Vec<(CollectionId, Vec<u8>)>,
    told_bytes: usize,
    /// Up to this key all is done.
    pub reached: Option<Bytes>,
}

impl WriteBack {
    /// Of a range, behind a key if one is given: its rows as `past` has them.
    #[must_use]
    pub fn new(
        hands: &Hands,
        past: &Past,
        (tenant, range): (TenantId, KeyRange),
        after: Option<Bytes>,
        rules: Rules,
    ) -> Self {
        let present = Past::History { hands: hands.clone(), tenant, at: Stamp::ZERO, keys_only: false };
        Self {
            hands: hands.clone(),
            tenant,
            collection: range.collection,
            rules,
            was: past.rows(range.clone(), after.clone()),
            now: present.rows(range, after),
            session: entropy::random(&SystemEntropy),
            number: 0,
            tally: Tally::default(),
            conflicting: Vec::new(),
            told_bytes: 0,
            reached: None,
        }
    }

    /// Writes the next keys. False: there are no more.
    ///
    /// # Errors
    /// What reading and writing say.
    pub async fn step(&mut self) -> Result<bool, Refused> {
        let (mut pieces, mut bytes, mut looked, mut goes_on) = (Vec::new(), 0, 0, true);
        let mut last = None;
        while pieces.len() < limits::RESTORE_BATCH_ROWS
            && bytes < limits::RESTORE_BATCH_BYTES
            && looked < 16 * limits::RESTORE_BATCH_ROWS
        {
            let Some((key, was, now)) = self.pair().await? else {
                goes_on = false;
                break;
            };
            looked += 1;
            last = Some(key.clone());
            let verdict = decide(was.as_ref(), now.as_ref(), &self.rules, self.hands.now_ms());
            bytes += key.len() + was.as_ref().map_or(0, |was| was.value.len());
            let piece = Piece { key, was, verdict };
            if self.is_write(&piece) {
                pieces.push(piece);
            }
        }
        if !pieces.is_empty() && !self.write(&pieces).await? {
            // One of them was written meanwhile: each is looked at by itself.
            for piece in pieces {
                self.write_one(piece).await?;
            }
        }
        self.reached = last.or(self.reached.take());
        Ok(goes_on)
    }

    /// The next key, as it was and as it is.
    async fn pair(&mut self) -> Result<Option<(Bytes, Option<PageRow>, Option<PageRow>)>, Refused> {
        let was = self.was.peek().await?.map(|row| row.key.clone());
        let now = self.now.peek().await?.map(|row| row.key.clone());
        let Some(key) = [was.as_ref(), now.as_ref()].into_iter().flatten().min().cloned() else {
            return Ok(None);
        };
        let was = if was.as_ref() == Some(&key) { self.was.next().await? } else { None };
        let now = if now.as_ref() == Some(&key) { self.now.next().await? } else { None };
        Ok(Some((key, was, now)))
    }

    /// Counts what is not written; whether it is.
    fn is_write(&mut self, piece: &Piece) -> bool {
        match piece.verdict {
            Verdict::Leave => {}
            Verdict::Expired => self.tally.expired += 1,
            Verdict::Conflict => {
                self.tally.conflicts += 1;
                let bytes = self.told_bytes + piece.key.len();
                let is_told = self.rules.on_conflict == OnConflict::List
                    && self.conflicting.len() < limits::CONFLICTS_KEPT_MAX
                    && bytes <= limits::CONFLICTS_TOLD_BYTES_MAX;
                if is_told {
                    self.told_bytes = bytes;
                    self.conflicting.push((self.collection, piece.key.to_vec()));
                }
            }
            Verdict::Put(_) | Verdict::Delete(_) => return true,
        }
        false
    }

    /// Writes some keys, all of them or none. False: somebody has written one of them.
    async fn write(&mut self, pieces: &[Piece]) -> Result<bool, Refused> {
        let command = self.command(pieces);
        self.number += 1;
        let valid_until_ms = self.hands.now_ms().saturating_add(limits::RESTORE_WAIT_MS);
        let id = WriteId { session: self.session, number: self.number, valid_until_ms };
        match self.hands.write((self.tenant, true), command, id).await {
            Ok(_) => {
                for piece in pieces {
                    self.count(piece);
                }
                Ok(true)
            }
            // Whether it was written is seen when the keys are looked at again.
            Err(refused) if matches!(refused.code, code::CONDITION_FAILED | code::REQUEST_EXPIRED) => {
                Ok(false)
            }
            Err(refused) => Err(refused),
        }
    }

    fn count(&mut self, piece: &Piece) {
        match &piece.was {
            Some(was) => {
                self.tally.rows += 1;
                self.tally.bytes += was.bytes();
            }
            None => self.tally.removed += 1,
        }
    }

    fn command(&self, pieces: &[Piece]) -> Bytes {
        let (collection, now_ms) = (self.collection, self.hands.now_ms());
        let (mut conditions, mut operations) = (Vec::new(), Vec::new());
        for piece in pieces {
            let key = piece.key.clone();
            let expected = match piece.verdict {
                Verdict::Put(Some(stamp)) | Verdict::Delete(stamp) => Expected::Stamp(stamp),
                _ => Expected::Absent,
            };
            conditions.push(Condition { collection, key: key.clone(), expected });
            operations.push(match &piece.was {
                Some(was) => {
                    let expiry = expiry(was.expires_ms, self.rules.ttl, self.rules.target, now_ms);
                    // One that has expired since it was decided expires at once.
                    let expiry = expiry.unwrap_or(Expiry::At(was.expires_ms.max(1)));
                    Operation::Put { collection, key, value: was.value.clone(), expiry }
                }
                None => Operation::Delete { collection, key },
            });
        }
        KvCommand { conditions, operations }.encode().into()
    }

    /// Looks at one key again, and writes it if that is still to be done.
    async fn write_one(&mut self, piece: Piece) -> Result<(), Refused> {
        let (tenant, hands) = (self.tenant, self.hands.clone());
        let present = Past::History { hands, tenant, at: Stamp::ZERO, keys_only: false };
        let range = KeyRange::one(self.collection, &piece.key);
        for _ in 0..LOOKS_MAX {
            let now = present.rows(range.clone(), None).next().await?.filter(|row| row.key == piece.key);
            let verdict = decide(piece.was.as_ref(), now.as_ref(), &self.rules, self.hands.now_ms());
            let again = Piece { key: piece.key.clone(), was: piece.was.clone(), verdict };
            if !self.is_write(&again) || self.write(std::slice::from_ref(&again)).await? {
                return Ok(());
            }
        }
        self.is_write(&Piece { verdict: Verdict::Conflict, ..piece });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(stamp: u64, expires_ms: u64) -> PageRow {
        PageRow { stamp: Stamp(stamp), expires_ms, ..PageRow::default() }
    }

    #[test]
    fn what_is_done_with_a_key_is_this_table() {
        use OnConflict::{List, Overwrite, Skip};
        use Verdict::{Conflict, Delete, Expired, Leave, Put};
        let seen = Stamp(50);
        let other = |stamp| PageRow { value: Bytes::from_static(b"other"), ..row(stamp, 0) };
        let cases = [
            // As it was, whoever has written since.
            (Some(row(5, 0)), Some(5), List, false, Leave),
            (None, None, List, true, Leave),
            // Gone, or another.
            (Some(row(5, 0)), None, List, false, Put(None)),
            (Some(row(5, 0)), Some(40), List, false, Put(Some(Stamp(40)))),
            (Some(row(5, 0)), Some(50), List, false, Put(Some(Stamp(50)))),
            // Written since somebody looked.
            (Some(row(5, 0)), Some(51), List, false, Conflict),
            (Some(row(5, 0)), Some(51), Skip, false, Conflict),
            (Some(row(5, 0)), Some(51), Overwrite, false, Put(Some(Stamp(51)))),
            // New since then.
            (None, Some(40), List, false, Leave),
            (None, Some(60), List, false, Leave),
            (None, Some(40), List, true, Delete(Stamp(40))),
            (None, Some(60), List, true, Conflict),
            (None, Some(60), Overwrite, true, Delete(Stamp(60))),
            // Over since then.
            (Some(row(5, 900)), None, List, false, Expired),
            (Some(row(5, 1_001)), None, List, false, Put(None)),
        ];
        for (was, now, on_conflict, mirror, want) in cases {
            let rules = Rules { seen, on_conflict, mirror, ..Rules::default() };
            let now = now.map(|now| if now == 5 { row(5, 0) } else { other(now) });
            let got = decide(was.as_ref(), now.as_ref(), &rules, 1_000);
            assert_eq!(got, want, "{was:?} {now:?} {on_conflict:?} {mirror}");
        }
        let again = decide(Some(&row(5, 0)), Some(&row(60, 0)), &Rules { seen, ..Rules::default() }, 1_000);
        assert_eq!(again, Leave, "what was written back before a crash is no conflict after it");
    }

    #[test]
    fn a_value_expires_when_it_would_have_or_later_by_what_lies_between() {
        let target = Stamp::new(100, 0);
        for (expires_ms, ttl, want) in [
            (0, Ttl::Keep, Some(Expiry::Never)),
            (0, Ttl::Shift, Some(Expiry::Never)),
            (1_000, Ttl::Keep, None),
            (1_001, Ttl::Keep, Some(Expiry::At(1_001))),
            (150, Ttl::Shift, Some(Expiry::At(1_050))),
            (u64::MAX, Ttl::Shift, Some(Expiry::At(u64::MAX >> 16))),
        ] {
            assert_eq!(expiry(expires_ms, ttl, target, 1_000), want, "{expires_ms} {ttl:?}");
        }
    }
}
