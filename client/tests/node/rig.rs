//! A cluster of one in this process, an administrator, and services of tenants.

use dewpond::{Client, Identity, Tenant, wire};
use node::double::Double;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use wire::issue_request::Whose;

pub struct Rig {
    pub double: Double,
    pub admin: Client,
    clients: Mutex<BTreeMap<String, Client>>,
    identities: Mutex<BTreeMap<String, (String, String)>>,
}

fn client(double: &Double, certificate: &str, key: &[u8]) -> Client {
    let builder = Client::builder()
        .endpoints(double.endpoints())
        .admin_endpoints(double.admin_endpoints())
        .authority(double.authority())
        .identity(Identity::from_pem(certificate, key).unwrap())
        .deadline(Duration::from_secs(20));
    builder.build().unwrap()
}

impl Rig {
    pub async fn start() -> Self {
        Self::of(1).await
    }

    /// A cluster of so many nodes.
    pub async fn of(nodes: usize) -> Self {
        let double = Double::of(nodes).await.unwrap();
        let admin = client(&double, double.admin_certificate(), double.admin_key());
        Self { double, admin, clients: Mutex::default(), identities: Mutex::default() }
    }

    /// Makes a tenant, and a client of its service.
    pub async fn tenant(&self, name: &str) -> Tenant {
        let admin = self.admin.admin();
        admin
            .create(wire::CreateTenantRequest { name: name.to_owned(), ..Default::default() })
            .await
            .unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let whose = Some(Whose::Tenant(name.to_owned()));
        let issued = admin.issue(wire::IssueRequest { whose, request, valid_ms: 0 }).await.unwrap();
        let own = client(&self.double, &issued.certificate, key.serialize_pem().as_bytes());
        let identity = (issued.certificate, key.serialize_pem());
        self.identities.lock().unwrap().insert(name.to_owned(), identity);
        self.clients.lock().unwrap().insert(name.to_owned(), own.clone());
        own.tenant(name)
    }

    /// The tenant, by a client of its own: another session, other connections.
    pub fn another(&self, tenant: &str) -> Tenant {
        let (certificate, key) = self.identities.lock().unwrap()[tenant].clone();
        client(&self.double, &certificate, key.as_bytes()).tenant(tenant)
    }

    /// The tenant, by a client that was told of these nodes alone.
    pub fn only(&self, tenant: &str, endpoints: &[&str]) -> Tenant {
        let (certificate, key) = self.identities.lock().unwrap()[tenant].clone();
        let builder = Client::builder()
            .endpoints(endpoints.to_vec())
            .authority(self.double.authority())
            .identity(Identity::from_pem(certificate, key.as_bytes()).unwrap())
            .deadline(Duration::from_secs(20));
        builder.build().unwrap().tenant(tenant)
    }

    /// An administrator who knows all nodes that there are now.
    pub fn admin_of_all(&self) -> dewpond::Admin {
        client(&self.double, self.double.admin_certificate(), self.double.admin_key()).admin()
    }

    /// An administrator who knows one node.
    pub fn admin_at(&self, node: usize) -> dewpond::Admin {
        let key = self.double.admin_key();
        let builder = Client::builder()
            .admin_endpoints([self.double.admin_endpoints()[node]])
            .authority(self.double.authority())
            .identity(Identity::from_pem(self.double.admin_certificate(), key).unwrap());
        builder.build().unwrap().admin()
    }

    /// The client of a tenant's service.
    pub fn client_of(&self, tenant: &str) -> Client {
        self.clients.lock().unwrap()[tenant].clone()
    }

    pub async fn stop(self) {
        self.double.stop().await;
    }
}
