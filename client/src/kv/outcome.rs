//! What became of a write whose answer was lost.

use crate::call::{Aim, odd};
use crate::error::Result;
use crate::request_id::RequestId;
use crate::stamp::Stamp;
use crate::tenant::Tenant;
use proto::v1::OutcomeRequest;
use proto::v1::outcome_response::What;
use proto::v1::stream_request::What as Request;
use proto::v1::stream_response::What as Answer;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was applied, with this stamp.
    Applied(Stamp),
    /// It was not, and never will be.
    NotApplied,
    /// It is older than what is remembered: read what is there.
    Forgotten,
}

impl Tenant {
    /// What became of a write that was sent as `id`: that of an error of the kind `Unknown` ([`crate::Error::request_id`]). Asking closes it: what
    /// was not applied by then never will be.
    ///
    /// ```
    /// # use dewpond::{Client, Identity, Outcome, RequestId};
    /// # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # let double = node::double::Double::start().await?;
    /// # let service = double.tenant("acme").await?;
    /// # let client = Client::builder().endpoints([double.endpoint()]).authority(double.authority())
    /// #     .identity(Identity::from_pem(&service.certificate, &service.key)?).connect().await?;
    /// # let acme = client.tenant("acme");
    /// # let (session, soon) = ([7; 16], std::time::SystemTime::now() + std::time::Duration::from_secs(60));
    /// # let valid_until_ms = dewpond::Stamp::from(soon).ms();
    /// // The id comes from `error.request_id()`, or from a log that the application keeps.
    /// let id = RequestId { session, number: 1, valid_until_ms };
    /// let stamp = acme.raw("orders").put("991", "paid").request_id(id).await?;
    /// assert_eq!(acme.outcome(id).await?, Outcome::Applied(stamp));
    ///
    /// let never_sent = RequestId { number: 2, ..id };
    /// assert_eq!(acme.outcome(never_sent).await?, Outcome::NotApplied);
    /// assert!(acme.raw("orders").put("991", "late").request_id(never_sent).await.is_err());
    /// # double.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Unavailable and unknown, if nobody answers until the deadline: it may be asked again.
    pub async fn outcome(&self, id: RequestId) -> Result<Outcome> {
        // Replies are kept by tenant: which collection was written does not matter.
        let what = Request::Outcome(OutcomeRequest { place: self.spot("any").place(), id: Some(id.into()) });
        match self.link.call(&self.name, what, (Aim::Leader, self.time, None)).await? {
            Answer::Outcome(told) => match told.what {
                Some(What::Applied(stamp)) => Ok(Outcome::Applied(Stamp(stamp))),
                Some(What::NotApplied(_)) => Ok(Outcome::NotApplied),
                Some(What::Forgotten(_)) => Ok(Outcome::Forgotten),
                None => Err(odd()),
            },
            _ => Err(odd()),
        }
    }
}
