//! Reads `dewpond.toml` and lays the layers one upon the other.

use super::layers::{Complaint, Layers, Origin};
use super::{Config, Invalid};
use crate::limits;
use std::fs;
use std::path::Path;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {path}")]
    File {
        /// Which.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{path} is not valid TOML: {cause}")]
    Toml {
        /// Which.
        path: String,
        /// Where and why.
        cause: String,
    },
    /// Something in it is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Reads a file (if there is one), the environment and flags, in this order; the later goes before the earlier.
///
/// # Errors
/// The file cannot be read, or all that is wrong with what is set.
pub fn load(
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let (mut layers, mut complaints) = (Layers::default(), Vec::new());
    if let Some(path) = path {
        let text = read(path)?;
        let origin = Origin::File(path.display().to_string());
        set_file(&mut layers, &text, &origin, &mut complaints)
            .map_err(|cause| ConfigError::Toml { path: path.display().to_string(), cause })?;
    }
    layers.set_environment(environment, &mut complaints);
    layers.set(flags, &Origin::Flag, &mut complaints);
    match Config::of(layers) {
        Ok(config) if complaints.is_empty() => Ok(config),
        Ok(_) => Err(Invalid(complaints).into()),
        Err(Invalid(more)) => Err(Invalid([complaints, more].concat()).into()),
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::File { path: path.display().to_string(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > limits::CONFIG_FILE_BYTES_MAX {
        return Err(failed(std::io::Error::other("it is far too large for a configuration")));
    }
    fs::read_to_string(path).map_err(failed)
}

fn set_file(
    layers: &mut Layers,
    text: &str,
    origin: &Origin,
    complaints: &mut Vec<Complaint>,
) -> Result<(), String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut values = Vec::new();
    flatten("", &table, &mut values, origin, complaints);
    layers.set(values, origin, complaints);
    Ok(())
}

/// Names with dots, of tables inside tables.
fn flatten(
    above: &str,
    table: &toml::Table,
    values: &mut Vec<(String, String)>,
    origin: &Origin,
    complaints: &mut Vec<Complaint>,
) {
    for (name, value) in table {
        let key = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, values, origin, complaints),
            toml::Value::String(text) => values.push((key, text.clone())),
            toml::Value::Integer(number) => values.push((key, number.to_string())),
            toml::Value::Boolean(is) => values.push((key, is.to_string())),
            toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) => {
                let what = "it must be a text, a whole number, true or false".to_owned();
                complaints.push(Complaint { key, origin: origin.clone(), what });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const GOOD: &str = "name = \"a\"\nshards = 6\n[advertise]\nclient = \"a.example:7400\"\nadmin = \"a.example:7401\"\n\
                        peer = \"a.example:7402\"\n[raft]\nheartbeat = \"100ms\"\n";

    fn with(text: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("dewpond.toml");
        fs::write(&path, text).unwrap();
        let owned = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect::<Vec<_>>()
        };
        load(Some(&path), owned(environment), owned(flags))
    }

    #[test]
    fn file_environment_and_flags_are_laid_one_upon_the_other() {
        let config = with(GOOD, &[("DEWPOND_RAFT_HEARTBEAT", "200ms")], &[("region", "north")]).unwrap();
        assert_eq!(config.cluster.shards, 6);
        assert_eq!(config.node.pace.heartbeat.ms(), 200);
        assert_eq!(config.node.region, "north");
        assert_eq!(config.layers.get("region").origin, Origin::Flag);
        assert!(matches!(config.layers.get("shards").origin, Origin::File(_)));
        assert_eq!(config.layers.get("disk.warn_percent").origin, Origin::Default);
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let text =
            format!("{GOOD}hartbeat = \"1s\"\n[quota]\nconnections = 0.5\n[disk]\nwarn_percent = 100\n");
        let error = with(&text, &[("DEWPOND_SHARD", "1")], &[("regio", "x")]).unwrap_err().to_string();
        for said in [
            "raft.hartbeat (file ",
            "did you mean `raft.heartbeat`?",
            "quota.connections (file ",
            "it must be a text",
            "disk.warn_percent (file ",
            "it must lie within 1 to 99",
            "DEWPOND_SHARD",
            "did you mean `DEWPOND_SHARDS`?",
            "regio (flag)",
            "did you mean `region`?",
        ] {
            assert!(error.contains(said), "{said} is missing:\n{error}");
        }
    }

    #[test]
    fn a_name_that_nobody_knows_is_enough_to_refuse_all() {
        for (environment, flags) in [(&[("DEWPOND_SHARD", "1")][..], &[][..]), (&[], &[("shard", "1")])] {
            assert!(matches!(with(GOOD, environment, flags), Err(ConfigError::Invalid(_))));
        }
        assert!(matches!(with(&format!("{GOOD}x = 1\n"), &[], &[]), Err(ConfigError::Invalid(_))));
        assert!(with(GOOD, &[], &[]).is_ok());
    }

    #[test]
    fn what_is_no_file_and_no_toml_is_told() {
        assert!(matches!(with("name = ", &[], &[]), Err(ConfigError::Toml { .. })));
        let missing = load(Some(Path::new("/nowhere/dewpond.toml")), [], []);
        assert!(matches!(missing, Err(ConfigError::File { .. })));
        let huge = " ".repeat(usize::try_from(limits::CONFIG_FILE_BYTES_MAX).unwrap() + 1);
        assert!(matches!(with(&huge, &[], &[]), Err(ConfigError::File { .. })));
    }
}
