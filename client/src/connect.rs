//! One connection to one node: TCP, TLS, HTTP/2.

use crate::error::{Error, Result, code};
use crate::limits::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::tls;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// How connections are made.
#[derive(Clone)]
pub(crate) struct Connector {
    /// Whom to trust, and who we are.
    pub config: Arc<ClientConfig>,
    /// How long a connection may take to stand.
    pub time: Duration,
    /// What the application calls itself.
    pub app: Arc<str>,
}

impl Connector {
    /// A connection that stands. It is not made anew when it ends: whoever uses it hears of the end, and comes again.
    pub async fn connect(&self, address: &str) -> Result<Channel> {
        let unfit = |cause| Error::new(code::ADDRESS, format!("`{address}` is no address")).because(cause);
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(unfit)?
            .user_agent(format!("{} dewpond/{}", self.app, env!("CARGO_PKG_VERSION")))
            .map_err(unfit)?
            .connect_timeout(self.time)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        // The first opening is ours, so that its error keeps its type.
        let opened = tokio::time::timeout(self.time, open(self.config.clone(), address))
            .await
            .map_err(|_| unreachable(address, "no answer in time"))?
            .map_err(|cause| refused(address, cause))?;
        let once = Arc::new(Mutex::new(Some(opened)));
        let service = service_fn(move |_| {
            let opened = once.lock().unwrap_or_else(PoisonError::into_inner).take();
            async move { opened.map(TokioIo::new).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
        });
        endpoint
            .connect_with_connector(service)
            .await
            .map_err(|cause| unreachable(address, "no HTTP/2 is spoken there").because(cause))
    }
}

async fn open(config: Arc<ClientConfig>, address: &str) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let name = tls::server_name().map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, socket).await
}

fn unreachable(address: &str, what: &str) -> Error {
    Error::new(code::UNREACHABLE, format!("cannot reach {address}: {what}"))
}

fn refused(address: &str, cause: io::Error) -> Error {
    let inner = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let error = match inner {
        Some(rustls::Error::InvalidCertificate(why)) => {
            let text = format!("the certificate of {address} is not that of a node of this cluster: {why:?}");
            Error::new(code::SERVER_STRANGE, text)
        }
        Some(rustls::Error::AlertReceived(why)) => {
            let text = format!("{address} does not accept the certificate of this client: {why:?}");
            Error::new(code::CERTIFICATE_NEEDED, text)
        }
        _ => unreachable(address, &cause.kind().to_string()),
    };
    error.because(cause)
}
