//! Pure: a value and which layer set it: default, then file, then environment, then flag.

use super::settings::{self, SETTINGS};
use std::collections::BTreeMap;
use std::fmt;

/// Before the name of a setting in the environment.
pub const PREFIX: &str = "DEWPOND_";

/// Who set a value. The later goes before the earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The file.
    File(String),
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command.
    Flag,
}

/// A value and who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What it is, as it was written.
    pub text: String,
    /// Who set it.
    pub origin: Origin,
}

/// What is wrong with one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Which; as it was written.
    pub key: String,
    /// Who set it.
    pub origin: Origin,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// All settings, each from the last layer that sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers(BTreeMap<&'static str, Placed>);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.origin, self.what)
    }
}

impl Default for Layers {
    fn default() -> Self {
        let placed = |text: &str| Placed { text: text.to_owned(), origin: Origin::Default };
        Self(SETTINGS.iter().map(|setting| (setting.key, placed(setting.default))).collect())
    }
}

/// The variable of a setting: `raft.heartbeat` is `DEWPOND_RAFT_HEARTBEAT`.
#[must_use]
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

/// A complaint about a name that nobody knows.
#[must_use]
pub fn unknown(key: &str, origin: Origin, near: Option<String>) -> Complaint {
    let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    Complaint { key: key.to_owned(), origin, what: format!("there is no such setting{hint}") }
}

impl Layers {
    /// Sets what one layer says, by names with dots. Names that nobody knows are complained of.
    pub fn set(
        &mut self,
        values: impl IntoIterator<Item = (String, String)>,
        origin: &Origin,
        complaints: &mut Vec<Complaint>,
    ) {
        for (key, text) in values {
            match settings::find(&key) {
                Some(setting) => {
                    self.0.insert(setting.key, Placed { text, origin: origin.clone() });
                }
                None => {
                    let near = settings::nearest(&key).map(str::to_owned);
                    complaints.push(unknown(&key, origin.clone(), near));
                }
            }
        }
    }

    /// Sets what the environment says: of all its variables those that begin with [`PREFIX`].
    pub fn set_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        complaints: &mut Vec<Complaint>,
    ) {
        for (name, text) in variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let origin = Origin::Environment(name.clone());
            if let Some(setting) = SETTINGS.iter().find(|setting| variable(setting.key) == name) {
                self.0.insert(setting.key, Placed { text, origin });
                continue;
            }
            let dotted = name[PREFIX.len()..].to_ascii_lowercase();
            let near = SETTINGS.iter().map(|setting| setting.key);
            let near = near.filter(|key| settings::nearest(&dotted) == Some(key)).map(variable).next();
            complaints.push(unknown(&name, origin, near));
        }
    }

    /// A value and who set it.
    ///
    /// # Panics
    /// If there is no such setting.
    #[must_use]
    pub fn get(&self, key: &str) -> &Placed {
        self.0.get(key).unwrap_or_else(|| panic!("{key} is no setting"))
    }

    /// What is wrong with each value alone.
    #[must_use]
    pub fn complaints(&self) -> Vec<Complaint> {
        let mut out = Vec::new();
        for setting in SETTINGS {
            let placed = self.get(setting.key);
            if let Some(what) = setting.shape.complaint(&placed.text) {
                let what = if placed.text.is_empty() { format!("it must be set: {what}") } else { what };
                out.push(Complaint { key: setting.key.to_owned(), origin: placed.origin.clone(), what });
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, text: &str) -> (String, String) {
        (key.to_owned(), text.to_owned())
    }

    #[test]
    fn the_later_layer_goes_before_the_earlier_and_is_remembered() {
        let (mut layers, mut complaints) = (Layers::default(), Vec::new());
        let file = Origin::File("a.toml".to_owned());
        let of = |layers: &Layers, key: &str| (layers.get(key).text.clone(), layers.get(key).origin.clone());
        assert_eq!(of(&layers, "shards"), ("4".to_owned(), Origin::Default));
        layers.set([pair("shards", "5"), pair("name", "a")], &file, &mut complaints);
        assert_eq!(of(&layers, "shards"), ("5".to_owned(), file.clone()));
        layers.set_environment([pair("DEWPOND_SHARDS", "6"), pair("HOME", "/x")], &mut complaints);
        assert_eq!(of(&layers, "shards"), ("6".to_owned(), Origin::Environment("DEWPOND_SHARDS".to_owned())));
        layers.set([pair("shards", "7")], &Origin::Flag, &mut complaints);
        assert_eq!(of(&layers, "shards"), ("7".to_owned(), Origin::Flag));
        assert_eq!(of(&layers, "name"), ("a".to_owned(), file));
        assert_eq!(complaints, []);
    }

    #[test]
    fn what_nobody_knows_is_told_with_what_is_near() {
        let (mut layers, mut complaints) = (Layers::default(), Vec::new());
        layers.set([pair("raft.hartbeat", "1s"), pair("zzzzzzzz", "1")], &Origin::Flag, &mut complaints);
        layers.set_environment([pair("DEWPOND_RAFT_HARTBEAT", "1s")], &mut complaints);
        let told: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "raft.hartbeat (flag): there is no such setting; did you mean `raft.heartbeat`?",
                "zzzzzzzz (flag): there is no such setting",
                "DEWPOND_RAFT_HARTBEAT (environment DEWPOND_RAFT_HARTBEAT): there is no such setting; did you mean `DEWPOND_RAFT_HEARTBEAT`?",
            ]
        );
        assert_eq!(layers, Layers::default());
    }

    #[test]
    fn each_setting_has_a_variable_of_its_own() {
        let names: std::collections::BTreeSet<String> =
            SETTINGS.iter().map(|setting| variable(setting.key)).collect();
        assert_eq!(names.len(), SETTINGS.len());
    }
}
