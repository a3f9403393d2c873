//! A server that does as it is told: real TLS, a real stream, and a map behind it.

use dewpond::{Client, Identity, code};
use proto::v1::hello_server::{Hello, HelloServer};
use proto::v1::kv_server::{Kv, KvServer};
use proto::v1::stream_request::What as Asked;
use proto::v1::stream_response::What as Told;
use proto::v1::watch_server::{Watch, WatchServer};
use proto::v1::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub type Out<T> = Pin<Box<dyn futures_util::Stream<Item = Result<T, Status>> + Send>>;

/// What to do with the next call on a stream.
#[derive(Clone)]
pub enum Fault {
    /// Do it, and end the stream instead of answering.
    LoseReply,
    /// Fail so, without doing it.
    Fail(Failure),
    /// Do it, and say that nobody knows.
    Doubt,
    /// Answer after the next one.
    Late,
    /// Never answer.
    Mute,
}

#[derive(Default)]
pub struct State {
    pub rows: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    pub replies: BTreeMap<(Vec<u8>, u64), Told>,
    pub faults: VecDeque<Fault>,
    pub ids: Vec<WriteId>,
    pub stamp: u64,
    pub leader: String,
    pub watches: Vec<u64>,
    /// What watches say that they have heard of.
    pub generations: Vec<u64>,
    /// What the next watch is told.
    pub resets: Vec<(u64, reset::Why)>,
    pub calls: usize,
    pub cut_scan: bool,
    /// Writes this key behind the back of the next batch.
    pub rival: u32,
}

#[derive(Clone, Default)]
pub struct Server(pub Arc<Mutex<State>>);

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn issue(&self, uri: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

pub async fn serve(authority: &Authority, uri: &str, server: Server) -> String {
    let (certificate, key) = authority.issue(uri);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, incoming) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(socket).await else { return };
                let (inner, mut outer) = tokio::io::duplex(1 << 16);
                let _ = sender.send(Ok::<_, std::io::Error>(inner)).await;
                let _ = tokio::io::copy_bidirectional(&mut tls, &mut outer).await;
            });
        }
    });
    let served = tonic::transport::Server::builder()
        .add_service(HelloServer::new(server.clone()))
        .add_service(WatchServer::new(server.clone()))
        .add_service(KvServer::new(server));
    tokio::spawn(served.serve_with_incoming(ReceiverStream::new(incoming)));
    address
}

pub async fn client(authority: &Authority, seeds: &[&String]) -> dewpond::Result<Client> {
    let (certificate, key) = authority.issue("dewpond://aa/service/acme");
    Client::builder()
        .endpoints(seeds.iter().map(|seed| format!("https://{seed}")))
        .identity(Identity::from_pem(certificate, key)?)
        .authority(&authority.pem)
        .deadline(Duration::from_secs(3))
        .connect()
        .await
}

/// One node, and a client of it.
pub async fn pair() -> (Client, Server) {
    let (authority, server) = (Authority::new(), Server::default());
    let address = serve(&authority, "dewpond://aa/node/1", server.clone()).await;
    server.0.lock().unwrap().leader = address.clone();
    (client(&authority, &[&address]).await.unwrap(), server)
}

pub fn failure(code: u32) -> Failure {
    Failure { code, ..Failure::default() }
}

impl Server {
    pub fn fault(&self, fault: Fault) {
        self.0.lock().unwrap().faults.push_back(fault);
    }
}

impl State {
    fn version(&self, key: &[u8]) -> Option<Version> {
        let (stamp, value) = self.rows.get(key)?;
        Some(Version { stamp: *stamp, value: value.clone().into(), expires_ms: 0 })
    }

    pub fn write(&mut self, key: &[u8], value: &[u8]) -> u64 {
        self.stamp += 1;
        self.rows.insert(key.to_vec(), (self.stamp, value.to_vec()));
        self.stamp
    }

    fn holds(&self, key: &[u8], condition: &Condition) -> bool {
        let now = self.rows.get(key).map(|(stamp, _)| *stamp);
        match condition.must {
            Some(condition::Must::Absent(_)) => now.is_none(),
            Some(condition::Must::Present(_)) => now.is_some(),
            Some(condition::Must::Stamp(stamp)) => now == Some(stamp),
            None => true,
        }
    }

    fn once(&mut self, id: Option<WriteId>, run: impl FnOnce(&mut Self) -> Told) -> Told {
        let id = id.unwrap();
        let name = (id.session.to_vec(), id.number);
        self.ids.push(id);
        if let Some(known) = self.replies.get(&name) {
            return known.clone();
        }
        let reply = run(self);
        self.replies.insert(name, reply.clone());
        reply
    }

    fn answer(&mut self, what: Asked) -> Option<Told> {
        self.calls += 1;
        Some(match what {
            Asked::Get(get) => Told::Get(GetResponse { version: self.version(&get.key), at: self.stamp }),
            Asked::Put(put) => self.once(put.id, |state| {
                if put.condition.as_ref().is_some_and(|condition| !state.holds(&put.key, condition)) {
                    return Told::Failure(failure(code::CONDITION_FAILED));
                }
                Told::Write(WriteResponse { stamp: state.write(&put.key, &put.value) })
            }),
            Asked::Batch(batch) => {
                if self.rival > 0 {
                    self.rival -= 1;
                    self.write(b"a", b"{\"id\":\"a\",\"cents\":7}");
                }
                self.once(batch.id, |state| {
                    if batch.conditions.iter().any(|condition| !state.holds(&condition.key, condition)) {
                        return Told::Failure(failure(code::CONDITION_FAILED));
                    }
                    for operation in batch.operations {
                        if let Some(operation::What::Put(put)) = operation.what {
                            state.write(&put.key, &put.value);
                        }
                    }
                    Told::Write(WriteResponse { stamp: state.stamp })
                })
            }
            _ => return None,
        })
    }
}

#[tonic::async_trait]
impl Hello for Server {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        Ok(Response::new(HelloResponse { protocol_min: 1, protocol_max: 1, ..HelloResponse::default() }))
    }

    async fn route(&self, _: Request<RouteRequest>) -> Result<Response<RouteResponse>, Status> {
        let leader = self.0.lock().unwrap().leader.clone();
        let shard = Shard { replicas: vec![leader.clone()], leader, ..Shard::default() };
        Ok(Response::new(RouteResponse { tenant: 1, map_version: 1, shards: vec![shard], generation: 1 }))
    }
}

#[tonic::async_trait]
impl Watch for Server {
    type WatchStream = Out<WatchResponse>;

    async fn watch(
        &self,
        said: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut said = said.into_inner();
        let Some(WatchRequest { what: Some(watch_request::What::Open(open)) }) = said.message().await? else {
            return Err(Status::invalid_argument("open first"));
        };
        let mut state = self.0.lock().unwrap();
        state.watches.push(open.after);
        let is_first = state.watches.len() == 1;
        let change = |stamp: u64| {
            let version = Some(Version { stamp, value: "1".into(), expires_ms: 0 });
            let key = format!("k{stamp}").into();
            watch_response::What::Change(Change { key, version, is_removed: false })
        };
        let range = Some(Range { start: "k".into(), end: Default::default() });
        let removed = watch_response::What::RangeRemoved(RangeRemoved { range, stamp: 12 });
        // The first one is cut behind a progress and one more stamp; the second tells all behind the stamp it is asked for.
        let heard = if is_first {
            vec![change(11), watch_response::What::Progress(11), removed, change(12)]
        } else {
            vec![removed, change(12), change(13), change(99)]
        };
        let heard = if state.resets.is_empty() {
            heard
        } else {
            let reset =
                |(from, why): (u64, reset::Why)| watch_response::What::Reset(Reset { from, why: why.into() });
            state.resets.drain(..).map(reset).collect()
        };
        state.generations.push(open.generation);
        let said = |(n, what)| Ok(WatchResponse { what: Some(what), generation: if n == 0 { 3 } else { 0 } });
        let mut heard: Vec<_> = heard.into_iter().enumerate().map(said).collect();
        if is_first {
            heard.push(Err(Status::unavailable("cut")));
            return Ok(Response::new(Box::pin(tokio_stream::iter(heard))));
        }
        use futures_util::StreamExt;
        Ok(Response::new(Box::pin(tokio_stream::iter(heard).chain(futures_util::stream::pending()))))
    }
}

#[tonic::async_trait]
impl Kv for Server {
    type ScanStream = Out<ScanPage>;
    type HistoryStream = Out<HistoryPage>;
    type StreamStream = Out<StreamResponse>;

    async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        let request = request.into_inner();
        let mut state = self.0.lock().unwrap();
        let is_cut = std::mem::take(&mut state.cut_scan);
        let behind = |key: &&Vec<u8>| key.as_slice() > request.resume.as_ref();
        let keys: Vec<_> = state.rows.keys().filter(behind).cloned().collect();
        let last = keys.last().cloned();
        let mut pages: Vec<Result<ScanPage, Status>> = vec![];
        for key in keys.chunks(2) {
            let rows =
                key.iter().map(|key| Row { key: key.clone().into(), version: state.version(key) }).collect();
            let end = key.last().cloned().unwrap_or_default();
            let resume = if Some(&end) == last.as_ref() { vec![] } else { end };
            pages.push(Ok(ScanPage { rows, resume: resume.into(), at: 5 }));
        }
        if is_cut {
            pages.truncate(1);
            pages.push(Err(Status::unavailable("cut")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(pages))))
    }

    async fn collections(
        &self,
        _: Request<CollectionsRequest>,
    ) -> Result<Response<CollectionsResponse>, Status> {
        Ok(Response::new(CollectionsResponse { names: vec!["c".to_owned()] }))
    }

    async fn history(&self, _: Request<HistoryRequest>) -> Result<Response<Self::HistoryStream>, Status> {
        Err(Status::unimplemented("no history here"))
    }

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let mut requests = request.into_inner();
        let (sender, out) = mpsc::channel(64);
        let server = self.clone();
        tokio::spawn(async move {
            let mut late = vec![];
            while let Ok(Some(StreamRequest { call, what: Some(what), .. })) = requests.message().await {
                if matches!(what, Asked::Cancel(_)) {
                    continue;
                }
                let (fault, told) = {
                    let mut state = server.0.lock().unwrap();
                    let fault = state.faults.pop_front();
                    let told = match &fault {
                        Some(Fault::Fail(failure)) => Some(Told::Failure(failure.clone())),
                        _ => state.answer(what),
                    };
                    (fault, told)
                };
                let told = match fault {
                    Some(Fault::LoseReply) => return,
                    Some(Fault::Mute) => continue,
                    Some(Fault::Doubt) => Some(Told::Failure(failure(code::UNKNOWN_OUTCOME))),
                    Some(Fault::Late) => {
                        late.push(StreamResponse { call, what: told });
                        continue;
                    }
                    _ => told,
                };
                let _ = sender.send(Ok(StreamResponse { call, what: told })).await;
                for response in late.drain(..) {
                    let _ = sender.send(Ok(response)).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Err(Status::unimplemented("use the stream"))
    }
    async fn multi_get(&self, _: Request<MultiGetRequest>) -> Result<Response<MultiGetResponse>, Status> {
        Err(Status::unimplemented("use the stream"))
    }
    async fn put(&self, _: Request<PutRequest>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::unimplemented("use the stream"))
    }
    async fn delete(&self, _: Request<DeleteRequest>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::unimplemented("use the stream"))
    }
    async fn delete_range(&self, _: Request<DeleteRangeRequest>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::unimplemented("use the stream"))
    }
    async fn batch(&self, _: Request<BatchRequest>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::unimplemented("use the stream"))
    }
}
