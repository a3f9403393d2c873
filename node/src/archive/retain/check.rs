//! Pure: whether everything promised can still be restored without what would go: [`super::mark`] says what that is by rules of its own, and here
//! the one function that restores ask is asked again, of the archive as it would be.

use super::mark::{Facts, Marking, Refusal, collected};
use crate::archive::naming::Name;
use crate::archive::window::{Scope, Span, Window, window};
use engine::Stamp;

/// Checks a marking; `before` is what can be restored now.
///
/// # Errors
/// `WouldBreak`.
pub fn check(facts: &Facts<'_>, marking: &Marking, before: &Window) -> Result<(), Refusal> {
    let rest = facts.archive.without(&marking.go, collected(facts.archive, &marking.go));
    let after = window(&rest, &Scope::default());
    for span in &before.spans {
        for promised in promised(facts, marking, *span) {
            if !after.spans.iter().any(|span| span.from <= promised.from && promised.upto <= span.upto) {
                let (from, upto) = (promised.from.ms(), promised.upto.ms());
                return Err(Refusal::WouldBreak { what: format!("instants from {from} to {upto} ms") });
            }
        }
    }
    for id in &before.bases {
        if marking.snapshots.contains_key(id) && !after.bases.contains(id) {
            return Err(Refusal::WouldBreak { what: format!("the snapshot {id}") });
        }
    }
    let named = |id| marking.snapshots.contains_key(id) || facts.taking == Some(*id);
    let files = facts.data.iter().filter(|(id, _)| named(id)).flat_map(|(_, files)| files);
    match files.copied().map(Name::Data).find(|name| marking.go.contains(name)) {
        Some(name) => Err(Refusal::WouldBreak { what: format!("a snapshot of {name}") }),
        None => Ok(()),
    }
}

/// What of a span that can be restored is promised: everything of the time in which every instant should be, and of what is kept.
fn promised(facts: &Facts<'_>, marking: &Marking, span: Span) -> Vec<Span> {
    let kept = facts.keeps.iter().filter_map(|keep| keep.span).map(|(after, upto)| (after.next(), upto));
    let all = kept.chain([(marking.edge, Stamp::MAX)]);
    let clipped = all.map(|(from, upto)| Span { from: span.from.max(from), upto: span.upto.min(upto) });
    clipped.filter(|span| span.from <= span.upto).collect()
}
