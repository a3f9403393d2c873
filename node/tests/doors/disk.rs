//! A disk that becomes full.

use super::rig::{channel, eventually, one_over, soon};
use bytes::Bytes;
use node::server::disk::{Room, Space};
use proto::errors::code;
use proto::v1::kv_client::KvClient;
use proto::v1::tenants_client::TenantsClient;
use proto::v1::{
    CreateTenantRequest, GetRequest, Place, PutRequest, StatusRequest, status_client::StatusClient,
};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
