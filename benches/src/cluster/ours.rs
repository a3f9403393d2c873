//! Our cluster: three processes of this same program, founded and joined as an operator does it.

use super::Subject;
use super::store::{COLLECTION, Store};
use crate::Outcome;
use node::cmd::demo::clients::{client, place_of_leader};
use node::cmd::demo::world::World;
use node::cmd::demo::{FIRST, found_cluster};
use std::path::Path;
use std::time::Duration;

/// How long a call waits: as long as the servers need to agree on a leader, and more.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The cluster. Its processes are killed when it is dropped.
pub struct Ours {
    world: World,
}

impl Ours {
    /// Starts it, with everything as in production, but for the memory that a guess at the passphrase costs.
    ///
    /// # Errors
    /// A node does not come up.
    pub async fn start(folder: &Path) -> Outcome<Self> {
        // Not `current_exe()`: its path leads nowhere once a new build has taken the place of the program that runs.
        let mut world = World::new(folder, "/proc/self/exe".into(), "")?;
        found_cluster(&mut world).await?;
        Ok(Self { world })
    }

    /// What is measured.
    ///
    /// # Errors
    /// A node has ended; the client cannot be made.
    pub fn subject(&self) -> Outcome<Subject> {
        let tenant = client(&self.world, FIRST, &self.everywhere())?.tenant(FIRST).deadline(DEADLINE);
        let records = tenant.raw(COLLECTION);
        let servers: Option<Vec<u32>> = self.world.nodes.iter().map(|node| node.process()).collect();
        Ok(Subject {
            name: "ours",
            store: Store::Ours(tenant, records),
            servers: servers.ok_or("a node has ended")?,
            folders: self.world.nodes.iter().map(|node| node.data.clone()).collect(),
        })
    }

    fn everywhere(&self) -> Vec<usize> {
        (0..self.world.nodes.len()).collect()
    }

    /// The place of the node that leads what is written.
    ///
    /// # Errors
    /// Nobody leads.
    pub async fn leader(&self) -> Outcome<usize> {
        let admin = client(&self.world, "admin", &self.everywhere())?;
        place_of_leader(&self.world, &admin, FIRST).await
    }

    /// Ends a node by SIGKILL, at once.
    ///
    /// # Errors
    /// The system does not.
    pub fn end_now(&mut self, place: usize) -> Outcome<()> {
        self.world.nodes[place].crash()
    }
}
