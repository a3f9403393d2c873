//! Certificates of services and administrators.

use super::{Api, allowed};
use crate::access::action::Action;
use crate::api::convert::{Result, malformed};
use crate::boot::subject::Identity;
use crate::entropy::SystemEntropy;
use crate::limits;
use proto::errors::code;
use proto::v1;
use proto::v1::identities_server::Identities;
use proto::v1::issue_request::Whose;
use tonic::{Request, Response, Status};

impl Api {
    fn issue(&self, asked: &v1::IssueRequest) -> Result<v1::IssueResponse> {
        let cluster = self.backend.cluster();
        let identity = match &asked.whose {
            Some(Whose::Tenant(name)) => {
                self.backend.meta().tenant_named(name).ok_or_else(|| Self::unknown(code::TENANT_UNKNOWN))?;
                Identity::service(cluster, name)
            }
            Some(Whose::Admin(name)) => Identity::admin(cluster, name),
            None => return Err(malformed("it does not say whose the certificate is to be")),
        };
        let identity = identity.ok_or_else(|| malformed("that is no name"))?;
        let authority = self.backend.authority()?;
        let now_s = self.backend.now_ms() / 1_000;
        let valid_s = match asked.valid_ms {
            0 => limits::IDENTITY_SECONDS,
            ms if (1_000..=limits::IDENTITY_SECONDS_MAX * 1_000).contains(&ms) => ms / 1_000,
            _ => return Err(malformed("a certificate holds for a second at least and a year at most")),
        };
        let issued = authority.issue_for(&identity, &[], &asked.request, (now_s, valid_s), &SystemEntropy);
        let issued = issued.map_err(|error| malformed(&error.to_string()))?;
        Ok(v1::IssueResponse { certificate: issued.pem, authority: authority.pem().to_owned() })
    }
}

#[tonic::async_trait]
impl Identities for Api {
    async fn issue(
        &self,
        request: Request<v1::IssueRequest>,
    ) -> std::result::Result<Response<v1::IssueResponse>, Status> {
        let issued = async {
            let call = allowed(&request, Action::AdminIdentities)?;
            if let Some(Whose::Tenant(name)) = &request.get_ref().whose {
                // One that was made through another node a moment ago may not be known here.
                if self.backend.meta().tenant_named(name).is_none() {
                    self.backend.refresh(call.wait_ms).await?;
                }
            }
            Self::issue(self, request.get_ref())
        };
        let issued = issued.await;
        self.answered(issued)
    }
}
