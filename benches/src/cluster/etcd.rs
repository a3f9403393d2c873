//! A client of etcd, for the few calls that are compared: what is sent is that of etcd's public `rpc.proto` and `kv.proto`
//! (packages `etcdserverpb` and `mvccpb`), whose field numbers stand here.
//!
//! | message | fields |
//! |---|---|
//! | ResponseHeader | 2 `member_id`, 3 revision |
//! | KeyValue | 3 `mod_revision`, 5 value |
//! | RangeRequest | 1 key; nothing else: that is a linearizable read of one key |
//! | RangeResponse | 2 kvs |
//! | PutRequest | 1 key, 2 value |
//! | PutResponse | 1 header |
//! | Compare | 1 result (0 equal), 2 target (2 `mod_revision`), 3 key, 6 `mod_revision` |
//! | RequestOp | 2 `request_put` |
//! | TxnRequest | 1 compare, 2 success |
//! | TxnResponse | 1 header, 2 succeeded |
//! | StatusResponse | 1 header, 4 leader |

use crate::Outcome;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, client::Grpc};

/// How long one attempt may take before another member is asked.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Receive windows, as those of our client.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// `mod_revision`, of the targets of a comparison.
const MOD_REVISION: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(int64, tag = "3")]
    mod_revision: i64,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    found: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, Message)]
struct Compare {
    #[prost(int32, tag = "1")]
    result: i32,
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    // Of a oneof: it is sent even if it is nothing.
    #[prost(int64, optional, tag = "6")]
    mod_revision: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestOp {
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// A client of all members, with one connection to each: it asks one of them until that fails, as ours does.
#[derive(Clone)]
pub struct Client {
    members: Arc<[Channel]>,
    /// Which member is asked.
    at: Arc<AtomicUsize>,
}

impl Client {
    /// One of members at `ports` of loopback. Connections are made when they are needed, and made again when they end.
    ///
    /// # Errors
    /// A port is none.
    pub fn new(ports: &[u16], config: Arc<ClientConfig>) -> Outcome<Self> {
        let members: Outcome<Vec<Channel>> =
            ports.iter().map(|port| channel(*port, config.clone())).collect();
        Ok(Self { members: members?.into(), at: Arc::default() })
    }

    /// Asks this member from now on.
    pub fn aim(&self, place: usize) {
        self.at.store(place, Ordering::Relaxed);
    }

    /// Whether a member leads; nothing if it does not answer.
    pub async fn is_leader(&self, place: usize) -> Option<bool> {
        let path = "/etcdserverpb.Maintenance/Status";
        let asked = unary(self.members[place].clone(), path, StatusRequest {});
        let status: StatusResponse = tokio::time::timeout(ATTEMPT, asked).await.ok()?.ok()?;
        Some(status.leader != 0 && status.leader == status.header?.member)
    }

    /// Writes a key: the revision.
    ///
    /// # Errors
    /// It is not known to be written.
    pub async fn put(&self, key: &[u8], value: Bytes) -> Outcome<u64> {
        let request = PutRequest { key: Bytes::copy_from_slice(key), value };
        let answer: PutResponse = self.ask("/etcdserverpb.KV/Put", request).await?;
        revision(answer.header)
    }

    /// Reads a key, linearizably.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&self, key: &[u8]) -> Outcome<Option<Bytes>> {
        let request = RangeRequest { key: Bytes::copy_from_slice(key) };
        let answer: RangeResponse = self.ask("/etcdserverpb.KV/Range", request).await?;
        Ok(answer.found.into_iter().next().map(|found| found.value))
    }

    /// Writes a key if its newest version is `revision`: the new revision, or nothing if it is not.
    ///
    /// # Errors
    /// It is not known to be written.
    pub async fn swap(&self, key: &[u8], value: Bytes, expected: u64) -> Outcome<Option<u64>> {
        let key = Bytes::copy_from_slice(key);
        let mod_revision = Some(i64::try_from(expected)?);
        let compare = vec![Compare { result: 0, target: MOD_REVISION, key: key.clone(), mod_revision }];
        let success = vec![RequestOp { put: Some(PutRequest { key, value }) }];
        let answer: TxnResponse = self.ask("/etcdserverpb.KV/Txn", TxnRequest { compare, success }).await?;
        if answer.succeeded { revision(answer.header).map(Some) } else { Ok(None) }
    }

    /// Writes all of these at once.
    ///
    /// # Errors
    /// They are not known to be written.
    pub async fn put_all(&self, rows: impl Iterator<Item = (Bytes, Bytes)>) -> Outcome<()> {
        let success = rows.map(|(key, value)| RequestOp { put: Some(PutRequest { key, value }) }).collect();
        let request = TxnRequest { compare: Vec::new(), success };
        let _: TxnResponse = self.ask("/etcdserverpb.KV/Txn", request).await?;
        Ok(())
    }

    async fn ask<Q, A>(&self, path: &'static str, request: Q) -> Outcome<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let place = self.at.load(Ordering::Relaxed);
        let asked = unary(self.members[place].clone(), path, request);
        let answered = match tokio::time::timeout(ATTEMPT, asked).await {
            Ok(answered) => answered,
            Err(_) => Err("no answer in time".into()),
        };
        if answered.is_err() {
            // Whoever sees it first turns to the next member; the others are there already.
            let next = (place + 1) % self.members.len();
            let _ = self.at.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        answered
    }
}

async fn unary<Q, A>(channel: Channel, path: &'static str, request: Q) -> Outcome<A>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await?;
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await?;
    Ok(answer.into_inner())
}

fn revision(header: Option<Header>) -> Outcome<u64> {
    Ok(u64::try_from(header.ok_or("an answer without a header")?.revision)?)
}

fn channel(port: u16, config: Arc<ClientConfig>) -> Outcome<Channel> {
    let endpoint =
        Endpoint::from_shared(format!("http://{}", SocketAddr::from((Ipv4Addr::LOCALHOST, port))))?
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_| open(port, config.clone()))))
}

async fn open(
    port: u16,
    config: Arc<ClientConfig>,
) -> io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
    Ok(TokioIo::new(TlsConnector::from(config).connect(name, socket).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_what_etcd_reads() {
        // By hand, from the field numbers: key "k", value "v", revision 5.
        let put = PutRequest { key: "k".into(), value: "v".into() };
        assert_eq!(put.encode_to_vec(), b"\x0a\x01k\x12\x01v");
        let compare = Compare { result: 0, target: MOD_REVISION, key: "k".into(), mod_revision: Some(5) };
        assert_eq!(compare.encode_to_vec(), b"\x10\x02\x1a\x01k\x30\x05");
        let txn = TxnRequest { compare: vec![compare], success: vec![RequestOp { put: Some(put) }] };
        assert_eq!(
            txn.encode_to_vec(),
            b"\x0a\x07\x10\x02\x1a\x01k\x30\x05\x12\x08\x12\x06\x0a\x01k\x12\x01v"
        );
    }

    #[test]
    fn answers_are_read_among_fields_nobody_asked_for() {
        let answer = TxnResponse::decode(&b"\x0a\x08\x08\x07\x10\x01\x18\x05\x20\x02\x10\x01"[..]).unwrap();
        assert!(answer.succeeded);
        assert_eq!(revision(answer.header).unwrap(), 5);
        let found = RangeResponse::decode(&b"\x12\x08\x0a\x01k\x18\x05\x2a\x01v\x20\x01"[..]).unwrap();
        assert_eq!((found.found[0].mod_revision, &found.found[0].value[..]), (5, &b"v"[..]));
        assert!(revision(None).is_err());
    }
}
