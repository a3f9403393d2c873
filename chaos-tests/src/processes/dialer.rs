//! Who has made a connection that arrives at a proxy: the process that owns its other end, as the system lists it.

use super::link::End;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The processes of the nodes.
#[derive(Debug, Default)]
pub struct Dialers(Mutex<BTreeMap<usize, u32>>);

impl Dialers {
    fn all(&self) -> MutexGuard<'_, BTreeMap<usize, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node at a place is this process now.
    pub fn learn(&self, place: usize, process: u32) {
        self.all().insert(place, process);
    }

    /// Who owns the connection from `far` to `near`. Whoever is no node counts as a client.
    #[must_use]
    pub fn dialed(&self, far: SocketAddr, near: SocketAddr) -> End {
        let Some(inode) = inode(&fs::read_to_string("/proc/net/tcp").unwrap_or_default(), far, near) else {
            return End::Clients;
        };
        let wanted = format!("socket:[{inode}]");
        let has = |process: u32| {
            let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
            open.flatten().any(|one| fs::read_link(one.path()).is_ok_and(|to| to.as_os_str() == &wanted[..]))
        };
        let nodes: Vec<(usize, u32)> = self.all().iter().map(|(place, process)| (*place, *process)).collect();
        nodes
            .into_iter()
            .find(|(_, process)| has(*process))
            .map_or(End::Clients, |(place, _)| End::Node(place))
    }
}

/// The number of the socket at `far`, whose peer is `near`, in the list of the system.
fn inode(list: &str, far: SocketAddr, near: SocketAddr) -> Option<u64> {
    let shown = |at: SocketAddr| match at {
        SocketAddr::V4(at) => Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(at.ip().octets()), at.port())),
        SocketAddr::V6(_) => None,
    };
    let (far, near) = (shown(far)?, shown(near)?);
    list.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1) == Some(&&far[..]) && fields.get(2) == Some(&&near[..]);
        fields.get(9).filter(|_| is_it)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[test]
    fn a_connection_belongs_to_the_process_that_made_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let near = listener.local_addr().unwrap();
        let far = TcpStream::connect(near).unwrap().local_addr().unwrap();
        let dialers = Dialers::default();
        assert_eq!(dialers.dialed(far, near), End::Clients, "no node is known");
        let kept = TcpStream::connect(near).unwrap();
        dialers.learn(3, std::process::id());
        assert_eq!(dialers.dialed(kept.local_addr().unwrap(), near), End::Node(3));
        dialers.learn(3, 0);
        assert_eq!(
            dialers.dialed(kept.local_addr().unwrap(), near),
            End::Clients,
            "another one is that node now"
        );
    }

    #[test]
    fn the_list_of_the_system_is_read_by_its_columns() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n";
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert_eq!(inode(list, at(8080), at(80)), Some(4711));
        assert_eq!(inode(list, at(80), at(8080)), None);
        assert_eq!(inode("", at(8080), at(80)), None);
    }
}
