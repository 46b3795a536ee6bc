use std::num::NonZero;

use proptest::prelude::*;
use stagedoor_config::master::{Check, JETTY_HEADER_LIMIT, Kind};

use super::*;
use crate::pool::seal::{At, Outcome};
use crate::way::Side;

fn master(name: &str, standing: Standing) -> Master {
    Master {
        certname: Certname::parse_host(name).expect("a host name"),
        address: format!("{name}:8140"),
        kind: Kind::SEALED,
        standing,
        header_limit: JETTY_HEADER_LIMIT,
        jrubies: None,
    }
}

fn pool(roster: &[Master], now: Instant) -> State {
    let mut state = State::default();
    let joined = state.reconcile(roster, now).joined;
    assert_eq!(joined.len(), roster.len());
    for (id, _) in joined {
        let _turn = state.seal_tested(id, 0, Outcome::Refused, At { now, lasts: Duration::MAX });
    }
    state
}

#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn a_draining_master_keeps_what_it_has_and_takes_nothing_new() {
    let now = start();
    let mut roster = [master("a", Standing::Admitted)];
    let mut state = pool(&roster, now);
    let id = state.take(Want::LeastBusy, &[], now, 0).expect("one master");
    roster[0].standing = Standing::Draining;
    assert_eq!(state.reconcile(&roster, now), Changes::default());
    assert_eq!(state.masters()[0].in_flight, 1);
    assert_eq!(state.take(Want::LeastBusy, &[], now, 0), None);
    state.give_back(id);
    assert_eq!(state.masters()[0].in_flight, 0);
}

#[test]
fn a_warm_master_counts_in_nothing_until_it_is_admitted_with_what_is_known_of_it() {
    let now = start();
    let open = Kind::Open { check: Check::Status };
    let mut roster = [
        master("a", Standing::Warm),
        Master { kind: open, jrubies: NonZero::new(4), ..master("b", Standing::Warm) },
    ];
    let mut state = pool(&roster, now);
    for id in 0..2 {
        let _flip = state.probed(id, None, 2, 3);
    }
    assert_eq!(state.sides(now), Sides::default());
    assert!(!state.able(now));
    assert_eq!(state.nobody(), Nobody::TakesWork);
    assert_eq!(state.take(Want::LeastBusy, &[], now, 0), None);
    assert_eq!(state.take_leaving(Want::LeastBusy, &[], now, 0), None);
    assert_eq!(state.pass(IpAddr::from([192, 0, 2, 1]), &[], now, 0), None);
    for master in &mut roster {
        master.standing = Standing::Admitted;
    }
    assert_eq!(state.reconcile(&roster, now), Changes::default(), "neither leaves, nor is tested anew");
    assert!(state.sides(now).sealed.fit && state.sides(now).open.fit);
    assert_eq!(state.take(Want::LeastBusy, &[], now, 0), Some(0));
    assert_eq!(state.pass(IpAddr::from([192, 0, 2, 1]), &[], now, 0), Some(1));
}

#[test]
fn a_canarys_request_counts_as_in_its_masters_hands() {
    let now = start();
    let mut state = pool(&[master("a", Standing::Warm), master("b", Standing::Admitted)], now);
    let canary = Certname::parse("canary.a").expect("a certname");
    assert_eq!(state.take_canary(&canary), Some(Ok(0)));
    assert_eq!(state.masters().iter().map(|live| live.in_flight).collect::<Vec<_>>(), [1, 0]);
    state.give_back(0);
    assert_eq!(state.masters()[0].in_flight, 0);
    assert!(state.reconcile(&[master("b", Standing::Admitted)], now).left == [0]);
    assert_eq!(state.take_canary(&canary), None, "an agent like any other, once its master is gone");
}

#[test]
fn no_request_goes_to_an_open_master() {
    let now = start();
    let open = Kind::Open { check: Check::Status };
    let mut state = pool(&[Master { kind: open, ..master("a", Standing::Admitted) }], now);
    let _flip = state.probed(0, None, 2, 3);
    assert_eq!(state.take(Want::LeastBusy, &[], now, 0), None);
    assert_eq!(state.take(Want::Prefer(0), &[], now, 0), None);
    assert!(!state.able(now), "no request would find a master");
}

#[test]
fn an_address_stays_with_its_master_while_that_is_admitted_fit_and_no_busier_than_others() {
    let now = start();
    let open = Kind::Open { check: Check::Tcp };
    let mut roster = ["a", "b"].map(|name| Master { kind: open, ..master(name, Standing::Admitted) });
    let mut state = pool(&roster, now);
    for id in 0..2 {
        let _flip = state.probed(id, None, 2, 3);
    }
    let from = |last: u8| IpAddr::from([192, 0, 2, last]);
    let home = state.pass(from(1), &[], now, 0).expect("two are there");
    let other = state.pass(from(2), &[], now, 0).expect("two are there");
    assert_ne!(home, other, "the least busy");
    for chance in 0..4 {
        assert_eq!(
            state.pass(from(1), &[], now, chance),
            Some(home),
            "up to a quarter more than the mean and one"
        );
    }
    assert_eq!(state.pass(from(1), &[], now, 0), Some(other), "no more than its share");
    assert_eq!(state.pass(from(1), &[other], now, 0), Some(home), "nobody else is left");
    for _ in 0..4 {
        state.give_back(home);
    }
    roster[home as usize].standing = Standing::Draining;
    let _nothing = state.reconcile(&roster, now);
    for last in 0..20 {
        assert_eq!(
            state.pass(from(last), &[], now, last.into()),
            Some(other),
            "a draining master gets nothing new"
        );
    }
}

#[test]
fn a_retired_master_may_give_back_what_it_had() {
    let now = start();
    let mut state = pool(&[master("a", Standing::Admitted)], now);
    let id = state.take(Want::LeastBusy, &[], now, 0).expect("one master");
    assert_eq!(state.reconcile(&[], now).left, [id]);
    state.give_back(id);
}

#[test]
fn a_master_without_a_verdict_counts_as_fit_after_two_seconds() {
    let now = start();
    let mut state = pool(&[master("a", Standing::Admitted), master("b", Standing::Admitted)], now);
    assert!(!state.able(now));
    assert_eq!(state.probed(1, None, 2, 3), Some(Verdict::Fit));
    assert!(state.able(now));
    for chance in 0..20 {
        assert_eq!(state.take(Want::LeastBusy, &[], now, chance), Some(1), "a is not judged yet");
    }
    let later = now + Duration::from_secs(2);
    assert_eq!(state.take(Want::LeastBusy, &[], later, 0), Some(0), "a counts as fit now");
}

#[test]
fn a_master_that_moved_is_a_new_one() {
    let now = start();
    let mut roster = [master("a", Standing::Admitted)];
    let mut state = pool(&roster, now);
    let _flip = state.probed(0, Some("no answer".to_owned()), 2, 3);
    roster[0].address = "elsewhere:8140".into();
    let changes = state.reconcile(&roster, now);
    assert_eq!((changes.left, changes.joined.len()), (vec![0], 1));
    assert_eq!(state.masters()[0].health.verdict(), Verdict::Unknown);
}

proptest! {
    #[test]
    fn no_request_goes_to_an_open_master_and_no_connection_is_passed_to_a_sealed_one(
        kinds in proptest::collection::vec(any::<bool>(), 1..8),
        fits in proptest::collection::vec(any::<bool>(), 8),
        asks in proptest::collection::vec((any::<bool>(), 0_u32..8, any::<u8>(), any::<u64>()), 1..40),
    ) {
        let now = start();
        let kind = |sealed| if sealed { Kind::SEALED } else { Kind::Open { check: Check::Status } };
        let roster: Vec<Master> = kinds
            .iter()
            .enumerate()
            .map(|(n, sealed)| Master { kind: kind(*sealed), ..master(&format!("m{n}"), Standing::Admitted) })
            .collect();
        let mut state = pool(&roster, now);
        for (id, fit) in (0_u32..).zip(fits).take(roster.len()) {
            let _flip = state.probed(id, (!fit).then(String::new), 1, 1);
        }
        for (request, prefer, last, chance) in asks {
            let picked = match request {
                true => state.take(Want::Prefer(prefer), &[], now, chance),
                false => state.pass(IpAddr::from([192, 0, 2, last]), &[], now, chance),
            };
            let there = kinds.contains(&request);
            prop_assert_eq!(picked.map(|id| kinds[id as usize]), there.then_some(request));
        }
    }
}

#[test]
fn the_last_master_of_an_agent_is_remembered() {
    let now = start();
    let mut state = pool(&[master("a", Standing::Admitted)], now);
    let agent = Certname::parse("web1").expect("a certname");
    assert_eq!(state.last_master(&agent), None);
    state.compiled(&agent, 0);
    assert_eq!(state.last_master(&agent), Some(0));
}

#[test]
fn a_sealed_master_that_is_to_be_tested_again_keeps_its_share_and_one_that_is_not_sealed_has_none() {
    let now = start();
    let mut state = pool(&[master("a", Standing::Admitted)], now);
    let _flip = state.probed(0, None, 2, 3);
    let before = state.sides(now).sealed;
    assert!(before.fit);
    let _turn = state.seal_lost(0, "it was restarted");
    assert_eq!(state.sides(now).sealed, Side { fit: false, ..before });
    assert_eq!(state.take(Want::LeastBusy, &[], now, 0), None, "not before it is tested");
    let answered = Outcome::Answered("it answers".to_owned());
    let begun = state.seal_test_begins(0).unwrap();
    let _turn = state.seal_tested(0, begun, answered, At { now, lasts: Duration::MAX });
    assert_eq!(state.sides(now).sealed, Side::default());
    assert_eq!(state.take(Want::LeastBusy, &[], now, 0), None, "not even as the last one");
}

#[test]
fn a_master_that_has_been_up_for_less_than_before_was_started_anew_and_one_that_answers_late_was_not() {
    let (start, second) = (start() + Duration::from_secs(10_000), Duration::from_secs(1));
    let mut state = pool(&[master("a", Standing::Admitted)], start);
    let mut up = |asked: u32, answered: u32, time: u32| {
        let at = |seconds| start + second * seconds;
        state.has_been_up(0, second * time, at(asked), at(answered))
    };
    assert!(!up(0, 0, 1000), "nobody knows it yet");
    assert!(!up(10, 70, 1011), "its answer took a minute");
    assert!(!up(80, 80, 1080));
    assert!(up(120, 121, 25));
    assert!(!up(130, 130, 35));
}
