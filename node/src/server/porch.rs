//! A node whose keys cannot be opened now starts all the same: it is sealed. It listens, says at every door why, serves nothing, looks again, and
//! goes on with its start by itself once the keys open. What is sealed in its folder stays so meanwhile.
//!
//! It waits for what may come: a passphrase that is not there, that others may read, or that is another one; a key service that is away. What
//! does not get better by waiting (no node in the folder, a root file that is damaged) keeps it from starting.

use super::backend::Called;
use super::disk::Space;
use super::gate::Gate;
use super::joining::reached_by;
use super::opened::{Opened, Outside, open_keys, opened};
use super::start::{MakeForward, Result, StartError};
use super::{Server, live};
use crate::boot::BootError;
use crate::boot::identity::NodeFolder;
use crate::clock::SystemClock;
use crate::config::{self, Config};
use crate::keys::kms::{KmsError, Passphrase, passphrase};
use crate::telemetry::{Told, door};
use crate::tls::{Credentials, Tls};
use crate::work::Tasks;
use engine::error::with_sources;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Between two looks whether the keys open now, in milliseconds: whoever puts the passphrase there waits no longer than for the start itself.
pub const LOOK_MS: u64 = 2_000;

/// The doors of a node.
pub struct Doors {
    /// Of clients.
    pub client: TcpListener,
    /// Of administrators.
    pub admin: TcpListener,
    /// Of other nodes.
    pub peer: TcpListener,
}

/// What stands before a node that is sealed.
struct Porch {
    tls: Option<Tls>,
    tasks: Tasks,
    /// Ends when the node tells of itself.
    early: Tasks,
    gate: Arc<Gate>,
    told: Arc<Told>,
}

/// Pure: whether waiting may help, and why the keys do not open.
fn is_bad_luck(error: &StartError) -> bool {
    match error {
        StartError::Sealed(_) => true,
        StartError::Kms(kms) | StartError::Keys(crate::keys::Error::Kms(kms)) => {
            matches!(kms, KmsError::Denied | KmsError::Unfit | KmsError::Away(_))
        }
        _ => false,
    }
}

/// Pure: whether it is worth the second that another try costs: after one that the passphrase has spoiled it must be another passphrase.
fn is_worth(before: Option<&Passphrase>, now: &Passphrase) -> bool {
    before.is_none_or(|before| before[..] != now[..])
}

fn read(path: &Path) -> Result<Passphrase> {
    passphrase::read(path).map_err(|error| match error {
        BootError::Io { .. } | BootError::FileMode { .. } | BootError::TooLarge { .. } => {
            StartError::Sealed(with_sources(&error))
        }
        error => error.into(),
    })
}

/// Tries to open the keys. `spoiled` is the passphrase that did not, if there was one.
async fn try_open(
    config: &Config,
    path: &Path,
    clock: &Arc<SystemClock>,
    spoiled: &mut Option<Passphrase>,
    tls: Option<Tls>,
) -> Option<Result<Opened>> {
    let passphrase = match read(path) {
        Ok(passphrase) => passphrase,
        Err(error) => return Some(Err(error)),
    };
    if !is_worth(spoiled.as_ref(), &passphrase) {
        return None;
    }
    let (dir, clock, hosts) = (config.node.data_dir.clone(), clock.clone(), hosts(config));
    // The passphrase costs a second or two.
    let opening = crate::work::aside(move || {
        let opened = open_keys(&dir, &passphrase).and_then(|keys| opened(&dir, keys, &hosts, &clock, tls));
        (opened, passphrase)
    });
    let Ok((opened, passphrase)) = opening.await else {
        return Some(Err(StartError::Other("the start panicked".to_owned())));
    };
    let is_of_passphrase =
        |error: &StartError| matches!(error, StartError::Kms(KmsError::Denied | KmsError::Unfit));
    *spoiled = opened.as_ref().err().filter(|error| is_of_passphrase(error)).map(|_| passphrase);
    Some(opened)
}

/// Under which names the node is reached.
pub(super) fn hosts(config: &Config) -> Vec<String> {
    let at = &config.node.advertise;
    [&at.client, &at.admin, &at.peer].map(|address| reached_by(address)).to_vec()
}

impl Porch {
    /// Serves what a sealed node serves: why it is sealed. Without a certificate that is valid now, only metrics and log say so.
    fn build(
        config: &Config,
        clock: &Arc<SystemClock>,
        doors: &mut Option<(TcpListener, TcpListener)>,
    ) -> Result<Self> {
        let folder = NodeFolder::at(&config.node.data_dir);
        let identity = folder.identity()?;
        let (certificate, key, authority) = folder.credentials()?;
        let credentials = Credentials::load(identity.cluster, &certificate, &key, &authority, &**clock);
        let tls = match credentials {
            Ok(credentials) => Some(Tls::new(credentials, clock.clone())),
            Err(error) => {
                let cause = with_sources(&error);
                tracing::warn!(
                    cause,
                    "nobody is let in before the keys open: the certificate is not valid now"
                );
                None
            }
        };
        let told = Arc::new(Told::new(live::places(&config.live)));
        let gate = Arc::new(Gate::new(identity, config.live.clone(), told.clone()));
        let (tasks, early) = (Server::tasks(&told), Server::tasks(&told));
        if let (Some(tls), Some(doors)) = (&tls, tls.as_ref().and_then(|_| doors.take())) {
            crate::api::serve::serve(gate.clone(), tls, &tasks.spawner(), doors)?;
        }
        if let Some(at) = config.node.listen.metrics {
            let (spawner, exposes) = (early.spawner(), gate.clone());
            early.spawn("metrics", async move {
                match door::bind(at).await {
                    Ok(listener) => door::serve(listener, Arc::new(move || exposes.metrics()), spawner).await,
                    Err(error) => tracing::warn!(%at, %error, "metrics cannot be read"),
                }
            });
        }
        Ok(Self { tls, tasks, early, gate, told })
    }
}

impl Server {
    /// Starts the node that lives in the folder of `config`, with the passphrase in the file that is named there, and serves at `doors`. If its
    /// keys cannot be opened now, it waits for them, sealed, and goes on by itself.
    ///
    /// # Errors
    /// What keeps it from starting, and does not get better by waiting.
    pub async fn start_sealed(
        config: Arc<config::Config>,
        doors: Doors,
        make_forward: MakeForward,
        space: Arc<dyn Space>,
    ) -> Result<Arc<Self>> {
        let path: PathBuf = config
            .node
            .passphrase_file
            .clone()
            .ok_or_else(|| StartError::Other(passphrase::NOT_NAMED.to_owned()))?;
        let clock = Arc::new(SystemClock::default());
        let Doors { client, admin, peer } = doors;
        let (mut doors, mut porch, mut spoiled) = (Some((client, admin)), None::<Porch>, None);
        let opened = loop {
            let tls = porch.as_ref().and_then(|porch: &Porch| porch.tls.clone());
            match try_open(&config, &path, &clock, &mut spoiled, tls).await {
                Some(Ok(opened)) => break opened,
                Some(Err(error)) if is_bad_luck(&error) => {
                    let why = with_sources(&error);
                    if porch.is_none() {
                        porch = Some(Porch::build(&config, &clock, &mut doors)?);
                    }
                    if porch.as_ref().is_some_and(|porch| porch.gate.because(&why)) {
                        tracing::error!(why, "the node is sealed: it serves nothing until its keys open");
                    }
                }
                Some(Err(error)) => return Err(error),
                None => {}
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        };
        let (gate, outside) = match porch {
            Some(Porch { tasks, early, gate, told, .. }) => {
                early.end().await;
                tracing::info!("the keys are open: the node goes on with its start");
                (Some(gate), Outside { told, tasks })
            }
            None => (None, Outside::new(&config)),
        };
        let server = Self::start_opened(config, opened, outside, Some(peer), make_forward, space)?;
        if let Some(gate) = gate {
            gate.open(Called(server.clone()));
        }
        if let Some(doors) = doors {
            server.serve(doors)?;
        }
        Ok(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_come_is_waited_for_and_nothing_else_is() {
        let kms = StartError::Kms;
        for (error, waits) in [
            (StartError::Sealed("no file".to_owned()), true),
            (kms(KmsError::Denied), true),
            (kms(KmsError::Unfit), true),
            (kms(KmsError::Away("503".to_owned())), true),
            (StartError::Keys(KmsError::Away("503".to_owned()).into()), true),
            (kms(KmsError::Damaged("cut")), false),
            (kms(KmsError::NotOpened), false),
            (StartError::Keys(crate::keys::Error::RootFile("cut")), false),
            (StartError::Other("it is of another node".to_owned()), false),
        ] {
            assert_eq!(is_bad_luck(&error), waits, "{error}");
        }
        let said = |text: &str| Passphrase::from(text.as_bytes().to_vec());
        assert!(is_worth(None, &said("a")) && is_worth(Some(&said("a")), &said("b")));
        assert!(!is_worth(Some(&said("a")), &said("a")));
    }
}
