//! Whether a new master does as well as its peers, from what the doors counted.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use stagedoor_config::admin::MastersView;
use stagedoor_config::certname::Certname;

/// Failures before which nothing is concluded: an agent's own catalog may be the one that fails everywhere.
const FAILURES: u64 = 3;
/// Catalogs of the peers before which there is nothing to compare with.
const PEERS: u64 = 5;
/// Catalogs of the new master before which its time says nothing: the first of each JRuby are slow.
const TIMED: u64 = 10;
/// So many times as long as on its peers is too long. A cold environment costs up to three times, for a while.
const SLOWER: u64 = 4;
/// And by at least so much, so that fast catalogs are not held against a master for their noise.
const SLOWER_BY: u64 = 1_000;

/// What the doors counted, by environment, over all doors.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    master: BTreeMap<String, Sum>,
    peers: BTreeMap<String, Sum>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    compiled: u64,
    failed: u64,
    /// Milliseconds of all that were compiled.
    took: u64,
}

impl Seen {
    /// Adds what one door says of its masters.
    pub(super) fn add(&mut self, view: &MastersView, master: &Certname) {
        for view in &view.masters {
            let sums = if view.certname == *master { &mut self.master } else { &mut self.peers };
            for counted in view.catalogs.iter().flat_map(|catalogs| &catalogs.environments) {
                let sum = sums.entry(counted.environment.clone()).or_default();
                sum.compiled += counted.compiled;
                sum.failed += counted.failed;
                sum.took = sum.took.saturating_add(counted.mean_ms.saturating_mul(counted.compiled));
            }
        }
    }

    /// Takes away what the new master had made before.
    pub(super) fn take_away(&mut self, before: &Self) {
        for (environment, earlier) in &before.master {
            if let Some(sum) = self.master.get_mut(environment) {
                sum.compiled = sum.compiled.saturating_sub(earlier.compiled);
                sum.failed = sum.failed.saturating_sub(earlier.failed);
                sum.took = sum.took.saturating_sub(earlier.took);
            }
        }
    }

    /// Catalogs that the new master compiled and failed, over all environments.
    pub(super) fn of_master(&self) -> (u64, u64) {
        self.master
            .values()
            .fold((0, 0), |(compiled, failed), sum| (compiled + sum.compiled, failed + sum.failed))
    }
}

impl Sum {
    fn all(self) -> u64 {
        self.compiled + self.failed
    }

    fn mean(self) -> u64 {
        self.took.checked_div(self.compiled).unwrap_or_default()
    }

    /// Failures of a thousand.
    fn failing(self) -> u64 {
        (self.failed * 1_000).checked_div(self.all()).unwrap_or_default()
    }
}

/// Whether it does as well as its peers; else why not, in words.
///
/// # Errors
/// In one environment it fails, or takes longer, where its peers do not.
pub(super) fn judge(seen: &Seen) -> Result<(), String> {
    for (environment, own) in &seen.master {
        let peers = seen.peers.get(environment).copied().unwrap_or_default();
        if peers.all() < PEERS {
            // A broken environment fails everywhere; with nobody to compare, all that is known is that it always fails.
            if own.failed >= FAILURES
                && own.compiled == 0
                && seen.peers.values().all(|peers| peers.all() == 0)
            {
                return Err(format!("all of its {} catalogs in {environment} failed", own.failed));
            }
            continue;
        }
        if own.failed >= FAILURES && own.failing() > 2 * peers.failing() + 100 {
            return Err(format!(
                "in {environment} {} of its {} catalogs failed, of its peers' {} of {}",
                own.failed,
                own.all(),
                peers.failed,
                peers.all()
            ));
        }
        let (mean, usual) = (own.mean(), peers.mean());
        if own.compiled >= TIMED
            && peers.compiled >= PEERS
            && mean > SLOWER * usual
            && mean > usual + SLOWER_BY
        {
            return Err(format!(
                "in {environment} a catalog takes {mean} ms on it, and {usual} ms on its peers"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn seen(own: (u64, u64, u64), peers: (u64, u64, u64)) -> Seen {
        let master = |name: &str, (compiled, failed, mean_ms): (u64, u64, u64)| {
            json!({"certname": name, "address": format!("{name}:8140"), "kind": "sealed", "isolation": "door-ca",
                   "standing": "admitted", "fit": "fit", "in_flight": 0, "catalogs": {"minutes": 10, "environments": [
                   {"environment": "production", "compiled": compiled, "failed": failed, "mean_ms": mean_ms}]}})
        };
        let view = json!({"generation": 1, "masters": [master("new", own), master("old", peers)]});
        let mut seen = Seen::default();
        seen.add(&serde_json::from_value(view).unwrap(), &Certname::parse_host("new").unwrap());
        seen
    }

    #[test]
    fn a_master_that_fails_what_its_peers_compile_is_told() {
        let told = judge(&seen((4, 4, 900), (40, 0, 900))).unwrap_err();
        assert_eq!(told, "in production 4 of its 8 catalogs failed, of its peers' 0 of 40");
        assert!(judge(&seen((4, 2, 900), (40, 0, 900))).is_ok(), "two may be anybody's");
    }

    #[test]
    fn an_environment_that_is_broken_everywhere_is_held_against_nobody() {
        assert!(judge(&seen((2, 20, 900), (4, 40, 900))).is_ok());
        assert!(judge(&seen((0, 9, 0), (0, 1, 0))).is_ok());
        assert!(judge(&seen((0, 9, 0), (0, 0, 0))).is_err(), "and there is nobody else");
    }

    #[test]
    fn what_it_was_drained_for_is_not_held_against_it_again() {
        let mut now = seen((4, 4, 900), (40, 0, 900));
        now.take_away(&seen((4, 4, 900), (40, 0, 900)));
        assert_eq!((now.of_master(), judge(&now)), ((0, 0), Ok(())));
        let mut worse = seen((4, 8, 900), (40, 0, 900));
        worse.take_away(&seen((4, 4, 900), (40, 0, 900)));
        assert!(judge(&worse).is_err());
    }

    #[test]
    fn a_master_that_is_much_slower_is_told_once_it_is_warm() {
        let told = judge(&seen((12, 0, 9_000), (40, 0, 2_000))).unwrap_err();
        assert_eq!(told, "in production a catalog takes 9000 ms on it, and 2000 ms on its peers");
        assert!(judge(&seen((9, 0, 9_000), (40, 0, 2_000))).is_ok());
        assert!(judge(&seen((12, 0, 6_000), (40, 0, 2_000))).is_ok(), "as a cold environment is");
        assert!(judge(&seen((12, 0, 60), (40, 0, 6))).is_ok());
    }

    proptest! {
        /// Whatever is counted, a master that does no worse than its peers is never sent away.
        #[test]
        fn one_that_does_as_its_peers_stays(compiled in 0_u64..1000, failed in 0_u64..1000, mean in 0_u64..100_000) {
            prop_assume!(compiled + failed >= PEERS);
            prop_assert!(judge(&seen((compiled, failed, mean), (compiled, failed, mean))).is_ok());
        }
    }
}
