//! What a bug would do to a replica, for tests: its consensus panics, or a part of it never ends.

use super::handle::Group;
use std::sync::Arc;

impl Group {
    /// Something that holds its log for as long as it is held, as a part of consensus that does not end would.
    #[must_use]
    pub fn hold(&self) -> Option<Arc<()>> {
        self.tokens[0].upgrade()
    }

    /// The same for its machine.
    #[must_use]
    pub fn machine_token(&self) -> Option<Arc<()>> {
        self.tokens[1].upgrade()
    }

    /// Makes consensus of it panic, as a bug in it would.
    pub async fn panic(&self) {
        // It fails if it has stopped already.
        let _ = self.raft.external_request(|_| panic!("a panic that was asked for")).await;
    }
}
