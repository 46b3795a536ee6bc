//! What is not counted but looked at: the masters' seats and the queue at the moment of a scrape.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::Duration;

use stagedoor_config::admin::seats::Seats;
use stagedoor_config::certname::Certname;

/// The pool at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels {
    /// Whether agents should be sent to this door.
    pub ready: bool,
    /// Every master on the roster.
    pub masters: BTreeMap<Certname, MasterLevels>,
    /// Requests that wait for a seat and would hold it for milliseconds.
    pub small: usize,
    /// Catalogs that wait for a seat.
    pub catalogs: usize,
    /// How long the one has waited that has waited longest; nothing where nobody waits.
    pub oldest: Duration,
    /// How long a catalog that came now would wait.
    pub expected: Duration,
    /// How much longer catalogs are kept while PuppetDB restarts; nothing where they are not.
    pub held: Duration,
}

/// One master at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MasterLevels {
    /// Whether the roster lets it take new requests.
    pub admitted: bool,
    /// Whether it is out for failing catalogs which others compile. Its health is counted where it is found out.
    pub out: bool,
    /// Its JRubies; none where it is open.
    pub seats: Option<Seats>,
}
