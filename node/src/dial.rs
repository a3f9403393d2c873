//! Connections of gRPC that this node makes: over its own TLS, which knows nodes by their certificates and not by names. Whoever asks over
//! one sees a [`Line`], whatever carries it.

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt, service_fn};

/// What carries a call to another node and brings its answer.
pub type Line = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Broken>;

/// A line that has carried nothing, or no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// A line over a channel.
#[must_use]
pub fn line(channel: Channel) -> Line {
    let broken = |error: tonic::transport::Error| Broken(engine::error::with_sources(&error));
    BoxCloneSyncService::new(channel.map_err(broken))
}

/// A connection is made within so many milliseconds, or not.
const CONNECT_MS: u64 = 3_000;

/// The name that is asked for. Nobody looks at it: who answers is known by its certificate.
pub const NAME: &str = "node.dewpond";

/// A channel to `address` (host and port). It is made when it is first used, and anew when it is lost.
///
/// # Errors
/// `InvalidInput`: that is no address.
pub fn channel(address: &str, tls: Arc<ClientConfig>) -> io::Result<Channel> {
    let invalid =
        |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
    // TLS is ours: to tonic it is a plain connection.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| invalid(&error))?;
    let name = ServerName::try_from(NAME).map_err(|error| invalid(&error))?;
    let connect = move |to: Uri| {
        let (tls, name) = (TlsConnector::from(tls.clone()), name.clone());
        async move {
            let (host, port) = (to.host().unwrap_or_default().to_owned(), to.port_u16().unwrap_or(0));
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    };
    let endpoint = endpoint.connect_timeout(Duration::from_millis(CONNECT_MS));
    Ok(endpoint.connect_with_connector_lazy(service_fn(connect)))
}
