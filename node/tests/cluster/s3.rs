//! Archives at S3, against a server of it in this process: `cargo test --workspace --features node/s3-test --test cluster -- s3`.

use super::put;
use super::rebirth::archived;
use super::rig::{Cluster, DATA};
use super::watch::with_collection;
use engine::Stamp;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use node::archive::naming::root;
use node::archive::site::suite::suite;
use node::archive::site::{Site, Store, open};
use node::archive::sites::{self, Place};
use node::archive::verify::verify;
use node::clock::SystemClock;
use node::restore::look::Look;
use node::shard::door::WriteId;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

const ACCESS: &str = "an-access-key";
const SECRET: &str = "a-secret-that-no-line-may-hold";

/// A server of S3: buckets are folders.
struct Server {
    dir: tempfile::TempDir,
    address: String,
    /// It takes connections and answers nothing.
    is_away: Arc<AtomicBool>,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for bucket in ["home", "far", "suite", "keys"] {
            std::fs::create_dir(dir.path().join(bucket)).unwrap();
        }
        let mut builder = S3ServiceBuilder::new(FileSystem::new(dir.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS, SECRET));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let is_away = Arc::new(AtomicBool::new(false));
        let away = is_away.clone();
        // That of two who put at once one is first is for a store to decide; this one looks and then puts, so it is given one put at a time.
        let puts = Arc::new(Mutex::new(()));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if away.load(Ordering::Relaxed) {
                    continue;
                }
                let (service, puts, away) = (service.clone(), puts.clone(), away.clone());
                let answer = tower::service_fn(move |asked: http::Request<_>| {
                    let (service, puts, away) = (service.clone(), puts.clone(), away.clone());
                    async move {
                        if away.load(Ordering::Relaxed) {
                            return Err(std::io::Error::other("away").into());
                        }
                        let _turn = match asked.method() == http::Method::PUT {
                            true => Some(puts.lock().await),
                            false => None,
                        };
                        hyper::service::Service::call(&service, asked).await
                    }
                });
                let served = Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(socket), TowerToHyperService::new(answer))
                    .into_owned();
                tokio::spawn(served);
            }
        });
        Self { dir, address, is_away }
    }

    /// A file with what opens the buckets.
    fn credentials(&self, name: &str, secret: &str, mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, format!("{ACCESS}\n{secret}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn place(&self, bucket: &str, credentials: &Path) -> String {
        format!("s3://{bucket};endpoint=http://{};credentials={}", self.address, credentials.display())
    }

    fn store(&self, bucket: &str, credentials: PathBuf) -> Result<Arc<dyn Store>, String> {
        let endpoint = Some(format!("http://{}", self.address));
        let place = Place::Bucket { bucket: bucket.to_owned(), endpoint, credentials };
        open::store(&place).map_err(|error| error.to_string())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_does_what_a_store_must_and_says_no_secret() {
    let server = Server::start().await;
    let good = server.credentials("good", SECRET, 0o600);
    suite(&server.store("suite", good.clone()).unwrap()).await;
    let open_to_all = server.credentials("open", SECRET, 0o644);
    let refused = server.store("suite", open_to_all).err().unwrap();
    assert!(refused.contains("mode") && !refused.contains(SECRET), "{refused}");
    let wrong = server.store("suite", server.credentials("wrong", "another-secret", 0o600)).unwrap();
    let error = wrong.create("a", "a".into()).await.unwrap_err();
    assert!(error.is_away(), "{error}");
    assert!(
        !error.to_string().contains("another-secret") && !format!("{error:?}").contains("another-secret")
    );
    let none = server.store("no-such-bucket", good).unwrap();
    assert!(none.create("a", "a".into()).await.unwrap_err().is_away());
}

fn settings(server: &Server, credentials: &Path) -> Vec<(&'static str, String)> {
    let (home, far) = (server.place("home", credentials), server.place("far", credentials));
    vec![
        ("archive.sites", format!("home={home} far={far};role=copy")),
        ("archive.keyring", format!("keys={}", server.place("keys", credentials))),
        ("archive.tick", "1s".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_archives_to_buckets_and_is_read_back_from_them() {
    let server = Server::start().await;
    let credentials = server.credentials("good", SECRET, 0o600);
    let cluster = Cluster::found_with(|_| settings(&server, &credentials)).await;
    let tenant = cluster.tenant("acme").await;
    with_collection(&cluster, tenant).await;
    let mut last = Stamp::ZERO;
    for n in 0..20 {
        last = cluster.write(tenant, &put(&format!("k{n}"), "first"), WriteId::default()).await.unwrap();
    }
    archived(&cluster, last).await;
    // The store goes away, writes go on, and nothing is missing in the end.
    server.is_away.store(true, Ordering::Relaxed);
    cluster.write(tenant, &put("k0", "meanwhile"), WriteId::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.is_away.store(false, Ordering::Relaxed);
    let end = cluster.write(tenant, &put("k1", "second"), WriteId::default()).await.unwrap();
    archived(&cluster, end).await;
    let id = cluster.server(0).meta().cluster.is_some().then(|| cluster.server(0).cluster()).unwrap();
    let key = cluster.server(0).keys().sealer().public_key().unwrap();
    for bucket in ["home", "far"] {
        let setting = sites::parse(&format!("it={}", server.place(bucket, &credentials))).unwrap().remove(0);
        let site: Site = open::site(&setting, root(id), Arc::new(SystemClock::default())).unwrap();
        let mut objects = 0;
        // A further site follows a little later.
        for _ in 0..300 {
            if let Ok(walked) = verify(&site, id, Some(key), true).await {
                assert_eq!(walked.archive.faults(), []);
                objects = walked.objects;
            }
            if objects > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(objects > 0, "nothing is at {bucket}");
    }
    let seen = cluster.server(0).look(tenant, Look::AsOf(end), 60_000).await.unwrap();
    let value = |key: &str| seen.get((tenant, DATA), key.as_bytes()).unwrap().map(|found| found.value);
    assert_eq!(value("k0").as_deref(), Some(&b"meanwhile"[..]));
    assert_eq!(value("k1").as_deref(), Some(&b"second"[..]));
    assert_eq!(value("k19").as_deref(), Some(&b"first"[..]));
    cluster.stop().await;
}
