//! Format: kv_command.

use super::rig::{Rig, TENANT};
use super::{feed, fixtures};
use engine::key::KeyRange;
use node::shard::command::KvCommand;
use node::shard::reply::KvReply;
use std::cell::RefCell;

pub fn run() {
    let rig = RefCell::new(Rig::new(KeyRange::all()));
    feed(&fixtures("kv_command"), |bytes| {
        // Whatever it is, it is answered; if it made sense, it has one form, and may be proposed.
        let reply = rig.borrow_mut().apply(2_000_000, &[(TENANT, bytes.to_vec())]).remove(0);
        let reply = KvReply::decode(&reply).unwrap();
        assert_eq!(KvReply::decode(&reply.encode()).unwrap(), reply);
        match KvCommand::decode(bytes) {
            Ok(command) => {
                assert_eq!(command.encode(), bytes);
                command.check().unwrap();
                assert_ne!(reply, KvReply::Malformed);
            }
            Err(_) => assert_eq!(reply, KvReply::Malformed),
        }
        if let Ok(reply) = KvReply::decode(bytes) {
            assert_eq!(reply.encode(), bytes);
        }
    });
}
