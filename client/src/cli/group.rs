//! Raft groups: where they are, who leads, and whether their replicas hold the same.

use super::Session;
use super::admin::{group_row, node_id, text};
use super::ids;
use super::output::{Document, Fields, fields};
use crate::Result;
use crate::wire::{RowDifference, VerifyGroupResponse};
use clap::Subcommand;
use serde_json::Value;

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub enum GroupVerb {
    /// Shows all.
    List,
    /// Hands the lead to the replica on a node.
    Transfer {
        /// The group: `g-1`.
        group: String,
        /// The node, by its name or id.
        #[arg(long)]
        to: String,
    },
    /// Compares what the replicas of a group hold, row by row: 2 if any differ, or not all could be asked.
    Verify {
        /// The group: `g-1`.
        #[arg(required_unless_present = "all")]
        group: Option<String>,
        /// Every group, one after the other.
        #[arg(long, conflicts_with = "group")]
        all: bool,
    },
}

/// Runs a command about groups.
pub async fn group(session: &Session, verb: GroupVerb) -> Result<u8> {
    let admin = session.client.admin();
    match verb {
        GroupVerb::List => {
            let rows = admin.groups().await?.iter().map(group_row).collect();
            let columns = ["id", "leader", "replicas", "term", "applied_index", "failure"];
            Document::list("dew.group.list/1", &columns, rows).print(session.format)?;
        }
        GroupVerb::Transfer { group, to } => {
            let (group, to) = (ids::read_group(&group)?, node_id(&admin, &to).await?);
            admin.transfer(group, to).await?;
            let row = fields([("group", ids::group(group)), ("leader", ids::node(to))]);
            Document::one("dew.group.transfer/1", &["group", "leader"], row).print(session.format)?;
        }
        GroupVerb::Verify { group, .. } => {
            let groups = match group {
                Some(group) => vec![ids::read_group(&group)?],
                None => admin.groups().await?.iter().map(|group| group.id).collect(),
            };
            let (mut rows, mut is_well) = (Vec::new(), true);
            for group in groups {
                let told = admin.verify_group(group).await?;
                is_well &=
                    told.differences.is_empty() && told.more_differences == 0 && told.uncompared.is_empty();
                rows.extend(verified(group, &told));
            }
            let columns = ["group", "state", "rows", "replicas", "tenant", "collection", "held"];
            Document::list("dew.group.verify/1", &columns, rows).print(session.format)?;
            return Ok(if is_well { 0 } else { 2 });
        }
    }
    Ok(0)
}

/// A group: a line of its own, and one for each range in which replicas differ.
fn verified(group: u64, told: &VerifyGroupResponse) -> Vec<Fields> {
    let differs = !told.differences.is_empty() || told.more_differences > 0;
    let state = match (differs, told.uncompared.is_empty(), told.compared.len()) {
        (true, ..) => "differs",
        (false, false, _) => "incomplete",
        (false, true, 0 | 1) => "alone",
        (false, true, _) => "equal",
    };
    let compared = told.compared.iter().map(|replica| replica_of(*replica));
    let uncompared = told.uncompared.iter().map(|one| format!("{} ({})", replica_of(one.id), one.why));
    let left_out: Vec<Value> = told.left_out.iter().map(|tenant| ids::tenant(*tenant)).collect();
    let first = fields([
        ("group", ids::group(group)),
        ("state", state.into()),
        ("rows", text(told.rows)),
        ("ranges", text(told.ranges)),
        ("replicas", compared.chain(uncompared).collect::<Vec<_>>().join(" ").into()),
        ("more_differences", text(told.more_differences)),
        ("tenants_left_out", left_out.into()),
    ]);
    [first].into_iter().chain(told.differences.iter().map(|one| difference(group, one))).collect()
}

fn difference(group: u64, one: &RowDifference) -> Fields {
    let rows = one.held.iter().map(|held| held.rows).max().unwrap_or_default();
    let held = one.held.iter().map(|held| {
        let (mark, node) = (if held.is_odd { "!" } else { "" }, ids::node(held.node));
        let node = node.as_str().unwrap_or_default();
        format!("{}@{node}{mark}:{} #{}", replica_of(held.replica), held.rows, held.likeness)
    });
    fields([
        ("group", ids::group(group)),
        ("state", "differs".into()),
        ("rows", text(rows)),
        ("tenant", ids::tenant(one.tenant)),
        ("collection", text(u64::from(one.collection))),
        ("stamp", text(one.stamp)),
        (
            "odd",
            one.held
                .iter()
                .filter(|held| held.is_odd)
                .map(|held| Value::from(replica_of(held.replica)))
                .collect::<Vec<_>>()
                .into(),
        ),
        ("held", held.collect::<Vec<_>>().join(", ").into()),
    ])
}

fn replica_of(id: u64) -> String {
    format!("r-{id:x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{RowsHeld, UncomparedReplica};

    #[test]
    fn a_group_is_told_in_a_line_and_each_difference_in_one_more() {
        let equal =
            VerifyGroupResponse { is_done: true, rows: 5, compared: vec![1, 2, 10], ..Default::default() };
        let rows = verified(2, &equal);
        assert_eq!(
            (rows.len(), rows[0]["state"].as_str(), rows[0]["replicas"].as_str()),
            (1, Some("equal"), Some("r-1 r-2 r-a"))
        );
        let away = UncomparedReplica { id: 3, node: 3, why: "it does not answer".into() };
        let some = VerifyGroupResponse { uncompared: vec![away], ..equal.clone() };
        let rows = verified(2, &some);
        assert_eq!(
            (rows[0]["state"].as_str(), rows[0]["replicas"].as_str()),
            (Some("incomplete"), Some("r-1 r-2 r-a r-3 (it does not answer)"))
        );
        let alone = VerifyGroupResponse { compared: vec![1], ..equal.clone() };
        assert_eq!(verified(2, &alone)[0]["state"], "alone");
        let held = |replica, is_odd| RowsHeld {
            replica,
            node: replica,
            rows: 1,
            likeness: u32::from(is_odd),
            is_odd,
        };
        let range = RowDifference {
            tenant: 7,
            collection: 3,
            held: vec![held(1, false), held(2, true)],
            ..Default::default()
        };
        let rows = verified(2, &VerifyGroupResponse { differences: vec![range], ..equal });
        assert_eq!((rows.len(), rows[0]["state"].as_str()), (2, Some("differs")));
        assert_eq!(rows[1]["odd"], serde_json::json!(["r-2"]));
        assert_eq!(rows[1]["held"], "r-1@n-1:1 #0, r-2@n-2!:1 #1");
    }
}
