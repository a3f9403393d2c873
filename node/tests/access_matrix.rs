//! Who may call what, the whole table. `access_matrix.txt` is written by hand: whoever changes the policy changes it there too, and is asked why.

use node::access::action::{Action, Caller};
use node::access::policy::{Denied, check_role, decide};

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

/// Every method of the schema, as a path.
fn paths() -> Vec<String> {
    let schema = [
        include_str!("../../proto/proto/dewpond/v1/admin.proto"),
        include_str!("../../proto/proto/dewpond/v1/cluster.proto"),
        include_str!("../../proto/proto/dewpond/v1/kv.proto"),
        include_str!("../../proto/proto/dewpond/v1/watch.proto"),
        include_str!("../../proto/proto/dewpond/v1/restore.proto"),
        include_str!("../../proto/proto/dewpond/v1/archive.proto"),
    ];
    let (mut service, mut paths) = ("", Vec::new());
    for line in schema.iter().flat_map(|text| text.lines()) {
        let words: Vec<_> = line.split([' ', '(', '{']).filter(|word| !word.is_empty()).collect();
        match words[..] {
            ["service", name, ..] => service = name,
            ["rpc", method, ..] => paths.push(format!("/dewpond.v1.{service}/{method}")),
            _ => {}
        }
    }
    paths
}

#[test]
fn every_method_of_the_schema_is_an_action_and_nothing_else_is() {
    let paths = paths();
    assert!(paths.len() >= 31, "{paths:?}");
    for path in &paths {
        assert!(!Action::of_path(path).is_empty(), "{path} is not in the policy");
        for wrong in
            [&path[1..], &format!("{path}/"), &format!("{path}s"), &path.to_lowercase(), &format!("/{path}")]
        {
            // `Pins` is another method than `Pin`.
            if !paths.iter().any(|path| path == wrong) {
                assert_eq!(Action::of_path(wrong), [], "{wrong}");
            }
        }
    }
    assert_eq!(Action::of_path("/dewpond.v1.Kv/Batch"), [Action::KvWrite]);
    assert_eq!(Action::of_path(""), []);
    let [(_, anonymous), (_, node), (_, service), (_, admin)] = callers();
    let asked = |caller: &Caller, path: &str| check_role(caller, Action::of_path(path));
    assert_eq!(asked(&service, "/dewpond.v1.Kv/Stream"), Ok(()));
    assert_eq!(asked(&admin, "/dewpond.v1.Kv/Stream"), Err(Denied::Role));
    assert_eq!(asked(&admin, "/dewpond.v1.Hello/Route"), Ok(()));
    assert_eq!(asked(&node, "/dewpond.v1.Hello/Route"), Err(Denied::Role));
    assert_eq!(asked(&anonymous, "/dewpond.v1.Join/Join"), Ok(()));
    assert_eq!(asked(&anonymous, "/dewpond.v1.Kv/Get"), Err(Denied::Anonymous));
    assert_eq!(asked(&admin, "/dewpond.v1.Nodes/Other"), Err(Denied::Role));
}
