//! Catalogs by environment: the busiest by name, the others together.
//!
//! Agents name environments, so their series must not grow. A name has series of its own while it is among the
//! [`NAMED`] busiest; whoever becomes twice as busy as the least of them takes its place, and that one's series end. When
//! it comes back they begin at nothing, as after a restart, which Prometheus expects of a counter. What was counted
//! together is never moved: a counter that jumps would look like a storm.
#![deny(clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Environments that have series of their own.
pub const NAMED: usize = 20;
/// Others whose catalogs are counted to know when they are busy.
const WATCHED: usize = 64;
/// What a catalog counts for halves within this time: two half hours, in which every agent has been there.
const HALF: Duration = Duration::from_secs(3600);
/// As much as this counts more than the least busy one with series before it takes their place, so that two of a kind do
/// not chase each other out.
const BUSIER: f64 = 2.0;

/// What the environments have of something.
#[derive(Debug)]
pub struct Environments<T> {
    named: Vec<Busy<Arc<T>>>,
    watched: Vec<Busy<()>>,
    other: Arc<T>,
}

/// An environment and how busy it is.
#[derive(Debug)]
struct Busy<T> {
    name: Box<str>,
    /// Catalogs, each the half after [`HALF`], as of `at`.
    catalogs: f64,
    at: Instant,
    has: T,
}

impl<T> Environments<T> {
    /// None yet; `other` is of those without a name.
    #[must_use]
    pub const fn new(other: Arc<T>) -> Self {
        Self { named: Vec::new(), watched: Vec::new(), other }
    }

    /// What the environment of one more catalog has; a name that gets a place gets what `make` makes.
    pub fn of(&mut self, name: Option<&str>, now: Instant, make: impl FnOnce() -> T) -> Arc<T> {
        let Some(name) = name.filter(|name| *name != OTHER) else { return Arc::clone(&self.other) };
        if let Some(busy) = self.named.iter_mut().find(|busy| &*busy.name == name) {
            busy.more(now);
            return Arc::clone(&busy.has);
        }
        if self.named.len() < NAMED {
            return self.give_place(Busy::new(name, now), make);
        }
        let at = self.watch(name, now);
        let Some(counts) = self.watched.get(at).map(|busy| busy.catalogs) else {
            return Arc::clone(&self.other);
        };
        let Some((least, count)) = least(&self.named, now) else { return Arc::clone(&self.other) };
        if counts <= count.max(1.0) * BUSIER {
            return Arc::clone(&self.other);
        }
        let busier = self.watched.swap_remove(at);
        let Busy { name, catalogs, at, has: _ } = self.named.swap_remove(least);
        self.watched.push(Busy { name, catalogs, at, has: () });
        self.give_place(busier, make)
    }

    /// Each with its name; the last is what the others have.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<T>)> {
        self.named.iter().map(|busy| (&*busy.name, &busy.has)).chain([(OTHER, &self.other)])
    }

    fn give_place(&mut self, busy: Busy<()>, make: impl FnOnce() -> T) -> Arc<T> {
        let has = Arc::new(make());
        let Busy { name, catalogs, at, has: () } = busy;
        self.named.push(Busy { name, catalogs, at, has: Arc::clone(&has) });
        has
    }

    /// Counts one more catalog of a name without a place, and says where; whoever is least busy is forgotten for it.
    fn watch(&mut self, name: &str, now: Instant) -> usize {
        if let Some(at) = self.watched.iter().position(|busy| &*busy.name == name) {
            if let Some(busy) = self.watched.get_mut(at) {
                busy.more(now);
            }
            return at;
        }
        if self.watched.len() >= WATCHED
            && let Some((least, _)) = least(&self.watched, now)
        {
            self.watched.swap_remove(least);
        }
        self.watched.push(Busy::new(name, now));
        self.watched.len() - 1
    }
}

/// What the others are called together. An environment of that name is one of them.
pub const OTHER: &str = "other";

fn least<T>(of: &[Busy<T>], now: Instant) -> Option<(usize, f64)> {
    let counts = of.iter().map(|busy| busy.now(now)).enumerate();
    counts.min_by(|(_, a), (_, b)| a.total_cmp(b))
}

impl Busy<()> {
    fn new(name: &str, now: Instant) -> Self {
        Self { name: name.into(), catalogs: 1.0, at: now, has: () }
    }
}

impl<T> Busy<T> {
    fn now(&self, now: Instant) -> f64 {
        let halves = now.saturating_duration_since(self.at).as_secs_f64() / HALF.as_secs_f64();
        self.catalogs * (-halves).exp2()
    }

    fn more(&mut self, now: Instant) {
        (self.catalogs, self.at) = (self.now(now) + 1.0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn names(environments: &Environments<u32>) -> Vec<&str> {
        environments.iter().map(|(name, _)| name).collect()
    }

    /// As many as have a place, each with so many catalogs.
    fn full(catalogs: u32, now: Instant) -> Environments<u32> {
        let mut environments = Environments::new(Arc::new(0));
        for i in 0..NAMED {
            for _ in 0..catalogs {
                environments.of(Some(&format!("env{i}")), now, || 1);
            }
        }
        environments
    }

    #[test]
    fn a_name_keeps_its_own_and_the_twenty_first_is_counted_with_the_others() {
        let now = start();
        let mut environments = full(10, now);
        let first = environments.of(Some("env0"), now, || unreachable!("it has one"));
        assert_eq!(*first, 1);
        assert_eq!(*environments.of(Some("late"), now, || 2), 0);
        assert_eq!(*environments.of(None, now, || 2), 0);
        assert_eq!(*Environments::new(Arc::new(0)).of(Some(OTHER), now, || 2), 0);
        assert_eq!(names(&environments).len(), NAMED + 1);
        assert_eq!(names(&environments).last(), Some(&OTHER));
    }

    #[test]
    fn whoever_becomes_twice_as_busy_takes_the_place_of_the_least_busy() {
        let now = start();
        let mut environments = full(10, now);
        for _ in 0..20 {
            assert_eq!(*environments.of(Some("late"), now, || 2), 0);
        }
        assert_eq!(*environments.of(Some("late"), now, || 2), 2);
        assert_eq!(names(&environments).len(), NAMED + 1);
        assert!(names(&environments).contains(&"late"));
    }

    #[test]
    fn an_environment_that_is_no_longer_used_gives_its_place_up() {
        let now = start();
        let mut environments = full(1000, now);
        let later = now + HALF * 12;
        assert_eq!(*environments.of(Some("new"), later, || 2), 0);
        assert_eq!(*environments.of(Some("new"), later, || 2), 0);
        assert_eq!(*environments.of(Some("new"), later, || 2), 2);
    }

    #[test]
    fn ever_new_names_take_nobodys_place_and_no_memory() {
        let now = start();
        let mut environments = full(3, now);
        for i in 0..10_000 {
            environments.of(Some(&format!("made_up_{i}")), now, || 2);
        }
        assert!(names(&environments).iter().all(|name| !name.starts_with("made_up")));
        assert_eq!(environments.watched.len(), WATCHED);
    }
}
