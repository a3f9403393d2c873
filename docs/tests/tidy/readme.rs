//! What the README tells people to type is what continuous integration runs.

use super::tree::at;

const README: &str = "README.md";
const RUN: &str = ".ci/run";

/// Commands of the README's first fenced block that the script does not run.
pub fn check(readme: &str, run: &str) -> Vec<String> {
    let commands = commands(readme);
    let ours: Vec<String> = run.lines().map(plain).collect();
    let mut complaints = vec![];
    if !commands.iter().any(|(_, command)| command.starts_with("cargo test")) {
        complaints.push(at(README, 1, "the first fenced block has no `cargo test`: tell people how to test"));
    }
    let missing = commands.iter().filter(|(_, command)| !ours.contains(command));
    complaints.extend(missing.map(|(line, command)| {
        at(README, *line, format!("`{command}` is no line of {RUN}: run it there, or do not promise it here"))
    }));
    complaints
}

fn commands(readme: &str) -> Vec<(usize, String)> {
    let lines = readme.lines().enumerate().skip_while(|(_, line)| !line.starts_with("```")).skip(1);
    let block = lines.take_while(|(_, line)| !line.starts_with("```"));
    block.map(|(index, line)| (index + 1, plain(line))).filter(|(_, line)| !line.is_empty()).collect()
}

/// A command without prompt and comment, and without words that change nothing of what is done: to be quiet, to be built for speed, and
/// to go through it alone, with nobody there to type.
fn plain(line: &str) -> String {
    let line = line.trim().trim_start_matches("$ ");
    let line = line.split(" #").next().filter(|line| !line.starts_with('#')).unwrap_or_default();
    line.split_whitespace()
        .filter(|word| !["--quiet", "-q", "--release", "--check"].contains(word))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::tree::assert_complains;
    use super::*;

    #[test]
    fn a_promise_that_is_not_kept_is_told() {
        let readme = "# A\n\n```\n# test it\ncargo test --workspace\n$ cargo run --example first # look\n```\n\n```\nother\n```\n";
        assert_complains(&check(readme, "cargo test --workspace\ncargo run --quiet --example first\n"), &[]);
        let wanted = ["README.md:6: `cargo run --example first` is no line of .ci/run"];
        assert_complains(&check(readme, "cargo test --workspace\n# cargo run --example first\n"), &wanted);
        let demo = "```\ncargo run --release --bin a -- demo\ncargo test\n```\n";
        assert_complains(&check(demo, "cargo run --bin a -- demo --check\ncargo test\n"), &[]);
        let wanted = ["README.md:2: `cargo run --bin a -- demo` is no line of .ci/run"];
        assert_complains(&check(demo, "cargo run --bin a -- serve --check\ncargo test\n"), &wanted);
        let wanted = ["README.md:5: `cargo test --workspace`"];
        assert_complains(
            &check(readme, "cargo test --workspace --lib\ncargo run --example first\n"),
            &wanted,
        );
        assert_complains(&check("# A\n", ""), &["has no `cargo test`"]);
        assert_complains(&check("```\nmake\n```\n", "make\n"), &["has no `cargo test`"]);
    }
}
