//! `dewpond join`: the folder of a node that a cluster lets in.

use super::options::Join;
use super::{Failure, config};
use crate::boot::authority;
use crate::boot::join::{self, Admittance};
use crate::boot::peers::{Known, PeerAddresses};
use crate::boot::token::JoinToken;
use crate::clock::SystemClock;
use crate::config::Duration;
use crate::entropy::SystemEntropy;
use crate::keys::kms::passphrase;
use crate::{dial, limits, tls};
use engine::ids::{ClusterId, NodeId};
use proto::v1;
use proto::v1::join_client::JoinClient;
use std::sync::Arc;

/// Does it, and says what to do next.
///
/// # Errors
/// The configuration, the passphrase or the token; no node of the cluster answers; it does not let the node in.
pub fn run(options: &Join) -> Result<(), Failure> {
    let mut from = options.from.clone();
    from.settings.extend(options.delay.iter().map(|delay| format!("delayed.delay={delay}")));
    let config = config::load(&from)?;
    let file = config.node.passphrase_file.as_ref().ok_or(passphrase::NOT_NAMED)?;
    let passphrase = passphrase::read(file)?;
    let token = JoinToken::parse(options.token.trim())?;
    let request = authority::request()?;
    let asked = v1::JoinRequest {
        secret: token.secret().to_vec().into(),
        request: request.pem.clone(),
        name: config.node.name.clone(),
        region: config.node.region.clone(),
        peer_address: config.node.advertise.peer.clone(),
        client_address: config.node.advertise.client.clone(),
        admin_address: config.node.advertise.admin.clone(),
        delay_ms: config.node.delay.unwrap_or(0),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(ask(&token, &asked))?;
    let admittance = admittance(&token, answer)?;
    let names = (config.node.name.as_str(), config.node.region.as_str());
    let entropy = Arc::new(SystemEntropy);
    join::settle(&config.node.data_dir, &admittance, names, request.key, &passphrase, entropy)?;
    let late = match config.node.delay {
        Some(ms) => format!(", {} late", Duration::from_ms(ms)),
        None => String::new(),
    };
    println!(
        "node {} of cluster {} is ready to be started{late}: dewpond serve",
        admittance.node.0, token.cluster
    );
    Ok(())
}

/// Asks the nodes that the token names, one after the other, until one answers.
async fn ask(token: &JoinToken, asked: &v1::JoinRequest) -> Result<v1::JoinResponse, Failure> {
    let tls = tls::joining(token.cluster, token.authority, Arc::new(SystemClock::default()))?;
    let mut failure: Failure = "the token names no address".into();
    for address in &token.addresses {
        let mut client = JoinClient::new(dial::channel(address, tls.clone())?);
        match client.join(asked.clone()).await {
            Ok(answer) => return Ok(answer.into_inner()),
            // Another node may be able to, but a token that is refused is refused everywhere.
            Err(status) if status.code() == tonic::Code::Unavailable => {
                failure = format!("{address}: {}", status.message()).into();
            }
            Err(status) => return Err(status.message().to_owned().into()),
        }
    }
    Err(failure)
}

fn admittance(token: &JoinToken, answer: v1::JoinResponse) -> Result<Admittance, Failure> {
    let cluster: [u8; 16] = answer.cluster[..].try_into().map_err(|_| "the answer names no cluster")?;
    if ClusterId(cluster) != token.cluster {
        return Err("another cluster has answered".into());
    }
    if answer.root.len() as u64 > limits::ROOT_FILE_BYTES_MAX {
        return Err("the answer is larger than it may be".into());
    }
    let at = |peer: v1::PeerAddress| {
        (NodeId(peer.node), PeerAddresses { peer: peer.address, client: peer.client_address })
    };
    let peers: Known = answer.peers.into_iter().map(at).collect();
    Ok(Admittance {
        cluster: token.cluster,
        generation: answer.generation,
        node: NodeId(answer.node),
        authority: answer.authority,
        certificate: answer.certificate,
        root: answer.root.to_vec(),
        peers,
    })
}
