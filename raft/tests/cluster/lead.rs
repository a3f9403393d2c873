//! Who leads first is not left to dice.

use super::Running;
use raft::types::GroupId;
use std::time::Duration;

/// Lets this node lead groups that nobody has led: it asks for votes until the guards of the others have opened.
pub async fn lead(one: &Running, groups: &[GroupId]) {
    for _ in 0..400 {
        let mut left = groups.iter().filter(|group| !one.group(**group).leads()).peekable();
        if left.peek().is_none() {
            return;
        }
        for group in left {
            one.group(*group).elect().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("others have taken the lead");
}
