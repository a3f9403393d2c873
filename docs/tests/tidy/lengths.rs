//! Lengths: a file is read in one sitting, a function at one glance. Old sins stand in `too_long.txt` with their size.

use super::scan::{Kind, Source, reads, skip_group};
use super::tree::at;
use std::collections::{BTreeMap, BTreeSet};

/// Where the old sins stand.
pub const SINS: &str = "docs/tests/too_long.txt";
/// Lines of a file: one sitting of a reader.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function, from `fn` to its last bracket: one screen.
const FUNCTION_LINES_MAX: usize = 70;

/// A function with a body.
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// What is too long in `sources`, beside what `sins` admits; and what `sins` need not admit any more.
pub fn check(sources: &[Source], sins: &str) -> Vec<String> {
    let long: BTreeMap<String, (usize, usize)> = sources.iter().flat_map(too_long).collect();
    let mut complaints = vec![];
    let mut admitted = BTreeSet::new();
    for (index, line) in
        sins.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let mut complain = |what: String| complaints.push(at(SINS, index + 1, what));
        let Some((name, size)) =
            line.rsplit_once(' ').and_then(|(name, size)| Some((name.trim(), size.parse().ok()?)))
        else {
            complain(format!("write `path[::function] lines`, not `{line}`"));
            continue;
        };
        if !admitted.insert(name.to_owned()) {
            complain(format!("{name} stands here twice: keep one line"));
        }
        match long.get(name).map(|(_, lines)| *lines) {
            None => complain(format!("{name} is no longer too long, or no longer there: take the line out")),
            Some(now) if now > size => complain(format!("{name} grew from {size} to {now} lines: split it")),
            Some(now) if now < size => complain(format!("{name} shrank: write {now}, not {size}")),
            Some(_) => {}
        }
    }
    let news = long.iter().filter(|(name, _)| !admitted.contains(*name));
    complaints.extend(news.map(|(name, (line, lines))| {
        let (path, function) = name.split_once("::").unwrap_or((name, ""));
        let max = if function.is_empty() { FILE_LINES_MAX } else { FUNCTION_LINES_MAX };
        at(path, *line, format!("{name} has {lines} lines, at most {max} are allowed: split it by its ideas"))
    }));
    complaints
}

/// Name, line and size of everything too long in one file. The second function of a name is `name#2`.
fn too_long(source: &Source) -> Vec<(String, (usize, usize))> {
    let mut found = vec![];
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push((source.path.clone(), (FILE_LINES_MAX + 1, lines)));
    }
    let mut seen = BTreeMap::new();
    for function in functions(source) {
        let count = seen.entry(function.name.clone()).and_modify(|count| *count += 1).or_insert(1);
        if function.lines > FUNCTION_LINES_MAX {
            let again = if *count > 1 { format!("#{count}") } else { String::new() };
            let name = format!("{}::{}{again}", source.path, function.name);
            found.push((name, (function.line, function.lines)));
        }
    }
    found
}

fn functions(source: &Source) -> Vec<Function> {
    let tokens = &source.tokens;
    let starts = (0..tokens.len()).filter(|start| reads(tokens, *start, &["fn"]));
    let bodies = starts.filter_map(|start| {
        // Behind `fn` stands a name, in a macro perhaps `$name`; in the type of a pointer, a parenthesis.
        let name = tokens.get(start + 1).filter(|token| token.kind == Kind::Word || token.is_mark("$"))?;
        let mut index = start + 2;
        while let Some(token) = tokens.get(index) {
            match token.text.as_str() {
                "{" if token.kind == Kind::Mark => {
                    let end = skip_group(tokens, index) - 1;
                    let lines = tokens[end].line - tokens[start].line + 1;
                    return Some(Function { name: name.text.clone(), line: tokens[start].line, lines });
                }
                ";" if token.kind == Kind::Mark => return None,
                "(" | "[" if token.kind == Kind::Mark => index = skip_group(tokens, index),
                _ => index += 1,
            }
        }
        None
    });
    bodies.collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::assert_complains;
    use super::*;

    fn function(name: &str, lines: usize) -> String {
        format!("fn {name}(a: [u8; 4]) {{\n{}}}\n", "    '}'; // {\n".repeat(lines - 2))
    }

    #[test]
    fn what_is_too_long_is_told_with_its_size() {
        let sample = |text: String| [Source::parse("a/src/b.rs", &text)];
        assert_complains(&check(&sample(function("f", 70)), ""), &[]);
        assert_complains(
            &check(&sample(function("f", 71)), ""),
            &["a/src/b.rs:1: a/src/b.rs::f has 71 lines"],
        );
        assert_complains(&check(&sample("\n".repeat(500)), ""), &[]);
        assert_complains(
            &check(&sample("\n".repeat(501)), ""),
            &["a/src/b.rs:501: a/src/b.rs has 501 lines"],
        );
        let twice = ["trait T { fn f(&self); }\n", &function("f", 3), &function("f", 72)].concat();
        assert_complains(&check(&sample(twice), ""), &["a/src/b.rs:5: a/src/b.rs::f#2 has 72 lines"]);
        let inner = format!("mod tests {{\n#[test]\n{}}}", function("g", 80));
        assert_complains(&check(&sample(inner), ""), &["b.rs:3: a/src/b.rs::g has 80 lines"]);
    }

    #[test]
    fn an_old_sin_may_only_shrink() {
        let sample = [Source::parse("a/src/b.rs", &function("f", 80))];
        let with = |sins| check(&sample, sins);
        assert_complains(&with("# why\n\na/src/b.rs::f 80\n"), &[]);
        assert_complains(&with("a/src/b.rs::f 79\n"), &["txt:1: a/src/b.rs::f grew from 79 to 80"]);
        assert_complains(&with("a/src/b.rs::f 81\n"), &["a/src/b.rs::f shrank: write 80"]);
        assert_complains(
            &with("a/src/b.rs::f 80\na/src/b.rs 600\n"),
            &["txt:2: a/src/b.rs is no longer too long"],
        );
        assert_complains(&with("a/src/b.rs::f 80\na/src/b.rs::f 80\n"), &["stands here twice"]);
        assert_complains(&with("much\na/src/b.rs::f 80\n"), &["txt:1: write `path[::function] lines`"]);
    }
}
