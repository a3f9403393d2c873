//! Which services stand behind which door: clients at one, administrators at another.

use super::guard::Guard;
use super::health::{self, Health};
use super::measure::Measure;
use super::{Api, Backend, listener};
use crate::limits;
use crate::tls::{self, Tls, TlsError};
use crate::work::Spawner;
use proto::peer_v1::delayed_server::DelayedServer as LateServer;
use proto::peer_v1::meta_server::MetaServer;
use proto::peer_v1::restoring_server::RestoringServer;
use proto::v1::backup_server::BackupServer;
use proto::v1::delayed_server::DelayedServer;
use proto::v1::groups_server::GroupsServer;
use proto::v1::hello_server::HelloServer;
use proto::v1::identities_server::IdentitiesServer;
use proto::v1::jobs_server::JobsServer;
use proto::v1::join_server::JoinServer;
use proto::v1::keys_server::KeysServer;
use proto::v1::kv_server::KvServer;
use proto::v1::nodes_server::NodesServer;
use proto::v1::restore_server::RestoreServer;
use proto::v1::status_server::StatusServer;
use proto::v1::tenants_server::TenantsServer;
use proto::v1::txn_server::TxnServer;
use proto::v1::watch_server::WatchServer;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tower::layer::util::{Identity, Stack};

/// What stands before all services: first calls are counted, then they are let in.
type Before = Stack<Guard, Stack<Measure, Identity>>;

fn server(api: &Api) -> Server<Before> {
    let keepalive = Duration::from_millis(limits::KEEPALIVE_MS);
    Server::builder()
        .http2_keepalive_interval(Some(keepalive))
        .http2_keepalive_timeout(Some(keepalive))
        .max_concurrent_streams(Some(limits::CONNECTION_STREAMS_MAX))
        .http2_max_header_list_size(Some(limits::HEADER_BYTES_MAX))
        .layer(Measure::new(api.clone()))
        .layer(Guard::new(api.clone()))
}

/// What clients find.
fn for_clients(api: &Api, health: &Health) -> Routes {
    let max = limits::MESSAGE_BYTES_MAX;
    Routes::new(health.server())
        .add_service(health::reflection(health::CLIENTS))
        .add_service(KvServer::new(api.clone()).max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(
            TxnServer::new(api.clone()).max_decoding_message_size(limits::STRANGER_MESSAGE_BYTES_MAX),
        )
        .add_service(
            WatchServer::new(api.clone())
                .max_decoding_message_size(limits::STRANGER_MESSAGE_BYTES_MAX)
                .max_encoding_message_size(max),
        )
        .add_service(
            HelloServer::new(api.clone()).max_decoding_message_size(limits::STRANGER_MESSAGE_BYTES_MAX),
        )
        .add_service(
            JoinServer::new(api.clone()).max_decoding_message_size(limits::STRANGER_MESSAGE_BYTES_MAX),
        )
        .add_service(
            MetaServer::new(api.clone()).max_decoding_message_size(max).max_encoding_message_size(max),
        )
        .add_service(
            LateServer::new(api.clone()).max_decoding_message_size(max).max_encoding_message_size(max),
        )
        .add_service(
            RestoringServer::new(api.clone()).max_decoding_message_size(max).max_encoding_message_size(max),
        )
}

/// What administrators find.
fn for_admins(api: &Api, health: &Health) -> Routes {
    Routes::new(health.server())
        .add_service(health::reflection(health::ADMINS))
        .add_service(StatusServer::new(api.clone()))
        .add_service(NodesServer::new(api.clone()))
        .add_service(GroupsServer::new(api.clone()))
        .add_service(TenantsServer::new(api.clone()))
        .add_service(KeysServer::new(api.clone()))
        .add_service(JobsServer::new(api.clone()))
        .add_service(DelayedServer::new(api.clone()))
        .add_service(RestoreServer::new(api.clone()))
        .add_service(BackupServer::new(api.clone()))
        .add_service(IdentitiesServer::new(api.clone()))
}

/// Serves clients at one listener and administrators at the other, until the tasks of `spawner` end.
///
/// # Errors
/// TLS refuses a configuration.
pub fn serve(
    backend: Arc<dyn Backend>,
    tls: &Tls,
    spawner: &Spawner,
    (client, admin): (TcpListener, TcpListener),
) -> Result<(), TlsError> {
    let api = Api::new(backend);
    let told = api.backend().telemetry().clone();
    let health = Health::new(api.backend().clone());
    let demanded = tls.server(tls::Caller::AnyoneKnown, &[tls::GRPC])?;
    let taken = listener::connections(client, tls, demanded, told.clients.clone(), spawner);
    let clients = for_clients(&api, &health);
    let clients = server(&api).add_routes(clients).serve_with_incoming(ReceiverStream::new(taken));
    let demanded = tls.server(tls::Caller::Known, &[tls::GRPC])?;
    let taken = listener::connections(admin, tls, demanded, told.admins.clone(), spawner);
    let admins = for_admins(&api, &health);
    let admins = server(&api).add_routes(admins).serve_with_incoming(ReceiverStream::new(taken));
    spawner.spawn("health", health.follow());
    for (name, served) in [("clients", clients), ("admins", admins)] {
        spawner.spawn(name, async move {
            if let Err(error) = served.await {
                tracing::error!(
                    cause = engine::error::with_sources(&error),
                    door = name,
                    "a door is served no more"
                );
            }
        });
    }
    Ok(())
}

/// The lines to both doors, of clients and of administrators, for whoever they are asked by, in a simulation: what stands behind connections
/// is the same.
#[cfg(feature = "simulated")]
#[must_use]
pub fn lines(backend: Arc<dyn Backend>) -> [crate::dial::Line; 2] {
    use crate::dial::Broken;
    use tower::{ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
    let api = Api::new(backend);
    let health = Health::new(api.backend().clone());
    [for_clients(&api, &health), for_admins(&api, &health)].map(|routes| {
        let before = ServiceBuilder::new().layer(Measure::new(api.clone())).layer(Guard::new(api.clone()));
        BoxCloneSyncService::new(
            before.service(routes).map_err(|_| Broken("a service has failed".to_owned())),
        )
    })
}
