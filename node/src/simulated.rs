//! What a node finds around it in a simulation, instead of an operating system: only in builds with the feature `simulated`, which nobody
//! may ask for but `chaos-tests`. A thread that has entered such a world runs whole nodes in it: their randomness, disks, catalogs, sites
//! and links are those of the world, their threads are its tasks, and what a node would hand to a thread is done where it stands.
//!
//! Left out is what only carries: sockets, TLS and HTTP. Frames of peers go by the link of the world, calls go by [`crate::dial::Line`].
//! Certificates are made, sealed and looked at as ever; their keys are Ed25519, whose signatures throw no dice.

use crate::archive::site::Store;
use crate::peer::Serving;
use engine::disk::Disk;
use engine::ids::NodeId;
use engine::tablet::pool::{CatalogOpener, Pool, PoolConfig};
use raft::log::{Log, LogConfig};
use raft::net::link::PeerLink;
use rcgen::{KeyPair, PKCS_ED25519};
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// What is around the nodes of one thread.
pub trait World {
    /// Randomness.
    fn fill(&self, out: &mut [u8]);
    /// The disk on which a path lies.
    fn disk(&self, at: &Path) -> Arc<dyn Disk>;
    /// Opens the catalog of a folder.
    fn catalog(&self, at: &Path) -> CatalogOpener;
    /// The site of an archive that a path names.
    fn site(&self, at: &Path) -> Arc<dyn Store>;
    /// How large what a pool holds may be.
    fn pool_config(&self, config: PoolConfig) -> PoolConfig;
    /// How large the files of a log may be.
    fn log_config(&self, config: LogConfig) -> LogConfig;
    /// Writes a log, of the node whose folder this is, until it is closed.
    fn write_log(&self, at: &Path, log: &Arc<Log>);
    /// Does the work of a pool, of the node whose folder this is, until it is closed.
    fn work(&self, at: &Path, pool: &Arc<Pool>);
    /// How a node reaches its peers. They reach it by what serves there.
    fn link(&self, node: NodeId, serving: &Serving) -> Arc<dyn PeerLink>;
}

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Leaves the world when it is dropped.
pub struct Inside(());

impl Drop for Inside {
    fn drop(&mut self) {
        WORLD.with_borrow_mut(|world| *world = None);
    }
}

/// From now on nodes of this thread are in this world.
#[must_use]
pub fn enter(world: Rc<dyn World>) -> Inside {
    WORLD.with_borrow_mut(|here| *here = Some(world));
    Inside(())
}

/// The world of this thread, if it is in one.
pub(crate) fn world() -> Option<Rc<dyn World>> {
    WORLD.with_borrow(Clone::clone)
}

/// An Ed25519 key follows these bytes of PKCS #8 (RFC 8410).
const KEY_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A key of the randomness of the world.
pub(crate) fn key(world: &dyn World) -> Result<KeyPair, rcgen::Error> {
    let mut der = [0; 48];
    der[..KEY_HEAD.len()].copy_from_slice(&KEY_HEAD);
    world.fill(&mut der[KEY_HEAD.len()..]);
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(&der[..]), &PKCS_ED25519)
}

/// Reads a file whole.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Puts bytes in place of a file.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (dir, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    engine::disk::atomic::replace(disk, dir, &name.to_string_lossy(), bytes)
}

/// Removes a file, durably; it is no error if there is none.
pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    disk.sync_dir(path.parent().unwrap_or(Path::new("/")))
}
