//! What one address may have at once of what anybody may have.
//!
//! A new agent has no certificate, so anybody may open connections, begin handshakes and stop there. One address may
//! not take all of the places: of connections without a certificate it has its bound, of the handshakes under way a
//! quarter, of all connections half while nobody knows yet who they are, and of those that are passed, of whom the door
//! never knows it, half: a site of thousands behind one address has room there, and not all of it. A site behind one
//! translated address waits for its own handshakes, milliseconds each; an attacker who stalls waits for nobody but
//! himself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stagedoor_config::proxy::Bounds;
use tokio::sync::Semaphore;

/// Counts by address; an entry lives as long as something it counts.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    here: Arc<Mutex<HashMap<IpAddr, Source>>>,
    most_unknown: usize,
    most_handshakes: usize,
    most_connections: usize,
    most_passed: usize,
}

#[derive(Debug)]
struct Source {
    /// Connections of any kind that look at this entry.
    users: usize,
    /// Connections without a certificate.
    unknown: usize,
    /// Connections that are passed.
    passed: usize,
    handshakes: Arc<Semaphore>,
}

/// One connection among its source's, until dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    sources: Sources,
    ip: IpAddr,
    /// The source's places for handshakes.
    pub handshakes: Arc<Semaphore>,
    unknown: bool,
    passed: bool,
}

impl Sources {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        Self {
            here: Arc::default(),
            most_unknown: bounds.unauthenticated_per_source,
            most_handshakes: (bounds.handshakes / 4).max(1),
            most_connections: (bounds.connections / 2).max(1),
            most_passed: (bounds.passed / 2).max(1),
        }
    }

    /// One more connection from this address; none when it has half of all that may be open. Dropped as soon as the
    /// connection turns out to be a verified agent's: those count for the bound of all connections alone.
    pub(crate) fn enter(&self, ip: IpAddr) -> Option<Entered> {
        let ip = source(ip);
        let mut here = self.lock();
        let source = here.entry(ip).or_insert_with(|| Source {
            users: 0,
            unknown: 0,
            passed: 0,
            handshakes: Arc::new(Semaphore::new(self.most_handshakes)),
        });
        if source.users >= self.most_connections {
            return None;
        }
        source.users += 1;
        let handshakes = Arc::clone(&source.handshakes);
        Some(Entered { sources: self.clone(), ip, handshakes, unknown: false, passed: false })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Source>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered {
    /// It has shown no certificate; answers whether its source now has more such connections than it may.
    pub(crate) fn unknown(&mut self) -> bool {
        let mut here = self.sources.lock();
        let Some(source) = here.get_mut(&self.ip) else { return false };
        if !self.unknown {
            source.unknown += 1;
            self.unknown = true;
        }
        source.unknown > self.sources.most_unknown
    }

    /// It is to be passed; answers whether its source now has more such connections than it may.
    pub(crate) fn passed(&mut self) -> bool {
        let mut here = self.sources.lock();
        let Some(source) = here.get_mut(&self.ip) else { return false };
        if !self.passed {
            source.passed += 1;
            self.passed = true;
        }
        source.passed > self.sources.most_passed
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut here = self.sources.lock();
        let Some(source) = here.get_mut(&self.ip) else { return };
        source.users -= 1;
        source.unknown -= usize::from(self.unknown);
        source.passed -= usize::from(self.passed);
        if source.users == 0 {
            here.remove(&self.ip);
        }
    }
}

/// What counts as one: an address, or an IPv6 network of 64 bits, which is the least that a host has to itself.
pub(crate) fn source(ip: IpAddr) -> IpAddr {
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

    fn sources(unauthenticated_per_source: usize, handshakes: usize) -> Sources {
        let bounds = Bounds { unauthenticated_per_source, handshakes, connections: 8, ..Bounds::default() };
        Sources::new(&bounds)
    }

    fn enter(sources: &Sources, ip: &str) -> Option<Entered> {
        sources.enter(ip.parse().expect("an address"))
    }

    fn unknown(sources: &Sources, ip: &str) -> (Entered, bool) {
        let mut entered = enter(sources, ip).expect("a place");
        let over = entered.unknown();
        (entered, over)
    }

    #[test]
    fn one_address_cannot_have_all_places_and_others_are_not_touched() {
        let sources = sources(2, 256);
        let held: Vec<_> = (0..2).map(|_| unknown(&sources, "192.0.2.1")).collect();
        assert!(held.iter().all(|(_, over)| !over));
        assert!(unknown(&sources, "192.0.2.1").1);
        assert!(!unknown(&sources, "192.0.2.2").1);
        let shaking = enter(&sources, "192.0.2.1");
        drop(held);
        assert!(!unknown(&sources, "192.0.2.1").1, "nobody knows yet who the other is");
        drop(shaking);
        assert!(sources.lock().is_empty(), "nothing is kept of who left");
    }

    #[test]
    fn an_address_that_stalls_its_handshakes_keeps_only_itself_waiting() {
        let sources = sources(2, 8);
        let stalling = enter(&sources, "192.0.2.1").expect("a place");
        let _first = stalling.handshakes.try_acquire().expect("two of eight");
        let _second = stalling.handshakes.try_acquire().expect("two of eight");
        assert!(stalling.handshakes.try_acquire().is_err());
        let other = enter(&sources, "192.0.2.2").expect("a place");
        assert!(other.handshakes.try_acquire().is_ok());
    }

    #[test]
    fn an_address_that_opens_connections_and_is_silent_leaves_half_of_them_to_others() {
        let sources = sources(2, 256);
        let silent: Vec<_> = (0..4).filter_map(|_| enter(&sources, "192.0.2.1")).collect();
        assert_eq!(silent.len(), 4, "half of eight");
        assert!(enter(&sources, "192.0.2.1").is_none());
        assert!(enter(&sources, "192.0.2.2").is_some());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_source() {
        let sources = sources(1, 256);
        let _first = unknown(&sources, "2001:db8::1");
        assert!(unknown(&sources, "2001:db8::2").1);
        assert!(!unknown(&sources, "2001:db8:0:1::2").1);
        let _mapped = unknown(&sources, "::ffff:192.0.2.1");
        assert!(unknown(&sources, "192.0.2.1").1);
    }
}
