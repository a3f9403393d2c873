//! Which package may lean on which, read from what cargo says about the manifests.

use super::tree::setting;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Member, its folder, and what it may depend on; `*` is everything.
const MEMBERS: [(&str, &str, &[&str]); 8] = [
    ("engine", "engine", &[]),
    ("raft", "raft", &["engine"]),
    ("proto", "proto", &[]),
    ("node", "node", &["raft", "engine", "proto", "dewpond"]),
    ("dewpond", "client", &["proto"]),
    ("chaos-tests", "chaos-tests", &["*"]),
    ("benches", "benches", &["*"]),
    ("docs", "docs", &[]),
];
/// The one arrow that only tests may take: the client runs its own against the server in memory.
const TEST_ARROW: (&str, &str) = ("dewpond", "node");
/// Member, and crates from outside that it must not know.
const STRANGERS: [(&str, &[&str]); 2] =
    [("engine", &["tokio", "openraft", "tonic", "prost"]), ("raft", &["tonic", "prost"])];
/// The feature that stores bytes unsealed, of `engine`; and the one member that may turn it on.
const UNSEALED: (&str, &str) = ("null-cipher", "benches");
/// Features for tests alone: the one that plants bugs, of `raft`, and the one that sets clocks, of `node`. And the one member that may
/// turn them on.
const PLANTED: ([&str; 2], &str) = (["planted", "clock-offset"], "chaos-tests");

/// What `cargo metadata` says of the workspace at `root`.
pub fn metadata(root: &Path) -> Value {
    let cargo = setting("CARGO").unwrap_or_else(|| "cargo".to_owned());
    let words = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output = Command::new(cargo).args(words).current_dir(root).output().expect("start cargo");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo speaks JSON")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

/// Arrows that no member may draw.
pub fn check(metadata: &Value) -> Vec<String> {
    let packages = list(metadata, "packages");
    let mut complaints = vec![];
    if packages.is_empty() {
        complaints.push("Cargo.toml:1: cargo names no member: nothing was checked".to_owned());
    }
    let names: Vec<&str> = packages.iter().map(|package| text(package, "name")).collect();
    for package in packages {
        let name = text(package, "name");
        let manifest = text(package, "manifest_path").replace('\\', "/");
        let start = manifest.rmatch_indices('/').nth(1).map_or(0, |(slash, _)| slash + 1);
        let place = format!("{}:1", &manifest[start..]);
        let Some((_, folder, allowed)) = MEMBERS.iter().find(|(member, ..)| *member == name) else {
            complaints.push(format!(
                "{place}: `{name}` is a new member: say here and in docs/architecture.md on what it leans"
            ));
            continue;
        };
        if !manifest.ends_with(&format!("/{folder}/Cargo.toml")) {
            complaints
                .push(format!("{place}: package `{name}` stands in the folder `{folder}`, and nowhere else"));
        }
        let mut complain = |what: String| complaints.push(format!("{place}: {what}"));
        for dependency in list(package, "dependencies") {
            let target = text(dependency, "name");
            let is_free = allowed.contains(&"*") || allowed.contains(&target);
            let is_test_arrow = text(dependency, "kind") == "dev" && (name, target) == TEST_ARROW;
            if names.contains(&target) && !is_free && !is_test_arrow {
                complain(format!(
                    "`{name}` must not depend on `{target}`: move what it needs to where it may look"
                ));
            }
            let strangers =
                STRANGERS.iter().filter(|(member, _)| *member == name).flat_map(|(_, crates)| *crates);
            if strangers.into_iter().any(|stranger| *stranger == target) {
                complain(format!("`{name}` must not know the crate `{target}`: leave it to the layer above"));
            }
        }
        unsealed(package, &mut complain);
        planted(package, &mut complain);
    }
    complaints
}

/// Whether `feature` is turned on where a dependency is named, and by which features of the package's own.
fn turned_on(package: &Value, feature: &str) -> (Vec<String>, Vec<String>) {
    let asks = |dependency: &&Value| list(dependency, "features").iter().any(|asked| asked == feature);
    let targets = list(package, "dependencies").iter().filter(asks).map(|one| text(one, "name").to_owned());
    let features: BTreeMap<String, Vec<String>> =
        serde_json::from_value(package["features"].clone()).unwrap_or_default();
    let is_it = |enabled: &String| enabled.rsplit('/').next() == Some(feature);
    let own = features.into_iter().filter(|(_, enabled)| enabled.iter().any(is_it)).map(|(own, _)| own);
    (targets.collect(), own.collect())
}

/// Complains if `package` has planted bugs or clocks that can be set built in, and is not the simulator.
fn planted(package: &Value, complain: &mut impl FnMut(String)) {
    let (features, only) = PLANTED;
    if text(package, "name") == only {
        return;
    }
    for feature in features {
        let (targets, own) = turned_on(package, feature);
        for target in targets {
            complain(format!("turns on `{target}/{feature}`: only `{only}` may"));
        }
        for own in own {
            complain(format!("feature `{own}` turns on `{feature}`: only `{only}` may"));
        }
    }
}

/// Complains if `package` lets sealing be turned off and is not the one that may, by a feature of its own. (That one has it by
/// default: the price of sealing is part of what it prints. Compiled in is not switched on.)
fn unsealed(package: &Value, complain: &mut impl FnMut(String)) {
    let (feature, only) = UNSEALED;
    let (targets, own) = turned_on(package, feature);
    if text(package, "name") == only {
        if !targets.is_empty() {
            complain(format!(
                "turns on `{feature}` where nobody can turn it off: ask by a feature of its own"
            ));
        }
        return;
    }
    for target in targets {
        complain(format!("turns on `{target}/{feature}`: only `{only}` may, behind a feature of its own"));
    }
    for own in own {
        complain(format!(
            "feature `{own}` turns on `{feature}`: only `{only}` may, behind a feature of its own"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::assert_complains;
    use super::*;
    use serde_json::json;

    fn package(name: &str, dependencies: &Value) -> Value {
        let folder = if name == "dewpond" { "client" } else { name };
        json!({ "name": name, "manifest_path": format!("/x/{folder}/Cargo.toml"), "dependencies": dependencies, "features": {} })
    }

    fn house(name: &str, dependencies: &Value) -> Value {
        let others = ["engine", "raft", "proto", "node", "dewpond", "chaos-tests", "benches", "docs"];
        let mut packages: Vec<Value> =
            others.iter().filter(|other| **other != name).map(|other| package(other, &json!([]))).collect();
        packages.push(package(name, dependencies));
        json!({ "packages": packages })
    }

    #[test]
    fn every_arrow_against_the_stream_is_refused() {
        let members = ["engine", "raft", "proto", "node", "dewpond", "chaos-tests", "benches", "docs"];
        let allowed = |from: &str, to: &str| {
            matches!(from, "chaos-tests" | "benches")
                || matches!(
                    (from, to),
                    ("raft", "engine")
                        | ("node", "raft" | "engine" | "proto" | "dewpond")
                        | ("dewpond", "proto")
                )
        };
        for from in members {
            for to in members {
                for kind in [json!(null), json!("dev"), json!("build")] {
                    let is_free = allowed(from, to) || (kind == "dev" && (from, to) == ("dewpond", "node"));
                    let metadata = house(from, &json!([{ "name": to, "kind": kind, "features": [] }]));
                    let wanted = format!("`{from}` must not depend on `{to}`");
                    let wanted = if is_free { vec![] } else { vec![wanted.as_str()] };
                    assert_complains(&check(&metadata), &wanted);
                }
            }
        }
    }

    #[test]
    fn strangers_and_new_members_are_refused() {
        let on = |name| json!([{ "name": name, "kind": null, "features": [] }]);
        for name in ["tokio", "openraft", "tonic", "prost"] {
            assert_complains(&check(&house("engine", &on(name))), &["must not know the crate"]);
        }
        assert_complains(&check(&house("node", &on("tokio"))), &[]);
        assert_complains(&check(&house("engine", &on("bytes"))), &[]);
        assert_complains(&check(&house("tools", &json!([]))), &["`tools` is a new member"]);
        assert_complains(&check(&json!({})), &["nothing was checked"]);
        let mut moved = house("engine", &json!([]));
        moved["packages"][7]["manifest_path"] = json!("/x/motor/Cargo.toml");
        assert_complains(
            &check(&moved),
            &["motor/Cargo.toml:1: package `engine` stands in the folder `engine`"],
        );
    }

    #[test]
    fn only_benches_may_turn_sealing_off_and_only_by_a_feature() {
        let asks = json!([{ "name": "engine", "kind": null, "features": ["null-cipher"] }]);
        assert_complains(&check(&house("node", &asks)), &["turns on `engine/null-cipher`"]);
        assert_complains(&check(&house("benches", &asks)), &["nobody can turn it off"]);
        let with = |name: &str, features: Value| {
            let mut house = house(name, &json!([]));
            house["packages"][7]["features"] = features;
            check(&house)
        };
        assert_complains(&with("node", json!({ "fast": ["engine/null-cipher"] })), &["feature `fast`"]);
        assert_complains(
            &with("engine", json!({ "null-cipher": [], "default": ["null-cipher"] })),
            &["feature `default`"],
        );
        assert_complains(&with("benches", json!({ "null-cipher": ["engine/null-cipher"] })), &[]);
        assert_complains(&with("engine", json!({ "null-cipher": [] })), &[]);
    }

    #[test]
    fn only_the_simulator_may_have_planted_bugs() {
        let asks = json!([{ "name": "raft", "kind": null, "features": ["planted", "sim"] }]);
        assert_complains(&check(&house("chaos-tests", &asks)), &[]);
        for name in ["node", "benches"] {
            assert_complains(
                &check(&house(name, &asks)),
                &["turns on `raft/planted`: only `chaos-tests` may"],
            );
        }
        let asks = json!([{ "name": "node", "kind": null, "features": ["clock-offset"] }]);
        assert_complains(&check(&house("chaos-tests", &asks)), &[]);
        assert_complains(&check(&house("benches", &asks)), &["turns on `node/clock-offset`"]);
        let mut with = house("raft", &json!([]));
        with["packages"][7]["features"] = json!({ "planted": [], "default": ["planted"] });
        assert_complains(&check(&with), &["feature `default` turns on `planted`"]);
        with["packages"][7]["features"] = json!({ "planted": [] });
        assert_complains(&check(&with), &[]);
    }
}
