//! What it costs to archive, and how fast everything comes back: three of our nodes with an archive in a folder and three without, in turns
//! under the same load; snapshots; a new cluster out of the archive; and PostgreSQL with pgBackRest beside it on the same amount of data.
//!
//! The new cluster is one node, as PostgreSQL is one server. Its restore ends when a row can be read from it.

mod lag;
mod limit;
mod ours;
mod plan;
mod postgres;
mod report;

use crate::Outcome;
use crate::clock::{Stopwatch, System};
use crate::cluster::load::{self, Seen};
use crate::cluster::plan::{Act, Step};
use crate::cluster::store::Store;
use crate::engine::figures::Figures;
use ::engine::clock::Clock as _;
use dewpond::Stamp;
use node::cmd::demo::SECOND;
use node::restore::target::Target;
use ours::Ours;
use plan::{Options, VALUE_BYTES};
use postgres::Postgres;
use std::path::Path;

/// Bytes of a MB.
const MB: f64 = 1e6;
/// What is written while it is measured what archiving costs.
const LOAD: Step = Step { name: "put64", act: Act::Put, clients: 64, value_bytes: 256 };
/// Where that goes; nothing of it is there any more when snapshots are taken.
const OTHER: &str = "other";
/// The tick of an archive, in milliseconds: the default of `archive.tick`.
const TICK_MS: f64 = 5_000.0;

/// Measures, and prints.
///
/// # Errors
/// An unknown option; a cluster that does not come up, or does not come back.
pub fn run(arguments: &[String]) -> Outcome<()> {
    let options = Options::parse(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ground = tempfile::Builder::new().prefix("dewpond-benches-").tempdir_in(&options.dir)?;
    // The server of the peer, which is another user's, has its folder in it.
    std::fs::set_permissions(ground.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut all = Figures::new();
    runtime.block_on(measure(&options, ground.path(), &mut all))?;
    print!("{}", report::table(&all));
    println!("{}", report::line(&all, options.is_quick));
    Ok(())
}

/// What is gone to, later.
struct Targets {
    /// Nothing but the log leads there.
    loaded: Stamp,
    /// The snapshot and the log behind it lead there.
    changed: Stamp,
}

async fn measure(options: &Options, ground: &Path, all: &mut Figures) -> Outcome<()> {
    let watch = Stopwatch::start();
    let tell = |what: &str| eprintln!("{:6.1} s  {what}", watch.seconds());
    let (with, without) = (ground.join("with"), ground.join("without"));
    let (mut ours, plain) = futures_util::try_join!(Ours::start(&with, true), Ours::start(&without, false))?;
    tell("two clusters serve, one with an archive");
    cost(&ours, &plain, options, all).await?;
    drop(plain);
    tell("what archiving costs is measured");
    let targets = snapshots(&ours, options, all).await?;
    tell("two snapshots lie in the archive");
    let (seconds, bytes) = ours.tenant_alone(targets.loaded).await?;
    all.insert("tenant_alone_s".to_owned(), seconds);
    all.insert("tenant_alone_mb_s".to_owned(), bytes as f64 / MB / seconds);
    tell("one tenant is made anew");
    ours.lose()?;
    restores(&ours, &targets, options.rows, (ground, &mut *all)).await?;
    tell("new clusters are made of the archive");
    if options.has_peer {
        match postgres::installed() {
            Some(bin) => peer(Postgres::start(bin, &ground.join("peer"))?, options, all)?,
            None => eprintln!("PostgreSQL and pgBackRest are not installed: ours is measured alone"),
        }
        tell("the peer is measured");
    }
    Ok(())
}

/// Both clusters take the same load in turns; then it is seen how long what one of them took was not archived.
async fn cost(ours: &Ours, plain: &Ours, options: &Options, all: &mut Figures) -> Outcome<()> {
    let mut seen = [Seen::default(), Seen::default()];
    let (mut began_ms, mut ended_ms) = (u64::MAX, 0);
    for _ in 0..options.rounds() {
        for (cluster, seen) in [ours, plain].into_iter().zip(&mut seen) {
            let tenant = cluster.tenant(SECOND)?;
            let store = Store::Ours(tenant.clone(), tenant.raw(OTHER));
            began_ms = began_ms.min(System.now_ms());
            seen.join(load::watch(&store, &cluster.servers()?, &LOAD, options.window_ms()).await?);
            ended_ms = System.now_ms();
        }
    }
    let [with, without] = &mut seen;
    for (name, seen) in [("with", with), ("without", without)] {
        all.extend(seen.figures().map(|(figure, value)| (format!("put64_{name}.{figure}"), value)));
    }
    let lost = |figure: &str| {
        let of = |name: &str| all.get(&format!("put64_{name}.{figure}")).copied().unwrap_or_default();
        (1.0 - of("with") / of("without")) * 100.0
    };
    let (operations, by_cpu) = (lost("ops_per_s"), lost("ops_per_cpu_s"));
    all.insert("archive_cost_percent".to_owned(), operations);
    all.insert("archive_cost_cpu_percent".to_owned(), by_cpu);
    ours.archived(Stamp(ended_ms << 16)).await?;
    let lags = ours.closed().await?.lags(began_ms, ended_ms);
    let (p50, p99) = lags.ok_or("not all is archived")?;
    all.insert("archive_lag_p50_ms".to_owned(), p50);
    all.insert("archive_lag_p99_ms".to_owned(), p99);
    all.insert("archive_lag_p99_ticks".to_owned(), p99 / TICK_MS);
    Ok(())
}

/// Loads everything and takes a snapshot; changes a little and takes another.
async fn snapshots(ours: &Ours, options: &Options, all: &mut Figures) -> Outcome<Targets> {
    let bytes = (options.rows * VALUE_BYTES as u64) as f64;
    ours.tenant(SECOND)?.batch().delete_range(OTHER, ..).await?;
    let watch = Stopwatch::start();
    let loaded = ours.write(options.rows, 0).await?;
    all.insert("load_mb_s".to_owned(), bytes / MB / watch.seconds());
    let watch = Stopwatch::start();
    ours.archived(loaded).await?;
    all.insert("load_until_archived_s".to_owned(), watch.seconds());
    let watch = Stopwatch::start();
    let first = ours.snapshot().await?;
    all.insert("snapshot_s".to_owned(), watch.seconds());
    all.insert("snapshot_mb".to_owned(), first.bytes as f64 / MB);
    all.insert("snapshot_mb_s".to_owned(), first.shipped_bytes as f64 / MB / watch.seconds());
    let changed = ours.write(options.rows, 1).await?;
    ours.archived(changed).await?;
    let second = ours.snapshot().await?;
    let shipped = second.shipped_bytes as f64;
    all.insert("second_snapshot_percent".to_owned(), shipped / second.bytes as f64 * 100.0);
    Ok(Targets { loaded, changed })
}

/// New clusters: from the log alone, and from the snapshot and the log behind it.
async fn restores(
    ours: &Ours,
    targets: &Targets,
    rows: u64,
    (ground, all): (&Path, &mut Figures),
) -> Outcome<()> {
    let archive = ours.archive.as_deref().ok_or("there is no archive")?;
    let opened = ours.opened(Target::Upto(::engine::Stamp(targets.changed.0))).await?;
    let to = ground.join("limit");
    let moved = tokio::task::spawn_blocking({
        let archive = archive.to_owned();
        move || limit::measure(&opened, &archive, &to)
    });
    let moved = moved.await??;
    let mb = moved.bytes as f64 / MB;
    all.insert("limit_mb_s".to_owned(), mb / moved.seconds);
    if moved.rows != rows {
        return Err(format!("the archive has {} rows of {rows}", moved.rows).into());
    }
    for (name, target) in [("replay", targets.loaded), ("restore", targets.changed)] {
        crate::process::cool(archive)?;
        let took = ours.come_back(target, &ground.join(name)).await?;
        all.insert(format!("{name}_s"), took.seconds);
        all.insert(format!("{name}_serving_s"), took.serving_s);
        all.insert(format!("{name}_cpu_s"), took.cpu_s);
        all.insert(format!("{name}_mb_s"), mb / took.seconds);
        if name == "replay" {
            all.insert("replay_mb_s_core".to_owned(), mb / took.cpu_s);
        } else {
            all.insert("snapshot_restore_vs_limit".to_owned(), moved.seconds / took.seconds);
        }
        std::fs::remove_dir_all(ground.join(name))?;
    }
    Ok(())
}

fn peer(peer: Postgres, options: &Options, all: &mut Figures) -> Outcome<()> {
    peer.write(options.rows, 0)?;
    let seconds = peer.back_up()?;
    all.insert("pgbackrest_backup_s".to_owned(), seconds);
    peer.write(options.rows, 1)?;
    let target = peer.target()?;
    peer.lose()?;
    let (seconds, rows) = peer.come_back(&target)?;
    if rows != options.rows {
        return Err(format!("the peer has {rows} rows of {}", options.rows).into());
    }
    all.insert("pgbackrest_restore_s".to_owned(), seconds);
    if let Some(ours) = all.get("restore_serving_s").copied() {
        all.insert("restore_vs_pgbackrest".to_owned(), seconds / ours);
    }
    Ok(())
}
