//! A master as Puppet Server is: so many JRubies, of which the one that came back last is lent next, each with its own caches
//! of environments, and a queue before them in the order of arrival that nothing leaves.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What a master is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Master {
    /// How many requests it serves at once.
    pub(crate) jrubies: usize,
    /// How many times as long it takes as a usual one.
    pub(crate) slower: f64,
    /// Its environments' caches.
    pub(crate) caching: Caching,
}

/// How long a JRuby keeps what it read of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caching {
    /// There is nothing to gain: what is read counts to the catalog.
    Alike,
    /// Until it is flushed: `environment_timeout = unlimited`.
    Unlimited,
    /// For five minutes after it was read: the default of Puppet Enterprise, before Puppet 7.
    FromMade,
    /// For five minutes after it was used last: the same since then.
    FromUsed,
}

/// What a catalog takes more of in a JRuby that has to read its environment first.
const COLD: f64 = 2.75;
/// `environment_timeout`.
const EXPIRES: Duration = Duration::from_secs(5 * 60);
/// A Java machine that has just been started takes three times as long for its first catalog, and less with each; after so
/// many it has come about two thirds of the way.
const WARMS_UP: f64 = 20.0;

/// One master at work.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) is: Master,
    /// At rest; the last one is lent next.
    jrubies: Vec<JRuby>,
    busy: BTreeMap<usize, JRuby>,
    pub(crate) waiting: VecDeque<usize>,
    /// A deploy or a flush waits for its JRubies, or has them all.
    pub(crate) locked: bool,
    /// It does not answer.
    pub(crate) dead: bool,
    /// Catalogs since it was started; none where it was started long ago.
    young: Option<u32>,
}

/// Of each environment that it has read: when, and when it was last used.
type JRuby = BTreeMap<usize, (Duration, Duration)>;

impl Machine {
    /// One that has been at work for long: each JRuby has read each environment at some time of the last minutes.
    pub(crate) fn new(is: Master, environments: usize, chance: &mut fastrand::Rng) -> Self {
        let mut read = || {
            let at = EXPIRES.mul_f64(chance.f64());
            (at, at)
        };
        let jrubies =
            (0..is.jrubies).map(|_| (0..environments).map(|name| (name, read())).collect()).collect();
        let (locked, dead, young) = (false, false, None);
        Self { is, jrubies, busy: BTreeMap::new(), waiting: VecDeque::new(), locked, dead, young }
    }

    /// It was started just now.
    pub(crate) fn starts(&mut self) {
        self.jrubies = vec![JRuby::new(); self.is.jrubies];
        (self.dead, self.young) = (false, Some(0));
    }

    /// The next request that it begins to work at; none where there is none, or no JRuby.
    pub(crate) fn begins(&mut self) -> Option<usize> {
        if self.locked || self.dead || self.jrubies.is_empty() {
            return None;
        }
        let request = self.waiting.pop_front()?;
        let jruby = self.jrubies.pop().unwrap_or_default();
        self.busy.insert(request, jruby);
        Some(request)
    }

    /// How long what it has begun takes, which takes so long in a usual master; a catalog's environment is read first where
    /// that has to be.
    pub(crate) fn takes(
        &mut self,
        request: usize,
        work: Duration,
        compiles: Option<usize>,
        now: Duration,
    ) -> Duration {
        let mut times = self.is.slower;
        if let Some(environment) = compiles {
            if let Some(young) = &mut self.young {
                times *= 1.0 + 2.0 * (-f64::from(*young) / WARMS_UP).exp();
                *young += 1;
            }
            if !self.is_warm(request, environment, now) {
                times *= COLD;
            }
        }
        work.mul_f64(times)
    }

    /// Whether its JRuby has this environment, which it has from now on.
    fn is_warm(&mut self, request: usize, environment: usize, now: Duration) -> bool {
        let Some(jruby) = self.busy.get_mut(&request) else { return true };
        // What was read before the simulation began has a time as well.
        let now = now + EXPIRES;
        let (made, used) = jruby.get(&environment).copied().unwrap_or((now, now));
        let is_there = jruby.contains_key(&environment);
        let warm = match self.is.caching {
            Caching::Alike => return true,
            Caching::Unlimited => is_there,
            Caching::FromMade => is_there && now - made < EXPIRES,
            Caching::FromUsed => is_there && now - used < EXPIRES,
        };
        jruby.insert(environment, (if warm { made } else { now }, now));
        warm
    }

    /// What it worked at is answered; false where it was lost before.
    pub(crate) fn done(&mut self, request: usize) -> bool {
        let jruby = self.busy.remove(&request);
        let is = jruby.is_some();
        self.jrubies.extend(jruby);
        is
    }

    /// Nothing is at work there.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.busy.is_empty()
    }

    /// How many JRubies are at rest.
    pub(crate) fn free(&self) -> usize {
        self.jrubies.len()
    }

    /// Every environment has to be read again.
    pub(crate) fn flushed(&mut self) {
        self.jrubies.iter_mut().for_each(JRuby::clear);
    }

    /// Everything that it has in hand is lost.
    pub(crate) fn dies(&mut self) -> Vec<usize> {
        self.dead = true;
        let lost = self.busy.keys().copied().chain(self.waiting.iter().copied()).collect();
        self.busy.clear();
        self.waiting.clear();
        lost
    }
}
