//! The project speaks only of itself: no path of the machine it was written on, no address that a reader need not know.

use super::tree::{Tree, at};

/// Hosts that a text may name; with or without `www.`.
const HOSTS: [&str; 10] = [
    "github.com",
    "docs.rs",
    "doc.rust-lang.org",
    "rfc-editor.org",
    "csrc.nist.gov",
    "nvlpubs.nist.gov",
    "apache.org",
    "crates.io",
    "eprint.iacr.org",
    "rustsec.org",
];
/// The one file whose words are not ours.
const FOREIGN: &str = "LICENSE";

/// Words of elsewhere in all texts.
pub fn check(tree: &Tree) -> Vec<String> {
    let mut complaints = vec![];
    for (path, text) in tree.texts().filter(|(path, _)| *path != FOREIGN) {
        for (index, line) in text.lines().enumerate() {
            let told = places(line).into_iter().chain(hosts(line, path.ends_with(".rs")));
            complaints.extend(told.map(|what| at(path, index + 1, what)));
        }
    }
    complaints
}

/// Paths that lead out of the repository.
fn places(line: &str) -> Vec<String> {
    let absolute = ["/wo", "rk/"].concat();
    let above = ["../sha", "red"].concat();
    // Our own folders of that name are never at the root: a letter, or the end of a pattern, stands before them.
    let is_inside = |c: char| c.is_alphanumeric() || "_-.*})]>".contains(c);
    let is_root = |at: &usize| !line[..*at].ends_with(is_inside);
    let roots = line.match_indices(&absolute).map(|(at, _)| at).filter(is_root).map(|_| absolute.clone());
    let above = line.contains(&above).then_some(above);
    roots
        .chain(above)
        .map(|place| format!("`{place}` is a place outside the repository: take it out"))
        .collect()
}

/// Addresses of hosts that are not on the list. In code, `in_code`, an address may be put together, or stand for any: a host without a
/// dot is nobody's.
fn hosts(line: &str, in_code: bool) -> Vec<String> {
    let mut found = vec![];
    for (at, mark) in line.match_indices("://") {
        let scheme = line[..at].to_ascii_lowercase();
        if !scheme.ends_with("http") && !scheme.ends_with("https") {
            continue;
        }
        let rest = &line[at + mark.len()..];
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && !".-_@:".contains(c)).unwrap_or(rest.len());
        let host = rest[..end].rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if in_code && !host.contains('.') {
            continue;
        }
        if !HOSTS.contains(&host.strip_prefix("www.").unwrap_or(&host)) {
            found.push(format!(
                "the host `{host}` is not on the list of this check: name a source everybody has"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tree::assert_complains;
    use super::*;

    fn with(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)]))
    }

    #[test]
    fn places_outside_are_found_and_our_own_folders_pass() {
        let place = ["/wo", "rk/x"].concat();
        for before in ["", "see ", "`", "(", "file://", "\"", "=", ":"] {
            assert_complains(&with("a.md", &format!("\n{before}{place}")), &["a.md:2: `/wo"]);
        }
        for before in ["engine/src", "node/src/*", "{a,b}", "."] {
            assert_complains(&with("a.md", &format!("{before}{place}")), &[]);
        }
        assert_complains(&with("a.md", &["../sha", "red/x"].concat()), &["is a place outside"]);
    }

    #[test]
    fn hosts_are_on_the_list_or_told() {
        let url = |scheme: &str, rest: &str| [scheme, "://", rest].concat();
        for rest in
            ["mirror.example/x", "crates.io.example", "user@mirror.example:80", "{host}", "localhost:1"]
        {
            for scheme in ["http", "HTTPS", "sparse+https"] {
                assert_complains(&with("Cargo.lock", &url(scheme, rest)), &["the host"]);
                assert_complains(&with("LICENSE", &url(scheme, rest)), &[]);
            }
        }
        for rest in [
            "github.com/rust-lang/crates.io-index",
            "www.rfc-editor.org/rfc/rfc5869.",
            "docs.rs",
            "crates.io).",
        ] {
            assert_complains(&with("a.md", &url("see https", rest)), &[]);
        }
        assert_complains(&with("a.md", "path+file://x, a://b"), &[]);
    }
}
