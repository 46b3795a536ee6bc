//! A pool that lives through a long random day. After each event everything is held against a plain model.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;

use proptest::prelude::*;
use stagedoor_config::master::{JETTY_HEADER_LIMIT, Kind, Master, Standing};

use super::*;
use crate::pool::catalogs::{Became, Whose};
use crate::pool::seal::{At, Outcome};
use crate::pool::state::Cataloged;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(600);

#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn start() -> Instant {
    Instant::now()
}

fn master(number: usize, jrubies: u16) -> Master {
    Master {
        certname: Certname::parse_host(&format!("m{number}")).unwrap(),
        address: format!("m{number}:8140"),
        kind: Kind::SEALED,
        standing: Standing::Admitted,
        header_limit: JETTY_HEADER_LIMIT,
        jrubies: NonZero::new(jrubies),
    }
}

fn pool(jrubies: &[u16], now: Instant) -> State {
    let roster: Vec<Master> = jrubies.iter().enumerate().map(|(at, many)| master(at, *many)).collect();
    let mut state = State::default();
    for (id, _) in state.reconcile(&roster, now).joined {
        let _turn = state.seal_tested(id, 0, Outcome::Refused, At { now, lasts: Duration::MAX });
        for _ in 0..2 {
            let _flip = state.probed(id, None, 2, 3);
        }
    }
    state
}

fn waiter(class: Class, alone: Option<&str>, since: Instant) -> Waiter {
    let agent = alone.map(|agent| Certname::parse(agent).unwrap());
    let (want, tried, environment) = (Want::LeastBusy, Vec::new(), None);
    Waiter { class, alone: agent.is_some(), agent, environment, want, tried, since }
}

fn given(asked: Asked) -> (u32, Held) {
    match asked {
        Asked::Given(id, held) => (id, held),
        other => panic!("expected a seat: {other:?}"),
    }
}

fn waits(asked: Asked) -> Ticket {
    match asked {
        Asked::Waits { ticket, .. } => ticket,
        other => panic!("expected to wait: {other:?}"),
    }
}

#[test]
fn a_seat_that_is_given_back_anywhere_takes_the_first_who_waits() {
    let now = start();
    let mut state = pool(&[1, 1], now);
    let ask = |state: &mut State, class| state.ask(&waiter(class, None, now), PATIENCE, now, 0);
    let (first, held) = given(ask(&mut state, Class::Catalog));
    let (second, _) = given(ask(&mut state, Class::Catalog));
    assert_ne!(first, second);
    let catalog = waits(ask(&mut state, Class::Catalog));
    let report = waits(ask(&mut state, Class::Report));
    assert_eq!(state.call(now, 0), None);
    state.unseat(first, &held, true, now + SECOND);
    let (who, Called::To(id, held)) = state.call(now + SECOND, 0).unwrap() else { panic!("a seat") };
    assert_eq!((who, id), (report, first));
    assert_eq!(state.call(now + SECOND, 0), None);
    state.unseat(first, &held, true, now + SECOND);
    assert!(
        matches!(state.call(now + SECOND, 0), Some((who, Called::To(id, _))) if (who, id) == (catalog, first))
    );
}

#[test]
fn an_agents_second_catalog_waits_for_its_first_wherever_seats_are_free() {
    let now = start();
    let mut state = pool(&[4], now);
    let (id, held) = given(state.ask(&waiter(Class::Catalog, Some("web01"), now), PATIENCE, now, 0));
    let again = waits(state.ask(&waiter(Class::Catalog, Some("web01"), now), PATIENCE, now, 0));
    assert_eq!(state.call(now, 0), None);
    let other = waits(state.ask(&waiter(Class::Catalog, Some("web02"), now), PATIENCE, now, 0));
    assert!(
        matches!(state.call(now, 0), Some((who, Called::To(..))) if who == other),
        "nobody waits behind it"
    );
    state.unseat(id, &held, true, now);
    assert!(matches!(state.call(now, 0), Some((who, Called::To(..))) if who == again));
}

#[test]
fn whoever_waits_for_masters_that_all_leave_is_told_so() {
    let now = start();
    let mut state = pool(&[1], now);
    let _seat = given(state.ask(&waiter(Class::Catalog, None, now), PATIENCE, now, 0));
    let ticket = waits(state.ask(&waiter(Class::Catalog, None, now), PATIENCE, now, 0));
    let _changes = state.reconcile(&[Master { standing: Standing::Draining, ..master(0, 1) }], now);
    assert_eq!(state.call(now, 0), Some((ticket, Called::Nobody)));
    assert_eq!(state.ask(&waiter(Class::Catalog, None, now), PATIENCE, now, 0), Asked::Nobody);
}

#[test]
fn a_fit_master_that_is_full_is_waited_for_though_an_unfit_one_is_free() {
    let now = start();
    let mut state = pool(&[1, 4], now);
    for _ in 0..3 {
        let _flip = state.probed(1, Some("503".to_owned()), 2, 3);
    }
    assert_eq!(given(state.ask(&waiter(Class::Node, None, now), PATIENCE, now, 0)).0, 0);
    let ticket = waits(state.ask(&waiter(Class::Node, None, now), PATIENCE, now, 0));
    assert_eq!(state.call(now, 0), None);
    for _ in 0..2 {
        let _flip = state.probed(1, None, 2, 3);
    }
    assert!(matches!(state.call(now, 0), Some((who, Called::To(1, _))) if who == ticket));
}

#[test]
fn a_locked_pools_work_waits_until_it_is_unlocked() {
    let now = start();
    let mut state = pool(&[2], now);
    let gauges = |locked| Gauges { jrubies: 2, free: 2, locked };
    state.gauged(0, gauges(true), now, SECOND);
    let ticket = waits(state.ask(&waiter(Class::Catalog, None, now), PATIENCE, now, 0));
    assert_eq!(state.call(now, 0), None);
    state.gauged(0, gauges(false), now, SECOND);
    assert!(matches!(state.call(now, 0), Some((who, Called::To(0, _))) if who == ticket));
}

#[test]
fn catalogs_that_are_kept_wait_while_small_requests_go_on() {
    let now = start();
    let mut state = pool(&[2], now);
    assert_eq!(state.hold(SECOND * 60, now), SECOND * 60);
    let ticket = waits(state.ask(&waiter(Class::Catalog, None, now), PATIENCE, now, 0));
    let report = waits(state.ask(&waiter(Class::Report, None, now), PATIENCE, now, 0));
    assert!(matches!(state.call(now, 0), Some((who, Called::To(..))) if who == report));
    assert_eq!(state.call(now + SECOND * 59, 0), None);
    assert!(matches!(state.call(now + SECOND * 60, 0), Some((who, Called::To(..))) if who == ticket));
}

#[test]
fn nobody_waits_so_long_that_its_agent_would_leave_before_the_answer() {
    let now = start();
    let mut state = pool(&[1], now);
    for _ in 0..20 {
        let (id, held) = given(state.ask(&waiter(Class::Catalog, None, now), PATIENCE, now, 0));
        state.unseat(id, &held, true, now + 30 * SECOND);
    }
    let _seat = given(state.ask(&waiter(Class::Catalog, None, now), PATIENCE, now, 0));
    let asked = state.ask(&waiter(Class::Catalog, None, now), PATIENCE, now, 0);
    let Asked::Waits { until, .. } = asked else { panic!("{asked:?}") };
    let waits = until - now;
    assert!(waits <= PATIENCE - 40 * SECOND && waits >= PATIENCE - 60 * SECOND, "{waits:?}");
}

#[test]
fn more_than_may_wait_are_turned_away_and_nobody_who_waits_is() {
    let now = start();
    let mut state = pool(&[1], now);
    state.agree(Terms { queue: 2, ..Terms::default() });
    let _seat = given(state.ask(&waiter(Class::Node, None, now), PATIENCE, now, 0));
    for _ in 0..2 {
        waits(state.ask(&waiter(Class::Node, None, now), PATIENCE, now, 0));
    }
    assert_eq!(state.ask(&waiter(Class::Catalog, None, now), PATIENCE, now, 0), Asked::Full);
    let Waiting { small, catalogs, oldest, .. } = state.waiting(now);
    assert_eq!((small, catalogs, oldest), (2, 0, Some(now)));
}

/// A pool that knows what a cold environment costs.
fn pool_with_costs(jrubies: &[u16], now: Instant) -> State {
    let mut state = pool(jrubies, now);
    for _ in 0..50 {
        state.costs.saw(0, None, 2.5);
        state.costs.saw(0, Some(SECOND), 1.0);
    }
    state
}

fn catalog_of(environment: u64, since: Instant) -> Waiter {
    Waiter { environment: Some(environment), ..waiter(Class::Catalog, None, since) }
}

#[test]
fn a_catalog_goes_where_its_environments_code_is_and_nobody_waits_for_that() {
    let now = start();
    let mut state = pool_with_costs(&[1, 1], now);
    let (one, held_one) = given(state.ask(&catalog_of(1, now), PATIENCE, now, 0));
    let (two, held_two) = given(state.ask(&catalog_of(2, now), PATIENCE, now, 0));
    state.unseat(one, &held_one, true, now);
    state.unseat(two, &held_two, true, now);
    for chance in 0..20 {
        for (environment, master) in [(1, one), (2, two)] {
            let (id, held) = given(state.ask(&catalog_of(environment, now), PATIENCE, now, chance));
            assert_eq!(id, master);
            state.unseat(id, &held, true, now);
        }
    }
    let _seat = given(state.ask(&catalog_of(1, now), PATIENCE, now, 0));
    assert_eq!(given(state.ask(&catalog_of(1, now), PATIENCE, now, 0)).0, two);
}

#[test]
fn of_catalogs_that_came_at_about_one_time_the_one_goes_first_whose_code_is_there() {
    let now = start();
    let mut state = pool_with_costs(&[1], now);
    let (id, held) = given(state.ask(&catalog_of(1, now), PATIENCE, now, 0));
    let first = waits(state.ask(&catalog_of(2, now), PATIENCE, now, 0));
    let near = waits(state.ask(&catalog_of(1, now + OVERTAKEN), PATIENCE, now, 0));
    let far = waits(state.ask(&catalog_of(1, now + OVERTAKEN + SECOND), PATIENCE, now, 0));
    state.unseat(id, &held, true, now);
    let mut called = |expected| {
        let (who, Called::To(id, held)) = state.call(now, 0).unwrap() else { panic!("a seat") };
        assert_eq!(who, expected);
        state.unseat(id, &held, true, now);
    };
    called(near);
    called(first);
    called(far);
}

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
                let _anew = self.state.has_been_up(master, Duration::ZERO, self.now);
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
