//! Seats given, waited for and given back, one case after the other.

use std::num::NonZero;

use stagedoor_config::master::{JETTY_HEADER_LIMIT, Kind, Master, Standing};

use super::*;
use crate::pool::seal::{At, Outcome};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
pub(super) fn start() -> Instant {
    Instant::now()
}

pub(super) fn master(number: usize, jrubies: u16) -> Master {
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

pub(super) fn waiter(class: Class, alone: Option<&str>, since: Instant) -> Waiter {
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
pub(super) fn pool_with_costs(jrubies: &[u16], now: Instant) -> State {
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
