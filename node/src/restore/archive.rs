//! Where the archive of this cluster is, and what of it a restore reads.

use super::past::Past;
use super::runner::{Drive, Stop};

/// The past of the tenant of a restore, as the archive has it.
///
/// # Errors
/// Nothing is archived.
pub(super) async fn past(drive: &Drive) -> Result<Past, Stop> {
    let tenant = drive.scope.tenant;
    Err(Stop::Failed(format!("nothing of {tenant} is archived")))
}
