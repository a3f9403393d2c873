//! Pure: what a delayed node can be promoted to, and why not to anything else.

use super::order::{Plan, Target};
use crate::refused::Refused;
use engine::Stamp;
use proto::errors::code;

/// How a delayed node stands, as far as a promotion is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Up to which stamp everything may be applied; `None`: it is not delayed.
    pub gate: Stamp,
    /// Up to which stamp everything has come in; `None`: of some group nothing is known.
    pub received: Option<Stamp>,
    /// The greatest stamp that was seen of anything.
    pub seen: Stamp,
    /// Groups whose log has a hole: they stand where they are.
    pub parked: usize,
    /// What is behind this stamp waits for an entry of the meta group that never came here; `None`: nothing waits.
    pub waits: Option<Stamp>,
}

/// What it would be.
///
/// # Errors
/// `GATE_PASSED`: it has applied more already. `NOT_RECEIVED`: it does not have all of that, and what it has is said.
pub fn plan(target: Target, standing: &Standing) -> Result<Plan, Refused> {
    let Standing { gate, received, seen, parked, waits } = *standing;
    let waits = waits.map(|waits| waits.max(gate)).filter(|waits| received.is_some_and(|most| *waits < most));
    let most = if parked > 0 { Some(gate) } else { waits.or(received) };
    let possible = match most {
        Some(most) => format!("possible is anything from {gate} to {most}"),
        None => "of some group nothing is known yet: wait until it was heard".to_owned(),
    };
    let upto = match target {
        Target::Upto(upto) => upto,
        Target::Newest => most.ok_or_else(|| Refused::new(code::NOT_RECEIVED).saying(&*possible))?.max(gate),
    };
    if upto < gate {
        let text = format!("{upto} lies below what is applied; {possible}; what is older is in an archive");
        return Err(Refused::new(code::GATE_PASSED).saying(text));
    }
    // At the gate it stands whole, whatever came in since.
    if upto > gate && most.is_none_or(|most| upto > most) {
        let missing_ms = most.map(|most| upto.ms().saturating_sub(most.ms()));
        let missing = missing_ms.map_or_else(String::new, |ms| format!(", {ms} ms are missing"));
        let why = match (parked, waits) {
            (0, None) => "",
            (0, Some(_)) => " (what follows waits for a change of the meta group that never came here)",
            _ => " (its log has a hole: it is parked)",
        };
        return Err(
            Refused::new(code::NOT_RECEIVED).saying(format!("{upto} is not here{missing}{why}; {possible}"))
        );
    }
    Ok(Plan { upto, gate, received, lost_ms: seen.ms().saturating_sub(upto.ms()), ..Plan::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_is_planned_and_the_rest_is_refused_with_what_can() {
        let stamp = |ms| Stamp::new(ms, 0);
        let usual = Standing {
            gate: stamp(100),
            received: Some(stamp(200)),
            seen: stamp(230),
            ..Standing::default()
        };
        let of =
            |target, standing: &Standing| plan(target, standing).map(|plan| (plan.upto.ms(), plan.lost_ms));
        let code_of = |target, standing: &Standing| {
            let refused = plan(target, standing).unwrap_err();
            assert!(
                refused.text.contains("possible is") || refused.text.contains("nothing is known"),
                "{refused}"
            );
            refused.code
        };
        assert_eq!(of(Target::Upto(stamp(150)), &usual), Ok((150, 80)));
        assert_eq!(of(Target::Upto(stamp(100)), &usual), Ok((100, 130)));
        assert_eq!(of(Target::Newest, &usual), Ok((200, 30)));
        assert_eq!(code_of(Target::Upto(stamp(99)), &usual), code::GATE_PASSED);
        assert_eq!(code_of(Target::Upto(stamp(201)), &usual), code::NOT_RECEIVED);
        let unheard = Standing { received: None, ..usual.clone() };
        assert_eq!(code_of(Target::Newest, &unheard), code::NOT_RECEIVED);
        assert_eq!(code_of(Target::Upto(stamp(101)), &unheard), code::NOT_RECEIVED);
        assert_eq!(of(Target::Upto(stamp(100)), &unheard), Ok((100, 130)));
        // What waits for what nobody has stays out; what was let through the gate does not.
        let waits = |at| Standing { waits: Some(stamp(at)), ..usual.clone() };
        assert_eq!(of(Target::Newest, &waits(170)), Ok((170, 60)));
        assert_eq!(of(Target::Upto(stamp(160)), &waits(170)), Ok((160, 70)));
        let refused = plan(Target::Upto(stamp(171)), &waits(170)).unwrap_err();
        assert!(refused.text.contains("never came") && refused.code == code::NOT_RECEIVED, "{refused}");
        assert_eq!(of(Target::Newest, &waits(90)), Ok((100, 130)));
        assert_eq!(of(Target::Newest, &waits(210)), Ok((200, 30)), "that has not come in anyhow");
        let parked = Standing { parked: 1, ..usual.clone() };
        assert_eq!(of(Target::Newest, &parked), Ok((100, 130)));
        assert_eq!(code_of(Target::Upto(stamp(150)), &parked), code::NOT_RECEIVED);
    }
}
