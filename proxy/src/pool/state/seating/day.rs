//! A pool that lives through a long random day. After each event everything is held against a plain model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use stagedoor_config::master::{Master, Standing};

use super::tests::{PATIENCE, SECOND, master, pool_with_costs, start, waiter};
use super::*;
use crate::pool::catalogs::{Became, Whose};
use crate::pool::seal::{At, Outcome};
use crate::pool::state::Cataloged;

/// What happens to the pool.
#[derive(Debug, Clone)]
enum Event {
    Ask { catalog: bool, agent: usize, want: Want },
    Answered(usize),
    HungUp(usize),
    Refused(usize),
    Failed(usize),
    Unconnected { master: u32 },
    Restarted { master: u32 },
    Probed { master: u32, good: bool },
    Gauged { master: u32, free: u32, locked: bool },
    Unsealed { master: u32 },
    Sealed { master: u32 },
    Standing { master: usize, standing: Standing },
    Hold(u8),
    Later(u16),
}

fn event() -> impl Strategy<Value = Event> {
    let want = prop_oneof![
        Just(Want::LeastBusy),
        (0_u32..4).prop_map(Want::Prefer),
        any::<u64>().prop_map(Want::Rendezvous)
    ];
    let standing = prop_oneof![Just(Standing::Admitted), Just(Standing::Draining), Just(Standing::Warm)];
    prop_oneof![
        8 => (any::<bool>(), 0_usize..6, want).prop_map(|(catalog, agent, want)| Event::Ask { catalog, agent, want }),
        6 => any::<usize>().prop_map(Event::Answered),
        2 => any::<usize>().prop_map(Event::HungUp),
        1 => any::<usize>().prop_map(Event::Refused),
        2 => any::<usize>().prop_map(Event::Failed),
        1 => (0_u32..4).prop_map(|master| Event::Unconnected { master }),
        1 => (0_u32..4).prop_map(|master| Event::Restarted { master }),
        1 => (0_u32..4, any::<bool>()).prop_map(|(master, good)| Event::Probed { master, good }),
        1 => (0_u32..4, 0_u32..5, any::<bool>()).prop_map(|(master, free, locked)| Event::Gauged { master, free, locked }),
        1 => (0_u32..4).prop_map(|master| Event::Unsealed { master }),
        1 => (0_u32..4).prop_map(|master| Event::Sealed { master }),
        1 => (0_usize..4, standing).prop_map(|(master, standing)| Event::Standing { master, standing }),
        1 => (0_u8..3).prop_map(Event::Hold),
        2 => any::<u16>().prop_map(Event::Later),
    ]
}

/// The pool, and what a plain list of it says.
struct Day {
    state: State,
    roster: Vec<Master>,
    now: Instant,
    /// Who waits, and since when.
    waiting: BTreeMap<Ticket, Waiter>,
    /// Who has a seat.
    seated: Vec<(u32, Held, Waiter)>,
}

impl Day {
    fn ask(&mut self, mut waiter: Waiter, chance: u64) {
        match self.state.ask(&waiter, PATIENCE, self.now, chance) {
            Asked::Given(id, held) => self.seat(id, held, waiter),
            Asked::Waits { ticket, instead_of, .. } => {
                if let Some(older) = instead_of {
                    let older = self.waiting.remove(&older).expect("somebody who waited");
                    assert_eq!(older.agent, waiter.agent, "whose place is taken is the same agent");
                    waiter.since = waiter.since.min(older.since);
                }
                assert!(self.waiting.insert(ticket, waiter).is_none(), "a ticket is given once");
            }
            Asked::Full => panic!("the queue has no end here"),
            Asked::Nobody => assert!(!self.anybody(&waiter)),
        }
        self.call(chance);
    }

    fn call(&mut self, chance: u64) {
        loop {
            let first = self.first(chance);
            let Some((ticket, called)) = self.state.call(self.now, chance) else { break };
            let waiter = self.waiting.remove(&ticket).expect("who is called was waiting");
            match called {
                Called::To(id, held) => {
                    let first = first.expect("somebody could have a seat");
                    let overtakes = first.class == Class::Catalog
                        && waiter.class == Class::Catalog
                        && waiter.since <= first.since + OVERTAKEN;
                    assert!(overtakes || first == waiter, "{waiter:?} before {first:?}");
                    self.seat(id, held, waiter);
                }
                Called::Nobody => assert!(!self.anybody(&waiter)),
            }
        }
    }

    /// Whose turn it is of those who could have a seat now.
    fn first(&self, chance: u64) -> Option<Waiter> {
        let mut waiters = self.state.queue.in_order(self.state.seats_in_all());
        let could = |one: &Waiter| self.state.seat_for(one, self.now, chance, &mut Vec::new()).is_some();
        waiters.find_map(|(_, waiter)| could(waiter).then(|| waiter.clone()))
    }

    fn seat(&mut self, id: u32, held: Held, waiter: Waiter) {
        let live = self.state.masters().iter().find(|live| live.id == id).expect("a master on the roster");
        assert!(live.may_seat(), "a seat of one that may get nothing");
        assert!(!waiter.tried.contains(&id), "a seat of one that was tried");
        let any_fit =
            self.state.masters().iter().any(|live| live.could_seat(&waiter.tried) && live.fit(self.now));
        assert!(live.fit(self.now) || !any_fit, "an unfit master's seat while a fit one is there");
        assert!(!live.seats.locked(self.now), "a seat of a locked pool");
        let kept = held.class == Class::Catalog && self.state.hold.left(self.now).is_some();
        assert!(!kept, "a catalog that is kept");
        assert!(live.seats.taken() <= live.seats.jrubies().0, "more seats than JRubies");
        let few = live.ejection.seats(self.now).filter(|_| any_fit);
        assert!(few.is_none_or(|few| live.seats.taken() <= few), "more seats than it has on probation");
        self.seated.push((id, held, waiter));
    }

    /// What became of a catalog is told before its seat is given back; nothing of a file.
    fn cataloged(&mut self, id: u32, held: &Held, waiter: &Waiter, became: Became) {
        let Some(environment) = waiter.environment else { return };
        let name = format!("e{environment}");
        let agent = waiter.agent.as_ref().map_or(0, |agent| pick::hash(agent.as_str()));
        let whose = Whose::Agents(Some(&name));
        let cataloged = Cataloged { whose, agent, became, begun: held.since };
        let _out = self.state.cataloged(id, cataloged, self.now);
    }

    fn anybody(&self, waiter: &Waiter) -> bool {
        self.state.masters().iter().any(|live| live.could_seat(&waiter.tried))
    }

    fn happens(&mut self, event: Event, chance: u64) {
        match event {
            Event::Ask { catalog, agent, want } => {
                let class = if catalog { Class::Catalog } else { Class::FileContent };
                let environment = catalog.then_some(agent as u64 % 3);
                let agent = catalog.then(|| format!("web{agent}"));
                self.ask(Waiter { want, environment, ..waiter(class, agent.as_deref(), self.now) }, chance);
            }
            Event::Answered(which) if !self.seated.is_empty() => {
                let (id, held, waiter) = self.seated.swap_remove(which % self.seated.len());
                self.cataloged(id, &held, &waiter, Became::Compiled(SECOND));
                self.state.unseat(id, &held, true, self.now);
            }
            Event::Refused(which) if !self.seated.is_empty() => {
                let (id, held, mut waiter) = self.seated.swap_remove(which % self.seated.len());
                self.state.unseat(id, &held, false, self.now);
                waiter.tried.push(id);
                self.ask(waiter, chance);
            }
            Event::HungUp(which) if !self.waiting.is_empty() => {
                let ticket = *self.waiting.keys().nth(which % self.waiting.len()).unwrap();
                self.waiting.remove(&ticket);
                assert!(self.state.leave(ticket), "who waits may leave");
                assert!(!self.state.leave(ticket), "once");
            }
            Event::Failed(which) if !self.seated.is_empty() => {
                let (id, held, waiter) = self.seated.swap_remove(which % self.seated.len());
                self.cataloged(id, &held, &waiter, Became::Failed);
                self.state.unseat(id, &held, false, self.now);
            }
            Event::Answered(_) | Event::Refused(_) | Event::Failed(_) | Event::HungUp(_) => {}
            Event::Unconnected { master } => {
                let _flip = self.state.unconnected(master, "refused", 3);
            }
            Event::Restarted { master } => {
                let _anew = self.state.has_been_up(master, Duration::ZERO, self.now, self.now);
            }
            Event::Probed { master, good } => {
                let bad = (!good).then(|| "503".to_owned());
                let _flip = self.state.probed(master, bad, 2, 3);
            }
            Event::Gauged { master, free, locked } => {
                self.state.gauges_asked(master);
                self.state.gauged(master, Gauges { jrubies: 4, free: free.min(4), locked }, self.now, SECOND);
            }
            Event::Unsealed { master } => {
                let at = At { now: self.now, lasts: Duration::MAX };
                let begun = self.state.seal_test_begins(master).unwrap_or_default();
                let _turn = self.state.seal_tested(master, begun, Outcome::Answered("200".to_owned()), at);
            }
            Event::Sealed { master } => {
                let at = At { now: self.now, lasts: Duration::MAX };
                let begun = self.state.seal_test_begins(master).unwrap_or_default();
                let _turn = self.state.seal_tested(master, begun, Outcome::Refused, at);
            }
            Event::Standing { master, standing } => {
                let count = self.roster.len();
                self.roster[master % count].standing = standing;
                let roster = self.roster.clone();
                let changes = self.state.reconcile(&roster, self.now);
                assert_eq!(changes.left, [0_u32; 0]);
            }
            Event::Hold(seconds) => {
                let _left = self.state.hold(SECOND * u32::from(seconds), self.now);
            }
            Event::Later(millis) => self.now += Duration::from_millis(u64::from(millis)),
        }
        self.call(chance);
        self.holds(chance);
    }

    /// Nothing is counted twice, leaked, or left free while somebody waits who could have it.
    fn holds(&mut self, chance: u64) {
        let mut by_master: BTreeMap<u32, u32> = BTreeMap::new();
        for (id, ..) in &self.seated {
            *by_master.entry(*id).or_default() += 1;
        }
        for live in self.state.masters() {
            let ours = by_master.get(&live.id).copied().unwrap_or_default();
            assert_eq!((live.seats.taken(), live.in_flight), (ours, ours), "seats of {}", live.id);
        }
        let (small, catalogs) = self.state.queue.lengths();
        assert_eq!(small + catalogs, self.waiting.len(), "a waiter was lost");
        let mut agents = BTreeSet::new();
        for agent in self.seated.iter().filter_map(|(_, held, _)| held.alone.as_ref()) {
            assert!(agents.insert(agent.clone()), "two catalogs of {agent} at once");
        }
        assert_eq!(self.state.compiling, agents);
        for waiter in self.waiting.values() {
            assert_eq!(
                self.state.seat_for(waiter, self.now, chance, &mut Vec::new()),
                None,
                "a seat is free for {waiter:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn no_seat_is_counted_twice_leaked_or_left_free_while_somebody_waits_who_could_have_it(
        jrubies in proptest::collection::vec(1_u16..5, 1..5),
        events in proptest::collection::vec((event(), any::<u64>()), 1..200),
    ) {
        let now = start();
        let roster = jrubies.iter().enumerate().map(|(at, many)| master(at, *many)).collect();
        let state = pool_with_costs(&jrubies, now);
        let mut day = Day { state, roster, now, waiting: BTreeMap::new(), seated: Vec::new() };
        for (event, chance) in events {
            day.happens(event, chance);
        }
        // In the end everybody is served or told.
        day.happens(Event::Hold(0), 0);
        for master in 0..u32::try_from(jrubies.len()).unwrap() {
            day.happens(Event::Sealed { master }, 0);
            day.happens(Event::Gauged { master, free: 4, locked: false }, 0);
        }
        for master in 0..jrubies.len() {
            day.happens(Event::Standing { master, standing: Standing::Admitted }, 0);
        }
        while !day.seated.is_empty() {
            day.happens(Event::Answered(0), 0);
        }
        prop_assert!(day.waiting.is_empty(), "they wait for ever: {:?}", day.waiting);
    }
}
