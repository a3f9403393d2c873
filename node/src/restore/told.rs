//! Pure: what is told of restores: findings for a person, and figures. Only where the meta group is led, for there they are carried out.

use super::rows::{RestoreRow, State, Step};
use crate::finding::{self, Finding};
use crate::limits::{RESTORE_FAILED_TOLD_MS, RESTORE_PAUSED_TOLD_MS, RESTORE_STILL_MS};
use std::collections::BTreeMap;

/// What changes while a restore goes on.
type Progress = (State, Step, u64, u64);

fn progress(row: &RestoreRow) -> Progress {
    let tally = &row.tally;
    let counted = tally.rows + tally.removed + tally.conflicts + tally.expired;
    (row.state, row.step, row.reached.batches, counted)
}

fn goes_on(row: &RestoreRow) -> bool {
    matches!(row.state, State::Running | State::Undoing)
}

/// Figures of all restores that are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many are in each state, in the order of [`State::ALL`].
    pub by_state: [u64; State::ALL.len()],
    /// Rows that those under way have written.
    pub rows: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// How long ago the oldest one under way was planned, in milliseconds.
    pub age_ms: u64,
    /// For how long one under way has not come further, in milliseconds: the longest.
    pub still_ms: u64,
}

/// What has been seen of restores here since the meta group is led here.
#[derive(Debug, Default)]
pub struct Watch {
    /// How far each was, and since when it is: milliseconds of the clock that nobody sets. `None`: the meta group is not led here.
    seen: Option<BTreeMap<u64, (Progress, u64)>>,
}

impl Watch {
    /// Sees how far restores are now.
    pub fn look<'a>(&mut self, rows: impl Iterator<Item = &'a RestoreRow>, boot_ms: u64) {
        let before = self.seen.take().unwrap_or_default();
        let seen = |row: &RestoreRow| {
            let now = progress(row);
            let since =
                before.get(&row.id).filter(|(was, _)| *was == now).map_or(boot_ms, |(_, since)| *since);
            (row.id, (now, since))
        };
        self.seen = Some(rows.map(seen).collect());
    }

    /// The meta group is not led here any more.
    pub fn forget(&mut self) {
        self.seen = None;
    }

    fn still_ms(&self, row: &RestoreRow, boot_ms: u64) -> u64 {
        let since =
            self.seen.as_ref().and_then(|seen| seen.get(&row.id)).filter(|(was, _)| *was == progress(row));
        since.map_or(0, |(_, since)| boot_ms.saturating_sub(*since))
    }

    /// What a person should know: `now` in milliseconds since 1970 and of the clock that nobody sets.
    pub fn findings<'a>(
        &self,
        rows: impl Iterator<Item = &'a RestoreRow> + Clone,
        (now_ms, boot_ms): (u64, u64),
    ) -> Vec<Finding> {
        if self.seen.is_none() {
            return Vec::new();
        }
        let mut findings = Vec::new();
        for row in rows.clone() {
            let (id, age_ms) = (row.id, now_ms.saturating_sub(row.changed_ms));
            let why = if row.text.is_empty() { "it does not say why" } else { &row.text };
            let still_ms = self.still_ms(row, boot_ms);
            if goes_on(row) && still_ms >= RESTORE_STILL_MS {
                let minutes = still_ms / 60_000;
                let text = format!("the restore {id:016x} has not come further for {minutes} min: {why}");
                findings.push(finding::RESTORE_STILL.found(text));
            }
            if row.state == State::Paused && age_ms >= RESTORE_PAUSED_TOLD_MS {
                let hours = age_ms / 3_600_000;
                let text =
                    format!("the restore {id:016x} is paused for {hours} h, and holds its tenant meanwhile");
                findings.push(finding::RESTORE_STILL.found(text));
            }
            let is_made_up_for = || {
                let later = |other: &RestoreRow| {
                    other.tenant == row.tenant
                        && other.state == State::Done
                        && other.changed_ms >= row.changed_ms
                };
                rows.clone().any(later)
            };
            if row.state == State::Failed && age_ms < RESTORE_FAILED_TOLD_MS && !is_made_up_for() {
                findings
                    .push(finding::RESTORE_FAILED.found(format!("the restore {id:016x} has failed: {why}")));
            }
        }
        findings
    }

    /// The figures; all 0 where the meta group is not led.
    pub fn figures<'a>(
        &self,
        rows: impl Iterator<Item = &'a RestoreRow>,
        (now_ms, boot_ms): (u64, u64),
    ) -> Figures {
        let mut figures = Figures::default();
        for row in rows.filter(|_| self.seen.is_some()) {
            for (count, state) in figures.by_state.iter_mut().zip(State::ALL) {
                *count += u64::from(row.state == *state);
            }
            if row.state.is_open() {
                figures.rows += row.tally.rows;
                figures.bytes += row.tally.bytes;
                figures.age_ms = figures.age_ms.max(now_ms.saturating_sub(row.created_ms));
            }
            if goes_on(row) {
                figures.still_ms = figures.still_ms.max(self.still_ms(row, boot_ms));
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::rows::Tally;
    use engine::ids::TenantId;

    const DAY: u64 = 86_400_000;

    fn row(id: u64, state: State, changed_ms: u64) -> RestoreRow {
        let tally = Tally { rows: 10 * id, bytes: 1_000, ..Tally::default() };
        RestoreRow {
            id,
            state,
            tenant: TenantId(id),
            created_ms: 1,
            changed_ms,
            tally,
            ..RestoreRow::default()
        }
    }

    fn names(watch: &Watch, rows: &[RestoreRow], at: (u64, u64)) -> Vec<String> {
        watch.findings(rows.iter(), at).into_iter().map(|found| found.name).collect()
    }

    #[test]
    fn one_that_does_not_come_further_is_told_and_one_that_does_is_not() {
        let (mut watch, mut rows) =
            (Watch::default(), vec![row(1, State::Running, 5), row(2, State::Running, 5)]);
        assert_eq!(names(&watch, &rows, (5, RESTORE_STILL_MS)), [""; 0], "it is not led here");
        watch.look(rows.iter(), 0);
        rows[0].tally.rows += 1;
        watch.look(rows.iter(), RESTORE_STILL_MS - 1);
        // A note that it waits is no progress.
        (rows[1].changed_ms, rows[1].text) = (9, "it waits: a key is not here".to_owned());
        watch.look(rows.iter(), RESTORE_STILL_MS);
        let found = watch.findings(rows.iter(), (10, RESTORE_STILL_MS));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].text.contains("0000000000000002") && found[0].text.contains("a key is not here"));
        rows[1].state = State::Paused;
        assert_eq!(names(&watch, &rows, (10, 2 * RESTORE_STILL_MS - 2)), [""; 0], "whoever pauses it knows");
        assert_eq!(names(&watch, &rows, (9 + DAY, 0)), ["restore_still"], "but not for ever");
        watch.forget();
        assert_eq!(names(&watch, &rows, (9 + DAY, 10 * RESTORE_STILL_MS)), [""; 0]);
    }

    #[test]
    fn one_that_has_failed_is_told_for_a_day_or_until_another_of_the_tenant_is_done() {
        let (mut watch, mut rows) =
            (Watch::default(), vec![row(1, State::Failed, 100), row(2, State::Done, 200)]);
        watch.look(rows.iter(), 0);
        assert_eq!(names(&watch, &rows, (300, 0)), ["restore_failed"]);
        assert_eq!(names(&watch, &rows, (100 + DAY, 0)), [""; 0]);
        rows[1].tenant = TenantId(1);
        assert_eq!(names(&watch, &rows, (300, 0)), [""; 0]);
        rows[1].changed_ms = 99;
        assert_eq!(names(&watch, &rows, (300, 0)), ["restore_failed"], "it was done before");
    }

    #[test]
    fn figures_are_those_of_what_is_under_way() {
        let mut watch = Watch::default();
        let rows = [row(1, State::Running, 5), row(2, State::Paused, 5), row(3, State::Done, 5)];
        assert_eq!(watch.figures(rows.iter(), (11, 0)), Figures::default());
        watch.look(rows.iter(), 0);
        let told = watch.figures(rows.iter(), (11, 700));
        assert_eq!((told.rows, told.bytes, told.age_ms, told.still_ms), (30, 2_000, 10, 700));
        assert_eq!(told.by_state, [0, 1, 1, 1, 0, 0, 0, 0]);
    }
}
