//! What must be so of an archive in the end: all that was written is in it, without a hole, every object is what it should be, and none can
//! be read.

use super::client::within;
use super::finals::is_readable;
use super::node::ARCHIVE;
use super::stage::Stage;
use crate::check::Violation;
use crate::processes::finals::written;
use engine::Stamp;
use node::archive::site::Store as _;
use proto::v1;
use proto::v1::backup_client::BackupClient;
use std::path::Path;
use std::time::Duration;

/// So long the archive may take to have all, in milliseconds.
const ARCHIVED_MS: u64 = 60_000;

fn broken(what: impl Into<String>) -> Violation {
    Violation::broken("archive", what)
}

/// Waits until what was written last is archived, and looks at every object.
///
/// # Errors
/// Broken: it is not archived in time; there is a hole; an object is damaged or missing.
pub async fn is_sound(stage: &Stage, newest: Stamp) -> Result<(), Violation> {
    let until = stage.ground.time.ms() + ARCHIVED_MS;
    let mut last = String::new();
    while stage.ground.time.ms() < until {
        match home(stage).await {
            Some(home) if home.frontier_ms > newest.ms() => {
                if !home.holes.is_empty() {
                    return Err(broken(format!(
                        "it has holes, and no site was away for long: {:?}",
                        home.holes
                    )));
                }
                return verified(stage).await;
            }
            home => last = format!("{home:?}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(broken(format!("what was written at {newest} is not archived within {ARCHIVED_MS} ms: {last}")))
}

async fn home(stage: &Stage) -> Option<v1::SiteWindow> {
    for id in stage.ids() {
        let asked = within(v1::BackupWindowRequest {}, Duration::from_secs(20));
        if let Ok(told) = BackupClient::new(stage.admin(id)).window(asked).await {
            return told.into_inner().sites.into_iter().next();
        }
    }
    None
}

async fn verified(stage: &Stage) -> Result<(), Violation> {
    let mut why = String::new();
    for id in stage.ids() {
        let asked = within(v1::VerifyBackupRequest { is_deep: true }, Duration::from_secs(30));
        match BackupClient::new(stage.admin(id)).verify(asked).await {
            Ok(told) => {
                let v1::VerifyBackupResponse { faults, objects, .. } = told.into_inner();
                return match faults.first() {
                    None if objects > 0 => Ok(()),
                    None => Err(broken("nothing is there to be verified")),
                    Some(fault) => Err(broken(format!("{} of {objects} objects: {fault}", faults.len()))),
                };
            }
            Err(status) => why = status.to_string(),
        }
    }
    Err(broken(format!("nobody verifies it: {why}")))
}

/// No object holds a word of a tenant in the open. How many bytes were searched.
///
/// # Errors
/// Broken: one does.
pub async fn nothing_in_the_open(stage: &Stage, words: &[String]) -> Result<u64, Violation> {
    let needles: Vec<Vec<u8>> = words.iter().flat_map(|word| written(word)).collect();
    let site = stage.ground.outside.place(Path::new(ARCHIVE));
    let lost = |error: node::archive::site::SiteError| broken(error.to_string());
    let mut searched = 0;
    for object in site.list("").await.map_err(lost)? {
        let bytes = site.read(&object.name, None).await.map_err(lost)?;
        searched += bytes.len() as u64;
        if is_readable(&bytes, &needles) {
            return Err(Violation::broken(
                "canary",
                format!("bytes of a tenant can be read in {}", object.name),
            ));
        }
    }
    Ok(searched)
}
