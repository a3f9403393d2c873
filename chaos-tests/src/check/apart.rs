//! Pure: are tenants apart? Whatever a client was shown says whose it is, and what it asks of another tenant is refused.

use super::Violation;
use crate::history::told::Fact;

const JUDGE: &str = "apart";

/// Whether nobody was shown anything of another tenant.
///
/// # Errors
/// Broken: somebody was.
pub fn check(facts: &[Fact]) -> Result<(), Violation> {
    let foreign = facts.iter().find_map(|fact| match fact {
        Fact::Foreign { what } => Some(what),
        _ => None,
    });
    foreign.map_or(Ok(()), |what| Err(Violation::broken(JUDGE, what.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Key;

    #[test]
    fn the_first_foreign_thing_is_told() {
        let good = Fact::Unknown { key: Key(1), value: None };
        assert_eq!(check(std::slice::from_ref(&good)), Ok(()));
        let violation = check(&[good, Fact::Foreign { what: "birch read cedar".to_owned() }]).unwrap_err();
        assert_eq!(violation.to_string(), "apart: birch read cedar");
    }
}
