//! Connections of gRPC that this node makes: over its own TLS, which knows nodes by their certificates and not by names.

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

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
