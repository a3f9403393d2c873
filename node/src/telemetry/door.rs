//! The door for whoever reads the metrics: `GET /metrics` of HTTP/1.1, one request a connection, without TLS, for this machine alone. It
//! speaks no more of HTTP than that: what it does not know ends the connection.

use super::limits::{ANSWER_MS, READERS, REQUEST_BYTES_MAX, REQUEST_MS};
use crate::work::Spawner;
use crate::work::crowd::{Crowd, Place};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// After the system has refused to let somebody in, in milliseconds.
const BREATH_MS: u64 = 50;
/// What makes the text that is served.
pub type Exposes = Arc<dyn Fn() -> String + Send + Sync>;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The metrics.
    Metrics,
    /// The metrics without themselves.
    Head,
    /// Something else.
    Elsewhere,
    /// In another way.
    Otherwise,
    /// What is no request.
    Nothing,
}

/// Listens at `at`.
///
/// # Errors
/// The address is taken.
pub async fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(at).await
}

/// Answers connections of `listener`, until the tasks end.
pub async fn serve(listener: TcpListener, exposes: Exposes, spawner: Spawner) {
    let readers = Arc::new(Crowd::new(READERS));
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let (place, exposes) = (readers.enter(from.ip().into()), exposes.clone());
                spawner.spawn("metrics reader", answer(stream, place, exposes));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be taken");
                sleep(Duration::from_millis(BREATH_MS)).await;
            }
        }
    }
}

/// Pure: what the head of a request asks for.
fn asked(head: &[u8]) -> Asked {
    let Some(line) = head.split(|byte| *byte == b'\n').next() else { return Asked::Nothing };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else { return Asked::Nothing };
    if ![b"HTTP/1.1", b"HTTP/1.0"].iter().any(|known| version == &known[..]) {
        return Asked::Nothing;
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    match (method, path) {
        (b"GET", b"/metrics") => Asked::Metrics,
        (b"HEAD", b"/metrics") => Asked::Head,
        (b"GET" | b"HEAD", _) => Asked::Elsewhere,
        _ => Asked::Otherwise,
    }
}

/// Reads the head of a request; nothing if none comes whole.
async fn head(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut piece = [0; 1_024];
    while head.len() < REQUEST_BYTES_MAX {
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        head.extend_from_slice(&piece[..read]);
        let ends = |end: &[u8]| head.windows(end.len()).any(|window| window == end);
        if ends(b"\r\n\r\n") || ends(b"\n\n") {
            return Some(head);
        }
    }
    None
}

fn answered(status: &str, kind: &str, body: &str, is_head: bool) -> String {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if is_head { head } else { head + body }
}

async fn answer(mut stream: TcpStream, mut place: Place, exposes: Exposes) {
    let talk = async {
        let head = timeout(Duration::from_millis(REQUEST_MS), head(&mut stream)).await.ok().flatten();
        let asked = head.map_or(Asked::Nothing, |head| asked(&head));
        let (status, body) = match asked {
            Asked::Metrics | Asked::Head => ("200 OK", exposes()),
            Asked::Elsewhere => ("404 Not Found", "only /metrics is here\n".to_owned()),
            Asked::Otherwise => ("405 Method Not Allowed", "only GET is answered\n".to_owned()),
            Asked::Nothing => return,
        };
        let kind = match asked {
            Asked::Metrics | Asked::Head => "text/plain; version=0.0.4; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        };
        let answer = answered(status, kind, &body, asked == Asked::Head);
        // Whoever has gone does not need it.
        let sent = async {
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        };
        let _ = timeout(Duration::from_millis(ANSWER_MS), sent).await;
    };
    tokio::select! {
        () = talk => {}
        () = place.goes() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_metrics_are_asked_for() {
        for (head, wanted) in [
            ("GET /metrics HTTP/1.1\r\n\r\n", Asked::Metrics),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", Asked::Metrics),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", Asked::Head),
            ("GET / HTTP/1.1\r\n\r\n", Asked::Elsewhere),
            ("GET /metrics/../x HTTP/1.1\r\n\r\n", Asked::Elsewhere),
            ("POST /metrics HTTP/1.1\r\n\r\n", Asked::Otherwise),
            ("GET  /metrics HTTP/1.1\r\n\r\n", Asked::Nothing),
            ("GET /metrics HTTP/2.0\r\n\r\n", Asked::Nothing),
            ("GET /metrics\r\n\r\n", Asked::Nothing),
            ("\r\n\r\n", Asked::Nothing),
            ("", Asked::Nothing),
        ] {
            assert_eq!(asked(head.as_bytes()), wanted, "{head:?}");
        }
    }
}
