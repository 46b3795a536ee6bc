//! The roster: the admitted compile masters under a generation number.
#![deny(clippy::disallowed_methods)]

use crate::master::Master;

/// The version of the file format this program reads and writes.
pub const VERSION: u64 = 1;

/// The compile masters that agents may be sent to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    /// Counts up by one with every change.
    pub generation: u64,
    /// In the order they were admitted; no certname twice.
    pub masters: Vec<Master>,
}
