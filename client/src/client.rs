//! The client of a cluster: built once, cloned freely.

use crate::admin::Admin;
use crate::call::Link;
use crate::clock::Deadline;
use crate::connect::Connector;
use crate::error::{Error, Result, code};
use crate::identity::Identity;
use crate::limits::{CALL_MS, CONNECT_MS};
use crate::tenant::Tenant;
use crate::tls;
use proto::v1::hello_client::HelloClient;
use proto::v1::{HelloRequest, HelloResponse};
use proto::version::{PROTOCOL_MAX, PROTOCOL_MIN};
use std::sync::Arc;
use std::time::Duration;

/// A client of a cluster. Cloning it is cheap; all clones have their connections in common.
#[derive(Clone)]
pub struct Client {
    link: Arc<Link>,
}

/// What a client is built from.
#[must_use]
pub struct Builder {
    endpoints: Vec<String>,
    admins: Vec<String>,
    identity: Option<Identity>,
    authority: Vec<u8>,
    app: String,
    deadline: Duration,
    connect: Duration,
}

impl Client {
    /// Begins to build one.
    pub fn builder() -> Builder {
        Builder {
            endpoints: vec![],
            admins: vec![],
            identity: None,
            authority: vec![],
            app: "app".to_owned(),
            deadline: Duration::from_millis(CALL_MS),
            connect: Duration::from_millis(CONNECT_MS),
        }
    }

    /// A tenant, by its name. Nothing is sent yet.
    #[must_use]
    pub fn tenant(&self, name: impl Into<String>) -> Tenant {
        Tenant::new(self.link.clone(), name.into())
    }

    /// What administrators do, at the admin endpoints.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.link.clone())
    }

    /// Asks some node who it is.
    ///
    /// # Errors
    /// Unavailable, if none answers; denied, if the server is none of this cluster.
    pub async fn hello(&self) -> Result<HelloResponse> {
        let nodes = self.link.routes().nodes();
        let mut last = Error::new(code::ADDRESS, "this client was given no endpoints");
        let deadline = Deadline::after(self.link.deadline);
        for _ in 0..nodes {
            let Some(address) = self.link.routes().any() else { break };
            let asked = async {
                let node = self.link.pool.node(&address).await?;
                let asked = HelloClient::new(node.channel).hello(HelloRequest {}).await;
                asked.map(tonic::Response::into_inner).map_err(Error::from_status)
            };
            match tokio::time::timeout(deadline.left(), asked).await {
                Ok(Ok(hello)) => return Ok(hello),
                Ok(Err(error)) => last = error,
                Err(_) => last = Error::new(code::UNREACHABLE, format!("{address} did not answer in time")),
            }
            self.link.pool.forget(&address);
        }
        Err(last)
    }
}

impl Builder {
    /// Nodes to ask first, `https://host:7400`. The others are learnt from them.
    pub fn endpoints<S: Into<String>>(mut self, endpoints: impl IntoIterator<Item = S>) -> Self {
        self.endpoints = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// Nodes for administrators, `https://host:7401`.
    pub fn admin_endpoints<S: Into<String>>(mut self, endpoints: impl IntoIterator<Item = S>) -> Self {
        self.admins = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// Who this client is.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The certificate of the cluster's authority, PEM. A server that it has not issued as a node is refused.
    pub fn authority(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.authority = pem.as_ref().to_vec();
        self
    }

    /// What the application calls itself.
    pub fn app(mut self, name: impl Into<String>) -> Self {
        self.app = name.into();
        self
    }

    /// How long a call may take with all its attempts. Five seconds, unless it is set here or on a handle.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = time;
        self
    }

    /// How long a connection may take to stand. One second, unless it is set.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect = time;
        self
    }

    /// Builds it without a word to any server.
    ///
    /// # Errors
    /// Invalid, if something cannot be used.
    pub fn build(self) -> Result<Client> {
        for address in self.endpoints.iter().chain(&self.admins) {
            if address.starts_with("http://") {
                return Err(Error::new(code::ADDRESS, format!("`{address}`: only https is spoken")));
            }
        }
        let config = tls::config(&self.authority, self.identity.as_ref())?;
        let connector = Connector { config, time: self.connect, app: self.app.into() };
        let link = Link::new(connector, &self.endpoints, &self.admins, self.deadline)?;
        Ok(Client { link: Arc::new(link) })
    }

    /// Builds it and greets a node, if there are endpoints: what is wrong with addresses and certificates is told here.
    ///
    /// # Errors
    /// Unavailable, if no node answers; denied, if the server is none of this cluster; invalid, if it speaks another protocol.
    pub async fn connect(self) -> Result<Client> {
        let has_endpoints = !self.endpoints.is_empty();
        let client = self.build()?;
        if has_endpoints {
            let hello = client.hello().await?;
            if hello.protocol_min > PROTOCOL_MAX || hello.protocol_max < PROTOCOL_MIN {
                let text = format!(
                    "the server speaks protocols {} to {}, this client {PROTOCOL_MIN} to {PROTOCOL_MAX}",
                    hello.protocol_min, hello.protocol_max
                );
                return Err(Error::new(code::FEATURE_MISSING, text));
            }
        }
        Ok(client)
    }
}
