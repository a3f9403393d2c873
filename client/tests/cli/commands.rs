//! Every command, what it prints and how it exits, as `commands.txt` has it.

use crate::rig::{Desk, text};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

const HERE: &str = include_str!("commands.txt");

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cli/commands.txt")
}

/// A word without what is new every time.
fn plain(word: &str, all_numbers: bool) -> String {
    let is = |text: &str, of: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|byte| of(&byte));
    let digits = |text: &str| is(text, u8::is_ascii_digit);
    let name = match word.split_once('.') {
        Some((ms, counter)) if ms.len() == 13 && digits(ms) && digits(counter) => "STAMP",
        Some((whole, part)) if all_numbers && digits(whole) && digits(part) => "N",
        Some(_) => word,
        None if digits(word) && word.len() == 13 => "MS",
        None if digits(word) && (word.len() > 9 || all_numbers) => "N",
        None if matches!(word.len(), 16 | 32) && is(word, u8::is_ascii_hexdigit) => "HEX",
        None if word.strip_prefix("t-").is_some_and(|id| id.len() == 16 && is(id, u8::is_ascii_hexdigit)) => {
            "t-HEX"
        }
        None if word.strip_prefix("c-").is_some_and(|id| id.len() > 17 && id.as_bytes()[16] == b'-') => {
            "COMMIT"
        }
        None if word
            .rsplit_once('-')
            .is_some_and(|(_, id)| (13..=16).contains(&id.len()) && is(id, u8::is_ascii_hexdigit)) =>
        {
            return format!("{}-HEX", word.rsplit_once('-').unwrap().0);
        }
        None if word.len() > 60 => "TOKEN",
        None => word,
    };
    name.to_owned()
}

/// A line with a word for each moment that it names.
fn timeless(line: &str) -> String {
    let form = "0000-00-00T00:00:00.000Z";
    let is_form = |text: &str| {
        text.bytes()
            .zip(form.bytes())
            .all(|(byte, of)| if of == b'0' { byte.is_ascii_digit() } else { byte == of })
    };
    let mut out = line.to_owned();
    while let Some(at) = (0..out.len()).find(|at| out.get(*at..*at + form.len()).is_some_and(is_form)) {
        out.replace_range(at..at + form.len(), "TIME");
    }
    out
}

/// Text without what is new every time; blanks are one.
fn normal(desk: &Desk, said: &str, all_numbers: bool) -> String {
    let mut out = String::new();
    for line in desk.named(said).lines().map(timeless) {
        let (mut word, mut begun) = (String::new(), String::new());
        let margin = line.len() - line.trim_start().len();
        begun.push_str(&line[..margin]);
        for letter in line[margin..].chars().chain([' ']) {
            if letter.is_ascii_alphanumeric() || ".-_".contains(letter) {
                word.push(letter);
                continue;
            }
            begun += &plain(&std::mem::take(&mut word), all_numbers);
            if letter != ' ' || !begun.ends_with(' ') {
                begun.push(letter);
            }
        }
        let _ = writeln!(out, "{}", begun.trim_end());
    }
    out
}

fn ran(desk: &Desk, line: &str, all_numbers: bool) -> String {
    let ended = desk.run(line);
    let mut out = normal(desk, &text(&ended.stdout), all_numbers);
    for line in normal(desk, &text(&ended.stderr), all_numbers).lines() {
        let _ = writeln!(out, "{}", format!("! {line}").trim_end());
    }
    if !ended.status.success() {
        let _ = writeln!(out, "exit {}", ended.status.code().unwrap());
    }
    out
}

/// The words of every command, as the help names them.
fn leaves(desk: &Desk, path: &str, out: &mut BTreeSet<String>) {
    let help = text(&desk.run(format!("{path} --help").trim()).stdout);
    let Some((_, below)) = help.split_once("\nCommands:\n") else {
        out.insert(path.trim().to_owned());
        return;
    };
    for line in below.lines().take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().unwrap();
        leaves(desk, &format!("{path} {name}"), out);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_prints_and_exits_as_it_did() {
    let desk = Desk::start().await;
    let line = |n: u32| {
        format!("{{\"collection\":\"things\",\"key\":\"k{n}\",\"value\":{{\"id\":{n}}},\"id\":{n}}}\n")
    };
    desk.write("in.ndjson", &(1..=3).map(line).collect::<String>());
    desk.write("bad.ndjson", &format!("{}nonsense\n", line(1)));
    let mut out = String::new();
    let mut is_head = true;
    for line in HERE.lines() {
        let command = line.strip_prefix("$ ").or_else(|| line.strip_prefix("$~ "));
        is_head &= command.is_none();
        match command {
            Some(command) => {
                let words = command.strip_prefix("dew").unwrap().trim();
                let _ = write!(out, "{line}\n{}\n", ran(&desk, words, line.starts_with("$~")));
            }
            None if is_head => {
                let _ = writeln!(out, "{line}");
            }
            None => {}
        }
    }
    let mut commands = BTreeSet::new();
    leaves(&desk, "", &mut commands);
    assert!(commands.len() > 30, "{commands:?}");
    for command in commands {
        let is_it = |line: &str| {
            let line = line.strip_prefix("$ dew ").or_else(|| line.strip_prefix("$~ dew "));
            line.is_some_and(|line| format!("{line} ").starts_with(&format!("{command} ")))
        };
        assert!(HERE.lines().any(is_it), "nobody tries `dew {command}`: it is missing in commands.txt");
    }
    desk.stop().await;
    if std::env::vars().any(|(name, _)| name == "DEWPOND_WRITE_FIXTURES") {
        std::fs::write(path(), &out).unwrap();
    }
    let (was, is): (Vec<_>, Vec<_>) = (HERE.lines().collect(), out.lines().collect());
    let first = was.iter().zip(&is).position(|(was, is)| was != is);
    if let Some(at) = first.or((was.len() != is.len()).then(|| was.len().min(is.len()))) {
        let around = |all: &[&str]| all[at.saturating_sub(6)..(at + 4).min(all.len())].join("\n");
        panic!("line {} was\n{}\n\nand is\n{}", at + 1, around(&was), around(&is));
    }
}
