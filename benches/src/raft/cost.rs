//! What our own code costs, step by step, on one thread, without consensus and without a disk that waits.
//!
//! A proposal costs the node that leads: to seal and encode it, to append and write it to the log, for each of two followers to read it
//! back and to encode a frame and to decode the answer, and to read it again and apply it. It costs a follower: to decode the frame, to
//! append and write, to encode the answer, to read and apply. The steps are timed by the processor time of the thread, entry by entry,
//! and divided by the commands of an entry. Left out: consensus, the hand-over between tasks, and what the engine does in the
//! background, which is told apart.

use super::disk::CountingDisk;
use super::node::{CLUSTER, birth, open};
use super::operations::{BODY_BYTES, put};
use super::plan::Job;
use crate::clock::{Stopwatch, System, thread_cpu_seconds};
use crate::engine::figures::Figures;
use crate::{Outcome, process};
use ::engine::Stamp;
use ::engine::clock::Clock;
use ::engine::ids::NodeId;
use ::raft::group::birth::FIRST;
use ::raft::group::birth::bear;
use ::raft::log::store::Watch;
use ::raft::log::{Entry, Log, Stepped};
use ::raft::machine::{Machine, MachineParts, stamping};
use ::raft::net::envelope::{Frame, cluster_tag};
use ::raft::net::message::Message;
use ::raft::net::replica_message::{Append, AppendReply};
use ::raft::payload::COMMAND;
use ::raft::seal::{self, Times, Unsealed};
use ::raft::types::{GroupId, LogId, ReplicaId, Vote};
use std::sync::Arc;

const GROUP: GroupId = GroupId(1);
const LEADER: ReplicaId = ReplicaId(1);
/// Followers of a leader.
const FOLLOWERS: f64 = 2.0;

/// What is timed.
#[derive(Clone, Copy)]
enum Step {
    /// Commands become the payload of an entry.
    Seal,
    /// An entry goes into the log, and is written.
    Append,
    /// It is read back, from memory.
    Read,
    /// It becomes a frame.
    EncodeFrame,
    /// The frame becomes it again.
    DecodeFrame,
    /// The answer becomes a frame.
    EncodeAnswer,
    /// And an answer again.
    DecodeAnswer,
    /// It is applied.
    Apply,
}

const STEPS: [(Step, &str, f64, f64); 8] = [
    (Step::Seal, "seal", 1.0, 0.0),
    (Step::Append, "append", 1.0, 1.0),
    (Step::Read, "read", 1.0 + FOLLOWERS, 1.0),
    (Step::EncodeFrame, "encode_frame", FOLLOWERS, 0.0),
    (Step::DecodeFrame, "decode_frame", 0.0, 1.0),
    (Step::EncodeAnswer, "encode_answer", 0.0, 1.0),
    (Step::DecodeAnswer, "decode_answer", FOLLOWERS, 0.0),
    (Step::Apply, "apply", 1.0, 1.0),
];

/// One replica without consensus.
struct Bench {
    parts: MachineParts,
    log: Arc<Log>,
    machine: Arc<Machine>,
    last: LogId,
    stamp: Stamp,
    spent_s: [f64; STEPS.len()],
}

/// Measures entries of `job.count` commands.
///
/// # Errors
/// What goes wrong in log or machine.
pub async fn run(job: &Job) -> Outcome<Figures> {
    let parts = open(NodeId(LEADER.0), &job.dir, &CountingDisk::new(false))?;
    let (log, birth) = (parts.log.clone(), birth(GROUP, NodeId(LEADER.0)));
    let machine = tokio::select! {
        born = bear(&birth, parts.clone()) => born?,
        () = write(&log) => return Err("the log stopped".into()),
    };
    let stamp = machine.applied().last;
    let mut bench = Bench { parts, log, machine, last: FIRST, stamp, spent_s: [0.0; STEPS.len()] };
    let (seconds, mut commands, mut next) = (job.window_ms() as f64 / 100.0 / 2.0, 0, 0);
    let (watch, cpu) = (Stopwatch::start(), process::cpu_seconds()?);
    let mut own_s = 0.0;
    while watch.seconds() < seconds {
        let from = thread_cpu_seconds();
        let batch: Vec<Unsealed> = (next..next + job.count).map(|number| put(number, BODY_BYTES)).collect();
        own_s += thread_cpu_seconds() - from;
        next += job.count;
        bench.carry(&batch).await?;
        commands += job.count;
    }
    let cpu_s = process::cpu_seconds()? - cpu - own_s;
    Ok(bench.figures(commands as f64, cpu_s, job.count))
}

/// Writes what waits.
async fn write(log: &Log) {
    while log.step() != Stepped::Fenced {
        tokio::task::yield_now().await;
    }
}

impl Bench {
    fn time<T>(&mut self, step: Step, act: impl FnOnce(&mut Self) -> T) -> T {
        let from = thread_cpu_seconds();
        let done = act(self);
        self.spent_s[step as usize] += thread_cpu_seconds() - from;
        done
    }

    /// Takes one entry all the way.
    async fn carry(&mut self, commands: &[Unsealed]) -> Outcome<()> {
        let times = Times { stamp: Stamp::new(System.now_ms(), 0), ..Times::default() };
        let payload = self.time(Step::Seal, |own| {
            let sealed = seal::seal(&own.parts.sealer, &System, GROUP, times, commands);
            sealed.map(|command| command.encode())
        })?;
        let log_id = LogId { term: 2, replica: LEADER, index: self.last.index + 1 };
        let entry = self.time(Step::Append, |own| -> Outcome<Entry> {
            let stamp = stamping::last_after(own.stamp, COMMAND, &payload);
            let entry = Entry { log_id, kind: COMMAND, stamp: stamp.0, payload: payload.clone() };
            let machine = own.machine.clone();
            let done = Box::new(move |_| Watch::durable(&*machine, log_id));
            own.log.append(GROUP, vec![entry.clone()], done)?;
            own.log.step();
            own.stamp = stamp;
            Ok(entry)
        })?;
        let read = |own: &mut Self| own.log.entries(GROUP, log_id.index, log_id.index + 1, u64::MAX);
        let entries = self.time(Step::Read, read)?;
        let vote = Vote { term: log_id.term, replica: LEADER, is_committed: true };
        let append = Append { vote, prev: Some(self.last), entries, commit: Some(self.last) };
        let frame = self.frame(Message::Append(append));
        let bytes = self.time(Step::EncodeFrame, |_| frame.encode());
        let came = self.time(Step::DecodeFrame, |_| Frame::decode(&bytes)).map_err(::raft::Error::from)?;
        if !matches!(came.message, Message::Append(append) if append.entries == [entry]) {
            return Err("a frame brought another entry".into());
        }
        let frame = self.frame(Message::AppendReply(AppendReply::Accepted));
        let bytes = self.time(Step::EncodeAnswer, |_| frame.encode());
        self.time(Step::DecodeAnswer, |_| Frame::decode(&bytes)).map_err(::raft::Error::from)?;
        let from = thread_cpu_seconds();
        let replies = self.machine.apply_command(log_id, &payload).await?;
        self.spent_s[Step::Apply as usize] += thread_cpu_seconds() - from;
        if replies.replies.len() != commands.len() {
            return Err("a command has no reply".into());
        }
        self.last = log_id;
        Ok(())
    }

    fn frame(&self, message: Message) -> Frame {
        let (tag, durable) = (cluster_tag(CLUSTER, 1), self.log.durable());
        Frame {
            tag,
            group: GROUP,
            from: LEADER,
            to: ReplicaId(2),
            sequence: self.last.index,
            durable,
            message,
        }
    }

    fn figures(&self, commands: f64, cpu_s: f64, count: u64) -> Figures {
        let each_us = |seconds: f64| seconds / commands * 1e6;
        let sum = |weight: fn(&(Step, &str, f64, f64)) -> f64| -> f64 {
            STEPS.iter().map(|one| weight(one) * each_us(self.spent_s[one.0 as usize])).sum()
        };
        let (leader, follower) = (sum(|one| one.2), sum(|one| one.3));
        let mut all = Figures::from([
            ("commands_per_entry".to_owned(), count as f64),
            ("leader_us".to_owned(), leader),
            ("follower_us".to_owned(), follower),
            ("cluster_us".to_owned(), leader + FOLLOWERS * follower),
            ("background_us".to_owned(), each_us(cpu_s - self.spent_s.iter().sum::<f64>())),
        ]);
        let step =
            |one: &(Step, &str, f64, f64)| (one.1.to_owned() + "_us", each_us(self.spent_s[one.0 as usize]));
        all.extend(STEPS.iter().map(step));
        all
    }
}
