//! From the archive: a tenant whose history is gone, and a cluster of which nothing is left but its archive, its keyring and a passphrase.

use super::restore::{Dice, Oracle, Rows, Write, done, of_acme, rows_of, some, tenant_named};
use super::rig::{Cluster, DATA, passphrase};
use super::watch::with_collection;
use engine::Stamp;
use engine::ids::TenantId;
use engine::tablet::view::Scan;
use node::archive::sites;
use node::archive::window::{Scope, window};
use node::clock::SystemClock;
use node::keys::kms::Passphrase;
use node::meta::command::{Change, MetaCommand};
use node::restore::archive::sources;
use node::restore::hands::Hands;
use node::restore::look::Look;
use node::restore::plan::Route;
use node::restore::rebirth::{self, Asked};
use node::restore::service::PlanAsked;
use node::restore::target::Target;
use node::tenants::rules::Act;
use proto::errors::code;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const WAIT_MS: u64 = 60_000;

pub fn settings(at: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("archive.sites", format!("home=file://{}/archive", at.display())),
        ("archive.keyring", format!("keys=file://{}/keyring", at.display())),
        ("archive.tick", "1s".to_owned()),
    ]
}

/// Waits until all is archived up to there.
pub async fn archived(cluster: &Cluster, upto: Stamp) {
    let mut frontier = None;
    for _ in 0..600 {
        if let Ok(Some(found)) = sources(cluster.server(0)).await {
            let window = window(&found.archive, &Scope::default());
            frontier = window.frontier;
            if window.holds(upto) {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{upto} is not archived, but {frontier:?}");
}

/// What the archive shows of a tenant, without a restore.
async fn looked_at(cluster: &Cluster, tenant: TenantId, oracle: &Oracle, at: Stamp) {
    let server = cluster.server(0).clone();
    let seen = server.look(tenant, Look::AsOf(at), WAIT_MS).await.unwrap();
    let again = server.look(tenant, Look::AsOf(at), WAIT_MS).await.unwrap();
    assert!(Arc::ptr_eq(&seen, &again), "what was fetched is kept");
    let (mut rows, mut cursor) = (Rows::new(), None);
    loop {
        let page = seen.scan(&Scan { limit: 7, ..Scan::all(tenant, DATA) }, cursor.as_ref()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        rows.extend(page.entries.into_iter().map(|one| (text(&one.key), text(&one.found.value))));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(rows, oracle.at(at));
    let life = server.look(tenant, Look::Since(Stamp::ZERO), WAIT_MS).await.unwrap();
    for key in oracle.at(at).keys() {
        let found = seen.get((tenant, DATA), key.as_bytes()).unwrap().map(|found| found.stamp);
        let history = life.history((tenant, DATA), key.as_bytes(), (at, 1_000)).unwrap();
        assert_eq!(history.events.first().map(|event| event.stamp), found, "{key}");
        let written = oracle.0.iter().filter(|(stamp, write)| {
            *stamp <= at
                && match write {
                    Write::Put(one, _) | Write::Delete(one) => one == key,
                    Write::DeleteRange(start, end) => start <= key && key < end,
                }
        });
        assert_eq!(history.events.len(), written.count(), "{key}");
    }
    let freeze = |act| MetaCommand::new(vec![Change::SetTenantState(tenant, act)]);
    server.change(freeze(Act::Freeze), WAIT_MS).await.unwrap();
    let refused = server.look(tenant, Look::AsOf(at), WAIT_MS).await.err().unwrap();
    assert_eq!(refused.code, code::TENANT_FROZEN, "whoever may not read here may not read there");
    server.change(freeze(Act::Unfreeze), WAIT_MS).await.unwrap();
    let soon = Look::AsOf(Stamp::new(cluster.now_ms() + 600_000, 0));
    let refused = server.look(tenant, soon, WAIT_MS).await.err().unwrap();
    assert_eq!(refused.code, code::TARGET_UNREACHABLE);
}

pub fn copied(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copied(&from, &to),
            false => drop(std::fs::copy(from, to).unwrap()),
        }
    }
}

fn asked(at: &Path, target: Target) -> Asked {
    let site = |text: String| sites::parse(&text).unwrap().remove(0);
    Asked {
        site: site(format!("copy=file://{}/archive", at.display())),
        keyring: site(format!("keys=file://{}/keyring", at.display())),
        cluster: None,
        target,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_comes_back_from_its_archive_and_a_passphrase_alone() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::found_with(|_| settings(dir.path())).await;
    let mut tenants: Vec<(&str, TenantId, Oracle)> = Vec::new();
    for name in ["acme", "birch"] {
        let tenant = cluster.tenant(name).await;
        with_collection(&cluster, tenant).await;
        tenants.push((name, tenant, Oracle::default()));
    }
    let mut dice = Dice(3);
    for _ in 0..3 {
        for (_, tenant, oracle) in &mut tenants {
            some(&cluster, *tenant, oracle, &mut dice, 30).await;
        }
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    let middle = tenants[0].2.0[40].0;
    let last = tenants.iter().map(|(_, _, oracle)| oracle.0.last().unwrap().0).max().unwrap();
    archived(&cluster, last).await;
    // Looked at without a restore: as of an instant, and the life of every key.
    let (_, acme, oracle) = &tenants[0];
    looked_at(&cluster, *acme, oracle, middle).await;
    // One tenant, beside the one that lives.
    let from_archive = PlanAsked { route: Some(Route::Archive), into: "then".into(), ..of_acme(middle) };
    done(&cluster, from_archive).await;
    let then = tenant_named(&cluster, "then").unwrap();
    assert_eq!(rows_of(&cluster, then).await, tenants[0].2.at(middle));
    cluster.stop().await;
    // Nothing is left of it but a copy of its objects somewhere else.
    let elsewhere = tempfile::tempdir().unwrap();
    copied(dir.path(), elsewhere.path());
    drop(dir);
    let clock = Arc::new(SystemClock::default());
    let wrong = Passphrase::from(b"another passphrase".to_vec());
    let refused = rebirth::open(&asked(elsewhere.path(), Target::Latest), &wrong, clock.clone()).await;
    assert!(matches!(refused, Err(rebirth::RebirthError::Keys(_))));
    for target in [Target::Upto(middle), Target::Upto(last)] {
        let Target::Upto(at) = target else { panic!("a stamp") };
        let opened =
            rebirth::open(&asked(elsewhere.path(), target), &passphrase(), clock.clone()).await.unwrap();
        let reborn = Cluster::found().await;
        let scratch = elsewhere.path().join("scratch");
        let report =
            rebirth::carry_out(&opened, &Hands::new(reborn.server(0).clone()), scratch).await.unwrap();
        assert_eq!(report.left_out, Vec::<String>::new());
        let mut names = report.tenants.clone();
        names.sort();
        assert_eq!(names, ["acme", "birch"]);
        for (name, tenant, oracle) in &tenants {
            assert_eq!(tenant_named(&reborn, name), Some(*tenant), "names and ids are those of then");
            assert_eq!(rows_of(&reborn, *tenant).await, oracle.at(at), "{name} at {at}");
        }
        reborn.stop().await;
    }
}
