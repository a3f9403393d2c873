//! How a refusal travels: as the status of gRPC that goes with its kind, with all of it in the trailer `dewpond-failure-bin`.

use super::Api;
use crate::access::policy::Denied;
use crate::refused::Refused;
use engine::Stamp;
use engine::ids::NodeId;
use prost::Message;
use proto::errors::{self, Kind, code};
use proto::v1;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::{Code, Status};

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        let code = match denied {
            Denied::Anonymous => code::CERTIFICATE_NEEDED,
            Denied::Role | Denied::Tenant => code::NOT_ALLOWED,
        };
        Self::new(code).saying(denied.to_string())
    }
}

impl From<crate::keys::Error> for Refused {
    fn from(error: crate::keys::Error) -> Self {
        Self::new(code::KEY_AWAY).saying(engine::error::with_sources(&error))
    }
}

impl Api {
    /// What is told of a refusal.
    #[must_use]
    pub fn failure(&self, refused: &Refused) -> v1::Failure {
        let request = self.next_request();
        let label = errors::find(refused.code).map(errors::Entry::label).unwrap_or_default();
        tracing::debug!(request, code = label, text = refused.text, "a call is refused");
        let (condition, stamp) = refused.condition.unwrap_or_default();
        v1::Failure {
            code: refused.code,
            text: refused.text.clone(),
            retry_after_ms: refused.after_ms,
            request,
            better: refused.better.map(|node| self.address(node)).unwrap_or_default(),
            condition,
            stamp: stamp.map_or(0, |stamp| stamp.0),
            ..errors::find(refused.code).map(errors::Entry::failure).unwrap_or_default()
        }
    }

    /// The status that carries a refusal.
    #[must_use]
    pub fn status(&self, refused: &Refused) -> Status {
        status_of(&self.failure(refused))
    }

    /// Where clients find a node; empty if that is not known.
    fn address(&self, node: NodeId) -> String {
        let row = self.backend.meta().nodes.get(&node).map(|row| row.client_address.clone());
        row.or_else(|| self.backend.known_address(node)).unwrap_or_default()
    }
}

/// The number of the status of gRPC with which a refusal travels.
#[must_use]
pub fn status_number(refused: &Refused) -> usize {
    let kind = errors::find(refused.code).map_or(Kind::Internal, |entry| entry.kind);
    usize::try_from(kind.status()).unwrap_or_default()
}

fn status_of(failure: &v1::Failure) -> Status {
    let entry = errors::find(failure.code);
    let label = entry.map(errors::Entry::label).unwrap_or_default();
    let code = Code::from_i32(entry.map_or(Kind::Internal, |entry| entry.kind).status());
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(errors::FAILURE_METADATA, BinaryMetadataValue::from_bytes(&failure.encode_to_vec()));
    Status::with_metadata(code, format!("{label}: {}", failure.text), metadata)
}

/// The failure in a status, if it carries one.
#[must_use]
pub fn failure_in(status: &Status) -> Option<v1::Failure> {
    let bytes = status.metadata().get_bin(errors::FAILURE_METADATA)?.to_bytes().ok()?;
    v1::Failure::decode(bytes).ok()
}

/// What another node has refused, as far as it can be handed on.
#[must_use]
pub fn refused_in(status: &Status) -> Refused {
    match failure_in(status) {
        Some(failure) => {
            let stamp = (failure.stamp != 0).then_some(Stamp(failure.stamp));
            let is_condition = failure.code == code::CONDITION_FAILED;
            Refused {
                condition: is_condition.then_some((failure.condition, stamp)),
                ..Refused::new(failure.code).saying(failure.text).after(failure.retry_after_ms)
            }
        }
        None => match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => Refused::new(code::DEADLINE),
            Code::Unavailable => Refused::new(code::NO_LEADER).saying("the node does not answer"),
            // Whether it was done is not known.
            _ => Refused::new(code::UNKNOWN_OUTCOME).saying("the node broke off"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_travels_whole() {
        let failure = v1::Failure {
            code: code::CONDITION_FAILED,
            text: "no".to_owned(),
            retry_after_ms: 7,
            request: 1,
            better: "a:1".to_owned(),
            condition: 3,
            stamp: 9,
            ..v1::Failure::default()
        };
        let status = status_of(&failure);
        assert_eq!((status.code(), status.message()), (Code::Aborted, "DEW-1010: no"));
        assert_eq!(failure_in(&status), Some(failure));
        let refused = refused_in(&status);
        assert_eq!((refused.code, refused.after_ms), (code::CONDITION_FAILED, 7));
        assert_eq!(refused.condition, Some((3, Some(Stamp(9)))));
    }

    #[test]
    fn every_kind_has_its_status() {
        for entry in errors::TABLE {
            let status = status_of(&v1::Failure { code: entry.code, ..v1::Failure::default() });
            assert_eq!(status.code() as i32, entry.kind.status());
            assert!(!matches!(status.code(), Code::Ok | Code::Unknown));
        }
        assert_eq!(refused_in(&Status::unavailable("x")).code, code::NO_LEADER);
        assert_eq!(refused_in(&Status::internal("x")).code, code::UNKNOWN_OUTCOME);
    }
}
