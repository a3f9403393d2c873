//! `dewpond config`: looks at a configuration without touching anything.

use super::Failure;
use super::options::{Config, From};
use crate::config::{self, page, settings};
use std::collections::BTreeMap;

/// The configuration that file, environment and flags come to.
///
/// # Errors
/// All that is wrong with it.
pub fn load(from: &From) -> Result<config::Config, Failure> {
    let mut flags = BTreeMap::new();
    for setting in &from.settings {
        let (key, value) = setting.split_once('=').ok_or_else(|| format!("`{setting}` is not KEY=VALUE"))?;
        flags.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    Ok(config::file::load(from.config.as_deref(), std::env::vars(), flags)?)
}

/// Does it.
///
/// # Errors
/// What is wrong with the configuration; there is no such setting.
pub fn run(what: &Config) -> Result<(), Failure> {
    match what {
        Config::Check(from) => {
            load(from)?;
            println!("valid");
        }
        Config::Show(from) => {
            let config = load(from)?;
            print!("{}", page::show(&config.layers));
        }
        Config::Explain { key } => {
            let setting = settings::find(key).ok_or_else(|| match settings::nearest(key) {
                Some(near) => format!("there is no setting `{key}`; did you mean `{near}`?"),
                None => format!("there is no setting `{key}`"),
            })?;
            print!("{}", page::explain(setting));
        }
    }
    Ok(())
}
