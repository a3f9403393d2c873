//! Pure: does a node that comes back still know what it promised? Every durable promise is noted here when it leaves the node: a vote
//! granted, a log id acknowledged, a snapshot installed, a gate opened. After a crash, what the node recovers must be at least that.
//! A promise that is broken may never show in what clients see; here it shows at once.

use super::Violation;
use engine::Stamp;
use engine::ids::NodeId;
use raft::types::{GroupId, LogId, ReplicaId, Vote};
use std::collections::{BTreeMap, BTreeSet};

const JUDGE: &str = "ledger";

/// One replica of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    /// The group.
    pub group: GroupId,
    /// The replica.
    pub replica: ReplicaId,
}

/// What a replica told others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It granted this vote, or accepted this leader.
    Vote(Vote),
    /// It has stored all entries up to this one.
    Acknowledged(LogId),
    /// It has a state that holds everything up to this entry, and needs the log no more below it.
    Installed(LogId),
}

#[derive(Clone, Copy, Debug, Default)]
struct Promised {
    vote: Option<Vote>,
    acknowledged: Option<LogId>,
    installed: Option<LogId>,
}

/// What a replica knows after a start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The vote it holds to.
    pub vote: Option<Vote>,
    /// The last entry that is gone from the head of its log.
    pub purged: Option<LogId>,
    /// Its log, by index.
    pub log: BTreeMap<u64, LogId>,
    /// The last entry in its state.
    pub applied: Option<LogId>,
}

/// All promises that stand.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    seats: BTreeMap<Seat, Promised>,
    /// Those that have ended.
    closed: BTreeSet<Seat>,
    gates: BTreeMap<NodeId, Stamp>,
    compared: u64,
}

fn rank(vote: &Vote) -> (u64, ReplicaId, bool) {
    (vote.term, vote.replica, vote.is_committed)
}

fn shown(vote: Option<Vote>) -> String {
    let said = |vote: Vote| {
        let how = if vote.is_committed { "leader" } else { "candidate" };
        format!("{how} {} of term {}", vote.replica, vote.term)
    };
    vote.map_or_else(|| "nobody".to_owned(), said)
}

fn index(id: Option<LogId>) -> Option<u64> {
    id.map(|id| id.index)
}

impl Recovered {
    fn holds(&self, id: LogId) -> bool {
        let is_below = |end: Option<LogId>| index(end) >= Some(id.index);
        is_below(self.purged) || self.log.get(&id.index) == Some(&id)
    }

    fn end(&self) -> String {
        let last = self.log.last_key_value().map(|(_, id)| *id).or(self.purged);
        last.map_or_else(|| "before its first entry".to_owned(), |last| format!("at {last}"))
    }
}

impl Ledger {
    /// A promise leaves the node. Each is at least what was promised before of its kind.
    pub fn promised(&mut self, seat: Seat, promise: Promise) {
        let promised = self.seats.entry(seat).or_default();
        match promise {
            Promise::Vote(vote) => {
                let before = promised.vote.filter(|before| rank(before) > rank(&vote));
                promised.vote = before.or(Some(vote));
            }
            Promise::Acknowledged(id) => {
                let before = promised.acknowledged.filter(|before| before.index > id.index);
                promised.acknowledged = before.or(Some(id));
            }
            Promise::Installed(id) => {
                let before = promised.installed.filter(|before| before.index > id.index);
                promised.installed = before.or(Some(id));
            }
        }
    }

    /// A replica is told by a later leader to drop what follows `after`, and is free of what it had said of that.
    pub fn truncated(&mut self, seat: Seat, after: Option<LogId>) {
        let promised = self.seats.entry(seat).or_default();
        promised.acknowledged = promised.acknowledged.and_then(|id| {
            let is_kept = after.is_some_and(|after| id.index <= after.index);
            if is_kept { Some(id) } else { after }
        });
    }

    /// The gate of a node was opened up to a stamp.
    pub fn gate_opened(&mut self, node: NodeId, gate: Stamp) {
        let before = self.gates.entry(node).or_default();
        *before = gate.max(*before);
    }

    /// Up to which stamp the gate of a node was ever opened.
    #[must_use]
    pub fn gate(&self, node: NodeId) -> Option<Stamp> {
        self.gates.get(&node).copied()
    }

    /// A replica is gone for ever, with all it promised: it may never be back.
    pub fn closed(&mut self, seat: Seat) {
        self.seats.remove(&seat);
        self.closed.insert(seat);
    }

    /// A replica is back.
    ///
    /// # Errors
    /// Broken: it forgot a vote, an entry, or a snapshot; or its log does not begin where its state ends.
    pub fn recovered(&mut self, seat: Seat, now: &Recovered) -> Result<(), Violation> {
        self.compared += 1;
        if self.closed.contains(&seat) {
            let Seat { group, replica } = seat;
            return Err(Violation::broken(
                JUDGE,
                format!("{group} {replica}: it had ended, and lives again"),
            ));
        }
        let Seat { group, replica } = seat;
        let broken = |what: String| Err(Violation::broken(JUDGE, format!("{group} {replica}: {what}")));
        if index(now.purged) > index(now.applied) {
            let applied = now.applied.map_or_else(|| "nothing".to_owned(), |id| id.to_string());
            return broken(format!(
                "its log begins behind index {:?}, its state ends at {applied}",
                index(now.purged)
            ));
        }
        let promised = self.seats.get(&seat).copied().unwrap_or_default();
        if promised.vote.as_ref().map(rank) > now.vote.as_ref().map(rank) {
            let (then, now) = (shown(promised.vote), shown(now.vote));
            return broken(format!("it promised its vote to {then}, and knows of {now}"));
        }
        if let Some(id) = promised.acknowledged.filter(|id| !now.holds(*id)) {
            return broken(format!("it acknowledged {id}, and its log ends {} without it", now.end()));
        }
        if let Some(id) = promised.installed.filter(|id| Some(id.index) > index(now.applied)) {
            let applied = now.applied.map_or_else(|| "nothing".to_owned(), |id| id.to_string());
            return broken(format!("it installed a snapshot up to {id}, and its state ends at {applied}"));
        }
        Ok(())
    }

    /// The gate of a node that is back.
    ///
    /// # Errors
    /// Broken: it was open further.
    pub fn gate_recovered(&mut self, node: NodeId, gate: Stamp) -> Result<(), Violation> {
        self.compared += 1;
        match self.gates.get(&node) {
            Some(before) if *before > gate => {
                let what = format!("{node}: its gate was opened up to {before}, and is back at {gate}");
                Err(Violation::broken(JUDGE, what))
            }
            _ => Ok(()),
        }
    }

    /// How many recoveries were held against what was promised.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.compared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAT: Seat = Seat { group: GroupId(1), replica: ReplicaId(2) };

    fn id(term: u64, index: u64) -> LogId {
        LogId { term, replica: ReplicaId(term), index }
    }

    fn vote(term: u64, is_committed: bool) -> Vote {
        Vote { term, replica: ReplicaId(term), is_committed }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.promised(SEAT, Promise::Vote(vote(3, true)));
        ledger.promised(SEAT, Promise::Vote(vote(2, true)));
        ledger.promised(SEAT, Promise::Acknowledged(id(3, 8)));
        ledger.promised(SEAT, Promise::Acknowledged(id(3, 7)));
        ledger.promised(SEAT, Promise::Installed(id(1, 4)));
        ledger
    }

    fn kept() -> Recovered {
        let log = (5..=8).map(|index| (index, id(3, index))).collect();
        Recovered { vote: Some(vote(3, true)), purged: Some(id(1, 4)), log, applied: Some(id(1, 4)) }
    }

    #[test]
    fn who_recovers_what_it_promised_or_more_is_good() {
        assert_eq!(ledger().recovered(SEAT, &kept()), Ok(()));
        let mut more = kept();
        more.vote = Some(vote(4, false));
        more.log.insert(9, id(3, 9));
        more.applied = Some(id(3, 6));
        assert_eq!(ledger().recovered(SEAT, &more), Ok(()));
        let far =
            Recovered { purged: Some(id(4, 20)), applied: Some(id(4, 20)), log: BTreeMap::new(), ..more };
        let mut ledger = ledger();
        assert_eq!(ledger.recovered(SEAT, &far), Ok(()), "a snapshot beyond all of it");
        assert_eq!(ledger.compared(), 1);
    }

    #[test]
    fn each_promise_forgotten_is_told() {
        type Loss = fn(&mut Recovered);
        let losses: [(Loss, &str); 7] = [
            (|now| now.vote = None, "promised its vote to leader r-3 of term 3, and knows of nobody"),
            (|now| now.vote = Some(vote(3, false)), "and knows of candidate r-3 of term 3"),
            (|now| now.vote = Some(vote(2, true)), "and knows of leader r-2"),
            (
                |now| now.log = BTreeMap::from([(5, id(3, 5))]),
                "acknowledged 3.3.8, and its log ends at 3.3.5 without it",
            ),
            (|now| now.log.extend([(8, id(2, 8))]), "acknowledged 3.3.8, and its log ends at 2.2.8"),
            (
                |now| (now.purged, now.applied) = (Some(id(1, 3)), Some(id(1, 3))),
                "installed a snapshot up to 1.1.4",
            ),
            (
                |now| now.purged = Some(id(3, 8)),
                "its log begins behind index Some(8), its state ends at 1.1.4",
            ),
        ];
        for (lose, what) in losses {
            let mut now = kept();
            lose(&mut now);
            let violation = ledger().recovered(SEAT, &now).unwrap_err();
            assert!(violation.what.contains(what), "{violation}");
        }
    }

    #[test]
    fn a_truncation_frees_of_what_it_cuts_and_of_nothing_else() {
        let mut ledger = ledger();
        ledger.truncated(SEAT, Some(id(3, 6)));
        let mut cut = kept();
        cut.log.split_off(&7);
        assert_eq!(ledger.recovered(SEAT, &cut), Ok(()));
        assert_eq!(ledger.recovered(SEAT, &kept()), Ok(()), "nobody had synced it");
        cut.log.remove(&6);
        assert!(ledger.recovered(SEAT, &cut).is_err());
        ledger.promised(SEAT, Promise::Acknowledged(id(4, 7)));
        assert!(ledger.recovered(SEAT, &kept()).is_err(), "the tail of before came back");
        ledger.truncated(SEAT, Some(id(4, 9)));
        assert!(ledger.recovered(SEAT, &kept()).is_err(), "nothing was cut");
    }

    #[test]
    fn who_has_ended_never_lives_again_and_binds_no_other() {
        let mut ledger = ledger();
        ledger.closed(SEAT);
        for now in [kept(), Recovered::default()] {
            let told = ledger.recovered(SEAT, &now).unwrap_err().to_string();
            assert!(told.contains("had ended, and lives again"), "{told}");
        }
        let next = Seat { replica: ReplicaId(SEAT.replica.0 + 100), ..SEAT };
        assert_eq!(ledger.recovered(next, &Recovered::default()), Ok(()));
    }

    #[test]
    fn a_gate_never_goes_back() {
        let (mut ledger, node, at) = (Ledger::default(), NodeId(1), |ms| Stamp::new(ms, 0));
        ledger.gate_opened(node, at(9));
        ledger.gate_opened(node, at(7));
        assert_eq!(ledger.gate_recovered(node, at(9)), Ok(()));
        assert_eq!(ledger.gate_recovered(NodeId(2), Stamp::ZERO), Ok(()));
        let told = ledger.gate_recovered(node, at(8)).unwrap_err().to_string();
        assert_eq!(told, "ledger: n-1: its gate was opened up to 9.0, and is back at 8.0");
    }
}
