//! The command line `dew`: it has no power that the servers do not check.

mod admin;
mod args;
mod backup;
mod bench;
mod complete;
mod confirm;
mod context;
mod data;
mod delayed;
mod drill;
mod export;
mod group;
mod ids;
mod import;
mod output;
mod promote;
mod restore;
mod words;
mod yaml;

use crate::{Client, Error, Identity, Kind, Result, code};
use args::{Args, Command};
use clap::Parser;
use context::{Config, Named};
use output::{Document, Format, fields};
use std::process::ExitCode;
use std::time::Duration;

/// Runs a command of the line.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("dew: the runtime does not start: {error}");
            return ExitCode::from(1);
        }
    };
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = run(args) => Some(ended),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    match ended {
        None => ExitCode::from(130),
        Some(Ok(status)) => ExitCode::from(status),
        Some(Err(error)) => {
            eprintln!("dew: {}", with_causes(&error));
            let help = error.help();
            if !help.is_empty() {
                eprintln!("     {help}");
            }
            if let (Kind::Unknown, Some(id)) = (error.kind(), error.request_id()) {
                eprintln!("     dew outcome {id}");
            }
            ExitCode::from(status_of(&error))
        }
    }
}

/// An error, and what led to it.
fn with_causes(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The exit code of an error.
fn status_of(error: &Error) -> u8 {
    match (error.kind(), error.code()) {
        (_, code::INPUT | code::MALFORMED | code::ADDRESS) => 64,
        (Kind::Conflict, _) => 4,
        (Kind::Unavailable | Kind::Unknown, _) => 5,
        _ => 1,
    }
}

/// What every command gets.
struct Session {
    client: Client,
    name: String,
    tenant: Option<String>,
    format: Format,
    is_protected: bool,
}

impl Session {
    async fn open(args: &Args) -> Result<Self> {
        let config = Config::load(&context::path()?)?;
        let surroundings = context::surroundings();
        let Named { name, context } = config.choose(args.context.as_deref(), surroundings.as_deref())?;
        let read = |path: &str| {
            std::fs::read(path)
                .map_err(|cause| Error::new(code::INPUT, format!("read {path}")).because(cause))
        };
        let client = Client::builder()
            .endpoints(context.endpoints.clone())
            .admin_endpoints(context.admin_endpoints.clone())
            .authority(read(&context.ca)?)
            .identity(Identity::from_files(&context.certificate, &context.key)?)
            .app("dew")
            .deadline(Duration::from_millis(args.deadline_ms))
            .build()?;
        let tenant = args.tenant.clone().or_else(|| context.tenant.clone());
        let (name, is_protected) = (name.to_owned(), context.protected);
        Ok(Self { client, name, tenant, format: args.output, is_protected })
    }

    fn tenant(&self) -> Result<crate::Tenant> {
        let name = self.tenant.clone().ok_or_else(|| {
            Error::new(code::INPUT, "no tenant: give --tenant, or put one into the context")
        })?;
        Ok(self.client.tenant(name))
    }
}

async fn run(args: Args) -> Result<u8> {
    let format = args.output;
    match &args.command {
        Command::Explain { code } => return explain(code, format),
        Command::Completion { shell } => {
            return output::print(&complete::script(*shell)).map(|()| 0);
        }
        Command::Complete { words } => {
            complete::run(words).await;
            return Ok(0);
        }
        Command::Version => {
            let of = fields([("version", env!("CARGO_PKG_VERSION").into())]);
            return Document::one("dew.version.show/1", &["version"], of).print(format).map(|()| 0);
        }
        Command::Context(verb) => return context::run(verb, args.tenant.as_ref(), format).map(|()| 0),
        _ => {}
    }
    let session = Session::open(&args).await?;
    match args.command {
        Command::Status => return admin::status(&session).await,
        Command::Tenant(verb) => admin::tenant(&session, verb).await?,
        Command::Node(verb) => admin::node(&session, verb).await?,
        Command::Scrub => admin::scrub(&session).await?,
        Command::Group(verb) => return group::group(&session, verb).await,
        Command::Job(verb) => admin::job(&session, verb).await?,
        Command::Delayed(verb) => delayed::run(&session, verb).await?,
        Command::Key(verb) => admin::key(&session, verb).await?,
        Command::Identity(verb) => admin::identity(&session, verb).await?,
        Command::Backup(verb) => return backup::backup(&session, verb).await,
        Command::Drill(verb) => return drill::run(&session, verb).await,
        Command::Window => return backup::window(&session).await,
        Command::Restore(verb) => return restore::run(&session, verb).await,
        Command::Import(what) => import::run(&session, what).await?,
        Command::Export(what) => export::run(&session, what).await?,
        Command::Bench(what) => bench::run(&session, what).await?,
        other => data::run(&session, other).await?,
    }
    Ok(0)
}

fn explain(text: &str, format: Format) -> Result<u8> {
    let number = text.trim_start_matches(['d', 'D', 'e', 'E', 'w', 'W', '-']).parse().ok();
    let Some(entry) = number.and_then(proto::errors::find) else {
        return Err(Error::new(code::INPUT, format!("`{text}` is no code of an error, as DEW-4003 is one")));
    };
    let of = fields([
        ("code", entry.label().into()),
        ("name", entry.name.into()),
        ("kind", format!("{:?}", entry.kind).into()),
        ("retry", format!("{:?}", entry.retry).into()),
        ("says", entry.says.into()),
        ("cause", entry.cause.into()),
        ("action", entry.action.into()),
    ]);
    let columns = ["code", "name", "kind", "retry", "says", "cause", "action"];
    Document::one("dew.error.explain/1", &columns, of).print(format).map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_kind() {
        for (code, status) in [
            (code::CONDITION_FAILED, 4),
            (code::NO_LEADER, 5),
            (code::UNREACHABLE, 5),
            (code::UNKNOWN_OUTCOME, 5),
            (code::NOT_ALLOWED, 1),
            (code::TENANT_UNKNOWN, 1),
            (code::INPUT, 64),
            (code::INTERNAL, 1),
        ] {
            assert_eq!(status_of(&Error::new(code, "")), status, "{code}");
        }
    }

    #[test]
    fn an_error_is_printed_with_its_causes() {
        let cause = std::io::Error::other("no such folder");
        let error = Error::new(code::INPUT, "write a.key").because(cause);
        assert_eq!(with_causes(&error), format!("{error}: no such folder"));
    }

    #[test]
    fn codes_are_explained_however_they_are_written() {
        for text in ["DEW-4003", "dew-4003", "4003"] {
            assert_eq!(explain(text, Format::Json).unwrap(), 0);
        }
        assert!(explain("DEW-1", Format::Json).is_err() && explain("", Format::Json).is_err());
    }
}
