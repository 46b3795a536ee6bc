//! Whether a master that answers its health checks compiles: by its catalogs, beside those of its peers.
//!
//! A master that is not on PuppetDB's list says `running` and answers 500 to every catalog. But a broken environment fails
//! everywhere, so does everything while PuppetDB is down, and one node may have no catalog anywhere. So a failure counts
//! only where another master began and compiled a catalog of the same environment since the one before it, once for each
//! agent, and not of an agent that another master fails as well; and one catalog of that environment that the master compiles clears it.
//!
//! Whoever is out comes back on probation: one seat, and twice as many with each catalog it compiles. If it fails again it is
//! out for twice as long. One that was started anew begins with one seat as well, and nothing is held against it for that:
//! its Java machine and its caches are cold, and four catalogs at once are slower there than one after the other.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// So many failures that count put a master out: beside the first, which nothing has come before.
const COUNTED: usize = 3;
/// How long it is out the first time: as long as somebody needs who has just run Puppet on PuppetDB's machine.
const FIRST: Duration = Duration::from_secs(30);
/// The longest that it is out, after several times.
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// For how long whoever was started anew has few seats at most: it may be asked for no catalog, or PuppetDB may be down.
const STARTS: Duration = Duration::from_secs(2 * 60);
/// A failure that nothing has followed for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(10 * 60);
/// Environments of one master that are kept, as many as its catalogs are counted by; agents name them, so that there is an
/// end to them. Whatever was longest ago goes first.
const MOST: usize = super::catalogs::MOST;

/// What one master's catalogs say of it.
#[derive(Debug, Clone, Default)]
pub struct Ejection {
    /// When the latest catalog was begun that it compiled, by environment.
    compiled: BTreeMap<Box<str>, Instant>,
    /// Environments in which it compiles nothing just now.
    failing: BTreeMap<Box<str>, Failing>,
    is: Is,
    /// How long it is out the next time.
    next: Option<Duration>,
}

/// Failures in one environment since the last catalog of it that was compiled.
#[derive(Debug, Clone)]
struct Failing {
    /// When the latest one that counts ended.
    since: Instant,
    /// Hashes of the agents; the first one's catalog has no peer's before it.
    agents: Vec<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Is {
    #[default]
    In,
    Out {
        until: Instant,
    },
    /// It has so many seats.
    OnProbation {
        seats: u32,
    },
    /// It was started a while ago, and has so many seats until then.
    Starting {
        seats: u32,
        until: Instant,
    },
}

/// Why a master is out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Out {
    /// The environments.
    pub environments: Vec<String>,
    /// For so long.
    pub lasts: Duration,
}

impl Ejection {
    /// It compiled a catalog of this environment, which was begun then; it has so many JRubies.
    pub fn compiled(&mut self, environment: &str, begun: Instant, jrubies: u32) {
        self.failing.remove(environment);
        if let Some(latest) = self.compiled.get_mut(environment) {
            *latest = begun.max(*latest);
        } else {
            if self.compiled.len() >= MOST {
                // Whoever has not compiled it for longest says least.
                let oldest = self.compiled.iter().min_by_key(|(_, begun)| **begun);
                if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                    self.compiled.remove(&name);
                }
            }
            self.compiled.insert(environment.into(), begun);
        }
        if let Is::OnProbation { seats } | Is::Starting { seats, .. } = &mut self.is {
            *seats = seats.saturating_mul(2);
            if *seats >= jrubies {
                (self.is, self.next) = (Is::In, None);
            }
        }
    }

    /// When this master began the latest catalog of this environment that it compiled.
    #[must_use]
    pub fn compiled_at(&self, environment: &str) -> Option<Instant> {
        self.compiled.get(environment).copied()
    }

    /// It failed a catalog of this environment, of an agent with this hash, of which another master began one at `peers` and
    /// compiled it; says whether it is out for that.
    pub fn failed(
        &mut self,
        environment: &str,
        agent: u64,
        peers: Option<Instant>,
        now: Instant,
    ) -> Option<Out> {
        if matches!(self.is, Is::Out { .. }) {
            // What it had in hand still comes back.
            return None;
        }
        self.failing.retain(|_, failing| now.saturating_duration_since(failing.since) < FORGOTTEN);
        if let Some(failing) = self.failing.get_mut(environment) {
            let fresh = peers.is_some_and(|begun| begun > failing.since);
            if fresh && !failing.agents.contains(&agent) {
                failing.agents.push(agent);
                failing.since = now;
            }
        } else {
            if self.failing.len() >= MOST {
                let oldest = self.failing.iter().min_by_key(|(_, failing)| failing.since);
                if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                    self.failing.remove(&name);
                }
            }
            self.failing.insert(environment.into(), Failing { since: now, agents: vec![agent] });
        }
        let counted = |failing: &Failing| failing.agents.len() - 1;
        let all: usize = self.failing.values().map(counted).sum();
        let needed = match self.is {
            Is::In | Is::Starting { .. } => COUNTED,
            Is::OnProbation { .. } => 1,
            Is::Out { .. } => usize::MAX,
        };
        if all < needed {
            return None;
        }
        let environments = self.failing.iter().filter(|(_, failing)| counted(failing) > 0);
        let environments = environments.map(|(name, _)| name.to_string()).collect();
        let lasts = self.next.unwrap_or(FIRST);
        self.next = Some(lasts.saturating_mul(2).min(LONGEST));
        self.is = Is::Out { until: now + lasts };
        self.failing.clear();
        Some(Out { environments, lasts })
    }

    /// Whether this agent is among those whose catalog of this environment it fails just now.
    #[must_use]
    pub fn fails(&self, environment: &str, agent: u64) -> bool {
        self.failing.get(environment).is_some_and(|failing| failing.agents.contains(&agent))
    }

    /// Whether it is out now.
    #[must_use]
    pub fn is_out(&self, now: Instant) -> bool {
        matches!(self.is, Is::Out { until } if now < until)
    }

    /// How many seats it has by this alone; none says as many as it has JRubies.
    #[must_use]
    pub fn seats(&self, now: Instant) -> Option<u32> {
        match self.is {
            Is::In => None,
            Is::OnProbation { seats } => Some(seats),
            Is::Starting { seats, until } => (now < until).then_some(seats),
            Is::Out { until } => Some(u32::from(now >= until)),
        }
    }

    /// It was started anew.
    pub fn starts(&mut self, now: Instant) {
        if matches!(self.is, Is::In | Is::Starting { .. }) {
            self.is = Is::Starting { seats: 1, until: now + STARTS };
        }
    }

    /// It is given a seat: if it was out, it is on probation now.
    pub fn given(&mut self, now: Instant) {
        if matches!(self.is, Is::Out { until } if now >= until) {
            self.is = Is::OnProbation { seats: 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const P: &str = "production";

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    /// It fails one agent after the other, a second apart, while a peer compiles in between.
    fn fails(master: &mut Ejection, many: u64, from: Instant) -> Vec<Option<Out>> {
        let at = |n: u64| from + SECOND * u32::try_from(n).unwrap();
        (0..many).map(|n| master.failed(P, n, (n > 0).then(|| at(n) - SECOND / 2), at(n))).collect()
    }

    #[test]
    fn a_master_that_fails_what_others_compile_is_out_after_four_failures() {
        let (mut master, now) = (Ejection::default(), start());
        let found = fails(&mut master, 4, now);
        assert_eq!(found[..3], [None, None, None]);
        assert_eq!(found[3], Some(Out { environments: vec![P.to_owned()], lasts: FIRST }));
        assert!(master.is_out(now + 4 * SECOND) && !master.is_out(now + 3 * SECOND + FIRST));
    }

    #[test]
    fn what_nobody_else_compiles_puts_nobody_out() {
        let (mut master, now) = (Ejection::default(), start());
        for n in 0..100 {
            assert_eq!(master.failed(P, n, Some(now - SECOND), now), None, "a peer's from before");
        }
        // The first that anybody compiles when it is over is one, and says nothing of the hundred.
        assert_eq!(master.failed(P, 100, Some(now + SECOND), now + 2 * SECOND), None);
        master.compiled(P, now + 3 * SECOND, 4);
        assert_eq!(fails(&mut master, 3, now + 4 * SECOND), [None, None, None]);
    }

    #[test]
    fn an_agent_that_has_no_catalog_anywhere_puts_nobody_out() {
        let (mut master, now) = (Ejection::default(), start());
        for n in 1..100 {
            let at = now + SECOND * n;
            assert_eq!(master.failed(P, 7, Some(at - SECOND / 2), at), None);
        }
    }

    #[test]
    fn one_catalog_that_it_compiles_clears_it() {
        let (mut master, now) = (Ejection::default(), start());
        assert_eq!(fails(&mut master, 3, now), [None, None, None]);
        master.compiled(P, now + 3 * SECOND, 4);
        assert_eq!(fails(&mut master, 3, now + 4 * SECOND), [None, None, None]);
        assert_eq!(master.seats(now), None);
    }

    #[test]
    fn whoever_is_out_comes_back_with_one_seat_and_more_with_each_catalog() {
        let (mut master, now) = (Ejection::default(), start());
        fails(&mut master, 4, now);
        assert_eq!(master.seats(now + 4 * SECOND), Some(0));
        let back = now + 4 * SECOND + FIRST;
        assert_eq!(master.seats(back), Some(1));
        master.given(back);
        master.compiled(P, back, 4);
        assert_eq!(master.seats(back), Some(2));
        master.compiled(P, back, 4);
        assert_eq!(master.seats(back), None);
    }

    #[test]
    fn whoever_was_started_anew_begins_with_one_seat_and_may_fail_like_anybody() {
        let (mut master, now) = (Ejection::default(), start());
        master.starts(now);
        assert_eq!(master.seats(now), Some(1));
        assert_eq!(master.seats(now + STARTS), None, "whether it compiled anything or not");
        master.compiled(P, now, 8);
        assert_eq!(master.seats(now), Some(2));
        assert_eq!(fails(&mut master, 3, now), [None, None, None]);
        (0..2).for_each(|_| master.compiled(P, now, 8));
        assert_eq!(master.seats(now), None);
    }

    #[test]
    fn whoever_fails_on_probation_is_out_for_twice_as_long_up_to_ten_minutes() {
        let (mut master, mut now) = (Ejection::default(), start());
        let mut lasts = fails(&mut master, 4, now).pop().flatten().unwrap().lasts;
        for _ in 0..10 {
            now += 5 * SECOND + lasts;
            master.given(now);
            let out = fails(&mut master, 2, now).pop().flatten().expect("one that counts is enough");
            assert_eq!(out.lasts, (lasts * 2).min(LONGEST));
            lasts = out.lasts;
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (mut master, now) = (Ejection::default(), start());
        for n in 0..1000_u32 {
            master.compiled(&format!("e{n}"), now + SECOND * n, 4);
            master.failed(&format!("f{n}"), 1, None, now);
        }
        assert_eq!((master.compiled.len(), master.failing.len()), (MOST, MOST));
        assert!(master.compiled_at("e999").is_some() && master.compiled_at("e0").is_none());
    }
}
