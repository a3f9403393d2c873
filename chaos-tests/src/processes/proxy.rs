//! All connections of a cluster pass here: those between nodes, and those of clients. Each direction of each link can be cut, delayed,
//! throttled, stopped, or left half open by itself. What the bytes say is sealed and is not looked into.

use super::dialer::Dialers;
use super::link::{End, Links, Way};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes that are taken at once.
const PIECE_BYTES: usize = 16 << 10;
/// Pieces on their way in one direction of a connection: 2 MiB, about what a system keeps in flight.
const PIECES_MAX: usize = 128;

/// Which door of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// Where other nodes connect.
    Peer,
    /// Where clients connect.
    Client,
}

/// What leads where.
#[derive(Debug, Default)]
struct Doors {
    targets: BTreeMap<(usize, Door), SocketAddr>,
    /// Whatever client's door is knocked at, this node's opens.
    only: Option<usize>,
}

/// The proxy of a cluster.
#[derive(Clone)]
pub struct Proxy {
    links: Arc<watch::Sender<Links>>,
    doors: Arc<Mutex<Doors>>,
    /// Whose connection is whose.
    pub dialers: Arc<Dialers>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            links: Arc::new(watch::Sender::new(Links::default())),
            doors: Arc::default(),
            dialers: Arc::default(),
        }
    }
}

impl Proxy {
    fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a door of the node at a place; its address is what others are told. Where it leads is said later, by [`Proxy::lead`].
    ///
    /// # Errors
    /// No port is free.
    pub async fn open(&self, place: usize, door: Door) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let at = listener.local_addr()?;
        let proxy = self.clone();
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((near, far)) => {
                        drop(tokio::spawn(proxy.clone().carry(near, (far, at), (place, door))))
                    }
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
            }
        });
        Ok(at)
    }

    /// Says where a door leads.
    pub fn lead(&self, place: usize, door: Door, to: SocketAddr) {
        self.doors().targets.insert((place, door), to);
    }

    /// From now on new connections of clients come to this node alone, whomever they ask for; those that stand end.
    pub fn lead_only(&self, place: Option<usize>) {
        self.doors().only = place;
    }

    /// Changes links.
    pub fn change(&self, change: impl FnOnce(&mut Links)) {
        self.links.send_modify(change);
    }

    fn target(&self, place: usize, door: Door) -> Option<(SocketAddr, usize)> {
        let doors = self.doors();
        let place = doors.only.filter(|_| door == Door::Client).unwrap_or(place);
        doors.targets.get(&(place, door)).map(|to| (*to, place))
    }

    /// Carries one connection until it ends.
    async fn carry(self, mut near: TcpStream, ends: (SocketAddr, SocketAddr), (place, door): (usize, Door)) {
        let dialers = self.dialers.clone();
        let looked = tokio::task::spawn_blocking(move || dialers.dialed(ends.0, ends.1)).await;
        let from = looked.unwrap_or(End::Clients);
        let mut links = self.links.subscribe();
        let Some((to, place)) = self.target(place, door) else { return };
        let to = (to, End::Node(place));
        let way = links.borrow_and_update().way(from, to.1);
        if way.is_cut {
            return;
        }
        if way.is_half_open || !self.join(&mut near, from, to, &mut links).await {
            swallow(&mut near, from, to.1, &mut links).await;
        }
    }

    /// Moves bytes both ways. False if the connection is half open from now on; its other end is closed then.
    async fn join(
        &self,
        near: &mut TcpStream,
        from: End,
        (at, to): (SocketAddr, End),
        links: &mut watch::Receiver<Links>,
    ) -> bool {
        let Ok(mut far) = TcpStream::connect(at).await else { return true };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let ((near_read, near_write), (far_read, far_write)) = (near.split(), far.split());
        let forth = pump(near_read, far_write, self.links.subscribe(), (from, to));
        let back = pump(far_read, near_write, self.links.subscribe(), (to, from));
        let ends = |way: Way| way.is_cut || way.is_half_open;
        tokio::select! {
            _ = async { tokio::try_join!(forth, back) } => true,
            way = until(links, from, to, ends) => !way.is_half_open,
        }
    }
}

/// Waits until a direction is as `is_so` wants it.
async fn until(links: &mut watch::Receiver<Links>, from: End, to: End, is_so: impl Fn(Way) -> bool) -> Way {
    loop {
        let way = links.borrow_and_update().way(from, to);
        if is_so(way) {
            return way;
        }
        if links.changed().await.is_err() {
            // The proxy is gone, and everything with it.
            return std::future::pending().await;
        }
    }
}

/// Takes what comes and answers nothing, until the link is well again.
async fn swallow(near: &mut TcpStream, from: End, to: End, links: &mut watch::Receiver<Links>) {
    let mut piece = vec![0; PIECE_BYTES];
    let read = async { while near.read(&mut piece).await.is_ok_and(|bytes| bytes > 0) {} };
    tokio::select! {
        () = read => {}
        _ = until(links, from, to, |way| !way.is_half_open) => {}
    }
}

/// Moves bytes one way until they end.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut links: watch::Receiver<Links>,
    (here, there): (End, End),
) -> io::Result<()> {
    let (say, mut heard) = mpsc::channel(PIECES_MAX);
    let seen = links.clone();
    let read = async move {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let bytes = from.read(&mut piece).await?;
            let delay = Duration::from_millis(seen.borrow().way(here, there).delay_ms);
            if bytes == 0 || say.send((Instant::now() + delay, piece[..bytes].to_vec())).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, bytes)) = heard.recv().await {
            sleep_until(at).await;
            let way = until(&mut links, here, there, |way| !way.is_still).await;
            if let Some(rate) = way.bytes_per_second {
                sleep(Duration::from_micros(bytes.len() as u64 * 1_000_000 / rate.max(1))).await;
            }
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: End = End::Node(0);

    /// A server that says what it hears back, behind a proxy; and a connection to it.
    async fn echo() -> (Proxy, SocketAddr) {
        let proxy = Proxy::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        proxy.lead(0, Door::Client, listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut one, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut read, mut write) = one.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let at = proxy.open(0, Door::Client).await.unwrap();
        (proxy, at)
    }

    async fn said(to: &mut TcpStream, word: &[u8]) -> io::Result<Vec<u8>> {
        to.write_all(word).await?;
        let mut back = vec![0; word.len()];
        to.read_exact(&mut back).await?;
        Ok(back)
    }

    async fn is_silent(to: &mut TcpStream) -> bool {
        let mut one = [0];
        tokio::time::timeout(Duration::from_millis(300), to.read(&mut one)).await.is_err()
    }

    #[tokio::test]
    async fn bytes_pass_until_the_link_is_cut() {
        let (proxy, at) = echo().await;
        let mut one = TcpStream::connect(at).await.unwrap();
        let long = vec![7; 300_000];
        assert_eq!(said(&mut one, b"hello").await.unwrap(), b"hello");
        let (mut read, mut write) = one.split();
        let mut back = vec![0; long.len()];
        let (sent, heard) = tokio::join!(write.write_all(&long), read.read_exact(&mut back));
        assert!(sent.is_ok() && heard.is_ok() && back == long);
        proxy.change(|links| links.change(End::Clients, THERE, |way| way.is_cut = true));
        assert_eq!(one.read(&mut [0]).await.unwrap_or(0), 0, "it has ended");
        let mut two = TcpStream::connect(at).await.unwrap();
        assert!(said(&mut two, b"x").await.is_err());
        proxy.change(Links::heal);
        assert_eq!(said(&mut TcpStream::connect(at).await.unwrap(), b"again").await.unwrap(), b"again");
    }

    #[tokio::test]
    async fn one_direction_stands_still_and_nothing_is_lost() {
        let (proxy, at) = echo().await;
        let mut one = TcpStream::connect(at).await.unwrap();
        assert_eq!(said(&mut one, b"a").await.unwrap(), b"a");
        for (from, to) in [(End::Clients, THERE), (THERE, End::Clients)] {
            proxy.change(|links| links.change(from, to, |way| way.is_still = true));
            one.write_all(b"b").await.unwrap();
            assert!(is_silent(&mut one).await);
            proxy.change(Links::heal);
            let mut back = [0];
            one.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"b");
        }
    }

    #[tokio::test]
    async fn a_half_open_connection_answers_nothing_and_ends_when_it_heals() {
        let (proxy, at) = echo().await;
        let mut one = TcpStream::connect(at).await.unwrap();
        assert_eq!(said(&mut one, b"a").await.unwrap(), b"a");
        proxy.change(|links| links.change(End::Clients, THERE, |way| way.is_half_open = true));
        sleep(Duration::from_millis(50)).await;
        one.write_all(b"b").await.unwrap();
        assert!(is_silent(&mut one).await);
        let mut two = TcpStream::connect(at).await.unwrap();
        two.write_all(b"c").await.unwrap();
        assert!(is_silent(&mut two).await, "a new one leads nowhere either");
        proxy.change(Links::heal);
        for mut ended in [one, two] {
            assert_eq!(ended.read(&mut [0]).await.unwrap_or(0), 0);
        }
    }

    #[tokio::test]
    async fn delay_and_rate_hold_back_and_keep_the_order() {
        let (proxy, at) = echo().await;
        let mut one = TcpStream::connect(at).await.unwrap();
        proxy.change(|links| links.change(THERE, End::Clients, |way| way.delay_ms = 200));
        let begun = Instant::now();
        assert_eq!(said(&mut one, b"late").await.unwrap(), b"late");
        assert!(begun.elapsed() >= Duration::from_millis(200));
        proxy.change(|links| {
            links.heal();
            links.change(End::Clients, THERE, |way| way.bytes_per_second = Some(10_000));
        });
        let begun = Instant::now();
        let word: Vec<u8> = (0..2_000).map(|n| n as u8).collect();
        assert_eq!(said(&mut one, &word).await.unwrap(), word);
        assert!(begun.elapsed() >= Duration::from_millis(200));
    }
}
