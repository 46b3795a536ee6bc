//! Every bound of the door: its default, its range and its reason in one table.
//!
//! The table is of [`crate::bound`]'s kind. What one value alone cannot tell, whether it fits the others and this machine,
//! is told by [`Measures::contradictions`] and [`Bounds::fits_file_limit`].
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use crate::bound::{Bound, Contradiction, Measures, table};
use crate::quantity::Measured as _;

/// File descriptors kept back for listening sockets, files, the admin doors, health checks and the system's resolver.
const FILES_FOR_OURSELVES: u64 = 256;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

table! {
    /// Every bound of the door. Sizes in bytes.
    Bounds
    /// Agent connections open at once. At the bound the door stops accepting and counts; agents wait in the
    /// kernel's backlog. Each may need a second file for its master: the file limit must be twice this and 256 more.
    connections: usize, Count, 16_384, 64, 1_000_000;
    /// Handshakes under way at once. More would slow each other until all of them time out.
    handshakes: usize, Count, 256, 1, 65_536;
    /// For an agent's first bytes, and again for the rest of its handshake. Waiting for others' handshakes does not
    /// count.
    handshake_time: Duration, Time, 10 * SECOND, SECOND, 2 * MINUTE;
    /// The head of a request: its line and its headers.
    head: usize, Size, 32 * KIB, 4 * KIB, 400 * KIB;
    /// From the first byte of a head to its last, and between two requests on one connection.
    head_time: Duration, Time, 15 * SECOND, SECOND, 10 * MINUTE;
    /// A request body that is kept until it is answered, so that another master can be asked. A larger one streams
    /// and is asked once.
    body: usize, Size, 8 * MIB, 64 * KIB, GIB;
    /// All kept bodies together: the door's largest use of memory.
    bodies: usize, Size, 256 * MIB, MIB, 256 * GIB;
    /// A certificate request. Anyone may send one, so it is small.
    csr: usize, Size, 64 * KIB, 4 * KIB, MIB;
    /// The least that a body or a response must move in a second, taken over `rate_window`. Slower ones are cut.
    rate: usize, Size, KIB, 1, MIB;
    /// How long a body or a response may be slow before it is cut.
    rate_window: Duration, Time, 60 * SECOND, 5 * SECOND, 10 * MINUTE;
    /// Connections open to one master, over all threads.
    master_connections: usize, Count, 512, 1, 65_536;
    /// Requests that wait for a JRuby. More than half of `connections` never wait, so that CA and packages get in.
    queue: usize, Count, 4_096, 1, 500_000;
    /// CA requests at the Master of Masters at once: it has its own work to do. One address has a quarter of them.
    mom_ca: usize, Count, 32, 1, 4_096;
    /// Package requests at the Master of Masters at once, apart from the CA's, since they last long. One address has
    /// half of them.
    mom_packages: usize, Count, 32, 1, 4_096;
    /// Connections without a verified certificate from one source address. A whole site may share one address.
    unauthenticated_per_source: usize, Count, 256, 1, 1_000_000;
    /// Passed connections open at once, of all. They last as long as both ends like, those of port 8142 for ever: the
    /// rest is for agents whose TLS the door ends. At the bound, an address that passes stops accepting. One address of
    /// agents has half of them.
    passed: usize, Count, 8_192, 1, 1_000_000;
    /// How long nothing may move on a passed connection, in either direction. On port 8142 agents ping every two
    /// minutes, and brokers end what is silent for 6 to 15.
    pass_idle: Duration, Time, 15 * MINUTE, SECOND, 24 * 60 * MINUTE;
    /// To open a connection to a master, handshake included.
    connect_time: Duration, Time, 5 * SECOND, 100, MINUTE;
    /// To wait for the head of a response. A master holds a request up to 20 minutes for a free JRuby, and agents
    /// wait 10 minutes for the next byte: less would fail runs that succeed without the door.
    response_time: Duration, Time, 21 * MINUTE, 10 * MINUTE, 120 * MINUTE;
    /// Masters asked for one request, the first included.
    attempts: u32, Count, 3, 1, 8;
    /// For requests under way when the door is told to stop.
    drain_time: Duration, Time, 2 * MINUTE, SECOND, 60 * MINUTE;
}

table! {
    /// How a master is asked whether it is fit.
    HealthCheck
    /// Between two questions to one master.
    interval: Duration, Time, 5 * SECOND, 500, 5 * MINUTE;
    /// For one answer. At most `interval`, so that questions never pile up.
    timeout: Duration, Time, 5 * SECOND, 100, MINUTE;
    /// Good answers in a row before an unfit master is fit.
    rise: u32, Count, 2, 1, 100;
    /// Bad answers in a row before a fit master is unfit.
    fall: u32, Count, 3, 1, 100;
    /// Between two tests of a sealed master, whether it answers somebody who shows no certificate of a door. Each is
    /// three short connections. A change of its webserver.conf that opens it is found out within this time.
    seal_interval: Duration, Time, MINUTE, 500, 10 * MINUTE;
}

impl Measures for Bounds {
    const NAME: &'static str = "bounds";
    const ROWS: &'static [Bound<Self>] = Self::TABLE;
    const AT_MOST: &'static [(&'static str, &'static str, &'static str)] = &[
        ("handshakes", "connections", "each handshake is on a connection"),
        ("master_connections", "connections", "each serves one agent's connection at a time"),
        ("queue", "connections", "each request waits on a connection"),
        ("mom_ca", "connections", "each request is on a connection"),
        ("mom_packages", "connections", "each request is on a connection"),
        ("unauthenticated_per_source", "connections", "a higher one is never reached"),
        ("passed", "connections", "each is one of them"),
        ("body", "bodies", "one kept body must fit into the memory for all of them"),
        ("csr", "body", "a certificate request is a kept body"),
    ];
}

impl Measures for HealthCheck {
    const NAME: &'static str = "health";
    const ROWS: &'static [Bound<Self>] = Self::TABLE;
    const AT_MOST: &'static [(&'static str, &'static str, &'static str)] =
        &[("timeout", "interval", "questions to a slow master would pile up")];
}

impl Bounds {
    /// Whether a process that may open `limit` files can keep these bounds.
    ///
    /// Every agent connection may need one to a master as well. A door that runs out of files would close at random.
    ///
    /// # Errors
    /// Says what to raise, or to what `connections` may be set.
    pub fn fits_file_limit(&self, limit: u64) -> Result<(), Contradiction> {
        let connections = self.connections.number();
        let fitting = limit.saturating_sub(FILES_FOR_OURSELVES) / 2;
        if connections <= fitting {
            return Ok(());
        }
        let needed = connections.saturating_mul(2).saturating_add(FILES_FOR_OURSELVES);
        Err(Contradiction {
            keys: vec!["connections"],
            expected: format!(
                "bounds.connections ({connections}) to be at most {fitting}, because this process may open \
                 {limit} files: raise the limit to {needed} (LimitNOFILE= in the systemd unit, or ulimit -n), \
                 or lower bounds.connections"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::tests::{pairs_are_of_one_quantity, rows_are_in_range};

    #[test]
    fn every_default_lies_in_its_range_and_contradicts_no_other() {
        rows_are_in_range(Bounds::TABLE);
        rows_are_in_range(HealthCheck::TABLE);
        assert_eq!(Bounds::default().contradictions(), []);
        assert_eq!(HealthCheck::default().contradictions(), []);
    }

    #[test]
    fn every_pair_that_is_compared_names_rows_of_the_same_quantity() {
        pairs_are_of_one_quantity::<Bounds>();
        pairs_are_of_one_quantity::<HealthCheck>();
    }

    #[test]
    fn a_file_limit_that_is_too_low_says_what_to_raise() {
        let bounds = Bounds { connections: 100, ..Bounds::default() };
        assert_eq!(bounds.fits_file_limit(456), Ok(()));
        let told = bounds.fits_file_limit(455).unwrap_err().expected;
        assert!(told.contains("LimitNOFILE") && told.contains("456") && told.contains("99"), "{told}");
        assert!(bounds.fits_file_limit(0).is_err());
        assert!(Bounds { connections: usize::MAX, ..bounds }.fits_file_limit(u64::MAX).is_err());
    }

    #[test]
    fn bounds_are_compared_with_each_other() {
        let all = Bounds { body: 2, bodies: 1, csr: 3, ..Bounds::default() };
        let keys: Vec<_> = all.contradictions().into_iter().map(|found| found.keys).collect();
        assert_eq!(keys, [["body", "bodies"], ["csr", "body"]]);
    }
}
