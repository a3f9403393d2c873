//! The certificate of the node is made anew while it runs, after two thirds of its time, by the node itself: it holds the key of the
//! authority, sealed, as every node does. One that ended while the node was off is made anew when it starts.
//!
//! Whoever is asked takes a certificate that is newer than the one in the row of the node ([`crate::api::guard`]); so the row may be told
//! after, and a crash between the two locks nobody out.

use super::Server;
use super::start::StartError;
use crate::boot::authority::{self, Authority};
use crate::boot::certificate::{CertificateError, PeerIdentity};
use crate::boot::identity::{NodeFolder, NodeIdentity};
use crate::boot::init::AUTHORITY_KEY;
use crate::boot::subject::Identity;
use crate::entropy::SystemEntropy;
use crate::finding::{self, Finding};
use crate::keys::source::Keys;
use crate::limits::{CERTIFICATE_LOOK_MS, CERTIFICATE_WARN_SECONDS, CHANGE_MS};
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::meta::node_row::NodeRow;
use crate::tls::{Credentials, TlsError};
use engine::clock::Clock;
use engine::error::with_sources;
use engine::ids::{ClusterId, NodeId, Owner, Purpose};
use engine::sealed::EnvelopeKind;
use raft::time::BootClock;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

const DAY_SECONDS: u64 = 86_400;
/// Tries to make a certificate whose number is above the one before.
const TRIES: u32 = 64;

/// Opens the authority of a cluster, whose key is sealed.
///
/// # Errors
/// The key does not open, or is not that of the certificate.
pub(super) fn authority(
    keys: &Keys,
    cluster: ClusterId,
    pem: &str,
    sealed: &[u8],
) -> Result<Authority, String> {
    let (owner, kind) = (Owner::Cluster, EnvelopeKind::SecretField);
    let key = keys.sealer().open_envelope(owner, Purpose::Meta, kind, AUTHORITY_KEY, sealed);
    let key = key.map_err(|error| with_sources(&error))?;
    Authority::open(cluster, pem, &key).map_err(|error| with_sources(&error))
}

/// For whom a certificate is made.
struct For<'a> {
    cluster: ClusterId,
    node: NodeId,
    hosts: &'a [String],
    /// The serial number of the one before: that of the new one is above.
    before: &'a [u8],
}

/// Makes a certificate for a node, puts it in its folder, and loads it.
fn renew(
    authority: &Authority,
    folder: &NodeFolder,
    of: &For<'_>,
    clock: &dyn Clock,
) -> Result<Credentials, String> {
    let cluster = of.cluster;
    let identity = Identity::node(cluster, of.node);
    let request = authority::request().map_err(|error| with_sources(&error))?;
    let now_s = clock.now_ms() / 1_000;
    let mut tries = 0..TRIES;
    let issued = loop {
        let issued = authority.issue(&identity, of.hosts, &request.pem, now_s, &SystemEntropy);
        let issued = issued.map_err(|error| with_sources(&error))?;
        // Of two that are made within a second any may have the greater number.
        if issued.peer.serial[..] > *of.before {
            break issued;
        }
        tries.next().ok_or("the one before is of a later time: look at the clock")?;
    };
    let loaded = Credentials::load(cluster, &issued.pem, &request.key, authority.pem(), clock);
    let loaded = loaded.map_err(|error| with_sources(&error))?;
    let written = folder.write_certificate(&issued.pem, &request.key);
    written.map_err(|error| with_sources(&error))?;
    Ok(loaded)
}

/// The serial number in a certificate; empty if it is none.
fn serial(pem: &str, cluster: ClusterId) -> Vec<u8> {
    let read = CertificateDer::from_pem_slice(pem.as_bytes()).ok();
    let read = read.and_then(|der| PeerIdentity::read(&der, cluster).ok());
    read.map(|peer| peer.serial).unwrap_or_default()
}

/// The certificate of a node that starts. One that has ended, or was half replaced when the node died, is made anew.
pub(super) fn at_start(
    folder: &NodeFolder,
    identity: &NodeIdentity,
    keys: &Keys,
    hosts: &[String],
    clock: &dyn Clock,
) -> Result<Credentials, StartError> {
    let (certificate, key, pem) = folder.credentials()?;
    let refused = match Credentials::load(identity.cluster, &certificate, &key, &pem, clock) {
        Ok(credentials) => return Ok(credentials),
        Err(TlsError::Certificate(why @ (CertificateError::NotNow | CertificateError::OtherKey))) => why,
        Err(error) => return Err(error.into()),
    };
    // A node that has never heard of the meta group has nothing to make one with.
    let Some(sealed) = folder.sealed_authority()? else { return Err(TlsError::Certificate(refused).into()) };
    let before = serial(&certificate, identity.cluster);
    let of = For { cluster: identity.cluster, node: identity.node, hosts, before: &before };
    let anew = authority(keys, identity.cluster, &pem, &sealed)
        .and_then(|authority| renew(&authority, folder, &of, clock));
    let anew = anew.map_err(|why| StartError::Other(format!("{refused}, and cannot be made anew: {why}")))?;
    tracing::warn!(%refused, "the certificate of the node was made anew");
    Ok(anew)
}

/// Pure: what a person should know of a certificate. `failure`: why it was not made anew.
#[must_use]
pub fn finding(own: &PeerIdentity, now_s: u64, failure: Option<&str>) -> Option<Finding> {
    let left_s = own.ends_s.saturating_sub(now_s);
    let why = failure.map(|why| format!(": {why}")).unwrap_or_default();
    match left_s {
        0 => Some(finding::CERTIFICATE_ENDED.found(format!("the certificate of the node has ended{why}"))),
        1..CERTIFICATE_WARN_SECONDS => {
            let text = format!("the certificate of the node ends in {} days{why}", left_s / DAY_SECONDS);
            Some(finding::CERTIFICATE_ENDS.found(text))
        }
        _ => failure.map(|why| {
            finding::CERTIFICATE_STUCK.found(format!("the certificate of the node is not made anew: {why}"))
        }),
    }
}

impl Server {
    /// What a person should know of the certificate.
    pub(super) fn certificate_finding(&self) -> Option<Finding> {
        let failure = self.renewal.read().unwrap_or_else(PoisonError::into_inner).clone();
        finding(&self.tls.current().own, self.clock.now_ms() / 1_000, failure.as_deref())
    }

    /// Makes the certificate anew when it is time, and tells its row, until the tasks end.
    pub(super) async fn look_after_certificate(self: Arc<Self>) {
        loop {
            // A clock that is wrong would make one that is not valid yet.
            if !self.clock.is_disputed() {
                let failure = self.look_at_certificate().await.err();
                let mut told = self.renewal.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(why) = failure.as_ref().filter(|_| *told != failure) {
                    tracing::warn!(why, "the certificate of the node is not made anew yet");
                }
                *told = failure;
            }
            tokio::time::sleep(Duration::from_millis(CERTIFICATE_LOOK_MS)).await;
        }
    }

    async fn look_at_certificate(self: &Arc<Self>) -> Result<(), String> {
        let meta = self.meta();
        // Until the meta group is heard there is nothing to make one with, and nobody to tell.
        let Some(row) = meta.nodes.get(&self.node) else { return Ok(()) };
        if self.tls.current().own.is_due(self.clock.now_ms() / 1_000) {
            let server = self.clone();
            let making = crate::work::aside(move || {
                let authority = server.authority().map_err(|refused| refused.to_string())?;
                let (folder, before) = (NodeFolder::at(&server.folder), server.tls.current());
                let of = For {
                    cluster: server.cluster,
                    node: server.node,
                    hosts: &server.hosts,
                    before: &before.own.serial,
                };
                renew(&authority, &folder, &of, &*server.clock)
            });
            let made = making.await.map_err(|_| "making it has panicked".to_owned())??;
            self.tls.replace(made).map_err(|error| with_sources(&error))?;
            tracing::info!(
                ends_s = self.tls.current().own.ends_s,
                "the certificate of the node was made anew"
            );
        }
        let own = self.tls.current().own.serial.clone();
        if own <= row.certificate_serial {
            return Ok(());
        }
        let told = NodeRow { certificate_serial: own, generation: row.generation + 1, ..row.clone() };
        let change = MetaCommand::new(vec![Change::PutNode(told, Some(row.generation))]);
        match self.change(change, CHANGE_MS).await {
            Ok(MetaReply::Applied { .. }) => Ok(()),
            Ok(reply) => Err(format!("its row is not changed: {reply:?}")),
            Err(refused) => Err(refused.to_string()),
        }
    }

    /// Keeps the key of the authority, sealed as it comes, for a start after the certificate has ended.
    pub(super) fn keep_authority(&self, sealed: &[u8]) {
        let folder = NodeFolder::at(&self.folder);
        if folder.sealed_authority().is_ok_and(|kept| kept.is_some_and(|kept| kept[..] == *sealed)) {
            return;
        }
        if let Err(error) = folder.write_sealed_authority(sealed) {
            tracing::warn!(cause = with_sources(&error), "the key of the authority is not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_ends_is_told_and_worse_when_it_has() {
        let identity = Identity::node(ClusterId([1; 16]), NodeId(1));
        let own = PeerIdentity { identity, serial: vec![1], begins_s: 0, ends_s: 30 * DAY_SECONDS };
        let at = |day: u64, failure| finding(&own, day * DAY_SECONDS, failure);
        assert_eq!((at(0, None), at(23, None)), (None, None));
        let said = |day, failure| at(day, failure).map(|found| (found.name, found.text)).unwrap();
        let name = |kind: &finding::Kind| kind.name.to_owned();
        let ends = "the certificate of the node ends in 6 days".to_owned();
        assert_eq!(said(24, None), (name(&finding::CERTIFICATE_ENDS), ends));
        let (stuck, text) = said(21, Some("no quorum"));
        assert!(stuck == finding::CERTIFICATE_STUCK.name && text.contains("no quorum"));
        let (ended, text) = said(30, Some("x"));
        assert!(ended == finding::CERTIFICATE_ENDED.name && text.ends_with("has ended: x"));
        assert_eq!(said(99, None).0, finding::CERTIFICATE_ENDED.name);
    }
}
