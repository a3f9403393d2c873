//! Pure: everything that can be called, and who calls.

/// What can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Read rows of a tenant: get, scan, history, as of.
    KvRead,
    /// Write rows of a tenant.
    KvWrite,
    /// Watch the rows of a tenant.
    KvWatch,
    /// Ask who is here and where to go.
    Hello,
    /// Join the cluster, with a token.
    Join,
    /// Have one's own certificate made anew.
    Renew,
    /// See how the cluster is.
    AdminStatus,
    /// See and change nodes.
    AdminNodes,
    /// See groups, and move their leads.
    AdminGroups,
    /// See and change tenants, but not what they keep.
    AdminTenants,
    /// See and rotate keys, but no key.
    AdminKeys,
    /// Make identities.
    AdminIdentities,
    /// See and change jobs.
    AdminJobs,
    /// Ask whether the node is well.
    Health,
    /// Ask what can be called.
    Reflection,
    /// Speak as one node to another.
    Peer,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 16] = [
        Self::KvRead,
        Self::KvWrite,
        Self::KvWatch,
        Self::Hello,
        Self::Join,
        Self::Renew,
        Self::AdminStatus,
        Self::AdminNodes,
        Self::AdminGroups,
        Self::AdminTenants,
        Self::AdminKeys,
        Self::AdminIdentities,
        Self::AdminJobs,
        Self::Health,
        Self::Reflection,
        Self::Peer,
    ];

    /// Whether it is done to what a tenant keeps.
    #[must_use]
    pub fn is_of_tenant(self) -> bool {
        matches!(self, Self::KvRead | Self::KvWrite | Self::KvWatch)
    }
}

/// Who calls, as the certificate says. There is no other way to become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody: no certificate was shown.
    Anonymous,
    /// A node of this cluster, by its id.
    Node(u64),
    /// A service of the tenant of this name.
    Service(String),
    /// An admin of this name.
    Admin(String),
}
