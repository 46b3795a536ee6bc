//! Which environments the JRubies of a master have in their caches, as far as this door knows, and what that is worth.
//!
//! Puppet Server keeps the code of an environment in each JRuby that has compiled it, for as long as `environment_timeout`
//! says, and lends out the JRuby that came back last. Whoever gives a master its requests therefore knows which JRuby the
//! next one gets, and what that one compiled last. How much longer a catalog takes in a JRuby that has not compiled its
//! environment for so long is learned: with caches that last for ever it is the first one alone, without caches there is
//! nothing to gain, and where others use the same JRubies what is known here is worth less.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Environments that are remembered of one JRuby; what was compiled longest ago is forgotten first.
const REMEMBERED: usize = 32;
/// Environments whose mean is kept.
const MOST: usize = 256;
/// How many catalogs make up a figure.
const CATALOGS: u32 = 128;
/// Fewer say nothing of an age.
const FEW: u32 = 16;
/// Fewer say nothing of an environment; most of a site's are small, and what is made of their means is a mean again.
const FEW_OF_ONE: u32 = 4;
/// A single catalog counts for no more times the mean of its environment: nodes differ by as much.
const MOST_TIMES: f64 = 8.0;
/// Ages up to which a cache is looked at alike: `environment_timeout` is mostly 0, 5 minutes or unlimited.
const AGES: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(3 * 60 * 60),
];

/// The JRubies of one master.
#[derive(Debug, Clone, Default)]
pub struct Caches {
    jrubies: Vec<Compiled>,
    /// Those that are at rest; the last one is lent next.
    at_rest: Vec<JRuby>,
}

/// A JRuby's number in its master.
pub type JRuby = usize;

/// Hashes of the environments that one JRuby compiled, and when it last did.
type Compiled = Vec<(u64, Instant)>;

impl Caches {
    /// The JRuby that a request is given now: as many in all as were ever lent at once.
    pub fn lend(&mut self) -> JRuby {
        self.at_rest.pop().unwrap_or_else(|| {
            self.jrubies.push(Compiled::new());
            self.jrubies.len() - 1
        })
    }

    /// It comes back, and has compiled this environment, if any.
    pub fn comes_back(&mut self, jruby: JRuby, compiled: Option<u64>, now: Instant) {
        // Lent before all was forgotten.
        if self.at_rest.contains(&jruby) {
            return;
        }
        let Some(has) = self.jrubies.get_mut(jruby) else { return };
        self.at_rest.push(jruby);
        let Some(environment) = compiled else { return };
        has.retain(|(other, _)| *other != environment);
        if has.len() >= REMEMBERED {
            has.remove(0);
        }
        has.push((environment, now));
    }

    /// How long ago the JRuby that would be lent now last compiled this environment; none where it never did.
    #[must_use]
    pub fn age(&self, environment: u64, now: Instant) -> Option<Duration> {
        let has = self.jrubies.get(*self.at_rest.last()?)?;
        let (_, compiled) = has.iter().rfind(|(name, _)| *name == environment)?;
        Some(now.saturating_duration_since(*compiled))
    }

    /// The caches of these environments are gone; none named means all.
    pub fn flushed(&mut self, environments: &[u64]) {
        for has in &mut self.jrubies {
            has.retain(|(name, _)| !environments.is_empty() && !environments.contains(name));
        }
    }
}

/// What catalogs take by the age of the cache that they meet, beside the mean of their environment.
#[derive(Debug, Clone, Default)]
pub struct Costs {
    by_age: [Mean; AGES.len() + 1],
    environments: BTreeMap<u64, (Mean, u64)>,
    /// Counts catalogs: which environment was compiled longest ago.
    turn: u64,
}

/// A mean that forgets.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    is: f64,
    of: u32,
}

impl Costs {
    /// A catalog of this environment met a cache of this age and took so long, in seconds of a master of usual speed.
    pub fn saw(&mut self, environment: u64, age: Option<Duration>, took: f64) {
        self.turn += 1;
        if !self.environments.contains_key(&environment) && self.environments.len() >= MOST {
            let oldest = self.environments.iter().min_by_key(|(_, (_, turn))| *turn).map(|(name, _)| *name);
            oldest.map(|name| self.environments.remove(&name));
        }
        let (mean, turn) = self.environments.entry(environment).or_default();
        *turn = self.turn;
        mean.saw(took);
        let Some(usual) = mean.known(FEW_OF_ONE).filter(|usual| *usual > 0.0) else { return };
        if let Some(mean) = self.by_age.get_mut(place(age)) {
            mean.saw((took / usual).min(MOST_TIMES));
        }
    }

    /// How many times as long as usual a catalog takes that meets a cache of this age; 1 while nobody knows.
    #[must_use]
    pub fn of(&self, age: Option<Duration>) -> f64 {
        self.by_age.get(place(age)).and_then(|mean| mean.known(FEW)).unwrap_or(1.0)
    }
}

impl Mean {
    fn saw(&mut self, value: f64) {
        self.of = (self.of + 1).min(CATALOGS);
        self.is += (value - self.is) / f64::from(self.of);
    }

    /// What it is, of so many at least.
    fn known(&self, few: u32) -> Option<f64> {
        (self.of >= few).then_some(self.is)
    }
}

fn place(age: Option<Duration>) -> usize {
    age.map_or(AGES.len(), |age| AGES.partition_point(|until| *until <= age))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_jruby_that_came_back_last_is_lent_next_with_what_it_compiled() {
        let (mut caches, now) = (Caches::default(), start());
        let (one, two) = (caches.lend(), caches.lend());
        caches.comes_back(one, Some(1), now);
        caches.comes_back(two, Some(2), now + SECOND);
        assert_eq!(caches.age(2, now + 3 * SECOND), Some(2 * SECOND));
        assert_eq!(caches.age(1, now), None, "that one lies below");
        assert_eq!(caches.lend(), two);
        assert_eq!(caches.age(1, now + SECOND), Some(SECOND));
        caches.comes_back(two, None, now);
        assert_eq!(caches.age(2, now + SECOND), Some(Duration::ZERO), "a file changes nothing");
    }

    #[test]
    fn what_was_flushed_is_cold_and_the_rest_is_not() {
        let (mut caches, now) = (Caches::default(), start());
        let one = caches.lend();
        caches.comes_back(one, Some(1), now);
        let one = caches.lend();
        caches.comes_back(one, Some(2), now);
        caches.flushed(&[1]);
        assert_eq!((caches.age(1, now), caches.age(2, now)), (None, Some(Duration::ZERO)));
        caches.flushed(&[]);
        assert_eq!(caches.age(2, now), None);
    }

    #[test]
    fn what_a_cold_environment_costs_is_learned() {
        let mut costs = Costs::default();
        assert_eq!(costs.of(None), 1.0);
        for n in 0..400_u64 {
            // Two environments of quite different size: that is no cache's doing.
            let size = if n % 2 == 0 { 1.0 } else { 20.0 };
            let (age, takes) = if n % 8 < 2 { (None, 2.5) } else { (Some(10 * SECOND), 1.0) };
            costs.saw(n % 2, age, size * takes);
        }
        let cold = costs.of(None) / costs.of(Some(SECOND));
        assert!((2.2..2.8).contains(&cold), "{cold}");
        assert_eq!(costs.of(Some(SECOND * 7200)), 1.0, "nobody knows of that age");
    }

    #[test]
    fn where_nothing_is_cached_nothing_is_made_of_it() {
        let mut costs = Costs::default();
        for n in 0..400_u64 {
            costs.saw(1, (n % 3 > 0).then_some(SECOND), if n % 2 == 0 { 3.0 } else { 5.0 });
        }
        let cold = costs.of(None) / costs.of(Some(SECOND));
        assert!((0.9..1.1).contains(&cold), "{cold}");
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (mut caches, mut costs, now) = (Caches::default(), Costs::default(), start());
        for name in 0..1000 {
            let one = caches.lend();
            caches.comes_back(one, Some(name), now);
            costs.saw(name, None, 1.0);
        }
        assert_eq!((caches.jrubies.len(), caches.jrubies[0].len()), (1, REMEMBERED));
        assert_eq!(costs.environments.len(), MOST);
        assert!(caches.age(999, now).is_some() && caches.age(0, now).is_none());
    }
}
