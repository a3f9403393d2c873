//! A replica that was opened or has got a snapshot may hold entries that waited for something of the meta group which this node does not know
//! yet. Until the meta group was asked once, nothing that is written there is acknowledged.

use super::Server;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks, in milliseconds.
const LOOK_MS: u64 = 50;
/// So long the meta group may take to answer, in milliseconds.
const ASK_MS: u64 = 2_000;

impl Server {
    /// Asks the meta group for whatever is not sure yet, until the tasks end.
    pub(super) async fn assure(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            let Ok(running) = self.running() else { continue };
            let machines = running.replicas().into_iter().map(|one| one.receiver.group().machine().clone());
            let unsure: Vec<_> =
                machines.filter_map(|machine| Some((machine.meta_unsure()?, machine))).collect();
            if unsure.is_empty() {
                continue;
            }
            if let Err(why) = self.refresh(ASK_MS).await {
                tracing::debug!(%why, "the meta group is not heard yet: nothing is acknowledged meanwhile");
                continue;
            }
            let version = self.meta().version;
            unsure.into_iter().for_each(|(came, machine)| machine.assured(came, version));
        }
    }
}
