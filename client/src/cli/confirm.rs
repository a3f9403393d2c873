//! What is dangerous is done only when its name was typed once more: on the line by `--confirm`, or where a person is asked. In a protected
//! context only a person is asked, at a terminal.

use crate::error::{Error, Result, code};
use std::io::{BufRead as _, IsTerminal as _};

/// Whether the name was typed again: `again` on the line, or at the terminal. `what` tells what will happen.
///
/// # Errors
/// Invalid, if it was not.
pub fn confirmed(what: &str, name: &str, (again, protected): (Option<&str>, bool)) -> Result<()> {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let ask = || {
        eprint!("{what}. Type the name `{name}` to go on: ");
        let mut typed = String::new();
        std::io::stdin().lock().read_line(&mut typed).ok().map(|_| typed.trim().to_owned())
    };
    decide((what, name), (again, protected), is_terminal.then_some(ask))
}

fn decide(
    (what, name): (&str, &str),
    (again, protected): (Option<&str>, bool),
    ask: Option<impl FnOnce() -> Option<String>>,
) -> Result<()> {
    let refused = |text: String| Err(Error::new(code::INPUT, text));
    match (again, protected, ask) {
        (Some(_), true, _) => {
            refused("this context is protected: --confirm does not count, a person types the name".to_owned())
        }
        (Some(again), false, _) if again == name => Ok(()),
        (Some(again), false, _) => refused(format!("--confirm says `{again}`, and the name is `{name}`")),
        (None, _, Some(ask)) => match ask() {
            Some(typed) if typed == name => Ok(()),
            _ => refused("that is not the name: nothing was done".to_owned()),
        },
        (None, true, None) => refused(format!("{what}: this context is protected, and there is no terminal")),
        (None, false, None) => refused(format!("{what}: type the name again: --confirm {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_itself_confirms_and_in_a_protected_context_only_a_person() {
        let nobody = None::<fn() -> Option<String>>;
        let types = |typed: &'static str| Some(move || Some(typed.to_owned()));
        let of = |again, protected| decide(("drop", "acme"), (again, protected), nobody).is_ok();
        assert!(of(Some("acme"), false));
        for again in [None, Some("yes"), Some("acm"), Some("")] {
            assert!(!of(again, false) && !of(again, true), "{again:?}");
        }
        assert!(!of(Some("acme"), true), "no script does it");
        for protected in [false, true] {
            assert!(decide(("drop", "acme"), (None, protected), types("acme")).is_ok());
            for typed in ["", "y", "yes", "acm"] {
                assert!(decide(("drop", "acme"), (None, protected), types(typed)).is_err(), "{typed}");
            }
        }
        assert!(decide(("drop", "acme"), (Some("acme"), true), types("acme")).is_err(), "nor half of one");
    }
}
