//! Contexts: which cluster, as whom. Kept in a file of the user that nobody else may read.

use super::args::{ContextVerb, Dangerous};
use super::confirm::confirmed;
use super::output::{Document, Format, fields};
use crate::error::{Error, Result, code};
use crate::identity::refuse_open;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All contexts.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The one that is used if none is named.
    pub current: Option<String>,
    /// By their names.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// Which cluster, as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Nodes for clients.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// Nodes for administrators.
    #[serde(default)]
    pub admin_endpoints: Vec<String>,
    /// The file with the certificate of the authority.
    pub ca: String,
    /// The file with the certificate.
    pub certificate: String,
    /// The file with its key.
    pub key: String,
    /// The tenant that is meant if none is named.
    pub tenant: Option<String>,
    /// Only the line itself chooses it, and a person types what is dangerous.
    #[serde(default)]
    pub protected: bool,
}

/// A context and its name.
pub struct Named<'a> {
    /// The name.
    pub name: &'a str,
    /// The context.
    pub context: &'a Context,
}

/// The context that a variable names.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a user says so once for many lines")]
pub fn surroundings() -> Option<String> {
    std::env::var("DEW_CONTEXT").ok().filter(|name| !name.is_empty())
}

/// Where the file is.
#[expect(clippy::disallowed_methods, reason = "where a user's files are follows from the surroundings")]
pub fn path() -> Result<PathBuf> {
    if let Ok(path) = std::env::var("DEW_CONFIG") {
        return Ok(path.into());
    }
    if let Ok(folder) = std::env::var("XDG_CONFIG_HOME") {
        return Ok(PathBuf::from(folder).join("dew/config.toml"));
    }
    let home = std::env::var("HOME")
        .map_err(|_| Error::new(code::INPUT, "there is no HOME: say where the file is by DEW_CONFIG"))?;
    Ok(PathBuf::from(home).join(".config/dew/config.toml"))
}

impl Config {
    /// Reads it; empty, if there is none.
    pub fn load(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        refuse_open(path)?;
        let text = std::fs::read_to_string(path)
            .map_err(|cause| Error::new(code::INPUT, format!("read {}", path.display())).because(cause))?;
        toml::from_str(&text)
            .map_err(|cause| Error::new(code::INPUT, format!("{}: {}", path.display(), cause.message())))
    }

    /// The context that is meant: by the line, by the surroundings, or by default. A protected one only by the line.
    pub fn choose(&self, line: Option<&str>, surroundings: Option<&str>) -> Result<Named<'_>> {
        let name = line.or(surroundings).or(self.current.as_deref()).ok_or_else(|| {
            Error::new(code::INPUT, "no context: make one with `dew context add`, or name one with --context")
        })?;
        let named = self.named(name)?;
        if named.context.protected && line.is_none() {
            let text = format!("the context `{name}` is protected: say --context {name} on the line");
            return Err(Error::new(code::INPUT, text));
        }
        Ok(named)
    }

    /// The context of this name.
    pub fn named(&self, name: &str) -> Result<Named<'_>> {
        let found = self.contexts.get_key_value(name);
        let (name, context) = found.ok_or_else(|| {
            let known: Vec<_> = self.contexts.keys().map(String::as_str).collect();
            Error::new(code::INPUT, format!("there is no context `{name}`; there are: {}", known.join(", ")))
        })?;
        Ok(Named { name, context })
    }

    fn protect(&mut self, name: &str, protected: bool, path: &Path) -> Result<()> {
        self.named(name)?;
        if let Some(context) = self.contexts.get_mut(name) {
            context.protected = protected;
        }
        // It is no default any more.
        self.current = self.current.take().filter(|current| !protected || current != name);
        self.save(path)
    }

    fn save(&self, path: &Path) -> Result<()> {
        let unwritten = |cause: std::io::Error| {
            Error::new(code::INPUT, format!("write {}", path.display())).because(cause)
        };
        let text = toml::to_string(self)
            .map_err(|cause| Error::new(code::INTERNAL, "the contexts are no TOML").because(cause))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(unwritten)?;
        }
        let new = path.with_extension("toml.new");
        write_private(&new, text.as_bytes()).map_err(unwritten)?;
        std::fs::rename(&new, path).map_err(unwritten)
    }
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Runs a command about contexts.
pub fn run(verb: &ContextVerb, tenant: Option<&String>, format: Format) -> Result<()> {
    let path = path()?;
    let mut config = Config::load(&path)?;
    match verb {
        ContextVerb::List => {}
        ContextVerb::Use { name } => {
            if config.named(name)?.context.protected {
                let text =
                    format!("the context `{name}` is protected: it is no default, say --context {name}");
                return Err(Error::new(code::INPUT, text));
            }
            config.current = Some(name.clone());
            config.save(&path)?;
        }
        ContextVerb::Protect { name } => config.protect(name, true, &path)?,
        ContextVerb::Unprotect(Dangerous { name, confirm }) => {
            let protected = config.named(name)?.context.protected;
            confirmed("whatever is dangerous will be easy in it", name, (confirm.as_deref(), protected))?;
            config.protect(name, false, &path)?;
        }
        ContextVerb::Add { name, endpoints, admin_endpoints, ca, certificate, key } => {
            let absolute = |file: &String| {
                std::path::absolute(file).map_or_else(|_| file.clone(), |path| path.display().to_string())
            };
            let context = Context {
                endpoints: endpoints.clone(),
                admin_endpoints: admin_endpoints.clone(),
                ca: absolute(ca),
                certificate: absolute(certificate),
                key: absolute(key),
                tenant: tenant.cloned(),
                protected: false,
            };
            if config.contexts.get(name).is_some_and(|known| known.protected) {
                let text = format!("the context `{name}` is protected: `dew context unprotect {name}` first");
                return Err(Error::new(code::INPUT, text));
            }
            config.contexts.insert(name.clone(), context);
            config.current.get_or_insert_with(|| name.clone());
            config.save(&path)?;
        }
    }
    let rows = config.contexts.iter().map(|(name, context)| {
        fields([
            ("name", name.as_str().into()),
            ("current", (config.current.as_ref() == Some(name)).into()),
            ("protected", context.protected.into()),
            ("endpoints", context.endpoints.join(" ").into()),
            ("tenant", context.tenant.clone().into()),
        ])
    });
    let columns = ["name", "current", "protected", "endpoints", "tenant"];
    Document::list("dew.context.list/1", &columns, rows.collect()).print(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_and_others_may_not_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dew/config.toml");
        assert_eq!(Config::load(&path).unwrap(), Config::default());
        let mut config = Config { current: Some("a".into()), ..Config::default() };
        let context =
            Context { endpoints: vec!["https://a:7400".into()], ca: "ca".into(), ..Context::default() };
        config.contexts.insert("a".into(), context);
        config.save(&path).unwrap();
        assert_eq!(Config::load(&path).unwrap(), config);
        assert_eq!(config.choose(None, None).unwrap().name, "a");
        assert!(config.choose(Some("b"), None).is_err() && Config::default().choose(None, None).is_err());
        config.contexts.insert("prod".into(), Context::default());
        assert_eq!(config.choose(None, Some("prod")).unwrap().name, "prod");
        assert_eq!(config.choose(Some("a"), Some("prod")).unwrap().name, "a");
        config.current = Some("prod".into());
        config.protect("prod", true, &path).unwrap();
        assert_eq!((Config::load(&path).unwrap().current, config.current.take()), (None, None));
        assert_eq!(config.choose(Some("prod"), None).unwrap().name, "prod");
        assert!(config.choose(None, Some("prod")).is_err(), "no variable chooses it");
        config.current = Some("prod".into());
        assert!(config.choose(None, None).is_err(), "and no file that somebody has changed");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            assert_eq!(Config::load(&path).unwrap_err().code(), code::FILE_MODE);
        }
    }
}
