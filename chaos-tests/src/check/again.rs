//! Pure: is a write that is sent again applied once? Under its number it has one place for ever, so it is told one stamp, however often
//! and by whomever.

use super::Violation;
use crate::history::told::Fact;

const JUDGE: &str = "again";

/// Whether every write that was sent again was told what it had been told.
///
/// # Errors
/// Broken: it was told another stamp.
pub fn check(facts: &[Fact]) -> Result<(), Violation> {
    for fact in facts {
        if let Fact::Again { key, first, second } = fact
            && first != second
        {
            let what = format!(
                "k{}: a write counts from {first} on, and from {second} when it is sent again",
                key.0
            );
            return Err(Violation::broken(JUDGE, what).with([fact.to_string()]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Key;
    use engine::Stamp;

    #[test]
    fn one_write_has_one_stamp() {
        let told = |second| Fact::Again { key: Key(3), first: Stamp::new(1, 0), second };
        assert_eq!(check(&[told(Stamp::new(1, 0))]), Ok(()));
        let violation = check(&[told(Stamp::new(1, 0)), told(Stamp::new(1, 1))]).unwrap_err();
        assert!(
            violation.is_broken() && violation.what.starts_with("k3: a write counts from 1.0"),
            "{violation}"
        );
    }
}
