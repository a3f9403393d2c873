//! Archives, and the drills that prove them.

use super::{AGAIN, Admin, ONCE, whole};
use crate::error::Result;
use proto::v1::backup_client::BackupClient;
use proto::v1::{
    AcceptGapRequest, ArchiveGap, ArchivePin, BackupNowRequest, BackupWindowRequest, BackupWindowResponse,
    DrillShown, ListBackupsRequest, ListDrillsRequest, ListGapsRequest, ListPinsRequest, PinRequest,
    RetentionRequest, RunDrillRequest, ScheduleBackupRequest, ScheduleBackupResponse, ScheduleDrillsRequest,
    SiteRetention, Snapshot, UnpinRequest, VerifyBackupRequest, VerifyBackupResponse,
};

impl Admin {
    /// Begins a snapshot of the whole cluster; tells its id.
    ///
    /// # Errors
    /// Conflict, while another one is being taken.
    pub async fn backup_now(&self, is_digested: bool) -> Result<String> {
        Ok(call!(self, ONCE, BackupClient.now, BackupNowRequest { is_digested }).await?.snapshot)
    }

    /// All snapshots of the home site, the oldest first.
    ///
    /// # Errors
    /// Unavailable, if the site cannot be asked.
    pub async fn backups(&self) -> Result<Vec<Snapshot>> {
        Ok(call!(self, AGAIN, BackupClient.list, ListBackupsRequest {}).await?.snapshots)
    }

    /// What can be restored from each site of the archive.
    ///
    /// # Errors
    /// Conflict, if nothing is archived.
    pub async fn backup_window(&self) -> Result<BackupWindowResponse> {
        call!(self, AGAIN, BackupClient.window, BackupWindowRequest {}).await
    }

    /// Walks the home site of the archive and tells what is damaged there.
    ///
    /// # Errors
    /// Unavailable, if the site cannot be asked.
    pub async fn verify_backup(&self, is_deep: bool) -> Result<VerifyBackupResponse> {
        call!(self, AGAIN, BackupClient.verify, VerifyBackupRequest { is_deep }).await
    }

    /// Says when a snapshot is taken by itself, and changes it if told to: `every 6h`, `cron 0 3 * * 1-5` or `off`, and behind it
    /// `; quiet mon-fri/08:00-18:00` any number of times.
    ///
    /// # Errors
    /// Conflict, if nothing is archived. Invalid, if that makes no sense.
    pub async fn schedule_backup(&self, schedule: Option<String>) -> Result<ScheduleBackupResponse> {
        let request = ScheduleBackupRequest { every_ms: None, schedule };
        call!(self, AGAIN, BackupClient.schedule, request).await
    }

    /// Keeps something of the archive from being collected.
    ///
    /// # Errors
    /// Invalid, if there is no such pin to be renewed; conflict, if it has ended, or would keep less.
    pub async fn pin_backup(&self, request: PinRequest) -> Result<ArchivePin> {
        whole(call!(self, ONCE, BackupClient.pin, request).await?.pin)
    }

    /// Ends a pin, or a legal hold.
    ///
    /// # Errors
    /// Invalid, if there is no such one; conflict, if it has ended.
    pub async fn unpin_backup(&self, id: &str, is_hold: bool, reason: &str) -> Result<ArchivePin> {
        let request = UnpinRequest { id: id.to_owned(), is_hold, reason: reason.to_owned() };
        whole(call!(self, ONCE, BackupClient.unpin, request).await?.pin)
    }

    /// All pins and legal holds of the archive.
    ///
    /// # Errors
    /// Denied, for anybody but an administrator.
    pub async fn backup_pins(&self) -> Result<Vec<ArchivePin>> {
        Ok(call!(self, AGAIN, BackupClient.pins, ListPinsRequest {}).await?.pins)
    }

    /// What each site of the archive keeps, and what may go.
    ///
    /// # Errors
    /// Conflict, if nothing is archived.
    pub async fn backup_retention(&self, is_named: bool) -> Result<Vec<SiteRetention>> {
        Ok(call!(self, AGAIN, BackupClient.retention, RetentionRequest { is_named }).await?.sites)
    }

    /// Gaps in the log of the home site of the archive.
    ///
    /// # Errors
    /// Unavailable, if the site cannot be asked.
    pub async fn backup_gaps(&self) -> Result<Vec<ArchiveGap>> {
        Ok(call!(self, AGAIN, BackupClient.gaps, ListGapsRequest {}).await?.gaps)
    }

    /// Says that whoever asks knows of a gap.
    ///
    /// # Errors
    /// Invalid, if there is no such gap.
    pub async fn accept_gap(&self, id: &str) -> Result<ArchiveGap> {
        let request = AcceptGapRequest { id: id.to_owned() };
        whole(call!(self, AGAIN, BackupClient.accept_gap, request).await?.gap)
    }

    /// Begins a drill at the node that answers. Returns its id.
    ///
    /// # Errors
    /// Invalid, if there is no such kind, tenant or node; unavailable, if one goes on there.
    pub async fn run_drill(&self, request: RunDrillRequest) -> Result<u64> {
        Ok(call!(self, ONCE, BackupClient.run_drill, request).await?.id)
    }

    /// Drills, and what they have proved.
    ///
    /// # Errors
    /// Unavailable, if the archive does not answer.
    pub async fn drills(&self) -> Result<Vec<DrillShown>> {
        Ok(call!(self, AGAIN, BackupClient.list_drills, ListDrillsRequest {}).await?.drills)
    }

    /// How often a drill takes place, in milliseconds, changed before that if it is said.
    ///
    /// # Errors
    /// Denied, for anybody but an administrator.
    pub async fn schedule_drills(&self, every_ms: Option<u64>) -> Result<u64> {
        let request = ScheduleDrillsRequest { every_ms };
        Ok(call!(self, AGAIN, BackupClient.schedule_drills, request).await?.every_ms)
    }
}
