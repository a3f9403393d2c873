//! Who may call what, the whole table. `access_matrix.txt` is written by hand: whoever changes the policy changes it there too, and is asked why.

use node::access::action::{Action, Caller};
use node::access::policy::{Denied, decide};

const TABLE: &str = include_str!("access_matrix.txt");
const TENANTS: [Option<&str>; 4] = [Some("acme"), Some("other"), Some(""), None];

fn callers() -> [(&'static str, Caller); 4] {
    [
        ("anonymous", Caller::Anonymous),
        ("node", Caller::Node(7)),
        ("service", Caller::Service("acme".to_owned())),
        ("admin", Caller::Admin("acme".to_owned())),
    ]
}

/// The table as the policy has it: of each action, who may; a service with whose rows.
fn drawn() -> String {
    let mut out = String::new();
    for action in Action::ALL {
        let mut row = format!("{:<16}", format!("{action:?}"));
        for (_, caller) in callers() {
            let allowed: Vec<_> =
                TENANTS.into_iter().filter(|tenant| decide(&caller, action, *tenant).is_ok()).collect();
            let cell = match &allowed[..] {
                [] => "-",
                [Some("acme")] => "own",
                all if all.len() == TENANTS.len() => "yes",
                _ => "WRONG",
            };
            row += &format!("{cell:<10}");
        }
        out += &format!("{}\n", row.trim_end());
    }
    out
}

#[test]
fn the_policy_is_the_table() {
    let table: String =
        TABLE.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    let head =
        format!("{:<16}{}\n", "action", callers().map(|(name, _)| format!("{name:<10}")).concat().trim_end());
    assert_eq!(head + &drawn(), table);
}

#[test]
fn a_service_reaches_its_tenant_and_an_admin_none() {
    let [_, _, (_, service), (_, admin)] = callers();
    for action in Action::ALL.into_iter().filter(|action| action.is_of_tenant()) {
        let permit = decide(&service, action, Some("acme")).unwrap();
        assert_eq!((permit.action(), permit.tenant()), (action, Some("acme")));
        for tenant in ["other", "", "ACME", "acme "] {
            assert_eq!(decide(&service, action, Some(tenant)), Err(Denied::Tenant));
        }
        assert_eq!(decide(&service, action, None), Err(Denied::Tenant));
        assert_eq!(decide(&admin, action, Some("acme")), Err(Denied::Role));
        assert_eq!(decide(&Caller::Anonymous, action, Some("acme")), Err(Denied::Anonymous));
    }
    let permit = decide(&admin, Action::AdminKeys, Some("acme")).unwrap();
    assert_eq!(permit.tenant(), None, "an admin is given nobody's rows");
}
