//! Archives: snapshots, what can be restored, and whether it is whole.

use super::delayed::{reason, who};
use super::{Api, allowed};
use crate::access::action::Action;
use crate::api::convert::Result;
use proto::v1;
use proto::v1::backup_server::Backup;
use tonic::{Request, Response, Status};

type Answer<T> = std::result::Result<Response<T>, Status>;

#[tonic::async_trait]
impl Backup for Api {
    async fn now(&self, request: Request<v1::BackupNowRequest>) -> Answer<v1::BackupNowResponse> {
        let begun: Result<_> = async {
            let call = allowed(&request, Action::AdminBackup)?;
            let server = self.backend.archives()?;
            let begun = Box::pin(server.begin_snapshot(request.get_ref().is_digested, call.wait_ms)).await?;
            Ok(v1::BackupNowResponse { snapshot: begun.to_string() })
        }
        .await;
        self.answered(begun)
    }

    async fn list(&self, request: Request<v1::ListBackupsRequest>) -> Answer<v1::ListBackupsResponse> {
        let listed: Result<_> = async {
            allowed(&request, Action::AdminBackup)?;
            Ok(v1::ListBackupsResponse { snapshots: Box::pin(self.backend.archives()?.snapshots()).await? })
        }
        .await;
        self.answered(listed)
    }

    async fn window(&self, request: Request<v1::BackupWindowRequest>) -> Answer<v1::BackupWindowResponse> {
        let told: Result<_> = async {
            allowed(&request, Action::AdminBackup)?;
            let (sites, now_ms) =
                (Box::pin(self.backend.archives()?.windows()).await?, self.backend.now_ms());
            Ok(v1::BackupWindowResponse { sites, now_ms })
        }
        .await;
        self.answered(told)
    }

    async fn verify(&self, request: Request<v1::VerifyBackupRequest>) -> Answer<v1::VerifyBackupResponse> {
        let verified: Result<_> = async {
            allowed(&request, Action::AdminBackup)?;
            Box::pin(self.backend.archives()?.verify_archive(request.get_ref().is_deep)).await
        }
        .await;
        self.answered(verified)
    }

    async fn schedule(
        &self,
        request: Request<v1::ScheduleBackupRequest>,
    ) -> Answer<v1::ScheduleBackupResponse> {
        let scheduled: Result<_> = async {
            let call = allowed(&request, Action::AdminBackup)?;
            let asked = request.get_ref();
            let asked = (asked.every_ms, asked.schedule.as_deref());
            let schedule = Box::pin(self.backend.archives()?.schedule_snapshots(asked, call.wait_ms)).await?;
            Ok(v1::ScheduleBackupResponse { every_ms: schedule.every_ms(), schedule: schedule.to_string() })
        }
        .await;
        self.answered(scheduled)
    }

    async fn run_drill(&self, request: Request<v1::RunDrillRequest>) -> Answer<v1::RunDrillResponse> {
        let begun: Result<_> = async {
            allowed(&request, Action::AdminBackup)?;
            Ok(v1::RunDrillResponse { id: self.backend.archives()?.run_drill(request.get_ref())? })
        }
        .await;
        self.answered(begun)
    }

    async fn list_drills(&self, request: Request<v1::ListDrillsRequest>) -> Answer<v1::ListDrillsResponse> {
        let listed: Result<_> = async {
            allowed(&request, Action::AdminBackup)?;
            Ok(v1::ListDrillsResponse { drills: Box::pin(self.backend.archives()?.drills_shown()).await? })
        }
        .await;
        self.answered(listed)
    }

    async fn schedule_drills(
        &self,
        request: Request<v1::ScheduleDrillsRequest>,
    ) -> Answer<v1::ScheduleDrillsResponse> {
        let scheduled: Result<_> = async {
            let call = allowed(&request, Action::AdminBackup)?;
            let server = self.backend.archives()?;
            let every_ms = Box::pin(server.schedule_drills(request.get_ref().every_ms, call.wait_ms)).await?;
            Ok(v1::ScheduleDrillsResponse { every_ms })
        }
        .await;
        self.answered(scheduled)
    }

    async fn pin(&self, request: Request<v1::PinRequest>) -> Answer<v1::PinResponse> {
        let pinned: Result<_> = async {
            let call = allowed(&request, Action::AdminBackup)?;
            let mut asked = request.into_inner();
            asked.reason = reason(asked.reason)?;
            let pin = Box::pin(self.backend.archives()?.pin(asked, who(&call), call.wait_ms)).await?;
            Ok(v1::PinResponse { pin: Some(pin) })
        }
        .await;
        self.answered(pinned)
    }

    async fn unpin(&self, request: Request<v1::UnpinRequest>) -> Answer<v1::PinResponse> {
        let ended: Result<_> = async {
            let call = allowed(&request, Action::AdminBackup)?;
            let mut asked = request.into_inner();
            asked.reason = reason(asked.reason)?;
            let pin = Box::pin(self.backend.archives()?.unpin(asked, who(&call), call.wait_ms)).await?;
            Ok(v1::PinResponse { pin: Some(pin) })
        }
        .await;
        self.answered(ended)
    }

    async fn pins(&self, request: Request<v1::ListPinsRequest>) -> Answer<v1::ListPinsResponse> {
        let listed: Result<_> = async {
            let call = allowed(&request, Action::AdminBackup)?;
            Ok(v1::ListPinsResponse { pins: Box::pin(self.backend.archives()?.pins(call.wait_ms)).await? })
        }
        .await;
        self.answered(listed)
    }

    async fn retention(&self, request: Request<v1::RetentionRequest>) -> Answer<v1::RetentionResponse> {
        let told: Result<_> = async {
            allowed(&request, Action::AdminBackup)?;
            let is_named = request.get_ref().is_named;
            Ok(v1::RetentionResponse { sites: Box::pin(self.backend.archives()?.retention(is_named)).await? })
        }
        .await;
        self.answered(told)
    }

    async fn gaps(&self, request: Request<v1::ListGapsRequest>) -> Answer<v1::ListGapsResponse> {
        let listed: Result<_> = async {
            allowed(&request, Action::AdminBackup)?;
            Ok(v1::ListGapsResponse { gaps: Box::pin(self.backend.archives()?.gaps()).await? })
        }
        .await;
        self.answered(listed)
    }

    async fn accept_gap(&self, request: Request<v1::AcceptGapRequest>) -> Answer<v1::AcceptGapResponse> {
        let accepted: Result<_> = async {
            let call = allowed(&request, Action::AdminBackup)?;
            let (id, by) = (&request.get_ref().id, who(&call));
            let gap = Box::pin(self.backend.archives()?.accept_gap(id, by)).await?;
            Ok(v1::AcceptGapResponse { gap: Some(gap) })
        }
        .await;
        self.answered(accepted)
    }
}
