//! Format: meta_command.

use super::rig::Rig;
use super::rig::samples::takeover_commands;
use super::{feed, fixtures};
use engine::ids::TenantId;
use node::meta::command::{MetaCommand, MetaReply};
use node::meta::view::MetaView;
use node::shard::map::ShardRange;
use std::cell::RefCell;

pub fn run() {
    let rig = RefCell::new(Rig::new(ShardRange::META.rows()));
    let mut clean = fixtures("meta_command");
    clean.extend(takeover_commands().iter().filter_map(MetaCommand::encode));
    feed(&clean, |bytes| {
        let reply = rig.borrow_mut().apply(2_000_000, &[(TenantId(0), bytes.to_vec())]).remove(0);
        let reply = MetaReply::decode(&reply).unwrap();
        assert_eq!(MetaReply::decode(&reply.encode()).unwrap(), reply);
        match MetaCommand::decode(bytes) {
            Ok(command) => {
                assert_eq!(command.encode().unwrap(), bytes, "one form each");
                assert_ne!(reply, MetaReply::Malformed);
            }
            Err(_) => assert_eq!(reply, MetaReply::Malformed),
        }
        if let Ok(reply) = MetaReply::decode(bytes) {
            assert_eq!(reply.encode(), bytes);
        }
    });
    // Whatever was written can be read.
    MetaView::read(&rig.borrow().view(0), 1).unwrap();
}
