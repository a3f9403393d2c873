//! A node that starts without its passphrase, or with another one.

use super::health::health;
use super::metrics::{get, value};
use super::rig::{One, channel, eventually, one, soon};
use bytes::Bytes;
use node::api;
use node::boot::files;
use node::server::Server;
use node::server::disk::SystemSpace;
use proto::errors::code;
use proto::v1::kv_client::KvClient;
use proto::v1::status_client::StatusClient;
use proto::v1::tenants_client::TenantsClient;
use proto::v1::{GetRequest, ListTenantsRequest, Place, PutRequest, StatusRequest, StatusResponse};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;

fn place() -> Option<Place> {
    Some(Place { tenant: "acme".to_owned(), collection: "rows".to_owned(), ..Place::default() })
}

async fn read(kv: &KvClient<Channel>) -> Result<Bytes, u32> {
    let asked = GetRequest { place: place(), key: Bytes::from_static(b"k"), consistency: None };
    let got = soon(kv.clone().get(asked))
        .await
        .map_err(|status| api::errors::failure_in(&status).map_or(0, |failure| failure.code))?;
    Ok(got.into_inner().version.unwrap().value)
}

async fn status(admin: &Channel) -> StatusResponse {
    soon(StatusClient::new(admin.clone()).status(StatusRequest {})).await.unwrap().into_inner()
}

async fn says(admin: &Channel, text: &str) {
    eventually(text, async || {
        let status = status(admin).await;
        !status.is_well && status.findings.iter().any(|one| one.level == "fail" && one.text.contains(text))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_passphrase_a_node_is_sealed_says_so_and_goes_on_by_itself_when_it_comes() {
    let one = one(&[]).await;
    one.tenant("acme").await;
    let (service, root) = (one.service("acme"), one.admin());
    let put = PutRequest {
        place: place(),
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"v"),
        ..PutRequest::default()
    };
    soon(KvClient::new(channel(one.doors.client, &service)).put(put)).await.unwrap();
    let file = one.folder().root_path().with_file_name("passphrase");
    let (at, stopped) =
        (one.doors, one.stopped(&[("kms.passphrase_file", &file.display().to_string())]).await);
    let (config, doors, _kept) = stopped.doors().await;
    let space = Arc::new(SystemSpace(std::env::temp_dir()));
    let start = Server::start_sealed(config, doors, Box::new(api::forward::make), space);

    let (kv, admin) = (KvClient::new(channel(at.client, &service)), channel(at.admin, &root));
    let look = async {
        says(&admin, "the node is sealed: read").await;
        let status = status(&admin).await;
        assert_eq!((status.nodes.len(), status.groups.len()), (0, 0), "it knows nothing that it could tell");
        assert_eq!(read(&kv).await, Err(code::SEALED));
        let list = soon(TenantsClient::new(admin.clone()).list(ListTenantsRequest {})).await.unwrap_err();
        assert_eq!(
            (list.code(), api::errors::failure_in(&list).unwrap().code),
            (Code::Unavailable, code::SEALED)
        );
        assert_eq!(health(at.client, &service, "").await, Ok(ServingStatus::NotServing));
        assert_eq!(health(at.admin, &root, "dewpond.v1.Status").await, Ok(ServingStatus::Serving));
        let metrics = get(at.metrics).await;
        assert_eq!(value(&metrics, "dewpond_node_sealed_flag"), Some(1));
        assert_eq!(value(&metrics, "dewpond_node_serving_flag"), Some(0));

        files::replace(&file, b"another passphrase\n").unwrap();
        says(&admin, "the passphrase does not open the root key").await;
        files::replace(&file, b"a passphrase for tests\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        says(&admin, "others may read it").await;
        assert_eq!(read(&kv).await, Err(code::SEALED));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let (server, ()) = tokio::join!(start, look);
    let server = server.unwrap();
    // The connections that were made meanwhile go on.
    eventually("it serves", async || read(&kv).await.as_deref() == Ok(b"v")).await;
    eventually("all is well", async || {
        let status = status(&admin).await;
        status.is_well && status.nodes.len() == 1
    })
    .await;
    eventually("health says so", async || {
        health(at.client, &service, "").await == Ok(ServingStatus::Serving)
    })
    .await;
    eventually("metrics say so", async || {
        value(&get(at.metrics).await, "dewpond_node_sealed_flag") == Some(0)
    })
    .await;
    server.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_get_better_by_waiting_keeps_a_node_from_starting() {
    let one: One = one(&[]).await;
    let (folder, file) = (one.folder(), one.folder().root_path().with_file_name("passphrase"));
    let stopped = one.stopped(&[("kms.passphrase_file", &file.display().to_string())]).await;
    files::replace(&file, b"a passphrase for tests\n").unwrap();
    let mut root = folder.root().unwrap().to_vec();
    let last = root.len() - 1;
    root[last] ^= 1;
    folder.write_root(&root).unwrap();
    let (config, doors, _kept) = stopped.doors().await;
    let space = Arc::new(SystemSpace(std::env::temp_dir()));
    let start = Server::start_sealed(config, doors, Box::new(api::forward::make), space);
    let refused = soon(start).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("root file is damaged"), "{refused}");
}
