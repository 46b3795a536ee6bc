//! Whether an agent is asked to come back later, and when.
//!
//! Only at the beginning of a run, while it has cost nothing: what a run has begun waits for as long as its agent does. And
//! only agents that come back: since Puppet 5.3 they heed `Retry-After`, ask the same again, and their run goes on.
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

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

/// Whether a run begins with a request like this: for the node, where the environment is not known, or for plugins.
#[must_use]
pub fn begins_a_run(class: Class, path: &str) -> bool {
    match class {
        Class::Node => true,
        Class::FileMetadatas => matches!(path, PLUGINFACTS | PLUGINS),
        _ => false,
    }
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
        assert!(begins_a_run(Class::Node, "/puppet/v3/node/web01.example.com"));
        assert!(begins_a_run(Class::FileMetadatas, "/puppet/v3/file_metadatas/pluginfacts"));
        assert!(begins_a_run(Class::FileMetadatas, "/puppet/v3/file_metadatas/plugins"));
        for later in ["modules/apache/conf", "modules/collectd/plugins", "modules/x/pluginfacts", "plugins/x"]
        {
            let path = format!("/puppet/v3/file_metadatas/{later}");
            assert!(!begins_a_run(Class::FileMetadatas, &path), "{later}");
        }
        for class in Class::ALL {
            let begins = begins_a_run(class, PLUGINS);
            assert_eq!(begins, matches!(class, Class::Node | Class::FileMetadatas), "{class}");
        }
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
