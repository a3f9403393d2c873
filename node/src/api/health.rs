//! Whether the node serves, a service at a time, as gRPC asks it; and what can be called. Who may ask is said where everybody else is judged:
//! [`super::guard`].

use super::{Api, Backend};
use crate::limits::HEALTH_MS;
use futures_util::FutureExt;
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
use proto::v1::status_server::StatusServer;
use proto::v1::tenants_server::TenantsServer;
use proto::v1::txn_server::TxnServer;
use proto::v1::watch_server::WatchServer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

/// The node as a whole, as gRPC names it.
const NODE: &str = "";
/// What is served where clients come.
pub const CLIENTS: &[&str] = &[
    <KvServer<Api> as NamedService>::NAME,
    <TxnServer<Api> as NamedService>::NAME,
    <WatchServer<Api> as NamedService>::NAME,
    <HelloServer<Api> as NamedService>::NAME,
    <JoinServer<Api> as NamedService>::NAME,
];
/// What is served where administrators come. It answers while the node starts, too: that is when a person looks.
pub const ADMINS: &[&str] = &[
    <StatusServer<Api> as NamedService>::NAME,
    <NodesServer<Api> as NamedService>::NAME,
    <GroupsServer<Api> as NamedService>::NAME,
    <TenantsServer<Api> as NamedService>::NAME,
    <KeysServer<Api> as NamedService>::NAME,
    <JobsServer<Api> as NamedService>::NAME,
    <DelayedServer<Api> as NamedService>::NAME,
    <BackupServer<Api> as NamedService>::NAME,
    <IdentitiesServer<Api> as NamedService>::NAME,
];

/// Tells whether the node serves.
#[derive(Clone)]
pub struct Health {
    backend: Arc<dyn Backend>,
    reporter: HealthReporter,
}

/// Pure: what is told of each service.
fn statuses(is_up: bool, is_serving: bool) -> BTreeMap<&'static str, ServingStatus> {
    let status = |is_good| if is_good { ServingStatus::Serving } else { ServingStatus::NotServing };
    let clients = [NODE].iter().chain(CLIENTS).map(|name| (*name, status(is_up && is_serving)));
    clients.chain(ADMINS.iter().map(|name| (*name, status(is_up)))).collect()
}

impl Health {
    /// Of a node. Until it is followed, it serves nobody.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        let reporter = HealthReporter::new();
        for (name, status) in statuses(false, false) {
            // Nobody else has the reporter yet, so there is nothing to wait for.
            let told = reporter.set_service_status(name, status).now_or_never();
            debug_assert!(told.is_some());
        }
        Self { backend, reporter }
    }

    /// What answers.
    #[must_use]
    pub fn server(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Follows how the node is, until the tasks end.
    pub async fn follow(self) {
        let mut told = BTreeMap::new();
        loop {
            let now = statuses(self.backend.is_up(), self.backend.is_serving());
            for (name, status) in now.iter().filter(|(name, status)| told.get(*name) != Some(*status)) {
                self.reporter.set_service_status(name, *status).await;
            }
            told = now;
            tokio::time::sleep(Duration::from_millis(HEALTH_MS)).await;
        }
    }
}

/// Tells what can be called of these services, and of health.
#[must_use]
pub fn reflection(services: &[&str]) -> ServerReflectionServer<impl ServerReflection + use<>> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(<HealthServer<HealthService> as NamedService>::NAME)
        .with_service_name(tonic_reflection::pb::v1::server_reflection_server::SERVICE_NAME);
    let builder = services.iter().fold(builder, |builder, name| builder.with_service_name(*name));
    builder.build_v1().expect("the schema was built in whole")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_starts_or_drains_serves_administrators_and_whoever_ends_serves_nobody() {
        for (is_up, is_serving, clients, admins) in [
            (true, true, ServingStatus::Serving, ServingStatus::Serving),
            (true, false, ServingStatus::NotServing, ServingStatus::Serving),
            (false, true, ServingStatus::NotServing, ServingStatus::NotServing),
            (false, false, ServingStatus::NotServing, ServingStatus::NotServing),
        ] {
            let told = statuses(is_up, is_serving);
            assert_eq!(
                (told[NODE], told["dewpond.v1.Kv"], told["dewpond.v1.Status"]),
                (clients, clients, admins)
            );
            assert_eq!(told.len(), 1 + CLIENTS.len() + ADMINS.len());
        }
    }
}
