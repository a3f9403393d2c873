//! Pure: what the value of a setting may be, and what is said of one that may not.

use super::value::{Bytes, Duration};
use crate::limits;
use crate::tenants::rules::is_name;
use core::net::{IpAddr, SocketAddr};

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A name: letters, digits, `-`, `_` and `.`.
    Name,
    /// A path on this machine. May be empty if it is not needed.
    Path {
        /// Whether it may be left out.
        is_optional: bool,
    },
    /// Address and port to listen at.
    Listen {
        /// Whether only addresses of this machine are allowed.
        is_loopback: bool,
    },
    /// Host and port under which others reach this node; empty: as it listens.
    Advertise,
    /// A duration from least to most, in milliseconds.
    Duration(u64, u64),
    /// A size from least to most, in bytes.
    Bytes(u64, u64),
    /// A number from least to most.
    Count(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Sites of an archive; none if it is empty.
    Sites,
    /// One site of an archive; none if it is empty.
    Site,
}

/// Host and port of an address that others reach.
fn is_reachable(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let is_everywhere = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    !host.is_empty() && host.len() <= 253 && host.chars().all(is_host) && !is_everywhere && is_port
}

impl Shape {
    /// What is wrong with a value, if anything is.
    #[must_use]
    pub fn complaint(&self, text: &str) -> Option<String> {
        let range = |wanted: &str, found: Option<bool>| match found {
            Some(true) => None,
            Some(false) => Some(format!("it must lie within {}", self.range())),
            None => Some(format!("it must be {wanted}")),
        };
        match *self {
            Self::Name => (!is_name(text)).then(|| {
                format!(
                    "it must be 1 to {} letters, digits, `-`, `_` or `.`, and begin with a letter or digit",
                    limits::NAME_BYTES_MAX
                )
            }),
            Self::Path { is_optional } => {
                (!is_optional && text.is_empty()).then(|| "it must be a path".to_owned())
            }
            Self::Listen { is_loopback } => match text.parse::<SocketAddr>() {
                Err(_) => Some("it must be an address and a port, like 0.0.0.0:7400".to_owned()),
                Ok(address) if is_loopback && !address.ip().is_loopback() => {
                    Some("it must be an address of this machine, like 127.0.0.1:7403: what it serves is not sealed".to_owned())
                }
                Ok(_) => None,
            },
            Self::Advertise => (!(text.is_empty() || is_reachable(text)))
                .then(|| "it must be a host and a port that others reach, like node-1.example:7400".to_owned()),
            Self::Duration(least, most) => {
                let found = Duration::parse(text).map(|value| (least..=most).contains(&value.ms()));
                range("a duration with its unit, like 250ms, 5s or 7d", found)
            }
            Self::Bytes(least, most) => {
                let found = Bytes::parse(text).map(|value| (least..=most).contains(&value.get()));
                range("a size with its unit, like 64 KiB or 8 MiB", found)
            }
            Self::Count(least, most) => {
                let found = text.parse::<u64>().ok().map(|value| (least..=most).contains(&value));
                range("a whole number", found)
            }
            Self::Sites => crate::archive::sites::parse(text).err(),
            Self::Site => match crate::archive::sites::parse(text) {
                Ok(sites) if sites.len() > 1 => Some("it must be one site".to_owned()),
                parsed => parsed.err(),
            },
            Self::Word(words) => {
                (!words.contains(&text)).then(|| format!("it must be one of {}", words.join(", ")))
            }
        }
    }

    /// Least and most, in words.
    #[must_use]
    pub fn range(&self) -> String {
        match *self {
            Self::Name => "a name".to_owned(),
            Self::Path { .. } => "a path".to_owned(),
            Self::Listen { is_loopback: true } => "address:port of this machine".to_owned(),
            Self::Listen { is_loopback: false } => "address:port".to_owned(),
            Self::Advertise => "host:port".to_owned(),
            Self::Duration(least, most) => {
                format!("{} to {}", Duration::from_ms(least), Duration::from_ms(most))
            }
            Self::Bytes(least, most) => format!("{} to {}", Bytes::new(least), Bytes::new(most)),
            Self::Count(least, most) => format!("{least} to {most}"),
            Self::Word(words) => words.join(", "),
            Self::Sites => "NAME=URL;... NAME=URL;...".to_owned(),
            Self::Site => "NAME=URL;...".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::find;

    #[test]
    fn values_are_held_to_their_shapes() {
        let complaint = |key: &str, text: &str| find(key).unwrap().shape.complaint(text);
        for (key, text) in [
            ("name", "Node 1"),
            ("name", "-x"),
            ("name", ""),
            ("listen.client", "7400"),
            ("listen.metrics", "0.0.0.0:7403"),
            ("advertise.peer", "0.0.0.0:7402"),
            ("advertise.peer", "host"),
            ("advertise.peer", "host:0"),
            ("raft.heartbeat", "250"),
            ("raft.heartbeat", "1ms"),
            ("raft.heartbeat", "1h"),
            ("kms.memory", "8 MiB"),
            ("kms.memory", "2 GiB"),
            ("shards", "0"),
            ("shards", "many"),
            ("disk.warn_percent", "100"),
            ("data_dir", ""),
        ] {
            assert!(complaint(key, text).is_some(), "{key} = {text}");
        }
        for (key, text) in [
            ("name", "node-1.a_b"),
            ("listen.client", "[::]:7400"),
            ("listen.metrics", "[::1]:7403"),
            ("advertise.peer", "[fd00::1]:7402"),
            ("advertise.peer", "node-1.example:7402"),
            ("raft.heartbeat", "10ms"),
            ("kms.memory", "19 MiB"),
            ("kms.memory", "1 GiB"),
        ] {
            assert_eq!(complaint(key, text), None, "{key} = {text}");
        }
    }
}
