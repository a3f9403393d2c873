//! A disk that becomes full.

use super::rig::{One, channel, eventually, one_in, one_over, soon};
use bytes::Bytes;
use node::api;
use node::boot::files;
use node::server::Server;
use node::server::disk::{Room, Space, SystemSpace};
use proto::errors::code;
use proto::v1::kv_client::KvClient;
use proto::v1::tenants_client::TenantsClient;
use proto::v1::{
    CreateTenantRequest, GetRequest, Place, PutRequest, StatusRequest, status_client::StatusClient,
};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::transport::Channel;

/// A disk that is as full as it is told, in percent.
struct Told(AtomicU64);

impl Space for Told {
    fn room(&self) -> io::Result<Room> {
        Ok(Room { free_bytes: 100 - self.0.load(Ordering::Relaxed), whole_bytes: 100 })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_takes_no_writes_until_there_is_room_again() {
    let space = Arc::new(Told(AtomicU64::new(50)));
    let one = one_over(&[], space.clone()).await;
    one.tenant("acme").await;
    let kv = KvClient::new(channel(one.doors.client, &one.service("acme")));
    let admin = channel(one.doors.admin, &one.admin());
    let place =
        || Some(Place { tenant: "acme".to_owned(), collection: "rows".to_owned(), ..Place::default() });
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
    let put = async || {
        let asked =
            PutRequest { place: place(), key: key.clone(), value: value.clone(), ..PutRequest::default() };
        let done = soon(kv.clone().put(asked)).await;
        done.map(drop).map_err(|status| node::api::errors::failure_in(&status).unwrap().code)
    };
    let finding = async |text: &str| {
        let status =
            soon(StatusClient::new(admin.clone()).status(StatusRequest {})).await.unwrap().into_inner();
        let found = status.findings.iter().find(|one| one.text.contains(text));
        found.map(|one| (one.level.clone(), status.is_well))
    };
    put().await.unwrap();
    assert_eq!(finding("the disk is").await, None);

    space.0.store(85, Ordering::Relaxed);
    eventually("it warns", async || finding("the disk is 85 % full").await.is_some()).await;
    assert_eq!(finding("the disk is").await.unwrap(), ("warn".to_owned(), true));
    put().await.unwrap();

    space.0.store(96, Ordering::Relaxed);
    eventually("it refuses", async || put().await == Err(code::DISK_FULL)).await;
    assert_eq!(finding("no writes are taken").await.unwrap(), ("fail".to_owned(), false));
    assert!(one.server.metrics().contains("dewpond_disk_full_flag 1\n"));
    let get = GetRequest { place: place(), key: key.clone(), consistency: None };
    assert_eq!(soon(kv.clone().get(get)).await.unwrap().into_inner().version.unwrap().value, "v");
    let more = CreateTenantRequest { name: "birch".to_owned(), ..CreateTenantRequest::default() };
    soon(TenantsClient::new(admin.clone()).create(more)).await.expect("the meta group goes on");

    space.0.store(99, Ordering::Relaxed);
    eventually("it says that it falls behind", async || finding("replicas here fall behind").await.is_some())
        .await;
    assert_eq!(put().await, Err(code::DISK_FULL));

    // A little less is not enough: it would come and go.
    space.0.store(94, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(2 * node::limits::DISK_MS)).await;
    assert_eq!(put().await, Err(code::DISK_FULL));
    space.0.store(50, Ordering::Relaxed);
    eventually("it takes writes again", async || put().await.is_ok()).await;
    assert_eq!(finding("the disk is").await, None);
    assert!(one.server.metrics().contains("dewpond_disk_full_flag 0\n"));
    one.server.stop(0).await;
}

fn place() -> Option<Place> {
    Some(Place { tenant: "acme".to_owned(), collection: "rows".to_owned(), ..Place::default() })
}

async fn put(kv: &KvClient<Channel>, value: &'static str) -> Result<(), u32> {
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(value.as_bytes()));
    let done = soon(kv.clone().put(PutRequest { place: place(), key, value, ..PutRequest::default() })).await;
    done.map(drop).map_err(|status| node::api::errors::failure_in(&status).map_or(0, |failure| failure.code))
}

async fn get(kv: &KvClient<Channel>) -> Bytes {
    let asked = GetRequest { place: place(), key: Bytes::from_static(b"k"), consistency: None };
    soon(kv.clone().get(asked)).await.unwrap().into_inner().version.unwrap().value
}

/// Reads, and takes no writes from its first moment on.
async fn only_reads(one: &One, wanted: &str) -> KvClient<Channel> {
    let kv = KvClient::new(channel(one.doors.client, &one.service("acme")));
    assert_eq!(put(&kv, "late").await, Err(code::DISK_FULL));
    assert_eq!(get(&kv).await, wanted);
    let admin = channel(one.doors.admin, &one.admin());
    let status = soon(StatusClient::new(admin).status(StatusRequest {})).await.unwrap().into_inner();
    assert!(
        status.findings.iter().any(|one| one.level == "fail" && one.text.contains("the disk is")),
        "{status:?}"
    );
    assert!(one.server.metrics().contains("dewpond_disk_full_flag 1\n"));
    kv
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_on_a_full_disk_reads_and_takes_writes_when_there_is_room() {
    let one = one_over(&[], Arc::new(Told(AtomicU64::new(50)))).await;
    one.tenant("acme").await;
    put(&KvClient::new(channel(one.doors.client, &one.service("acme"))), "v").await.unwrap();
    let space = Arc::new(Told(AtomicU64::new(99)));
    let one = one.restart_over(space.clone(), |_| {}).await;
    let kv = only_reads(&one, "v").await;
    space.0.store(50, Ordering::Relaxed);
    eventually("it takes writes", async || put(&kv, "w").await.is_ok()).await;
    one.server.stop(0).await;
}

/// A small disk, for as long as this lives.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(mebibytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|done| done.status.success()).then_some(Self(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Fills a disk to its last byte.
fn fill(file: &Path) {
    let mut file = std::fs::File::create(file).unwrap();
    let full = loop {
        if let Err(error) = file.write_all(&[7; 4_096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_a_disk_without_a_free_byte_says_so_and_starts_by_itself_when_there_is_room() {
    let Some(disk) = Mounted::new(400) else {
        println!("skipped: a small disk can be mounted by root alone");
        return;
    };
    let space = Arc::new(SystemSpace(disk.0.path().to_owned()));
    let one = one_in(tempfile::tempdir_in(disk.0.path()).unwrap(), &[], space.clone(), 0).await;
    one.tenant("acme").await;
    let (service, root, at) = (one.service("acme"), one.admin(), one.doors);
    put(&KvClient::new(channel(at.client, &service)), "v").await.unwrap();
    let (passphrase, filler) = (disk.0.path().join("passphrase"), disk.0.path().join("filler"));
    files::replace(&passphrase, b"a passphrase for tests\n").unwrap();
    let stopped = one.stopped(&[("kms.passphrase_file", &passphrase.display().to_string())]).await;
    fill(&filler);
    let (config, doors, _kept) = stopped.doors().await;
    let server = Server::start_sealed(config, doors, Box::new(api::forward::make), space).await.unwrap();
    let (kv, admin) = (KvClient::new(channel(at.client, &service)), channel(at.admin, &root));
    eventually("it says so", async || {
        let status =
            soon(StatusClient::new(admin.clone()).status(StatusRequest {})).await.unwrap().into_inner();
        status.findings.iter().any(|one| one.level == "fail" && one.text.contains("disk is"))
    })
    .await;
    assert!(put(&kv, "late").await.is_err());
    tokio::time::sleep(Duration::from_millis(2 * node::limits::DISK_MS)).await;
    assert!(server.is_up(), "it waits: {:?}", server.findings());
    std::fs::remove_file(&filler).unwrap();
    eventually("it takes writes", async || put(&kv, "w").await.is_ok()).await;
    assert_eq!(get(&kv).await, "w");
    assert!(!server.findings().iter().any(|one| one.text.contains("disk is")));
    server.stop(0).await;
}
