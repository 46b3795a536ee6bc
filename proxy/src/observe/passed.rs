//! What is known about one passed connection when it is over.
//!
//! The door sees bytes that it cannot read, so this is all: where they came from, why they were passed, to whom, how
//! many, how long, and how it ended. The name that the client asked for is not kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::metrics::MasterMetrics;
use crate::way::Why;

/// One passed connection, from its first bytes to its last.
#[derive(Debug, Clone)]
pub struct Passed {
    /// When it had said enough to be passed.
    pub began: SystemTime,
    /// Where the client connected from.
    pub peer: SocketAddr,
    /// Why it was passed.
    pub why: Why,
    /// The highest version that it offers, as on the wire; none where its ClientHello comes in pieces.
    pub offered: Option<u16>,
    /// Who has it; none where nobody could be connected to.
    pub master: Option<Arc<MasterMetrics>>,
    /// How many were connected to, or tried.
    pub attempts: u32,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// Until a master was connected.
    pub connect: Option<Duration>,
    /// All of it.
    pub total: Duration,
    /// How it ended.
    pub outcome: PassOutcome,
}

/// How a passed connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PassOutcome {
    /// Both sides said that they had no more.
    Done,
    /// The client broke off.
    ClientBroke,
    /// The master broke off.
    MasterBroke,
    /// Nothing moved for as long as that may be.
    Idle,
    /// The door was stopped.
    Stopped,
    /// No master could be connected to.
    Unreachable,
    /// No open master is admitted.
    Nobody,
    /// As many as may be passed are.
    Full,
}

impl PassOutcome {
    /// Every outcome, in the order of [`PassOutcome::index`].
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::ClientBroke,
        Self::MasterBroke,
        Self::Idle,
        Self::Stopped,
        Self::Unreachable,
        Self::Nobody,
        Self::Full,
    ];

    /// The place of this outcome in tables that hold one entry for each.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for it in metrics and access lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::ClientBroke => "client_broke",
            Self::MasterBroke => "master_broke",
            Self::Idle => "idle",
            Self::Stopped => "stopped",
            Self::Unreachable => "unreachable",
            Self::Nobody => "nobody",
            Self::Full => "full",
        }
    }
}

/// The word for a version that a ClientHello offers.
#[must_use]
pub const fn offered(version: Option<u16>) -> &'static str {
    match version {
        Some(0x0304) => "1.3",
        Some(0x0303) => "1.2",
        Some(0x0302) => "1.1",
        Some(0x0301) => "1.0",
        Some(0x0300) => "ssl3",
        Some(2) => "ssl2",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_and_reasons_stand_at_their_index() {
        assert!(PassOutcome::ALL.iter().enumerate().all(|(i, o)| o.index() == i));
        assert!(Why::ALL.iter().enumerate().all(|(i, w)| w.index() == i));
    }
}
