//! The nodes of the demo: processes of one program on loopback, each with a folder, a region and a log of its own.

use super::super::Failure;
use crate::boot::files;
use crate::clock::SystemClock;
use crate::entropy::{self, SystemEntropy};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use raft::time::BootClock as _;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Between two looks whether something has happened.
const LOOK: Duration = Duration::from_millis(50);
/// Within which a process that is told to stop has to be gone.
const STOP_MS: u64 = 30_000;
/// The regions of the nodes, in their order.
const REGIONS: [&str; 4] = ["eu", "us", "ap", "eu"];

/// Where a node listens: ports of loopback.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    client: u16,
    admin: u16,
    peer: u16,
    metrics: u16,
}

/// A node and its process.
pub struct DemoNode {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: &'static str,
    /// All that it keeps.
    pub data: PathBuf,
    config: PathBuf,
    /// What its process finds in its environment beside what is there anyway.
    pub environment: Vec<(String, String)>,
    ports: Ports,
    process: Option<Child>,
}

/// All nodes. Whatever still runs is killed when it is dropped.
pub struct World {
    /// The folder of everything.
    pub folder: PathBuf,
    /// The nodes, in the order in which they came.
    pub nodes: Vec<DemoNode>,
    /// What new nodes are made with.
    pub program: PathBuf,
    /// The end of every node's configuration.
    settings: String,
    clock: SystemClock,
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Ports that nobody has taken.
fn free_ports() -> Result<Ports, Failure> {
    let taken = [(); 4].map(|()| TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)));
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(taken) {
        *port = listener?.local_addr()?.port();
    }
    let [client, admin, peer, metrics] = ports;
    Ok(Ports { client, admin, peer, metrics })
}

impl DemoNode {
    /// Where clients reach it.
    pub fn client(&self) -> String {
        loopback(self.ports.client)
    }

    /// Where administrators reach it.
    pub fn admin(&self) -> String {
        loopback(self.ports.admin)
    }

    /// Where it listens for other nodes.
    pub fn peer(&self) -> String {
        loopback(self.ports.peer)
    }

    /// Where its figures are.
    pub fn metrics(&self) -> String {
        loopback(self.ports.metrics)
    }

    fn configured(&self, passphrase: &Path, settings: &str) -> String {
        let Ports { client, admin, peer, metrics } = self.ports;
        let quoted = |path: &Path| serde_json::Value::from(path.display().to_string()).to_string();
        format!(
            "name = \"{}\"\nregion = \"{}\"\ndata_dir = {}\n\n[kms]\npassphrase_file = {}\nmemory = \"19 MiB\"\n\n\
             [listen]\nclient = \"{}\"\nadmin = \"{}\"\npeer = \"{}\"\nmetrics = \"{}\"\n\n{settings}",
            self.name,
            self.region,
            quoted(&self.data),
            quoted(passphrase),
            loopback(client),
            loopback(admin),
            loopback(peer),
            loopback(metrics),
        )
    }

    /// The number of its process, while there is one.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Whether its process runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// Itself, if its process has ended of its own.
    fn ended(&mut self) -> Option<&mut Self> {
        (self.process.is_some() && !self.runs()).then_some(self)
    }

    /// Starts its process.
    ///
    /// # Errors
    /// The system does not.
    pub fn start(&mut self, program: &Path, folder: &Path) -> Result<(), Failure> {
        let log =
            File::options().create(true).append(true).open(folder.join(format!("{}.log", self.name)))?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(&self.config).arg("--end-with-stdin");
        // Whose input ends with this process: no node stays behind, however the demo ends.
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process = Some(command.spawn()?);
        Ok(())
    }

    /// Kills its process, as a power cut would.
    ///
    /// # Errors
    /// The system does not.
    pub fn crash(&mut self) -> Result<(), Failure> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Sends its process a signal, if there is one.
    ///
    /// # Errors
    /// The system does not.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let Some(process) = &self.process else { return Ok(()) };
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.ok_or("the process has no number")?, signal)?)
    }
}

impl World {
    /// An empty one in `folder`. Its nodes will be processes of `program`, and `settings` end the configuration of each.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn new(folder: &Path, program: PathBuf, settings: &str) -> Result<Self, Failure> {
        files::make_folder(folder)?;
        let secret = BASE64_STANDARD_NO_PAD.encode(entropy::random::<24>(&SystemEntropy));
        files::replace(&folder.join("passphrase"), secret.as_bytes())?;
        let (folder, nodes, clock) = (folder.to_owned(), Vec::new(), SystemClock::default());
        let settings = settings.to_owned();
        Ok(Self { folder, nodes, program, settings, clock })
    }

    /// Milliseconds by a clock that only goes forward.
    pub fn now_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }

    /// Configures one more node; it does not run yet.
    ///
    /// # Errors
    /// No port is free; the folder cannot be written.
    pub fn add(&mut self) -> Result<usize, Failure> {
        self.add_with("")
    }

    /// The same; `settings` are its own, as a part of its configuration.
    ///
    /// # Errors
    /// As [`World::add`].
    pub fn add_with(&mut self, settings: &str) -> Result<usize, Failure> {
        let place = self.nodes.len();
        let name = format!("n{}", place + 1);
        let node = DemoNode {
            region: REGIONS[place % REGIONS.len()],
            data: self.folder.join(&name),
            config: self.folder.join(format!("{name}.toml")),
            environment: Vec::new(),
            ports: free_ports()?,
            process: None,
            name,
        };
        let settings = format!("{settings}{}", self.settings);
        let text = node.configured(&self.folder.join("passphrase"), &settings);
        files::replace(&node.config, text.as_bytes())?;
        self.nodes.push(node);
        Ok(place)
    }

    /// Runs the program to its end, for a node.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, place: usize, words: &[&str]) -> Result<(), Failure> {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--config").arg(&self.nodes[place].config).stdin(Stdio::null());
        let output = command.output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("dewpond {}: {}", words[0], String::from_utf8_lossy(&output.stderr).trim()).into())
    }

    /// Starts a node.
    ///
    /// # Errors
    /// The system does not.
    pub fn start(&mut self, place: usize) -> Result<(), Failure> {
        self.nodes[place].start(&self.program, &self.folder)
    }

    /// Stops all nodes in order, as an operator does.
    ///
    /// # Errors
    /// One does not end, or not well.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        for node in &self.nodes {
            node.signal(Signal::TERM)?;
        }
        let until_ms = self.now_ms() + STOP_MS;
        while self.nodes.iter_mut().any(DemoNode::runs) {
            if self.now_ms() > until_ms {
                return Err("a node that was told to stop goes on".into());
            }
            tokio::time::sleep(LOOK).await;
        }
        for node in &mut self.nodes {
            if let Some(mut process) = node.process.take() {
                let status = process.wait()?;
                if !status.success() {
                    return Err(format!("{} stopped with {status}", node.name).into());
                }
            }
        }
        Ok(())
    }

    /// Waits until `look` finds what it waits for. A node that ends meanwhile ends the wait.
    ///
    /// # Errors
    /// The time is over, or a node is gone: says of what.
    pub async fn until<T>(
        &mut self,
        what: &str,
        limit_ms: u64,
        mut look: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, Failure> {
        let until_ms = self.now_ms() + limit_ms;
        loop {
            if let Some(found) = look().await {
                return Ok(found);
            }
            if let Some(node) = self.nodes.iter_mut().find_map(DemoNode::ended) {
                return Err(format!("{what}: {} has ended, see its log", node.name).into());
            }
            if self.now_ms() > until_ms {
                return Err(format!("{what}: not within {} s", limit_ms / 1_000).into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.crash();
        }
    }
}
