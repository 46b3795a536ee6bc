//! How many connections without a certificate one address has open.
//!
//! Anybody may open them, since a new agent has no certificate; one address may therefore not have all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by address; an entry lives as long as a connection it counts.
#[derive(Debug)]
pub(crate) struct Sources {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

/// One connection's place among its source's.
pub(crate) struct Place {
    /// Counts until dropped.
    pub held: Entered,
    /// Whether the source has more than it may.
    pub over: bool,
}

/// Counts as one of its source until dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    ip: IpAddr,
}

impl Sources {
    pub(crate) fn new(most: usize) -> Self {
        Self { open: Arc::default(), most }
    }

    /// One more from this address. An IPv6 host has at least a /64 of its own, so that is what counts as one.
    pub(crate) fn enter(&self, ip: IpAddr) -> Place {
        let ip = source(ip);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(ip).or_insert(0);
        *count += 1;
        let over = *count > self.most;
        Place { held: Entered { open: Arc::clone(&self.open), ip }, over }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.ip);
            }
        }
    }
}

fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let network = ip.to_bits() & (u128::MAX << 64);
            IpAddr::V6(network.into())
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_have_all_places_and_others_are_not_touched() {
        let sources = Sources::new(2);
        let ip: IpAddr = "192.0.2.1".parse().expect("an address");
        let held: Vec<_> = (0..2).map(|_| sources.enter(ip)).collect();
        assert!(held.iter().all(|place| !place.over));
        assert!(sources.enter(ip).over);
        assert!(!sources.enter("192.0.2.2".parse().expect("an address")).over);
        drop(held);
        assert!(!sources.enter(ip).over);
        assert!(sources.open.lock().expect("not poisoned").is_empty(), "nothing is kept of who left");
    }

    #[test]
    fn an_ipv6_network_counts_as_one_source() {
        let sources = Sources::new(1);
        let _first = sources.enter("2001:db8::1".parse().expect("an address"));
        assert!(sources.enter("2001:db8::2".parse().expect("an address")).over);
        assert!(!sources.enter("2001:db8:0:1::2".parse().expect("an address")).over);
        let _mapped = sources.enter("::ffff:192.0.2.1".parse().expect("an address"));
        assert!(sources.enter("192.0.2.1".parse().expect("an address")).over);
    }
}
