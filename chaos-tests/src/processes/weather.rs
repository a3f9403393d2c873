//! What goes wrong with links, beside what goes wrong with nodes: one thing after the other, each for a while.

use super::events::{Events, Lane};
use super::fault::{Deck, FAULTS, Fault};
use super::link::{End, Links, Way};
use super::proxy::Proxy;
use crate::seed::Dice;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// How long one lasts, in milliseconds.
const LASTS_MS: std::ops::RangeInclusive<u64> = 500..=5_000;
/// Milliseconds between two.
const REST_MS: std::ops::RangeInclusive<u64> = 300..=4_000;
/// Milliseconds that bytes are late, at most.
const DELAY_MS_MAX: u64 = 400;
/// Bytes a second that pass, at least.
const RATE_MIN: u64 = 4 << 10;

/// Spoils links.
pub struct Weather {
    /// Whose.
    pub proxy: Proxy,
    /// What is told.
    pub events: Events,
    /// Places there may be.
    pub places: usize,
    /// How often each has happened.
    pub hits: BTreeMap<Fault, u64>,
    /// Its choices.
    pub dice: Dice,
    /// Whoever has this has fine weather.
    pub fine: Arc<Mutex<()>>,
}

impl Weather {
    /// Spoils links until it is told to stop, each kind at least once; then all of them are well.
    pub async fn run(mut self, is_over: &AtomicBool) -> BTreeMap<Fault, u64> {
        let kinds = FAULTS.into_iter().filter(|fault| fault.is_of_links()).collect();
        let mut deck = Deck::new(kinds, self.dice.clone());
        while !(is_over.load(Ordering::Relaxed)) {
            let rest_ms = self.dice.within(&REST_MS);
            tokio::time::sleep(Duration::from_millis(rest_ms)).await;
            let fine = self.fine.clone();
            let _spoilt = fine.lock().await;
            let Some(fault) = deck.draw() else { break };
            let (from, to) = self.ends();
            let way = self.way(fault);
            let both = fault == Fault::Cut
                || matches!(fault, Fault::Delay | Fault::Throttle) && self.dice.is_lucky(500);
            let begun = self.events.begin(Lane::Links, format!("{fault:?} {}", said(&from, &to, both)));
            self.proxy.change(|links| spoil(links, (&from, &to), both, way));
            let lasts_ms = self.dice.within(&LASTS_MS);
            tokio::time::sleep(Duration::from_millis(lasts_ms)).await;
            self.proxy.change(Links::heal);
            self.events.end(begun);
            *self.hits.entry(fault).or_default() += 1;
        }
        self.hits
    }

    /// Between one node and another, all others, all others and the clients, or the clients alone.
    fn ends(&mut self) -> (Vec<End>, Vec<End>) {
        let one = self.dice.below(self.places as u64) as usize;
        let others: Vec<End> = (0..self.places).filter(|other| *other != one).map(End::Node).collect();
        let others = match self.dice.below(5) {
            0 | 1 => self.dice.pick(&others).copied().into_iter().collect(),
            2 => others,
            3 => [others, vec![End::Clients]].concat(),
            _ => vec![End::Clients],
        };
        let here = vec![End::Node(one)];
        // Clients only ever ask: nobody connects to them.
        if self.dice.is_lucky(500) || others == [End::Clients] { (others, here) } else { (here, others) }
    }

    fn way(&mut self, fault: Fault) -> Way {
        let well = Way::default();
        match fault {
            Fault::Cut | Fault::CutOneWay => Way { is_cut: true, ..well },
            Fault::HalfOpen => Way { is_half_open: true, ..well },
            Fault::Still => Way { is_still: true, ..well },
            Fault::Throttle => Way { bytes_per_second: Some(RATE_MIN << self.dice.below(6)), ..well },
            _ => Way { delay_ms: 1 + self.dice.below(DELAY_MS_MAX), ..well },
        }
    }
}

fn spoil(links: &mut Links, (from, to): (&[End], &[End]), both: bool, way: Way) {
    for (here, there) in from.iter().flat_map(|here| to.iter().map(move |there| (*here, *there))) {
        links.change(here, there, |one| *one = way);
        if both {
            links.change(there, here, |one| *one = way);
        }
    }
}

fn said(from: &[End], to: &[End], both: bool) -> String {
    let list = |ends: &[End]| ends.iter().map(End::to_string).collect::<Vec<_>>().join(" ");
    format!("{} {} {}", list(from), if both { "<->" } else { "->" }, list(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spoilt_link_is_spoilt_in_the_directions_that_are_meant() {
        let (one, two, way) = (End::Node(0), End::Node(1), Way { is_cut: true, ..Way::default() });
        let mut links = Links::default();
        spoil(&mut links, (&[one], &[two, End::Clients]), false, way);
        assert!(
            links.way(one, two).is_cut && links.way(one, End::Clients).is_cut && !links.way(two, one).is_cut
        );
        spoil(&mut links, (&[one], &[two]), true, way);
        assert!(links.way(two, one).is_cut && !links.way(End::Clients, one).is_cut);
        assert_eq!(said(&[one], &[two, End::Clients], true), "n1 <-> n2 clients");
    }
}
