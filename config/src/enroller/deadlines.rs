//! How long each step of an enrollment may take: default, range and reason in one table of [`crate::bound`]'s kind.
//!
//! A step whose deadline has passed is stopped and told; `resume` looks at what it left and goes on. A deadline that
//! passed is no failure: the run it waited for may have ended well a minute later, and is then taken as it is.
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use crate::bound::{Bound, Measures, table};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

table! {
    /// How long each step may take, looks and act together.
    Deadlines
    /// Names, ports and clocks, from here and from each machine that needs another; each try may run into its own
    /// time limit.
    preflight: Duration, Time, 5 * MINUTE, SECOND, HOUR;
    /// To install the agent on the new master: packages come over the network, and a slow mirror is no failure.
    install: Duration, Time, 30 * MINUTE, MINUTE, 4 * HOUR;
    /// For the certificate request to arrive and to be signed.
    sign: Duration, Time, 5 * MINUTE, SECOND, HOUR;
    /// The new master's first run, which installs Puppet Server there.
    first_run: Duration, Time, HOUR, MINUTE, 8 * HOUR;
    /// To look at groups and classes and to change them.
    classify: Duration, Time, 5 * MINUTE, SECOND, HOUR;
    /// One ordered run on one host, a run that is in progress already included. Agents run each half hour, and a run on
    /// a console may itself restart services for minutes.
    ordered_run: Duration, Time, HOUR, MINUTE, 8 * HOUR;
    /// For an earlier run's report to be found, of one host of a master that already serves.
    evidence: Duration, Time, 5 * MINUTE, SECOND, HOUR;
    /// To seal the master by a run of its own, restart included.
    seal: Duration, Time, 30 * MINUTE, MINUTE, 4 * HOUR;
    /// For the proof that it compiles: a JRuby compiles its first catalog within minutes, not seconds.
    check: Duration, Time, 30 * MINUTE, MINUTE, 4 * HOUR;
    /// To tell every door.
    admit: Duration, Time, 5 * MINUTE, SECOND, HOUR;
    /// For the first traffic and what is asked about it.
    watch: Duration, Time, 30 * MINUTE, MINUTE, 8 * HOUR;
    /// For a master that is retired to finish what it has at every door: a response may take 21 minutes.
    drain: Duration, Time, 30 * MINUTE, SECOND, 4 * HOUR;
    /// To take a retired master off the roster of every door.
    retire: Duration, Time, 5 * MINUTE, SECOND, HOUR;
    /// To stop the agent of a retired master, its run in progress included.
    stop_agent: Duration, Time, HOUR, MINUTE, 8 * HOUR;
    /// To take a retired master out of its groups.
    unpin: Duration, Time, 5 * MINUTE, SECOND, HOUR;
    /// For PuppetDB to know that a retired master is no node any more.
    deactivate: Duration, Time, 5 * MINUTE, SECOND, HOUR;
    /// To take back a retired master's certificate, until every door has the new list.
    revoke: Duration, Time, 15 * MINUTE, SECOND, 4 * HOUR;
}

impl Measures for Deadlines {
    const NAME: &'static str = "deadlines";
    const ROWS: &'static [Bound<Self>] = Self::TABLE;
    const AT_MOST: &'static [(&'static str, &'static str, &'static str)] = &[];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::tests::rows_are_in_range;

    #[test]
    fn every_default_lies_in_its_range() {
        rows_are_in_range(Deadlines::TABLE);
    }
}
