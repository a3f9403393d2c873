//! What may stand at the end of a line: commands, options, and live names of tenants, collections, nodes and groups, as far as the context
//! reaches them. A shell asks `dew complete` at every turn; whoever does not answer at once adds nothing, and nothing is said about it.

use super::Session;
use super::args::Args;
use super::context::{self, Config};
use super::output::print;
use clap::{Arg, Command, CommandFactory as _, Parser as _};
use clap_complete::Shell;
use std::time::Duration;

/// Within which the cluster answers, or its names are left out: a person waits.
const PATIENCE: Duration = Duration::from_millis(300);

/// Names that are not known before somebody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Live {
    Contexts,
    Tenants,
    Collections,
    Nodes,
    NodeIds,
    Groups,
}

/// What may stand there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    /// Words that are known.
    words: Vec<String>,
    /// Names to ask for.
    live: Option<Live>,
}

/// What makes a shell complete commands.
#[must_use]
pub fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => BASH.to_owned(),
        Shell::Zsh => ZSH.to_owned(),
        Shell::Fish => FISH.to_owned(),
        // Those that are asked for seldom know the commands, and no names.
        other => {
            let mut out = Vec::new();
            clap_complete::generate(other, &mut Args::command(), "dew", &mut out);
            String::from_utf8_lossy(&out).into_owned()
        }
    }
}

const BASH: &str = r#"_dew() {
    local IFS=$'\n'
    COMPREPLY=($(dew complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _dew dew
"#;

const ZSH: &str = r#"#compdef dew
_dew() {
    local -a names
    names=("${(@f)$(dew complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    [[ -n "${names[1]}" ]] && compadd -a names || _files
}
compdef _dew dew
"#;

const FISH: &str = r#"function __dew_complete
    set -l names (dew complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)
    if test -n "$names[1]"
        printf '%s\n' $names
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c dew -f -a '(__dew_complete)'
"#;

/// Prints what may stand at the end of the line, a word a line.
pub async fn run(words: &[String]) {
    let (before, last) = match words.split_last() {
        Some((last, before)) => (before, last.as_str()),
        None => (words, ""),
    };
    let mut command = Args::command();
    // So that every command knows the options that hold for all.
    command.build();
    let Place { words: mut found, live } = place(&command, before, last);
    if let Some(live) = live {
        let names = tokio::time::timeout(PATIENCE, names(before, live)).await;
        found.extend(names.unwrap_or_default().unwrap_or_default());
    }
    found.retain(|word| word.starts_with(last) && !word.contains(char::is_control));
    found.sort();
    found.dedup();
    let _ = print(&found.iter().map(|word| format!("{word}\n")).collect::<String>());
}

/// What may stand behind `before`, where `last` has begun.
fn place(command: &Command, before: &[String], last: &str) -> Place {
    let (mut command, mut path, mut rest) = (command, Vec::new(), before.iter());
    let (mut positional, mut open) = (0, None);
    while let Some(word) = rest.next() {
        if let Some(option) = option(command, word) {
            if takes(option) && !word.contains('=') && rest.next().is_none() {
                open = Some(option);
            }
        } else if let Some(next) = command.find_subcommand(word) {
            (command, positional) = (next, 0);
            path.push(next.get_name());
        } else {
            positional += 1;
        }
    }
    if let Some(option) = open {
        return value(&path, option);
    }
    if last.starts_with('-') {
        let long = |arg: &Arg| arg.get_long().filter(|_| !arg.is_hide_set()).map(|long| format!("--{long}"));
        return Place { words: command.get_arguments().filter_map(long).collect(), live: None };
    }
    if command.has_subcommands() {
        let shown = command.get_subcommands().filter(|one| !one.is_hide_set());
        return Place { words: shown.map(|one| one.get_name().to_owned()).collect(), live: None };
    }
    command.get_positionals().nth(positional).map_or_else(Place::default, |arg| value(&path, arg))
}

/// The option that a word names.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let long = word.strip_prefix("--").map(|long| long.split('=').next().unwrap_or(long));
    let short = word.strip_prefix('-').and_then(|short| short.chars().next().filter(|_| short.len() == 1));
    command.get_arguments().find(|arg| {
        (long.is_some() && arg.get_long() == long) || (short.is_some() && arg.get_short() == short)
    })
}

fn takes(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// What may be the value of an argument of the command at `path`.
fn value(path: &[&str], arg: &Arg) -> Place {
    let known = arg.get_possible_values();
    if !known.is_empty() && takes(arg) {
        return Place { words: known.iter().map(|value| value.get_name().to_owned()).collect(), live: None };
    }
    let live = match (path.first().copied().unwrap_or_default(), arg.get_id().as_str()) {
        (_, "context") | ("context", "name") => Some(Live::Contexts),
        (_, "tenant" | "service_of") | ("tenant" | "key", "name") => Some(Live::Tenants),
        ("identity", _) => None,
        (_, "collection") => Some(Live::Collections),
        ("node" | "delayed", "name") => Some(Live::Nodes),
        ("group", "group") => Some(Live::Groups),
        ("group", "to") => Some(Live::NodeIds),
        _ => None,
    };
    Place { words: Vec::new(), live }
}

/// Names that somebody knows; nothing, if nobody can be asked.
async fn names(before: &[String], live: Live) -> Option<Vec<String>> {
    if live == Live::Contexts {
        let config = Config::load(&context::path().ok()?).ok()?;
        return Some(config.contexts.into_keys().collect());
    }
    // Of the line only what says which cluster, as whom, is needed, and it may be unfinished.
    let mut line = vec!["dew".to_owned()];
    let mut words = before.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--context" | "--tenant" | "-t" => line.extend([word.clone(), words.next()?.clone()]),
            given if given.starts_with("--context=") || given.starts_with("--tenant=") => {
                line.push(word.clone());
            }
            _ => {}
        }
    }
    line.push("status".to_owned());
    let mut args = Args::try_parse_from(line).ok()?;
    args.deadline_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    let session = Session::open(&args).await.ok()?;
    let admin = session.client.admin();
    Some(match live {
        Live::Contexts => return None,
        Live::Tenants => admin.tenants().await.ok()?.into_iter().map(|tenant| tenant.name).collect(),
        Live::Collections => session.tenant().ok()?.collections().await.ok()?,
        Live::Nodes => {
            let nodes = admin.nodes().await.ok()?.into_iter().filter(|node| node.state != "removed");
            nodes.map(|node| node.name).collect()
        }
        Live::NodeIds => admin.nodes().await.ok()?.into_iter().map(|node| node.id.to_string()).collect(),
        Live::Groups => admin.groups().await.ok()?.into_iter().map(|group| group.id.to_string()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Place {
        let mut command = Args::command();
        command.build();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (last, before) = words.split_last().unwrap();
        place(&command, before, last)
    }

    #[test]
    fn what_may_stand_there_is_found_from_the_words_before() {
        let words = at("").words;
        for known in ["status", "tenant", "get", "watch", "import"] {
            assert!(words.iter().any(|word| word == known), "{known}");
        }
        assert!(!words.iter().any(|word| word == "complete"), "only shells say that");
        assert!(at("tenant ").words.contains(&"freeze".to_owned()));
        for (line, live) in [
            ("tenant show ", Live::Tenants),
            ("-o json tenant drop --confirm acme ", Live::Tenants),
            ("key rotate data ", Live::Tenants),
            ("--tenant ", Live::Tenants),
            ("get -t ", Live::Tenants),
            ("identity issue --service-of ", Live::Tenants),
            ("scan -c ", Live::Collections),
            ("get --collection ", Live::Collections),
            ("node drain ", Live::Nodes),
            ("group transfer ", Live::Groups),
            ("group transfer 2 --to ", Live::NodeIds),
            ("context use ", Live::Contexts),
            ("status --context ", Live::Contexts),
        ] {
            assert_eq!(at(line), Place { words: Vec::new(), live: Some(live) }, "{line}");
        }
        for nothing in
            ["tenant show acme ", "put -c users ", "identity issue --admin ", "nonsense ", "get -c"]
        {
            assert_eq!(at(nothing).live, None, "{nothing}");
        }
        assert_eq!(at("key rotate ").words, ["data", "tenant", "cluster"]);
        assert!(at("get -o ").words.contains(&"yaml".to_owned()));
        assert!(at("scan --").words.iter().any(|word| word == "--prefix"));
        assert!(at("scan --").words.iter().any(|word| word == "--context"), "those of all commands too");
        assert!(at("completion ").words.contains(&"fish".to_owned()));
    }
}
