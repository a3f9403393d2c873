//! Pure: who is thought to serve a tenant. Learnt from the map of a node and repaired from refusals; forgotten when somebody falls silent.

use super::plain;
use crate::limits::{NODES_MAX, ROUTES_MAX};
use proto::v1::RouteResponse;
use std::collections::BTreeMap;

/// Who serves one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    /// Who leads its shard, if that is known.
    pub leader: Option<String>,
    /// Who has a replica of it.
    pub replicas: Vec<String>,
    /// Version of the map this is from.
    pub map_version: u64,
}

/// Nodes, and which of them serves which tenant.
#[derive(Debug, Default)]
pub(crate) struct RouteCache {
    nodes: Vec<String>,
    next: usize,
    routes: BTreeMap<String, Route>,
    /// The newest generation of the cluster that was heard of.
    generation: u64,
}

impl RouteCache {
    /// One that knows the seeds only.
    pub(crate) fn new(seeds: impl IntoIterator<Item = String>) -> Self {
        let mut cache = Self::default();
        for seed in seeds {
            cache.meet(&seed);
        }
        cache
    }

    fn meet(&mut self, address: &str) {
        let address = plain(address);
        let is_new = !address.is_empty() && self.nodes.iter().all(|known| known != address);
        if is_new && self.nodes.len() < NODES_MAX {
            self.nodes.push(address.to_owned());
        }
    }

    /// Some node, every time the next one.
    pub(crate) fn any(&mut self) -> Option<String> {
        self.next = self.next.wrapping_add(1);
        let count = self.nodes.len();
        (count > 0).then(|| self.nodes[self.next % count].clone())
    }

    /// How many nodes are known.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Who leads the tenant's shard.
    pub(crate) fn leader(&self, tenant: &str) -> Option<String> {
        self.routes.get(tenant)?.leader.clone()
    }

    /// Some replica of the tenant's shard.
    pub(crate) fn replica(&self, tenant: &str, random: u64) -> Option<String> {
        let replicas = &self.routes.get(tenant)?.replicas;
        let count = u64::try_from(replicas.len()).ok().filter(|count| *count > 0)?;
        replicas.get(usize::try_from(random % count).ok()?).cloned()
    }

    /// Takes in what a node says of a tenant, unless a newer map was seen. False: the node is of an earlier generation of the cluster than
    /// another that has answered, and is not believed.
    pub(crate) fn learn(&mut self, tenant: &str, response: &RouteResponse) -> bool {
        if response.generation != 0 && response.generation < self.generation {
            return false;
        }
        if response.generation > self.generation {
            // What was known is of a cluster that has ended.
            self.routes.clear();
            self.generation = response.generation;
        }
        self.take(tenant, response);
        true
    }

    fn take(&mut self, tenant: &str, response: &RouteResponse) {
        let Some(shard) = response.shards.first() else { return };
        for address in shard.replicas.iter().chain([&shard.leader]) {
            self.meet(address);
        }
        let replicas = shard.replicas.iter().map(|address| plain(address).to_owned()).collect();
        let leader = (!shard.leader.is_empty()).then(|| plain(&shard.leader).to_owned());
        let route = self.entry(tenant);
        if response.map_version >= route.map_version {
            *route = Route { leader, replicas, map_version: response.map_version };
        }
    }

    /// Takes in the node that another one named.
    pub(crate) fn redirect(&mut self, tenant: &str, better: &str) {
        self.meet(better);
        self.entry(tenant).leader = Some(plain(better).to_owned());
    }

    /// Forgets that this node leads, if it was thought to.
    pub(crate) fn doubt(&mut self, tenant: &str, address: &str) {
        if let Some(route) = self.routes.get_mut(tenant)
            && route.leader.as_deref() == Some(address)
        {
            route.leader = None;
        }
    }

    fn entry(&mut self, tenant: &str) -> &mut Route {
        if self.routes.len() >= ROUTES_MAX && !self.routes.contains_key(tenant) {
            // A route costs one question: which of them goes does not matter.
            self.routes.pop_first();
        }
        self.routes.entry(tenant.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::v1::Shard;

    fn says(map_version: u64, leader: &str, replicas: &[&str]) -> RouteResponse {
        let replicas = replicas.iter().map(|address| (*address).to_owned()).collect();
        let shard = Shard { leader: leader.to_owned(), replicas, ..Shard::default() };
        RouteResponse { tenant: 7, map_version, shards: vec![shard] }
    }

    #[test]
    fn a_newer_map_counts_and_an_older_does_not() {
        let mut cache = RouteCache::new(["https://a:1/".to_owned()]);
        assert_eq!(cache.leader("acme"), None);
        cache.learn("acme", &says(2, "b:1", &["a:1", "b:1"]));
        cache.learn("acme", &says(1, "a:1", &["a:1"]));
        assert_eq!(cache.leader("acme").as_deref(), Some("b:1"));
        assert_eq!(cache.nodes(), 2, "a is known, b is new");
        cache.learn("acme", &says(2, "", &["a:1", "b:1"]));
        assert_eq!(cache.leader("acme"), None, "a node that knows no leader is believed");
        assert_eq!(cache.replica("acme", 3).as_deref(), Some("b:1"));
        assert_eq!(cache.replica("birch", 3), None);
    }

    #[test]
    fn a_later_generation_ends_what_was_known_and_an_earlier_one_is_not_believed() {
        let mut cache = RouteCache::new(["a:1".to_owned()]);
        let of = |generation, map| RouteResponse { generation, ..map };
        assert!(cache.learn("acme", &of(1, says(9, "a:1", &["a:1"]))));
        assert!(cache.learn("birch", &of(2, says(1, "d:1", &["d:1"]))), "its map begins anew");
        assert_eq!((cache.leader("acme"), cache.leader("birch").as_deref()), (None, Some("d:1")));
        assert!(!cache.learn("birch", &of(1, says(10, "a:1", &["a:1"]))));
        assert_eq!(cache.leader("birch").as_deref(), Some("d:1"));
        assert!(cache.learn("birch", &says(2, "e:1", &["e:1"])), "a build that does not say it");
    }

    #[test]
    fn a_refusal_repairs_and_silence_makes_doubt() {
        let mut cache = RouteCache::new(["a:1".to_owned()]);
        cache.redirect("acme", "https://c:1");
        assert_eq!(cache.leader("acme").as_deref(), Some("c:1"));
        cache.doubt("acme", "a:1");
        assert_eq!(cache.leader("acme").as_deref(), Some("c:1"), "another one was silent");
        cache.doubt("acme", "c:1");
        assert_eq!(cache.leader("acme"), None);
    }

    #[test]
    fn every_node_has_its_turn_and_nothing_grows_for_ever() {
        let mut cache = RouteCache::new(["a:1".to_owned(), "b:1".to_owned()]);
        let asked: Vec<_> = (0..4).filter_map(|_| cache.any()).collect();
        assert!(asked[0] != asked[1] && asked[0] == asked[2]);
        for index in 0..ROUTES_MAX + 10 {
            cache.redirect(&format!("t{index}"), &format!("n{index}:1"));
        }
        assert_eq!((cache.routes.len(), cache.nodes()), (ROUTES_MAX, NODES_MAX));
        assert_eq!(RouteCache::default().any(), None);
    }
}
