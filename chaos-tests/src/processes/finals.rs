//! What must be when it is quiet again: the cluster serves within a stated time, every replica has all that was acknowledged and the same
//! as the others, the watches have heard all, and no file holds a readable byte of a tenant.

use super::cluster::{Cluster, LOOK};
use super::events::Lane;
use super::workload::{Customer, LISTS, MONEY, REGISTERS, look_at_all};
use crate::check::Violation;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use dewpond::{Client, Error};
use engine::Stamp;
use futures_util::TryStreamExt as _;
use node::cmd::Failure;
use node::cmd::demo::canaries::{Canaries, Searched};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Within which a cluster serves all tenants again after the last fault, in milliseconds.
pub const LIVE_MS: u64 = 60_000;
/// Within which every replica answers for itself, in milliseconds.
const EACH_MS: u64 = 60_000;
/// A replica may be so far behind when it answers for itself: what was written has been there longer by then. An idle group says only
/// every five seconds how far it has come.
pub const AGE: Duration = Duration::from_secs(7);
/// How long a request to one replica may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// All rows of a tenant: collection and key, stamp and bytes.
type Rows = BTreeMap<(&'static str, Vec<u8>), (u64, Vec<u8>)>;

/// What the end has found, in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Milliseconds from the last fault until all served.
    pub live_ms: u64,
    /// Replicas that were read one by one.
    pub replicas: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// Files that were searched for readable bytes.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

fn broken(judge: &'static str, what: impl std::fmt::Display) -> Violation {
    Violation::broken(judge, what.to_string())
}

/// Waits until every tenant can be written and read, every group has its voters, and every node is heard.
///
/// # Errors
/// Broken: not within the time.
pub async fn live(cluster: &mut Cluster, customers: &[Customer], ends: &mut Ends) -> Result<(), Violation> {
    let begun_ms = cluster.events.since.ms();
    let serves = async |cluster: &mut Cluster| {
        cluster.settled().await?;
        for place in cluster.places.clone() {
            let own = cluster.admin(&[place]).ok()?;
            let nodes = own.admin().deadline(Duration::from_secs(2)).nodes().await.ok()?;
            nodes.iter().filter(|node| node.state == "active").all(|node| node.is_heard).then_some(())?;
        }
        for customer in customers {
            let tenant =
                customer.client.tenant(customer.form.tenant.clone()).deadline(Duration::from_secs(2));
            let bytes = customer.form.value(&0.into(), 0);
            tenant.raw("alive").put(customer.form.key(crate::history::Key(0)), bytes).await.ok()?;
        }
        Some(())
    };
    let lives = cluster.until("the cluster serves", LIVE_MS, serves).await;
    lives.map_err(|error| broken("liveness", format!("after the last fault {error}")))?;
    ends.live_ms = cluster.events.since.ms() - begun_ms;
    cluster.events.note(Lane::Run, format!("all is well after {} ms", ends.live_ms));
    Ok(())
}

/// Reads every replica of every tenant, and holds one against the other.
///
/// # Errors
/// Broken: one does not answer, or has other rows than another.
pub async fn each(cluster: &mut Cluster, customers: &[Customer], ends: &mut Ends) -> Result<(), Violation> {
    // So that nothing that was written is younger than a replica may leave out.
    tokio::time::sleep(AGE + AGE / 4).await;
    for customer in customers {
        let mut first: Option<(usize, Rows)> = None;
        for place in
            holders(cluster, &customer.form.tenant).await.map_err(|error| broken("liveness", error))?
        {
            cluster.proxy.lead_only(Some(place));
            let rows = at_last(cluster, customer, place).await;
            cluster.proxy.lead_only(None);
            let rows = rows.map_err(|error| {
                broken(
                    "liveness",
                    format!("n{} does not answer for {}: {error}", place + 1, customer.form.tenant),
                )
            })?;
            ends.replicas += 1;
            ends.rows += rows.len() as u64;
            match &first {
                None => first = Some((place, rows)),
                Some((other, others)) => differ((*other, others), (place, &rows))?,
            }
        }
    }
    Ok(())
}

fn differ((one, rows): (usize, &Rows), (other, others): (usize, &Rows)) -> Result<(), Violation> {
    let keys = rows.keys().chain(others.keys());
    let Some(key) = keys.into_iter().find(|key| rows.get(*key) != others.get(*key)) else { return Ok(()) };
    let shown = |rows: &Rows| {
        rows.get(key).map_or_else(
            || "nothing".to_owned(),
            |(stamp, bytes)| format!("{} bytes of {stamp}", bytes.len()),
        )
    };
    let what = format!(
        "n{} and n{} differ in {} {}: {} and {}",
        one + 1,
        other + 1,
        key.0,
        String::from_utf8_lossy(&key.1),
        shown(rows),
        shown(others)
    );
    Err(broken("digest", what))
}

/// The places that have a replica of a tenant.
async fn holders(cluster: &Cluster, tenant: &str) -> Result<Vec<usize>, Failure> {
    let places: Vec<usize> = cluster.places.iter().copied().collect();
    let admin = cluster.admin(&places)?.admin();
    let group =
        admin.tenants().await?.into_iter().find(|one| one.name == tenant).ok_or("no such tenant")?.group;
    let groups = admin.groups().await?;
    let group = groups.iter().find(|one| one.id == group).ok_or("no such group")?;
    let names: BTreeMap<u64, String> =
        admin.nodes().await?.into_iter().map(|node| (node.id, node.name)).collect();
    let has = |place: &usize| {
        let name = &cluster.world.nodes[*place].name;
        group.replicas.iter().any(|one| names.get(&one.node) == Some(name) && one.role == "voter")
    };
    Ok(places.into_iter().filter(has).collect())
}

/// Asks until the replica answers, or the time is over.
async fn at_last(cluster: &Cluster, customer: &Customer, place: usize) -> Result<Rows, Failure> {
    let door = cluster.doors().await?.into_iter().next().ok_or("no node has a door")?;
    let until_ms = cluster.events.since.ms() + EACH_MS;
    loop {
        let own = Customer {
            client: cluster.service(&customer.form.tenant, std::slice::from_ref(&door))?,
            ..customer.clone()
        };
        let told = match all(&own.client, &customer.form.tenant).await {
            Ok(rows) => look_at_all(&own, Stamp::MAX, PATIENCE).await.map(|()| rows),
            Err(error) => Err(error),
        };
        match told {
            Ok(rows) => return Ok(rows),
            Err(error) if cluster.events.since.ms() > until_ms => return Err(error.into()),
            Err(error) => cluster.events.note(Lane::Node(place), format!("asked for its rows: {error}")),
        }
        tokio::time::sleep(LOOK * 5).await;
    }
}

async fn all(client: &Client, tenant: &str) -> Result<Rows, Error> {
    let mut all = Rows::new();
    for collection in [REGISTERS, LISTS, MONEY] {
        let tenant = client.tenant(tenant).deadline(PATIENCE);
        let mut rows = tenant.raw(collection).scan(..).bounded(AGE);
        while let Some(row) = rows.try_next().await? {
            all.insert((collection, row.key.to_vec()), (row.version.stamp.0, row.version.value.to_vec()));
        }
    }
    Ok(all)
}

/// Looks for readable bytes in all files of all nodes, and for panics in their logs.
///
/// # Errors
/// Broken: there are some.
pub fn files(cluster: &Cluster, canaries: &[String], ends: &mut Ends) -> Result<(), Violation> {
    let searched = search(cluster, canaries).map_err(|error| broken("canary", error))?;
    (ends.files, ends.bytes) = (searched.files, searched.bytes);
    if let Some(found) = searched.found.first() {
        return Err(broken("canary", format!("bytes of a tenant can be read in {}", found.display())));
    }
    for place in 0..cluster.world.nodes.len() {
        let log = cluster.log(place);
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            return Err(broken("panic", format!("n{}: {line}", place + 1)));
        }
    }
    Ok(())
}

/// What stands for a word wherever it is written: as it is, in hexadecimal digits, in base64 at any of its three places, in UTF-16.
pub fn written(word: &str) -> Vec<Vec<u8>> {
    let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
    let wide: Vec<u8> = word.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut all = vec![word.as_bytes().to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes(), wide];
    for skipped in 0..3 {
        // Letters that its neighbours have no part in.
        let bytes = &word.as_bytes()[skipped..];
        let whole = BASE64_STANDARD_NO_PAD.encode(&bytes[..bytes.len() / 3 * 3]);
        all.push(whole.into_bytes());
    }
    all
}

fn search(cluster: &Cluster, words: &[String]) -> Result<Searched, Failure> {
    let canaries = Canaries::new(words.iter().flat_map(|word| written(word)).collect());
    // A search that finds nothing must be one that finds something.
    let control = cluster.world.folder.join("control");
    fs::create_dir_all(&control)?;
    for (at, bytes) in words.iter().flat_map(|word| written(word)).enumerate() {
        fs::write(control.join(at.to_string()), bytes)?;
    }
    let mut seen = Searched::default();
    canaries.search(&control, &mut seen)?;
    let planted = fs::read_dir(&control)?.count();
    fs::remove_dir_all(&control)?;
    if seen.found.len() != planted {
        return Err(format!("{planted} files are readable, and {} were found", seen.found.len()).into());
    }
    let mut searched = Searched::default();
    canaries.search(&cluster.world.folder, &mut searched)?;
    Ok(searched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_in_every_form_and_at_every_place() {
        let forms = written("canary-0123");
        for shift in 0..3 {
            let text = BASE64_STANDARD_NO_PAD.encode(format!("{}canary-0123 and more", "x".repeat(shift)));
            let is_there =
                |form: &Vec<u8>| text.as_bytes().windows(form.len()).any(|window| window == &form[..]);
            assert!(forms.iter().any(is_there), "{shift}: {text}");
        }
        assert!(forms.contains(&b"63616e6172792d30313233".to_vec()));
    }

    #[test]
    fn replicas_that_differ_are_told_with_the_row() {
        let row = |bytes: &[u8]| Rows::from([((LISTS, b"k".to_vec()), (7, bytes.to_vec()))]);
        assert_eq!(differ((0, &row(b"a")), (1, &row(b"a"))), Ok(()));
        let violation = differ((0, &row(b"a")), (2, &row(b"ab"))).unwrap_err();
        assert_eq!(
            violation.to_string(),
            "digest: n1 and n3 differ in lists k: 1 bytes of 7 and 2 bytes of 7"
        );
        let violation = differ((0, &Rows::new()), (2, &row(b"ab"))).unwrap_err();
        assert!(violation.what.contains("nothing and 2 bytes of 7"), "{violation}");
    }
}
