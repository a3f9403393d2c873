//! `dewpond serve`: runs a node until it is told to stop.

use super::options::{From, Serve};
use super::{Failure, config};
use crate::api;
use crate::config::Config;
use crate::server::Server;
use crate::server::disk::SystemSpace;
use crate::server::live::needs_restart;
use crate::server::porch::Doors;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
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
        let listen = &config.node.listen;
        // All doors are taken before anything is opened: who finds one taken touches nothing.
        let peer = bind("listen.peer", listen.peer).await?;
        let client = bind("listen.client", listen.client).await?;
        let admin = bind("listen.admin", listen.admin).await?;
        let input = options.end_with_stdin.then(end_of_input);
        let mut ends = signal(SignalKind::terminate())?;
        let mut interrupts = signal(SignalKind::interrupt())?;
        // What comes while the node is sealed is done when it has started.
        let mut reads_again = signal(SignalKind::hangup())?;
        let make = Box::new(api::forward::make);
        let space = Arc::new(SystemSpace(config.node.data_dir.clone()));
        let start = Server::start_sealed(config.clone(), Doors { client, admin, peer }, make, space);
        let mut input = Box::pin(ended(input));
        let server = tokio::select! {
            started = start => started?,
            _ = ends.recv() => return Ok(()),
            _ = interrupts.recv() => return Ok(()),
            () = &mut input => return Ok(()),
        };
        tracing::info!(node = %server.node(), version = env!("CARGO_PKG_VERSION"), "the node serves");
        let end = async {
            tokio::select! {
                _ = ends.recv() => None,
                _ = interrupts.recv() => None,
                () = &mut input => None,
                why = server.failed() => Some(why),
            }
        };
        tokio::pin!(end);
        let why = loop {
            tokio::select! {
                why = &mut end => break why,
                _ = reads_again.recv() => read_again(&server, &config, &options.from),
            }
        };
        if let Some(why) = why {
            server.stop(0).await;
            return Err(why.into());
        }
        tracing::info!("the node stops");
        server.stop(server.live().stop_grace.ms()).await;
        Ok(())
    })
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
