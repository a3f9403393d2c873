//! Requests as the last release wrote them (`proto/released/messages-v1.txt`), byte by byte, are answered as they were.

use super::rig::{channel, one, soon};
use bytes::{Buf, BufMut, Bytes};
use futures_util::{StreamExt as _, stream};
use node::api::errors::failure_in;
use prost::Message;
use proto::errors::code;
use proto::v1;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

const RELEASED: &str = include_str!("../../../proto/released/messages-v1.txt");

/// Hands on bytes as they are.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

/// What the first answer is; or the code of the failure.
async fn answer(channel: Channel, path: &'static str, bytes: Bytes) -> Result<Bytes, u32> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let is_stream = path.ends_with("/Stream") || path.ends_with("/Watch");
    // On these the caller goes on talking.
    let rest = if is_stream { stream::pending().boxed() } else { stream::empty().boxed() };
    let said = Request::new(stream::iter([bytes]).chain(rest));
    let failed =
        |status: Status| failure_in(&status).map_or_else(|| panic!("{path}: {status}"), |told| told.code);
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
    let mut answers = grpc.streaming(said, path, Plain).await.map_err(failed)?.into_inner();
    Ok(answers.message().await.map_err(failed)?.expect("an answer"))
}

/// Whether an answer is what it should be.
fn is_right(name: &str, answered: &Result<Bytes, u32>) -> bool {
    fn read<M: Message + Default>(bytes: &Bytes) -> M {
        M::decode(bytes.clone()).unwrap()
    }
    let value = |version: Option<v1::Version>| version.map(|version| version.value);
    match (name, answered) {
        ("put" | "delete_range" | "batch", Ok(bytes)) => read::<v1::WriteResponse>(bytes).stamp > 0,
        ("put_too_late", Err(why)) => *why == code::REQUEST_EXPIRED,
        ("delete", Err(why)) => *why == code::CONDITION_FAILED,
        ("outcome", Ok(bytes)) => {
            matches!(read::<v1::OutcomeResponse>(bytes).what, Some(v1::outcome_response::What::Forgotten(_)))
        }
        ("get", Ok(bytes)) => value(read::<v1::GetResponse>(bytes).version) == Some("value".into()),
        ("multi_get", Ok(bytes)) => {
            let found = read::<v1::MultiGetResponse>(bytes).versions;
            found.len() == 2 && found[0].version.is_some() && found[1].version.is_none()
        }
        ("scan", Ok(bytes)) => read::<v1::ScanPage>(bytes).rows.len() == 1,
        ("history", Ok(bytes)) => read::<v1::HistoryPage>(bytes).versions.len() == 1,
        ("stream", Ok(bytes)) => {
            let told = read::<v1::StreamResponse>(bytes);
            told.call == 77 && matches!(told.what, Some(v1::stream_response::What::Get(_)))
        }
        ("watch", Ok(bytes)) => {
            matches!(read::<v1::WatchResponse>(bytes).what, Some(v1::watch_response::What::Progress(_)))
        }
        ("hello", Ok(bytes)) => read::<v1::HelloResponse>(bytes).protocol_min == 1,
        ("route", Ok(bytes)) => read::<v1::RouteResponse>(bytes).shards.len() == 1,
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_the_last_release_are_answered() {
    let one = one(&[]).await;
    one.tenant("acme").await;
    let clients = channel(one.doors.client, &one.service("acme"));
    let mut tried = 0;
    for line in RELEASED.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [name, path, hex] = words[..] else { panic!("{line}") };
        if path == "-" {
            continue;
        }
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let answered = soon(answer(clients.clone(), path, bytes.into())).await;
        assert!(is_right(name, &answered), "{name}: {answered:?}");
        tried += 1;
    }
    assert!(tried >= 14, "{tried}");
    one.server.stop(0).await;
}
