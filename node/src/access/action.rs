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
    /// Ask where the rows of a tenant are.
    Route,
    /// Ask where all shards are.
    RouteAll,
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
    /// See delayed nodes, hold and move their gates, bring rows back from them; but see no row.
    AdminDelayed,
    /// See, plan and carry out restores.
    AdminRestores,
    /// See archives, and take snapshots.
    AdminBackup,
    /// Ask whether the node is well.
    Health,
    /// Ask what can be called.
    Reflection,
    /// Speak as one node to another.
    Peer,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 21] = [
        Self::KvRead,
        Self::KvWrite,
        Self::KvWatch,
        Self::Hello,
        Self::Route,
        Self::RouteAll,
        Self::Join,
        Self::Renew,
        Self::AdminStatus,
        Self::AdminNodes,
        Self::AdminGroups,
        Self::AdminTenants,
        Self::AdminKeys,
        Self::AdminIdentities,
        Self::AdminJobs,
        Self::AdminDelayed,
        Self::AdminRestores,
        Self::AdminBackup,
        Self::Health,
        Self::Reflection,
        Self::Peer,
    ];

    /// Whether it is done to what a tenant keeps.
    #[must_use]
    pub fn is_of_tenant(self) -> bool {
        matches!(self, Self::KvRead | Self::KvWrite | Self::KvWatch | Self::Route)
    }

    /// What a call of this path, `/package.Service/Method`, may do; nothing: no such thing can be called. Where it may do one thing or another,
    /// and to whose rows, is decided when the request is read.
    #[must_use]
    pub fn of_path(path: &str) -> &'static [Self] {
        let place = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        match place.unwrap_or_default() {
            ("dewpond.v1.Kv", "Get" | "MultiGet" | "Scan" | "History" | "Collections") => &[Self::KvRead],
            ("dewpond.v1.Kv", "Stream") => &[Self::KvRead, Self::KvWrite],
            ("dewpond.v1.Kv", "Put" | "Delete" | "DeleteRange" | "Batch") => &[Self::KvWrite],
            ("dewpond.v1.Txn", "Outcome") => &[Self::KvWrite],
            ("dewpond.v1.Watch", "Watch") => &[Self::KvWatch],
            ("dewpond.v1.Hello", "Hello") => &[Self::Hello],
            ("dewpond.v1.Hello", "Route") => &[Self::Route, Self::RouteAll],
            ("dewpond.v1.Join", "Join") => &[Self::Join],
            ("dewpond.v1.Status", "Status") => &[Self::AdminStatus],
            ("dewpond.v1.Nodes", "List" | "Add" | "Drain" | "Undrain" | "Remove" | "Scrub") => {
                &[Self::AdminNodes]
            }
            ("dewpond.v1.Groups", "List" | "Transfer" | "Verify") => &[Self::AdminGroups],
            (
                "dewpond.v1.Tenants",
                "Create" | "List" | "Show" | "Freeze" | "Unfreeze" | "Drop" | "Undrop" | "Set",
            ) => &[Self::AdminTenants],
            ("dewpond.v1.Keys", "List" | "Rotate") => &[Self::AdminKeys],
            ("dewpond.v1.Identities", "Issue") => &[Self::AdminIdentities],
            (
                "dewpond.v1.Backup",
                "Now" | "List" | "Window" | "Verify" | "Schedule" | "RunDrill" | "ListDrills"
                | "ScheduleDrills" | "Pin" | "Unpin" | "Pins" | "Retention" | "Gaps" | "AcceptGap",
            ) => &[Self::AdminBackup],
            ("dewpond.v1.Jobs", "List" | "Show") => &[Self::AdminJobs],
            (
                "dewpond.v1.Delayed",
                "List" | "Hold" | "Release" | "Forward" | "Accept" | "Suspects" | "Donate" | "Promote"
                | "Tail",
            ) => &[Self::AdminDelayed],
            ("dewpond.peer.v1.Delayed", "Order" | "Rows" | "Write") => &[Self::Peer],
            ("dewpond.v1.Restore", "Window" | "Plan" | "Apply" | "List" | "Act") => &[Self::AdminRestores],
            ("dewpond.peer.v1.Restoring", "Page" | "Write" | "Settle" | "Count" | "Reach") => &[Self::Peer],
            ("dewpond.peer.v1.Meta", "Change" | "Index" | "Shard" | "Survey" | "Table") => &[Self::Peer],
            ("grpc.health.v1.Health", "Check" | "Watch") => &[Self::Health],
            ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo") => &[Self::Reflection],
            _ => &[],
        }
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
