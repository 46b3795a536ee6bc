//! Whether an agent is asked to come back later, and when.
//!
//! Only at the beginning of a run, while it has cost nothing: what a run has begun waits for as long as its agent does. And
//! only agents that come back: since Puppet 5.3 they heed `Retry-After`, and ask the same again. Some of them wait as they
//! are told and then lose that one request (Puppet 7.23 reads the answer's body after it has closed the connection): their
//! run goes on with the next, without a node's classes or with the plugins they have. So whoever goes on to another request
//! after he was sent away is not sent away from that one: no run loses more than one.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use stagedoor_config::class::Class;

/// A catalog that would wait longer than this by what waits already is one too many. A run waits this long for its catalog
/// without anybody noticing, and far less than its agent's patience.
pub const FROM: Duration = Duration::from_secs(60);
/// The least that an agent is sent away for: it closes its connection, and comes back with a handshake.
const LEAST: Duration = Duration::from_secs(30);
/// The most: half of the interval between two runs.
const MOST: Duration = Duration::from_secs(15 * 60);

/// What a run's first questions for plugins are; a module may have a folder that is called so as well.
const PLUGINFACTS: &str = "/puppet/v3/file_metadatas/pluginfacts";
const PLUGINS: &str = "/puppet/v3/file_metadatas/plugins";

/// What a run begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// The question for the node, where the environment is not known.
    Node,
    /// External facts.
    PluginFacts,
    /// Plugins.
    Plugins,
}

/// What a run begins with by a request like this; none where it has begun.
#[must_use]
pub fn begins_a_run(class: Class, path: &str) -> Option<Begins> {
    match (class, path) {
        (Class::Node, _) => Some(Begins::Node),
        (Class::FileMetadatas, PLUGINFACTS) => Some(Begins::PluginFacts),
        (Class::FileMetadatas, PLUGINS) => Some(Begins::Plugins),
        _ => None,
    }
}

/// Agents that are remembered; where two have one place, the later one is. Half a megabyte.
const REMEMBERED: usize = 1 << 14;
/// How long after it was to come back an agent's next request is taken for the same run's.
const RUN: Duration = Duration::from_secs(120);

/// Who was sent away of late, and from what.
#[derive(Debug)]
pub struct SentAway(Vec<Option<Away>>);

#[derive(Debug, Clone, Copy)]
struct Away {
    agent: u64,
    from: Begins,
    until: Instant,
}

impl Default for SentAway {
    fn default() -> Self {
        Self(vec![None; REMEMBERED])
    }
}

impl SentAway {
    /// Whether this agent, by a hash of it, was sent away from another request and has gone on to this one.
    #[must_use]
    pub fn goes_on(&self, agent: u64, with: Begins, now: Instant) -> bool {
        let away = self.0.get(place(agent)).copied().flatten();
        away.is_some_and(|away| away.agent == agent && away.from != with && now < away.until)
    }

    /// This agent is sent away for so many seconds.
    pub fn sends(&mut self, agent: u64, from: Begins, seconds: u16, now: Instant) {
        if let Some(entry) = self.0.get_mut(place(agent)) {
            let until = now + Duration::from_secs(seconds.into()) + RUN;
            *entry = Some(Away { agent, from, until });
        }
    }
}

const fn place(agent: u64) -> usize {
    agent as usize % REMEMBERED
}

/// Whether an agent of this version, as it stands in `X-Puppet-Version`, comes back when it is asked to.
#[must_use]
pub fn comes_back(version: &[u8]) -> bool {
    let mut parts = std::str::from_utf8(version).unwrap_or_default().split('.').map(str::parse::<u16>);
    let mut next = || parts.next()?.ok();
    matches!((next(), next()), (Some(major), Some(minor)) if (major, minor) >= (5, 3))
}

/// For how many seconds an agent is sent away, where a catalog that came now would wait so long; none where it may stay. Those
/// who come in one moment are spread, or they would come back in one.
#[must_use]
pub fn after(expected: Duration, chance: u64) -> Option<u16> {
    if expected < FROM {
        return None;
    }
    let spread = 1.0 + (chance >> 11) as f64 / (1_u64 << 53) as f64;
    let after = expected.mul_f64(spread).clamp(LEAST, MOST);
    u16::try_from(after.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_agents_that_come_back_are_sent_away() {
        for version in ["5.3.0", "5.10.1", "6.0.0", "8.10.0", "10.0"] {
            assert!(comes_back(version.as_bytes()), "{version}");
        }
        for version in ["", "3.8.7", "4.10.12", "5.2.9", "5", "x.y", "5.x", "99999999.1"] {
            assert!(!comes_back(version.as_bytes()), "{version}");
        }
        assert!(!comes_back(&[0xff, b'.']));
    }

    #[test]
    fn a_run_begins_with_its_node_or_its_plugins_and_with_nothing_that_comes_later() {
        assert_eq!(begins_a_run(Class::Node, "/puppet/v3/node/web01.example.com"), Some(Begins::Node));
        let plugins = |path: &str| begins_a_run(Class::FileMetadatas, path);
        assert_eq!(plugins("/puppet/v3/file_metadatas/pluginfacts"), Some(Begins::PluginFacts));
        assert_eq!(plugins("/puppet/v3/file_metadatas/plugins"), Some(Begins::Plugins));
        for later in ["modules/apache/conf", "modules/collectd/plugins", "modules/x/pluginfacts", "plugins/x"]
        {
            assert_eq!(plugins(&format!("/puppet/v3/file_metadatas/{later}")), None, "{later}");
        }
        for class in Class::ALL {
            let begins = begins_a_run(class, PLUGINS).is_some();
            assert_eq!(begins, matches!(class, Class::Node | Class::FileMetadatas), "{class}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn whoever_goes_on_after_he_was_sent_away_loses_no_second_request() {
        let now = Instant::now();
        let mut away = SentAway::default();
        assert!(!away.goes_on(7, Begins::PluginFacts, now), "nobody was sent away");
        away.sends(7, Begins::Node, 60, now);
        let back = now + Duration::from_secs(60);
        assert!(!away.goes_on(7, Begins::Node, back), "it asks the same again, as it should");
        assert!(away.goes_on(7, Begins::PluginFacts, back) && away.goes_on(7, Begins::Plugins, back));
        assert!(!away.goes_on(7 + REMEMBERED as u64, Begins::Plugins, back), "another agent in its place");
        assert!(!away.goes_on(7, Begins::Plugins, back + RUN), "its next run");
    }

    proptest! {
        #[test]
        fn who_is_sent_away_comes_back_between_half_a_minute_and_half_a_run_interval(
            expected in 0_u64..100_000, chance: u64
        ) {
            let expected = Duration::from_secs(expected);
            match after(expected, chance) {
                None => prop_assert!(expected < FROM),
                Some(seconds) => {
                    prop_assert!(expected >= FROM);
                    prop_assert!((30..=900).contains(&seconds));
                    prop_assert!(u64::from(seconds) >= expected.as_secs().min(900));
                }
            }
        }
    }
}
