//! A tour of the client: `cargo run --example tour -- ENDPOINT CA CERTIFICATE KEY TENANT`.

use dewpond::{Change, Client, Doc, Error, Identity, Result, Start, code};
use futures_util::TryStreamExt;
use std::time::Duration;

#[derive(serde::Serialize, serde::Deserialize, Clone)]
struct Account {
    id: String,
    cents: i64,
}

impl Doc for Account {
    const COLLECTION: &'static str = "accounts";
    type Key = String;

    fn key(&self) -> String {
        self.id.clone()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, ca, certificate, key, tenant] = words.as_slice() else {
        return Err(usage("ENDPOINT CA CERTIFICATE KEY TENANT"));
    };
    let authority = std::fs::read(ca).map_err(|_| usage("the file of the authority cannot be read"))?;
    let client = Client::builder()
        .endpoints([endpoint.as_str()])
        .identity(Identity::from_files(certificate, key)?)
        .authority(authority)
        .app("tour")
        .deadline(Duration::from_secs(5))
        .connect()
        .await?;
    let acme = client.tenant(tenant.as_str());
    let accounts = acme.collection::<Account>();

    // An operation is a builder; nothing happens until it is awaited.
    accounts.put(&Account { id: "a".into(), cents: 1000 }).await?;
    let begun = accounts.put(&Account { id: "b".into(), cents: 0 }).await?;
    let Some(a) = accounts.get("a").await? else {
        return Err(usage("somebody removes what the tour writes"));
    };
    accounts.put(&a.value).if_stamp(a.stamp).await?;
    let _near = accounts.get("a").bounded(Duration::from_secs(5)).await?;

    // The closure may run again: no side effects inside, and always `async move`.
    let (from, to) = ("a".to_string(), "b".to_string());
    let left = acme
        .txn(async move |tx| {
            let mut a = tx.require::<Account>(&from).await?;
            let mut b = tx.require::<Account>(&to).await?;
            a.cents -= 500;
            b.cents += 500;
            tx.put(&a)?;
            tx.put(&b)?;
            tx.on_commit(|stamp| println!("moved at {stamp}"));
            Ok(a.cents)
        })
        .await?;
    println!("{left} are left");

    let mut rows = accounts.scan("a".to_string()..);
    while let Some(row) = rows.try_next().await? {
        println!("{} {} {}", row.key, row.version.value.cents, row.version.stamp);
    }
    let _then = acme.as_of(begun).collection::<Account>().get("a").await?;
    let past: Vec<_> = accounts.history("a").limit(10).try_collect().await?;
    println!("{} versions", past.len());

    let mut changes = accounts.watch(.., Start::After(begun));
    while let Some(change) = changes.try_next().await? {
        match change {
            Change::Put { key, version } => println!("{key} is {} now", version.value.cents),
            Change::Delete { key, .. } => println!("{key} is gone"),
            Change::Reset { from, .. } => println!("read all as of {from}"),
            _ => break,
        }
    }
    Ok(())
}

fn usage(text: &str) -> Error {
    Error::local(code::INPUT, text)
}
