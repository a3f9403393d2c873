//! Pure: a run as a page to look at: lanes for the run, its links, its nodes and its clients, over one axis of time, with what is broken on top.

use super::events::{Event, Lane};
use crate::check::Violation;
use crate::history::{Operation, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Pixels that a page is wide at most.
const WIDTH_MAX: u64 = 12_000;
/// Milliseconds a pixel stands for at least.
const PIXEL_MS_MIN: u64 = 10;
/// Pixels between two lanes.
const LANE: u64 = 18;
/// Pixels left of the lanes.
const MARGIN: u64 = 90;
/// Requests that are drawn: the last ones. All are in the files of the history.
const OPERATIONS_MAX: usize = 6_000;

/// What a page shows.
pub struct Shown<'a> {
    /// What run it is, and how to do it again.
    pub title: &'a str,
    /// What happened.
    pub events: &'a [Event],
    /// Requests, by tenant.
    pub operations: &'a [(&'a str, &'a [Operation])],
    /// What is broken.
    pub violations: &'a [Violation],
}

fn safe(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Something drawn in a lane.
struct Bar {
    lane: String,
    from_ms: u64,
    until_ms: u64,
    class: &'static str,
    text: String,
}

/// The page.
#[must_use]
pub fn page(shown: &Shown<'_>) -> String {
    let bars = bars(shown);
    let end_ms = bars.iter().map(|bar| bar.until_ms).max().unwrap_or(0);
    let pixel_ms = (end_ms / WIDTH_MAX).max(PIXEL_MS_MIN);
    let mut lanes: Vec<&str> = vec![];
    for bar in &bars {
        if !lanes.contains(&&bar.lane[..]) {
            lanes.push(&bar.lane);
        }
    }
    let (width, height) = (MARGIN + end_ms / pixel_ms + 20, (lanes.len() as u64 + 2) * LANE);
    let mut out = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>{0}</title><style>body{{font:13px sans-serif}}pre{{background:#fee;padding:8px}}\
         div{{overflow-x:auto}}text{{font-size:11px}}.run{{fill:#999}}.links{{fill:#c80}}.node{{fill:#36c}}.ok{{fill:#3a3}}\
         .failed{{fill:#bbb}}.unknown{{fill:#e90}}.broken{{fill:#d00}}</style><h1>{0}</h1>",
        safe(shown.title)
    );
    for violation in shown.violations {
        let _ = write!(out, "<pre>{}</pre>", safe(&violation.to_string()));
    }
    let _ = write!(out, "<div><svg width=\"{width}\" height=\"{height}\">");
    for second in (0..=end_ms / 1_000).step_by(if pixel_ms > 50 { 60 } else { 5 }) {
        let x = MARGIN + second * 1_000 / pixel_ms;
        let _ = write!(
            out,
            "<line x1=\"{x}\" x2=\"{x}\" y1=\"14\" y2=\"{height}\" stroke=\"#eee\"/><text x=\"{x}\" y=\"11\">{second} s</text>"
        );
    }
    for (at, lane) in lanes.iter().enumerate() {
        let _ = write!(out, "<text x=\"2\" y=\"{}\">{}</text>", (at as u64 + 2) * LANE - 4, safe(lane));
    }
    for bar in &bars {
        let at = lanes.iter().position(|lane| *lane == bar.lane).unwrap_or(0) as u64;
        let (x, y) = (MARGIN + bar.from_ms / pixel_ms, (at + 1) * LANE + 2);
        let wide = ((bar.until_ms - bar.from_ms) / pixel_ms).max(2);
        let (class, text) = (bar.class, safe(&bar.text));
        let _ = write!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{}\" class=\"{class}\"><title>{text}</title></rect>",
            LANE - 5
        );
    }
    out + "</svg></div>"
}

fn bars(shown: &Shown<'_>) -> Vec<Bar> {
    let mut lanes: BTreeMap<Lane, Vec<Bar>> = BTreeMap::new();
    for event in shown.events {
        let class = match event.lane {
            Lane::Run => "run",
            Lane::Links => "links",
            Lane::Node(_) => "node",
        };
        let until_ms = event.until_ms.unwrap_or(event.at_ms).max(event.at_ms);
        let bar = Bar {
            lane: event.lane.to_string(),
            from_ms: event.at_ms,
            until_ms,
            class,
            text: event.to_string(),
        };
        lanes.entry(event.lane).or_default().push(bar);
    }
    let mut bars: Vec<Bar> = lanes.into_values().flatten().collect();
    let broken: BTreeSet<&str> =
        shown.violations.iter().flat_map(|violation| &violation.lines).map(|line| line.trim()).collect();
    for (tenant, operations) in shown.operations {
        let drawn = operations.len().saturating_sub(OPERATIONS_MAX);
        let mut own: Vec<&Operation> = operations[drawn..].iter().collect();
        own.extend(operations[..drawn].iter().filter(|one| broken.contains(one.to_string().trim())));
        own.sort_by_key(|one| (one.client, one.invoked.order));
        for operation in own {
            let text = operation.to_string();
            let class = match operation.outcome() {
                _ if broken.contains(text.trim()) => "broken",
                Outcome::Ok(_) => "ok",
                Outcome::Failed => "failed",
                Outcome::Unknown => "unknown",
            };
            let from_ms = operation.invoked.at_ms;
            let until_ms =
                operation.completed.as_ref().map_or(from_ms, |(moment, _)| moment.at_ms).max(from_ms);
            let lane = format!("{tenant} {}", operation.client.0);
            bars.push(Bar { lane, from_ms, until_ms, class, text });
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Action, Answer, ClientId, History, Key};

    #[test]
    fn a_page_has_its_lanes_and_shows_what_is_broken() {
        let mut history = History::default();
        for (value, outcome) in [(Some(1), Outcome::Ok(Answer::Value(Some(1)))), (None, Outcome::Unknown)] {
            let id = history.invoke(ClientId(2), Action::Read { key: Key(value.unwrap_or(0)) }, 100);
            history.complete(id, outcome, 250);
        }
        let line = history.operations()[0].to_string();
        let violations = [Violation::broken("linearizable", "k1 <is> wrong").with([line])];
        let event =
            |lane, what: &str| Event { at_ms: 50, until_ms: Some(2_000), lane, what: what.to_owned() };
        let events = [event(Lane::Node(0), "stands \"still\""), event(Lane::Links, "Cut n1 -> n2")];
        let operations = [("birch", history.operations())];
        let page = page(&Shown {
            title: "seed 7",
            events: &events,
            operations: &operations,
            violations: &violations,
        });
        for piece in [
            "<h1>seed 7</h1>",
            "linearizable: k1 &lt;is&gt; wrong",
            ">n1</text>",
            ">links</text>",
            ">birch 2</text>",
            "stands &quot;still&quot;",
            "class=\"broken\"",
            "class=\"unknown\"",
        ] {
            assert!(page.contains(piece), "{piece} in {page}");
        }
        assert_eq!(page.matches("class=\"broken\"").count(), 1);
    }
}
