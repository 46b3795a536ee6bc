//! The PROXY protocol: where a connection really comes from, said in front of it by a balancer before this door, and
//! by this door to masters that ask for it.
//!
//! Both versions of HAProxy's specification are read, from bytes that may come in any pieces. A decision is made once:
//! more bytes never reverse an answer other than [`Parsed::NeedMore`], and by [`MOST`] bytes there is one. Whoever may
//! say where a connection comes from is the caller's rule; it is never anybody by default, since these few bytes
//! decide whom an address is taken for. What it refuses to do: believe anything but addresses. TLVs are skipped.
#![deny(clippy::disallowed_methods)]

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use stagedoor_config::proxy::ProxyVersion;

/// The most bytes a header may have: addresses, and TLVs that nobody here reads. Cloud balancers send some dozens of
/// bytes of them, HAProxy with every option but the client's whole certificate some hundreds.
pub const MOST: usize = 4096;

/// The longest line of version 1, its end included, by the specification.
const V1_MOST: usize = 107;
const V1_BEGINS: &[u8] = b"PROXY ";
const V2_BEGINS: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 2 has before its addresses.
const V2_HEADER: usize = 16;

/// What the bytes read so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// Too few to tell.
    NeedMore,
    /// A whole header.
    Header {
        /// Whose connection it is; none where the balancer speaks for itself (its health check), or does not know: the
        /// TCP connection's own addresses hold then.
        addresses: Option<Addresses>,
        /// How many bytes it has; what follows is the client's.
        length: usize,
    },
    /// No header, or one that says nothing clear.
    Broken,
}

/// Both ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client's.
    pub source: SocketAddr,
    /// Where the client connected to.
    pub destination: SocketAddr,
}

/// Judges what was read so far.
#[must_use]
pub fn parse(read: &[u8]) -> Parsed {
    if V1_BEGINS.starts_with(read) || V2_BEGINS.starts_with(read) {
        return Parsed::NeedMore;
    }
    if read.starts_with(V1_BEGINS) {
        return v1(read);
    }
    if read.starts_with(V2_BEGINS) {
        return v2(read);
    }
    Parsed::Broken
}

fn v1(read: &[u8]) -> Parsed {
    let window = read.get(..V1_MOST).unwrap_or(read);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() < V1_MOST { Parsed::NeedMore } else { Parsed::Broken };
    };
    let words = window
        .get(V1_BEGINS.len()..end)
        .and_then(|words| words.strip_suffix(b"\r"))
        .and_then(|words| std::str::from_utf8(words).ok());
    let Some(words) = words else { return Parsed::Broken };
    let addresses = match words.split_once(' ').unwrap_or((words, "")) {
        // Whatever follows is to be ignored.
        ("UNKNOWN", _) => None,
        ("TCP4", ends) => match v1_ends(ends, |ip| ip.parse().ok().map(IpAddr::V4)) {
            None => return Parsed::Broken,
            known => known,
        },
        ("TCP6", ends) => match v1_ends(ends, |ip| ip.parse().ok().map(IpAddr::V6)) {
            None => return Parsed::Broken,
            known => known,
        },
        _ => return Parsed::Broken,
    };
    Parsed::Header { addresses, length: end + 1 }
}

/// `source destination source-port destination-port`, one space between each.
fn v1_ends(text: &str, ip: impl Fn(&str) -> Option<IpAddr>) -> Option<Addresses> {
    let port = |text: &str| {
        let plain = text == "0" || !text.starts_with('0');
        (plain && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<u16>().ok())?
    };
    let mut words = text.split(' ');
    let (source, destination) = (ip(words.next()?)?, ip(words.next()?)?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then_some(Addresses {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    })
}

fn v2(read: &[u8]) -> Parsed {
    let Some((header, rest)) = read.split_at_checked(V2_HEADER) else {
        // Version, command and family are judged as they come.
        let known = match (read.get(12), read.get(13)) {
            (None, _) => true,
            (Some(byte), None) => command(*byte).is_some(),
            (Some(byte), Some(families)) => command(*byte).is_some_and(|of| family(of, *families).is_some()),
        };
        return if known { Parsed::NeedMore } else { Parsed::Broken };
    };
    let &[.., versioned, families, high, low] = header else { return Parsed::Broken };
    let Some(command) = command(versioned) else { return Parsed::Broken };
    let Some(family) = family(command, families) else { return Parsed::Broken };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_HEADER + length > MOST {
        return Parsed::Broken;
    }
    let ends = match family {
        Family::V4 => 12,
        Family::V6 => 36,
        Family::Other => 0,
    };
    if length < ends {
        return Parsed::Broken;
    }
    let Some(said) = rest.get(..length) else { return Parsed::NeedMore };
    let addresses = match family {
        Family::V4 => v2_ends::<4>(said),
        Family::V6 => v2_ends::<16>(said),
        Family::Other => None,
    };
    Parsed::Header { addresses, length: V2_HEADER + length }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    /// The balancer's own connection.
    Local,
    /// Somebody else's.
    Proxy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    /// No TCP address of somebody else's: a balancer's own connection, or not told, a Unix socket, datagrams.
    Other,
}

const fn command(byte: u8) -> Option<Command> {
    match byte {
        0x20 => Some(Command::Local),
        0x21 => Some(Command::Proxy),
        _ => None,
    }
}

const fn family(of: Command, byte: u8) -> Option<Family> {
    match (byte >> 4, byte & 0xf) {
        // By the specification whatever stands there says nothing.
        _ if matches!(of, Command::Local) => Some(Family::Other),
        (1, 1) => Some(Family::V4),
        (2, 1) => Some(Family::V6),
        (0..=3, 0..=2) => Some(Family::Other),
        _ => None,
    }
}

fn v2_ends<const N: usize>(said: &[u8]) -> Option<Addresses>
where
    IpAddr: From<[u8; N]>,
{
    let ip = |at: usize| Some(IpAddr::from(<[u8; N]>::try_from(said.get(at..at + N)?).ok()?));
    let port = |at: usize| Some(u16::from_be_bytes(said.get(at..at + 2)?.try_into().ok()?));
    Some(Addresses {
        source: SocketAddr::new(ip(0)?, port(2 * N)?),
        destination: SocketAddr::new(ip(N)?, port(2 * N + 2)?),
    })
}

/// Appends the header that says these addresses.
pub fn append(to: &mut Vec<u8>, version: ProxyVersion, addresses: Addresses) {
    let (source, destination) = (addresses.source, addresses.destination);
    let ports = (source.port(), destination.port());
    match (version, one_family(source.ip(), destination.ip())) {
        (ProxyVersion::V1, Ips::V4(from, at)) => {
            to.extend_from_slice(format!("PROXY TCP4 {from} {at} {} {}\r\n", ports.0, ports.1).as_bytes());
        }
        (ProxyVersion::V1, Ips::V6(from, at)) => {
            to.extend_from_slice(format!("PROXY TCP6 {from} {at} {} {}\r\n", ports.0, ports.1).as_bytes());
        }
        (ProxyVersion::V2, Ips::V4(from, at)) => append_v2(to, 0x11, from.octets(), at.octets(), ports),
        (ProxyVersion::V2, Ips::V6(from, at)) => append_v2(to, 0x21, from.octets(), at.octets(), ports),
    }
}

fn append_v2<const N: usize>(to: &mut Vec<u8>, family: u8, from: [u8; N], at: [u8; N], ports: (u16, u16)) {
    to.extend_from_slice(V2_BEGINS);
    // Two addresses and two ports: 12 or 36 bytes.
    to.extend_from_slice(&[0x21, family, 0, if N == 4 { 12 } else { 36 }]);
    to.extend_from_slice(&from);
    to.extend_from_slice(&at);
    to.extend_from_slice(&ports.0.to_be_bytes());
    to.extend_from_slice(&ports.1.to_be_bytes());
}

enum Ips {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// Both in one family, as the protocol has it: IPv4 where both are, however they were written.
fn one_family(from: IpAddr, at: IpAddr) -> Ips {
    let wide = |ip| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    match (from.to_canonical(), at.to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(at)) => Ips::V4(from, at),
        (from, at) => Ips::V6(wide(from), wide(at)),
    }
}
