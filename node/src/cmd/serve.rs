//! `dewpond serve`: runs a node until it is told to stop.

use super::options::{From, Serve};
use super::{Failure, config};
use crate::api;
use crate::config::Config;
use crate::server::Server;
use crate::server::disk::SystemSpace;
use crate::server::live::needs_restart;
use crate::server::porch::Doors;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Runs it.
///
/// # Errors
/// What keeps it from starting.
pub fn run(options: &Serve) -> Result<(), Failure> {
    let config = Arc::new(config::load(&options.from)?);
    crate::telemetry::logs::begin(&config.live.log_level, config.node.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut wishes = Wishes {
            input: Box::pin(ended(options.end_with_stdin.then(end_of_input))),
            ends: signal(SignalKind::terminate())?,
            interrupts: signal(SignalKind::interrupt())?,
            reads_again: signal(SignalKind::hangup())?,
        };
        let mut config = config;
        // A node that takes over, or is fenced, begins again in the same process, as any start does: with what its configuration says now.
        while serve(&config, &options.from, &mut wishes).await? == Ended::BeginsAgain {
            config = loaded_again(config, &options.from);
        }
        Ok(())
    })
}

/// The configuration as it is now; that of before, if it is not valid any more: a takeover does not fail over a slip in a file.
fn loaded_again(before: Arc<Config>, from: &From) -> Arc<Config> {
    match config::load(from) {
        Ok(now) => Arc::new(now),
        Err(error) => {
            let cause = engine::error::with_sources(&*error);
            tracing::error!(
                cause,
                "the configuration is not valid: the node begins again with that of before"
            );
            before
        }
    }
}

/// What ends a node, or changes it, from outside.
struct Wishes {
    input: Pin<Box<dyn Future<Output = ()>>>,
    ends: Signal,
    interrupts: Signal,
    /// What comes while the node is sealed is done when it has started.
    reads_again: Signal,
}

impl Wishes {
    async fn end(&mut self) {
        tokio::select! {
            _ = self.ends.recv() => {}
            _ = self.interrupts.recv() => {}
            () = &mut self.input => {}
        }
    }
}

/// How a node has ended.
#[derive(PartialEq, Eq)]
enum Ended {
    Wished,
    BeginsAgain,
}

/// What a running node is told, or says.
enum Heard {
    End,
    Failed(String),
    Again(String),
    ReadAgain,
}

async fn serve(config: &Arc<Config>, from: &From, wishes: &mut Wishes) -> Result<Ended, Failure> {
    let listen = &config.node.listen;
    // All doors are taken before anything is opened: who finds one taken touches nothing.
    let peer = bind("listen.peer", listen.peer).await?;
    let client = bind("listen.client", listen.client).await?;
    let admin = bind("listen.admin", listen.admin).await?;
    let make = Box::new(api::forward::make);
    let space = Arc::new(SystemSpace(config.node.data_dir.clone()));
    let start = Server::start_sealed(config.clone(), Doors { client, admin, peer }, make, space);
    let server = tokio::select! {
        started = start => started?,
        () = wishes.end() => return Ok(Ended::Wished),
    };
    tracing::info!(node = %server.node(), version = env!("CARGO_PKG_VERSION"), "the node serves");
    loop {
        let heard = tokio::select! {
            _ = wishes.ends.recv() => Heard::End,
            _ = wishes.interrupts.recv() => Heard::End,
            () = &mut wishes.input => Heard::End,
            why = server.failed() => Heard::Failed(why),
            why = server.begins_again() => Heard::Again(why),
            _ = wishes.reads_again.recv() => Heard::ReadAgain,
        };
        match heard {
            Heard::ReadAgain => read_again(&server, config, from),
            Heard::Failed(why) => {
                server.stop(0).await;
                return Err(why.into());
            }
            Heard::Again(why) => {
                tracing::warn!(why, "the node begins again");
                server.stop(0).await;
                return Ok(Ended::BeginsAgain);
            }
            Heard::End => {
                tracing::info!("the node stops");
                server.stop(server.live().stop_grace.ms()).await;
                return Ok(Ended::Wished);
            }
        }
    }
}

async fn bind(what: &str, at: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(at).await.map_err(|error| format!("{what}: {at}: {error}").into())
}

/// Reads the configuration again. What is wrong with it changes nothing.
fn read_again(server: &Server, started_with: &Config, from: &From) {
    match config::load(from) {
        Ok(now) => {
            for what in needs_restart(started_with, &now) {
                tracing::warn!(what, "settings have changed that do not hold before the next start");
            }
            server.set_live(now.live);
            tracing::info!("the configuration was read again");
        }
        Err(error) => {
            let cause = engine::error::with_sources(&*error);
            tracing::error!(cause, "the configuration is not valid: what held before still does");
        }
    }
}

/// Reads the standard input to its end, in a thread of its own: nothing else ever waits for it.
fn end_of_input() -> oneshot::Receiver<()> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = tell.send(());
    });
    told
}

async fn ended(input: Option<oneshot::Receiver<()>>) {
    match input {
        Some(told) => drop(told.await),
        None => std::future::pending().await,
    }
}
