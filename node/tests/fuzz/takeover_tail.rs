//! Format: log_record, as a tail holds it.

use super::feed;
use engine::Stamp;
use engine::ids::TenantId;
use node::takeover::tail;
use raft::command::{Command, CommandRow, Counts, TenantPart};
use raft::log::Entry;
use raft::log::record::Record;
use raft::payload;
use raft::types::{GroupId, LogId, ReplicaId};

/// A tail of three entries: one of two commands, one that means nothing, one of another tenant.
fn sample() -> Vec<u8> {
    let command = |tenant, puts, deletes| {
        let counts = Counts { puts, deletes, range_deletes: 1 };
        let parts = vec![TenantPart { tenant: TenantId(tenant), counts, ..TenantPart::default() }];
        Command { parts, rows: vec![CommandRow::default(); 2], ..Command::default() }.encode()
    };
    let entries = [
        (payload::COMMAND, 101, command(7, 2, 0)),
        (payload::BLANK, 101, bytes::Bytes::new()),
        (payload::COMMAND, 205, command(7, 0, 9)),
        (payload::COMMAND, 300, command(8, 1, 0)),
    ];
    let mut out = Vec::new();
    for (index, (kind, stamp, payload)) in (5..).zip(entries) {
        let log_id = LogId { term: 3, replica: ReplicaId(1), index };
        let position = out.len() as u64;
        Record::Entry(GroupId(2), Entry { log_id, kind, stamp, payload })
            .append(&mut out, position, &[0; 16]);
    }
    out
}

pub fn run() {
    let clean = sample();
    let all = tail::read(&clean[..]).unwrap();
    let told: Vec<_> =
        all.iter().map(|one| (one.tenant.0, one.puts, one.deletes, one.range_deletes)).collect();
    assert_eq!(told, [(7, 2, 9, 2), (8, 1, 0, 1)]);
    assert_eq!((all[0].first, all[0].last), (Stamp(100), Stamp(205)));
    feed(std::slice::from_ref(&clean), |bytes| {
        let read = tail::read(bytes);
        // What is cut between two records is a shorter tail; anything else that was changed is found.
        assert!(bytes == clean || read.is_err() || clean.starts_with(bytes));
    });
}
