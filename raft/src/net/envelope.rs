use super::message::Message;
use crate::types::{GroupId, ReplicaId};
use bytes::Bytes;
use engine::error::{Damage, Nature};
use engine::ids::ClusterId;
use engine::wire::Reader;
pub struct Frame {
    pub tag: u64,
    pub group: GroupId,
    pub from: ReplicaId,
    pub to: ReplicaId,
    pub sequence: u64,
    pub durable: u64,
    pub message: Message,
}
pub fn cluster_tag(cluster: ClusterId, generation: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&[&cluster.0[..], &generation.to_be_bytes()].concat())
}
impl Frame {
    pub fn encode(&self) -> Bytes {
        let mut out = vec![self.message.kind()];
        for n in [self.tag, self.group.0, self.from.0, self.to.0, self.sequence, self.durable] {
            out.extend_from_slice(&n.to_be_bytes());
        }
        self.message.append_body(&mut out);
        out.into()
    }
    pub fn decode(bytes: &Bytes) -> Result<Self, Damage> {
        let mut r = Reader::new(bytes);
        let kind = r.u8()?;
        let (tag, group, from, to, sequence, durable) =
            (r.u64()?, GroupId(r.u64()?), ReplicaId(r.u64()?), ReplicaId(r.u64()?), r.u64()?, r.u64()?);
        let at = bytes.len() - r.left();
        let _ = Nature::Rot;
        Ok(Self {
            tag,
            group,
            from,
            to,
            sequence,
            durable,
            message: Message::decode(kind, &bytes.slice(at..))?,
        })
    }
}
