//! Puts a tenant in the place of another: the name points to the one that comes, and the one that goes is kept aside, frozen. In between neither
//! is served: who asks is told to look again, a moment later.
//!
//! 1. The one that goes is closed, by a row that every node hears of; each that answers says when no write is under way there any more that was
//!    let in before.
//! 2. One change of the meta group does all the rest: names, states, quotas, and that the restore is done.

use super::change::RestoreChange;
use super::rows::{RestoreRow, State};
use super::runner::{Drive, Stop};
use crate::limits;
use crate::meta::command::{Change, Reason};
use engine::Stamp;
use engine::ids::TenantId;
use proto::errors::code;

/// So much later than anything that was told of a tenant, in milliseconds, lies the stamp behind which its watchers heard of the other: a watch
/// that was about to speak when it was closed has spoken by then.
const TOLD_MS: u64 = 1_000;

/// A copy serves from now on.
///
/// # Errors
/// What asking for it says.
pub(super) async fn serve(drive: &mut Drive) -> Result<(), Stop> {
    let tenant = drive.row.other;
    let whole = drive.hands.reach(tenant).await?.newest;
    let serves = Change::Restoring(RestoreChange::Whole(tenant, whole));
    drive.note_with(|row| (row.state, row.plan) = (State::Done, Vec::new()), vec![serves]).await
}

/// Puts the copy in the place of what it is a copy of.
///
/// # Errors
/// A node does not answer in time: nothing has changed.
pub(super) async fn over(drive: &mut Drive) -> Result<(), Stop> {
    let (old, new) = (drive.row.tenant, drive.row.other);
    let aside = format!("pre-restore-{:x}", drive.row.id);
    let until_ms = drive.hands.now_ms().saturating_add(limits::ASIDE_MS);
    let done = move |row: &mut RestoreRow| {
        (row.state, row.undo_until_ms) = (State::Done, until_ms);
        row.text.clear();
    };
    swap(drive, (old, new), (aside, until_ms), done).await
}

/// Puts back what was there before a restore in place, and says how many writes are left behind with what that had brought.
///
/// # Errors
/// As [`over`].
pub(super) async fn back(drive: &mut Drive) -> Result<(), Stop> {
    let (old, new) = (drive.row.other, drive.row.tenant);
    let since = drive.hands.meta().origins.get(&old).map_or(Stamp::ZERO, |origin| origin.whole);
    let aside = format!("undone-restore-{:x}", drive.row.id);
    let until_ms = drive.hands.now_ms().saturating_add(limits::ASIDE_MS);
    let done = |row: &mut RestoreRow| {
        (row.state, row.undo_until_ms) = (State::Undoing, 0);
        row.text.clear();
    };
    let meta = drive.hands.meta();
    let is_swapped = meta.aside.get(&old).is_some_and(|row| row.until_ms != 0 && row.now == new);
    if !is_swapped {
        swap(drive, (old, new), (aside, until_ms), done).await?;
    }
    // Nothing is written there any more.
    let (left_behind, text) = match drive.hands.count(old, since).await {
        Ok(count) => (count, String::new()),
        Err(refused) if refused.code == code::HISTORY_GONE => (
            0,
            "how many writes are left behind is not known: its history does not reach so far back".to_owned(),
        ),
        Err(refused) => return Err(Stop::Waits(refused.to_string())),
    };
    drive
        .note(|row| {
            (row.state, row.plan, row.text) = (State::Undone, Vec::new(), text);
            row.tally.left_behind = left_behind;
        })
        .await
}

async fn swap(
    drive: &mut Drive,
    (old, new): (TenantId, TenantId),
    (aside, until_ms): (String, u64),
    done: impl FnOnce(&mut RestoreRow),
) -> Result<(), Stop> {
    let restore = drive.row.id;
    let close = vec![Change::Restoring(RestoreChange::Close(old, new, restore))];
    match drive.hands.change(close).await? {
        Ok(()) => {}
        Err(Reason::State) => {
            return Err(Stop::Failed(
                "the tenant is dropped, or stands aside: it cannot be put back".to_owned(),
            ));
        }
        Err(why) => return Err(Stop::Failed(why.to_string())),
    }
    let settled = async {
        let told = drive.hands.settle(old).await?;
        let whole = drive.hands.reach(new).await?.newest;
        Ok::<_, Stop>((whole, Stamp::end_of_ms(told.max(whole).ms().saturating_add(TOLD_MS))))
    };
    let (whole, forked) = match settled.await {
        Ok(stamps) => stamps,
        Err(stop) => {
            // It serves again until the next try.
            let open = vec![Change::Restoring(RestoreChange::Open(old))];
            if let Ok(Err(why)) = drive.hands.change(open).await {
                tracing::warn!(restore, %why, "a tenant that was closed for a restore is not open again yet");
            }
            return Err(stop);
        }
    };
    let swap = RestoreChange::Swap { old, new, aside, until_ms, whole, forked };
    drive.note_with(done, vec![Change::Restoring(swap)]).await
}
