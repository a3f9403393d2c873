//! What administrators do. No tenant's data is in any of it.

mod backup;
mod delayed;
mod groups;
mod identities;
mod jobs;
mod keys;
mod nodes;
mod restores;
mod status;
mod tenants;

use super::Api;
use super::convert::Result;
use super::guard::Call;
use crate::access::action::Action;
use crate::access::policy::decide;
use crate::meta::command::Reason;
use crate::refused::Refused;
use proto::errors::code;
use tonic::Request;

/// A call of an administrator who may do `action`.
fn allowed<T>(request: &Request<T>, action: Action) -> Result<Call> {
    let call = Call::of(request);
    decide(&call.caller, action, None)?;
    Ok(call)
}

/// Codes of what the meta group refuses, of a thing that has codes of its own for what is not there, what is there, and its state.
fn codes(unknown: u32, exists: u32, state: u32) -> impl Fn(Reason) -> u32 {
    move |reason| match reason {
        Reason::NotFound => unknown,
        Reason::Exists | Reason::NameTaken => exists,
        Reason::State | Reason::WindowOver | Reason::WindowOpen => state,
        Reason::TokenSpent | Reason::TokenExpired => code::TOKEN_INVALID,
        Reason::Stale | Reason::Impossible => code::CHANGE_REFUSED,
        Reason::Full => code::NODES_FULL,
        Reason::Held => code::RESTORE_BUSY,
    }
}

impl Api {
    /// The one who leads the meta group knows most; another one may know less, but for a moment.
    fn unknown(code: u32) -> Refused {
        Refused::new(code)
    }
}
