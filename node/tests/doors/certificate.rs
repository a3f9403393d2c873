//! A certificate that ends.

use super::rig::{One, channel, eventually, one, one_aged, soon};
use engine::clock::Clock;
use node::boot::subject::Identity;
use node::clock::SystemClock;
use proto::errors::code;
use proto::v1::hello_client::HelloClient;
use proto::v1::{HelloRequest, StatusRequest, status_client::StatusClient};

const DAY_SECONDS: u64 = 86_400;

fn now_s() -> u64 {
    SystemClock::default().now_ms() / 1_000
}

/// Whether the node shows a certificate that holds for long, and its row says the same.
fn is_renewed(one: &One) -> bool {
    let own = one.server.tls().current().own.clone();
    let row = one.server.meta().nodes[&one.server.node()].certificate_serial.clone();
    own.ends_s > now_s() + 29 * DAY_SECONDS && own.serial == row
}

async fn is_served(one: &One) {
    let mut client = HelloClient::new(channel(one.doors.client, &one.service("acme")));
    soon(client.hello(HelloRequest::default())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_made_anew_while_the_node_runs() {
    let one = one_aged(25 * DAY_SECONDS).await;
    let before = one.server.tls().current().own.serial.clone();
    let mut admin = StatusClient::new(channel(one.doors.admin, &one.admin()));
    let mut findings = async || {
        let status = soon(admin.status(StatusRequest {})).await.unwrap().into_inner();
        status.findings.iter().filter(|one| one.text.contains("certificate")).count()
    };
    assert!(
        one.server.metrics().contains("dewpond_certificate_left_seconds 4"),
        "it ends in less than five days"
    );
    assert_eq!(findings().await, 1);
    eventually("it is made anew", async || is_renewed(&one)).await;
    assert!(one.server.tls().current().own.serial > before, "serial numbers rise");
    assert_eq!(findings().await, 0);
    is_served(&one).await;
    drop(admin);
    let one = one.restart(|_| {}).await;
    assert!(is_renewed(&one), "it was written down");
    one.server.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_off_for_too_long_makes_its_certificate_anew() {
    let one = one(&[]).await;
    let began_s = now_s();
    let identity = Identity::node(one.server.cluster(), one.server.node());
    let folder = one.folder();
    // Of two certificates of one second any may have the greater number, and only the greatest counts.
    eventually("the second has passed", async || now_s() > began_s).await;
    eventually("it keeps what it needs", async || folder.sealed_authority().unwrap().is_some()).await;
    let (certificate, key) = one.made(&identity, i64::try_from(40 * DAY_SECONDS).unwrap());
    let one = one.restart(|folder| folder.write_certificate(&certificate, &key).unwrap()).await;
    eventually("it has one", async || is_renewed(&one)).await;
    is_served(&one).await;

    // It died between the two files.
    let (_, other) = one.made(&identity, 0);
    let (certificate, _, _) = folder.credentials().unwrap();
    let one = one.restart(|folder| folder.write_certificate(&certificate, &other).unwrap()).await;
    eventually("it has one again", async || is_renewed(&one)).await;
    one.server.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_node_only_the_newest_certificate_counts() {
    let one = one(&[]).await;
    let identity = Identity::node(one.server.cluster(), one.server.node());
    let asked = async |age_s| {
        let (certificate, key) = one.made(&identity, age_s);
        let mut client = HelloClient::new(channel(one.doors.client, &one.tls(&certificate, &key)));
        let answer = soon(client.hello(HelloRequest::default())).await;
        answer.map(drop).map_err(|status| node::api::errors::failure_in(&status).unwrap().code)
    };
    assert_eq!(asked(-60).await, Ok(()), "it was made anew, and the row does not say so yet");
    assert_eq!(asked(60).await, Err(code::CERTIFICATE_REVOKED), "it is an old one");
    one.server.stop(0).await;
}
