//! Pure: settings in words: the reference page, the explanation of one, and what is set.

use super::layers::{Layers, Origin, variable};
use super::settings::{SETTINGS, Scope, Setting};
use std::fmt::Write;

impl Scope {
    fn restart(self) -> &'static str {
        match self {
            Self::Cluster => "fixed when the cluster is made",
            Self::Node => "read at a start: restart the node",
            Self::Live => "read again while the node runs",
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Cluster => "Of the cluster: fixed when it is made",
            Self::Node => "Of a node: read at its start",
            Self::Live => "Live: read again while the node runs",
        }
    }
}

fn shown(default: &str) -> &str {
    if default.is_empty() { "none" } else { default }
}

/// What there is to know of one setting.
#[must_use]
pub fn explain(setting: &Setting) -> String {
    let mut out = String::new();
    let rows = [
        ("default", shown(setting.default)),
        ("allowed", &setting.shape.range()),
        ("change", setting.scope.restart()),
        ("environment", &variable(setting.key)),
        ("reason", setting.reason),
        (if setting.high.is_empty() { "wrong" } else { "too low" }, setting.low),
        ("too high", setting.high),
    ];
    let _ = writeln!(out, "{}", setting.key);
    for (name, text) in rows.into_iter().filter(|(_, text)| !text.is_empty()) {
        let _ = writeln!(out, "  {name:<12} {text}");
    }
    out
}

/// All that is set, and by whom, as a file that says the same.
#[must_use]
pub fn show(layers: &Layers) -> String {
    let mut out = String::new();
    let widest = SETTINGS.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
    for setting in SETTINGS {
        let placed = layers.get(setting.key);
        let origin =
            if placed.origin == Origin::Default { String::new() } else { format!("   # {}", placed.origin) };
        let _ = writeln!(out, "{:<widest$} = {:?}{origin}", setting.key, placed.text);
    }
    out
}

/// The page `docs/configuration.md`.
#[must_use]
pub fn page() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         Generated from `node/src/config/settings.rs`: run `DEWPOND_WRITE_DOCS=1 cargo test -p node --test configuration` after a\n\
         change there.\n\n\
         A node reads `dewpond.toml`. A value comes from the first of: a flag (`--set raft.heartbeat=250ms`), a variable of the\n\
         environment (`DEWPOND_RAFT_HEARTBEAT=250ms`), the file, the default. `dewpond config show` says which it was,\n\
         `dewpond config check FILE` what is wrong, `dewpond config explain KEY` what stands here. A name that nobody knows is an error.\n\
         Durations and sizes have a unit: `250ms`, `5s`, `10m`, `12h`, `7d`; `64 KiB`, `8 MiB`, `4 GiB`. No secret ever stands in a\n\
         setting: only the path of a file with mode 0600.\n\n\
         What must go together: `raft.heartbeat` times 3 is at most `raft.election_min`; `raft.election_min` is less than\n\
         `raft.election_max`; `disk.warn_percent` is less than `disk.stop_percent`; no two listeners share a port of one address; an\n\
         address that is not a single one (`0.0.0.0`) needs the `advertise` beside it.\n",
    );
    for scope in [Scope::Cluster, Scope::Node, Scope::Live] {
        let _ = write!(out, "\n## {}\n", scope.heading());
        for setting in SETTINGS.iter().filter(|setting| setting.scope == scope) {
            let _ = write!(
                out,
                "\n### `{}`\n\n{}\n\n* Default: {}\n* Allowed: {}\n* Environment: `{}`\n",
                setting.key,
                setting.reason,
                shown(setting.default),
                setting.shape.range(),
                variable(setting.key)
            );
            if setting.high.is_empty() {
                let _ = writeln!(out, "* If it is wrong: {}", setting.low);
            } else {
                let _ = writeln!(out, "* Too low: {}\n* Too high: {}", setting.low, setting.high);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::settings::find;
    use super::*;

    #[test]
    fn everything_about_a_setting_is_said() {
        let text = explain(find("raft.heartbeat").unwrap());
        for said in ["250ms", "10ms to 10s", "restart", "DEWPOND_RAFT_HEARTBEAT", "too low", "too high"] {
            assert!(text.contains(said), "{said} is missing:\n{text}");
        }
        assert!(explain(find("name").unwrap()).contains("wrong"));
        assert!(SETTINGS.iter().all(|setting| page().contains(&format!("### `{}`", setting.key))));
    }

    #[test]
    fn what_is_set_is_a_file_that_says_the_same() {
        let mut layers = Layers::default();
        layers.set([("name".to_owned(), "a".to_owned())], &Origin::Flag, &mut Vec::new());
        let text = show(&layers);
        assert!(text.contains("   # flag"), "{text}");
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["name"].as_str(), Some("a"));
        assert_eq!(table["raft"]["heartbeat"].as_str(), Some("250ms"));
    }
}
