//! Who waits for a seat, and who is next.
//!
//! One queue for all masters, so that a seat that is given back anywhere takes the best waiter there is. Two lanes, each in
//! the order of arrival: small requests go first, since a run makes a dozen of them and each holds a seat for
//! milliseconds, and a catalog that has waited [`BEHIND`] *for them* goes before. What counts is not how long a catalog
//! waits, most of which is behind other catalogs, but what small requests are to blame for: the work that they did in
//! seats meanwhile, over all seats.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use stagedoor_config::certname::Certname;
use stagedoor_config::class::Class;

use super::pick::Want;

/// How long a catalog waits for small requests. Agents wait minutes for a catalog; a run whose every file waited behind
/// catalogs would take many times as long.
pub const BEHIND: Duration = Duration::from_secs(30);

/// How many catalogs, from the oldest on, may go before small requests: the others have waited less, and there are thousands.
const LOOKED_AT: usize = 32;
/// Requests of one agent that wait: more than any agent has, and as many as an orchestrator compiles at once.
const OF_ONE: usize = 64;

/// A request that wants a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// What it is.
    pub class: Class,
    /// Who asks; none without a certificate.
    pub agent: Option<Certname>,
    /// Whether it is that agent's own catalog, which is compiled once at a time.
    pub alone: bool,
    /// A hash of the environment, where it is a catalog's.
    pub environment: Option<u64>,
    /// What it asks of the choice of a master.
    pub want: Want,
    /// Masters that are not to be asked again.
    pub tried: Vec<u32>,
    /// When it came. A request that was refused by a master keeps its place.
    pub since: Instant,
}

/// A place in the queue: by arrival, and never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    since: Instant,
    number: u64,
}

/// Who waits.
#[derive(Debug, Default)]
pub struct Queue {
    small: BTreeMap<Ticket, Waiter>,
    /// With what small requests had worked when it came.
    catalogs: BTreeMap<Ticket, (Waiter, Duration)>,
    /// The waiting catalogs of agents that are compiled for once at a time.
    alone: BTreeMap<Certname, Ticket>,
    /// How many requests of each agent wait.
    of_agents: BTreeMap<Certname, usize>,
    next: u64,
    /// From this much work of small requests on a catalog may go before them again.
    next_first: Duration,
    /// What small requests have worked so far, all seats together.
    small_work: Duration,
}

impl Queue {
    /// Lets a request wait. An agent has one catalog to wait for: a newer one takes the place of an older, whose agent has
    /// given up on it or will never read it, and that one's ticket is answered with.
    pub fn enter(&mut self, mut waiter: Waiter) -> (Ticket, Option<Ticket>) {
        let older = self.older(&waiter);
        let mut before = self.small_work;
        if let Some(older) = older {
            before = self.catalogs.get(&older).map_or(before, |(_, before)| *before);
            self.leave(older);
            waiter.since = waiter.since.min(older.since);
        }
        let ticket = Ticket { since: waiter.since, number: self.next };
        self.next += 1;
        if let Some(agent) = &waiter.agent {
            *self.of_agents.entry(agent.clone()).or_default() += 1;
            if waiter.alone {
                self.alone.insert(agent.clone(), ticket);
            }
        }
        match waiter.class {
            Class::Catalog => drop(self.catalogs.insert(ticket, (waiter, before))),
            _ => drop(self.small.insert(ticket, waiter)),
        }
        (ticket, older)
    }

    /// A waiter left, or is given a seat.
    pub fn leave(&mut self, ticket: Ticket) -> Option<Waiter> {
        let catalog = || self.catalogs.remove(&ticket).map(|(waiter, _)| waiter);
        let waiter = self.small.remove(&ticket).or_else(catalog)?;
        if let Some(agent) = &waiter.agent {
            if waiter.alone {
                self.alone.remove(agent);
            }
            if let Some(waiting) = self.of_agents.get_mut(agent) {
                *waiting -= 1;
                if *waiting == 0 {
                    self.of_agents.remove(agent);
                }
            }
        }
        Some(waiter)
    }

    /// Whether this one may wait, where so many may in all: it takes the place of another, or there is room, and its agent has
    /// no more than its part.
    #[must_use]
    pub fn has_room(&self, waiter: &Waiter, most: usize) -> bool {
        let waiting = waiter.agent.as_ref().and_then(|agent| self.of_agents.get(agent)).copied();
        let (small, catalogs) = self.lengths();
        self.older(waiter).is_some() || (small + catalogs < most && waiting.unwrap_or_default() < OF_ONE)
    }

    /// The catalog whose place this one takes.
    fn older(&self, waiter: &Waiter) -> Option<Ticket> {
        waiter.agent.as_ref().filter(|_| waiter.alone).and_then(|agent| self.alone.get(agent).copied())
    }

    /// A catalog went before small requests that wait: they may work as long as it does before another one goes.
    pub fn went_first(&mut self, takes: Duration) {
        self.next_first = self.small_work.saturating_add(takes);
    }

    /// A small request gave its seat back after so long.
    pub fn small_worked(&mut self, took: Duration) {
        self.small_work = self.small_work.saturating_add(took);
    }

    /// The waiters in the order in which they are to be served, where there are so many seats in all.
    pub fn in_order(&self, seats: u32) -> impl Iterator<Item = (Ticket, &Waiter)> {
        let most = BEHIND.saturating_mul(seats.max(1));
        let turn = self.small_work >= self.next_first;
        let has_waited =
            move |(_, before): &(Waiter, Duration)| turn && self.small_work.saturating_sub(*before) >= most;
        // One that was refused by a master keeps its place and waits for small requests anew: it hides nobody.
        let first = self.catalogs.iter().take(LOOKED_AT).filter(move |(_, one)| has_waited(one));
        let last = self.catalogs.iter().enumerate();
        let last =
            last.filter(move |(at, (_, one))| *at >= LOOKED_AT || !has_waited(one)).map(|(_, one)| one);
        fn of<'q>((ticket, (waiter, _)): (&'q Ticket, &'q (Waiter, Duration))) -> (Ticket, &'q Waiter) {
            (*ticket, waiter)
        }
        let small = self.small.iter().map(|(ticket, waiter)| (*ticket, waiter));
        first.map(of).chain(small).chain(last.map(of))
    }

    /// How many small requests wait, and how many catalogs.
    #[must_use]
    pub fn lengths(&self) -> (usize, usize) {
        (self.small.len(), self.catalogs.len())
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths() == (0, 0)
    }

    /// When the one came who has waited longest.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        let first = self.small.keys().next().into_iter().chain(self.catalogs.keys().next());
        first.map(|ticket| ticket.since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn waiter(class: Class, since: Instant) -> Waiter {
        Waiter {
            class,
            agent: None,
            alone: false,
            environment: None,
            want: Want::LeastBusy,
            tried: Vec::new(),
            since,
        }
    }

    fn of(agent: &str, since: Instant) -> Waiter {
        let agent = Some(Certname::parse(agent).unwrap());
        Waiter { agent, alone: true, ..waiter(Class::Catalog, since) }
    }

    fn order(queue: &Queue, seats: u32) -> Vec<Ticket> {
        queue.in_order(seats).map(|(ticket, _)| ticket).collect()
    }

    #[test]
    fn small_requests_go_first_and_each_lane_in_the_order_of_arrival() {
        let (mut queue, now) = (Queue::default(), start());
        let mut enter = |class, after: u32| queue.enter(waiter(class, now + SECOND * after)).0;
        let (catalog, later) = (enter(Class::Catalog, 0), enter(Class::Catalog, 3));
        let (report, file) = (enter(Class::Report, 2), enter(Class::FileContent, 1));
        assert_eq!(order(&queue, 4), [file, report, catalog, later]);
        assert_eq!((queue.lengths(), queue.oldest()), ((2, 2), Some(now)));
    }

    #[test]
    fn a_catalog_that_has_waited_thirty_seconds_for_small_requests_goes_before_them() {
        let (mut queue, now) = (Queue::default(), start());
        let (catalog, _) = queue.enter(waiter(Class::Catalog, now));
        queue.small_worked(BEHIND * 2);
        let (later, _) = queue.enter(waiter(Class::Catalog, now + SECOND));
        let (small, _) = queue.enter(waiter(Class::Node, now + SECOND * 2));
        queue.small_worked(BEHIND * 2 - SECOND);
        assert_eq!(order(&queue, 4), [small, catalog, later], "119 of 120 seconds of four seats");
        queue.small_worked(SECOND);
        assert_eq!(order(&queue, 4), [catalog, small, later]);
        assert_eq!(order(&queue, 8), [small, catalog, later], "of eight seats it was half as long");
    }

    #[test]
    fn a_catalog_that_waits_for_other_catalogs_stays_behind_small_requests() {
        let (mut queue, now) = (Queue::default(), start());
        let (catalog, _) = queue.enter(waiter(Class::Catalog, now));
        let (small, _) = queue.enter(waiter(Class::Node, now + SECOND * 600));
        assert_eq!(order(&queue, 1), [small, catalog]);
    }

    #[test]
    fn an_agents_newer_catalog_takes_the_place_of_its_older_one() {
        let (mut queue, now) = (Queue::default(), start());
        let (first, _) = queue.enter(of("web01.example.com", now));
        let (other, _) = queue.enter(of("web02.example.com", now + SECOND));
        let (newer, older) = queue.enter(of("web01.example.com", now + SECOND * 2));
        assert_eq!(older, Some(first));
        assert_eq!(order(&queue, 1), [newer, other]);
        assert_eq!(queue.leave(first), None, "it has left");
        assert!(queue.leave(newer).is_some() && queue.leave(other).is_some() && queue.is_empty());
        assert_eq!(queue.enter(of("web01.example.com", now)).1, None, "nothing is left of the one before");
    }

    #[test]
    fn after_a_catalog_that_went_first_small_requests_work_as_long_as_it_does() {
        let (mut queue, now) = (Queue::default(), start());
        let (one, _) = queue.enter(waiter(Class::Catalog, now));
        let (two, _) = queue.enter(waiter(Class::Catalog, now));
        let (small, _) = queue.enter(waiter(Class::Node, now));
        queue.small_worked(BEHIND);
        assert_eq!(order(&queue, 1), [one, two, small]);
        queue.leave(one);
        queue.went_first(SECOND * 5);
        assert_eq!(order(&queue, 1), [small, two]);
        queue.small_worked(SECOND * 5);
        assert_eq!(order(&queue, 1), [two, small]);
    }

    #[test]
    fn one_agent_has_a_part_of_the_queue_and_its_newer_catalog_always_a_place() {
        let (mut queue, now) = (Queue::default(), start());
        let mine = |class| Waiter { alone: class == Class::Catalog, ..Waiter { class, ..of("web01", now) } };
        assert!(queue.has_room(&mine(Class::Node), 1000));
        queue.enter(mine(Class::Catalog));
        for _ in 1..OF_ONE {
            assert!(queue.has_room(&mine(Class::Node), 1000));
            queue.enter(mine(Class::Node));
        }
        assert!(!queue.has_room(&mine(Class::Node), 1000));
        assert!(queue.has_room(&of("web02", now), 1000) && !queue.has_room(&of("web02", now), OF_ONE));
        assert!(queue.has_room(&mine(Class::Catalog), OF_ONE), "in place of its older one");
    }

    #[test]
    fn a_request_that_a_master_refused_keeps_its_place() {
        let (mut queue, now) = (Queue::default(), start());
        let (first, _) = queue.enter(waiter(Class::Catalog, now));
        let (second, _) = queue.enter(waiter(Class::Catalog, now + SECOND));
        let refused = queue.leave(first).unwrap();
        let (again, _) = queue.enter(Waiter { tried: vec![3], ..refused });
        assert_eq!(order(&queue, 1), [again, second]);
    }
}
