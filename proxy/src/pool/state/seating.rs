//! Seats given, waited for and given back: the pool's part that the queue, the seats and the choice of a master make
//! together.
//!
//! Whatever may free a seat or end a wait (a seat given back, gauges, health, a seal, a roster) is followed by
//! [`State::call`], which says who is to be told what. Between two calls no seat of a fit master is free while somebody
//! waits who could have it.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use stagedoor_config::certname::Certname;
use stagedoor_config::class::Class;
use stagedoor_config::proxy::share::Share;

use super::{Live, State};
use crate::pool::caches::JRuby;
use crate::pool::pick::{self, Candidate, Want};
use crate::pool::queue::{Ticket, Waiter};
use crate::pool::seat::Gauges;

#[cfg(test)]
mod day;
#[cfg(test)]
mod tests;

/// Left of an agent's patience when it is told that it waits in vain: for the answer to reach it.
const MARGIN: Duration = Duration::from_secs(10);

/// A catalog whose code is in a JRuby that is free goes before one whose code has to be read there, if it came no later than so
/// long after it: what that saves is saved for everybody who waits, and nobody is overtaken by more than came meanwhile.
const OVERTAKEN: Duration = Duration::from_secs(15);
/// How many of those who wait behind are looked at for that: most environments of a site are among them.
const OVERTAKES: usize = 32;

/// What the settings say of seats.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The part of every master's seats that is this door's.
    pub share: Share,
    /// Whether a catalog goes where its environment's code is, and a run's files where its catalog was compiled.
    pub affinity: bool,
    /// The most requests that wait.
    pub queue: usize,
}

/// What a request that holds a seat gives back with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What it is.
    pub class: Class,
    /// Whose catalog it is, where that agent is compiled for once at a time.
    pub alone: Option<Certname>,
    /// When it was given the seat.
    pub since: Instant,
    /// The JRuby that it has, as far as this door knows.
    pub jruby: JRuby,
    /// A hash of the environment that it compiles, and how old the JRuby's cache of it is.
    pub compiles: Option<(u64, Option<Duration>)>,
}

/// What becomes of a request that wants a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It has one at this master.
    Given(u32, Held),
    /// It waits.
    Waits {
        /// Its place.
        ticket: Ticket,
        /// From then on a seat would be wasted on it: its agent would have left before the answer.
        until: Instant,
        /// Whose place it took.
        instead_of: Option<Ticket>,
    },
    /// As many wait as may.
    Full,
    /// Nobody is there whose seat it could wait for.
    Nobody,
}

/// What a waiter is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Called {
    /// It has a seat at this master.
    To(u32, Held),
    /// Nobody is there any more whose seat it could wait for.
    Nobody,
}

/// How many wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Small requests.
    pub small: usize,
    /// Catalogs.
    pub catalogs: usize,
    /// When the one came who has waited longest.
    pub oldest: Option<Instant>,
    /// How long a catalog that came now would wait, by what is waiting and how long such requests take.
    pub expected: Duration,
    /// How much longer catalogs are kept; none where they are not.
    pub held: Option<Duration>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { share: Share::WHOLE, affinity: true, queue: usize::MAX }
    }
}

impl State {
    /// The settings say otherwise from now on.
    pub const fn agree(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// A request wants a seat, and its agent has this patience from the time it came.
    pub fn ask(&mut self, waiter: &Waiter, patience: Duration, now: Instant, chance: u64) -> Asked {
        if waiter.tried.is_empty() {
            self.budget.earn();
        }
        if self.queue.is_empty()
            && let Some(seat) =
                self.seats_for(|this, candidates| this.seat_for(waiter, now, chance, candidates))
        {
            return Asked::Given(seat.id, self.seat(seat.id, waiter, now));
        }
        if !self.masters.iter().any(|live| live.could_seat(&waiter.tried)) {
            return Asked::Nobody;
        }
        if !self.queue.has_room(waiter, self.terms.queue) {
            return Asked::Full;
        }
        let in_vain = MARGIN + self.service.p95(waiter.class);
        let until = waiter.since + patience.saturating_sub(in_vain);
        let (ticket, instead_of) = self.queue.enter(waiter.clone());
        Asked::Waits { ticket, until, instead_of }
    }

    /// Who is called from the queue, now that something has changed; asked again until nobody is.
    pub fn call(&mut self, now: Instant, chance: u64) -> Option<(Ticket, Called)> {
        if self.queue.is_empty() {
            return None;
        }
        let seats = self.seats_in_all();
        // Mostly no seat is free, and thousands may wait: nobody is looked at for nothing. Where nobody is there any more whose
        // seat could be waited for, everybody is told.
        if seats > 0 && !self.masters.iter().any(|live| self.has_free_seat(live, now)) {
            return None;
        }
        let (ticket, id) = self.seats_for(|this, candidates| {
            let mut waiters = this.queue.in_order(seats);
            let (ticket, waiter, found) = waiters.find_map(|(ticket, waiter)| {
                if !this.masters.iter().any(|live| live.could_seat(&waiter.tried)) {
                    return Some((ticket, waiter, None));
                }
                this.seat_for(waiter, now, chance, candidates).map(|seat| (ticket, waiter, Some(seat)))
            })?;
            let Some(found) = found else { return Some((ticket, None)) };
            let mut best = (ticket, found);
            if waiter.environment.is_some() && this.terms.affinity {
                // What of its contemporaries has its code in a JRuby that is free goes before it.
                let others = waiters.take(OVERTAKES).filter(|(_, other)| {
                    other.environment.is_some_and(|_| other.since <= waiter.since + OVERTAKEN)
                });
                for (ticket, other) in others {
                    if let Some(seat) = this.seat_for(other, now, chance, candidates)
                        && pick::behind(best.1.takes, seat.takes) > 0
                    {
                        best = (ticket, seat);
                    }
                }
            }
            let (ticket, seat) = best;
            Some((ticket, Some(seat.id)))
        })?;
        let waiter = self.queue.leave(ticket)?;
        if id.is_some() && waiter.class == Class::Catalog && self.queue.lengths().0 > 0 {
            self.queue.went_first(self.service.mean(Class::Catalog));
        }
        Some((ticket, id.map_or(Called::Nobody, |id| Called::To(id, self.seat(id, &waiter, now)))))
    }

    /// A waiter left; true where it was still waiting.
    pub fn leave(&mut self, ticket: Ticket) -> bool {
        self.queue.leave(ticket).is_some()
    }

    /// A request gives back its seat; `answered` where a master's answer ended it. A master that has left meanwhile is
    /// forgotten already.
    pub fn unseat(&mut self, id: u32, held: &Held, answered: bool, now: Instant) {
        let took = now.saturating_duration_since(held.since);
        if let Some(agent) = &held.alone {
            self.compiling.remove(agent);
        }
        if held.class != Class::Catalog {
            self.queue.small_worked(took);
        }
        let times = answered.then(|| self.service.times(held.class, took)).flatten();
        if answered {
            self.service.took(held.class, took);
        }
        if let Some(live) = self.masters.iter_mut().find(|live| live.id == id) {
            live.seats.give_back();
            if answered {
                live.health.answered();
            }
            let compiled = held.compiles.filter(|_| answered);
            live.caches.comes_back(held.jruby, compiled.map(|(environment, _)| environment), now);
            if let Some((environment, age)) = compiled {
                let slower = live.speed.takes(now).unwrap_or(1.0);
                self.costs.saw(environment, age, took.as_secs_f64() / slower);
            }
            if let Some(times) = times {
                live.speed.saw(times, now);
            }
        }
        self.give_back(id);
    }

    /// A master is asked for its gauges.
    pub fn gauges_asked(&mut self, id: u32) {
        if let Some(live) = self.masters.iter_mut().find(|live| live.id == id) {
            live.seats.asks();
        }
    }

    /// A master's gauges came, and are asked for again at this distance.
    pub fn gauged(&mut self, id: u32, gauges: Gauges, now: Instant, again: Duration) {
        if let Some(live) = self.masters.iter_mut().find(|live| live.id == id) {
            live.seats.tell(gauges, now, again);
        }
    }

    /// How long a catalog takes on average; nothing where none has been seen.
    #[must_use]
    pub fn mean_of_catalogs(&self) -> Duration {
        self.service.mean(Class::Catalog)
    }

    /// How many wait, and for how long.
    #[must_use]
    pub fn waiting(&self, now: Instant) -> Waiting {
        let (small, catalogs) = self.queue.lengths();
        let seats = self.seats_in_all().max(1);
        let of = |many: usize, class| self.service.mean(class) * u32::try_from(many).unwrap_or(u32::MAX);
        let work = of(catalogs, Class::Catalog).saturating_add(of(small, Class::FileMetadata));
        Waiting {
            small,
            catalogs,
            oldest: self.queue.oldest(),
            expected: work / seats,
            held: self.hold.left(now),
        }
    }

    /// This door's seats of every master that may be given something.
    fn seats_in_all(&self) -> u32 {
        let masters = self.masters.iter().filter(|live| live.may_seat());
        masters.map(|live| live.seats.ours(self.terms.share)).sum()
    }

    /// Looks with a list that is kept between calls, so that a choice allocates nothing.
    fn seats_for<T>(&mut self, look: impl FnOnce(&Self, &mut Vec<Candidate>) -> T) -> T {
        let mut candidates = std::mem::take(&mut self.scratch);
        let found = look(self, &mut candidates);
        self.scratch = candidates;
        found
    }

    /// A free seat for this request; none where it has to wait.
    fn seat_for(
        &self,
        waiter: &Waiter,
        now: Instant,
        chance: u64,
        candidates: &mut Vec<Candidate>,
    ) -> Option<Candidate> {
        if waiter.alone && waiter.agent.as_ref().is_some_and(|agent| self.compiling.contains(agent)) {
            return None;
        }
        if waiter.class == Class::Catalog && self.hold.left(now).is_some() {
            return None;
        }
        let there = || self.masters.iter().filter(|live| live.could_seat(&waiter.tried));
        // A fit master whose seats are all taken is waited for: an unfit one's is no better for being free.
        let any_fit = there().any(|live| live.fit(now));
        let free = there().filter(|live| {
            let few = live.ejection.seats(now).filter(|_| any_fit);
            let few = few.map_or(u32::MAX, |few| few.saturating_sub(live.seats.taken()));
            live.fit(now) == any_fit && self.has_free_seat(live, now) && few > 0
        });
        let known = there().filter_map(|live| live.speed.takes(now));
        let fastest = known.reduce(f64::min).unwrap_or(1.0);
        let environment = waiter.environment.filter(|_| self.terms.affinity);
        candidates.clear();
        candidates.extend(free.map(|live| {
            let cache = environment.map_or(1.0, |name| self.costs.of(live.caches.age(name, now)));
            Candidate {
                id: live.id,
                name: live.name,
                in_flight: live.seats.taken(),
                seats: live.seats.ours(self.terms.share),
                takes: live.speed.takes(now).unwrap_or(fastest) * cache,
                fit: true,
            }
        }));
        let want = match waiter.want {
            Want::Near(_) if !self.terms.affinity => Want::LeastBusy,
            want => want,
        };
        let id = pick::pick(candidates, want, chance)?;
        candidates.iter().find(|candidate| candidate.id == id).copied()
    }

    /// Whether it has a seat that nobody has, whoever may have it.
    fn has_free_seat(&self, live: &Live, now: Instant) -> bool {
        live.may_seat() && live.seats.free(self.terms.share, now) > 0
    }

    fn seat(&mut self, id: u32, waiter: &Waiter, now: Instant) -> Held {
        let (mut jruby, mut compiles) = Default::default();
        if let Some(live) = self.masters.iter_mut().find(|live| live.id == id) {
            live.in_flight += 1;
            live.seats.take();
            live.ejection.given(now);
            compiles = waiter.environment.map(|name| (name, live.caches.age(name, now)));
            jruby = live.caches.lend();
        }
        let alone = waiter.agent.clone().filter(|_| waiter.alone);
        if let Some(agent) = &alone {
            self.compiling.insert(agent.clone());
        }
        Held { class: waiter.class, alone, since: now, jruby, compiles }
    }
}
