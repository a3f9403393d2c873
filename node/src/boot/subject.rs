//! Pure: who a certificate says somebody is: one URI, `dewpond://<cluster id>/<role>/<id>`.

use crate::tenants::rules::is_name;
use engine::ids::{ClusterId, NodeId};
use std::fmt;

const SCHEME: &str = "dewpond://";

/// As what somebody comes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A node of the cluster.
    Node(NodeId),
    /// A service of a tenant, by the name of the tenant.
    Service(String),
    /// An administrator, by name.
    Admin(String),
}

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// As what.
    pub role: Role,
}

impl Identity {
    /// A node.
    #[must_use]
    pub fn node(cluster: ClusterId, node: NodeId) -> Self {
        Self { cluster, role: Role::Node(node) }
    }

    /// A service of a tenant, if the name is one.
    #[must_use]
    pub fn service(cluster: ClusterId, tenant: &str) -> Option<Self> {
        is_name(tenant).then(|| Self { cluster, role: Role::Service(tenant.to_owned()) })
    }

    /// An administrator, if the name is one.
    #[must_use]
    pub fn admin(cluster: ClusterId, name: &str) -> Option<Self> {
        is_name(name).then(|| Self { cluster, role: Role::Admin(name.to_owned()) })
    }

    /// From its URI. There is one way to write each.
    #[must_use]
    pub fn parse(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix(SCHEME)?.split('/');
        let (cluster, role, id) = (ClusterId::parse(parts.next()?)?, parts.next()?, parts.next()?);
        let found = match role {
            "node" => Self::node(cluster, NodeId(id.parse().ok().filter(|id| *id != 0)?)),
            "service" => Self::service(cluster, id)?,
            "admin" => Self::admin(cluster, id)?,
            _ => return None,
        };
        // `+7` and `07` are numbers too, but not this name.
        (parts.next().is_none() && found.to_string() == uri).then_some(found)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/", self.cluster)?;
        match &self.role {
            Role::Node(node) => write!(f, "node/{}", node.0),
            Role::Service(tenant) => write!(f, "service/{tenant}"),
            Role::Admin(name) => write!(f, "admin/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_somebody_is_is_written_in_one_way() {
        let cluster = ClusterId([0xc1; 16]);
        let hex = "c1".repeat(16);
        let all = [
            (Identity::node(cluster, NodeId(u64::MAX)), format!("dewpond://{hex}/node/18446744073709551615")),
            (Identity::service(cluster, "shop-1").unwrap(), format!("dewpond://{hex}/service/shop-1")),
            (Identity::admin(cluster, "ann.b").unwrap(), format!("dewpond://{hex}/admin/ann.b")),
        ];
        for (identity, uri) in all {
            assert_eq!(identity.to_string(), uri);
            assert_eq!(Identity::parse(&uri), Some(identity));
        }
        for wrong in [
            format!("dewpond://{hex}/node/0"),
            format!("dewpond://{hex}/node/07"),
            format!("dewpond://{hex}/node/+7"),
            format!("dewpond://{hex}/node/7/"),
            format!("dewpond://{hex}/node/7?x"),
            format!("dewpond://{}/node/7", hex.to_uppercase()),
            format!("dewpond://{hex}/root/7"),
            format!("dewpond://{hex}/service/"),
            format!("dewpond://{hex}/service/a b"),
            format!("dewpond://{hex}/admin/../x"),
            format!("dewpond://{hex}0/node/7"),
            format!("DEWPOND://{hex}/node/7"),
            "dewpond://".to_owned(),
            String::new(),
        ] {
            assert_eq!(Identity::parse(&wrong), None, "{wrong}");
        }
    }
}
