use proptest::prelude::*;
use stagedoor_config::certname::Certname;
use stagedoor_config::master::{Isolation, JETTY_HEADER_LIMIT, Kind, Master, Standing};

use super::*;
use crate::pool::pick::Want;
use crate::pool::state::{Nobody, State};

const LASTS: Duration = Duration::from_secs(180);

#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn start() -> Instant {
    Instant::now()
}

fn words(text: &str) -> String {
    text.to_owned()
}

/// Tests a minute apart at a master that answers its health checks or does not.
fn after(outcomes: &str, healthy: bool) -> Seal {
    let (mut seal, mut now) = (Seal::new(), start());
    for letter in outcomes.chars() {
        now += Duration::from_secs(60);
        let outcome = match letter {
            'R' => Outcome::Refused,
            'A' => Outcome::Answered(words("it answers")),
            'x' => Outcome::Unable(words("no host")),
            'l' => {
                let _turn = seal.lost("restarted");
                continue;
            }
            _ => Outcome::Unclear(words("silent")),
        };
        let _turn = seal.tested(outcome, healthy, At { now, lasts: LASTS });
    }
    seal
}

fn letter(seal: &Seal) -> char {
    match seal {
        Seal::Untested { .. } => '?',
        Seal::Sealed { .. } => 'S',
        Seal::Unsealed { .. } => 'U',
        Seal::Untestable { .. } => 'x',
    }
}

#[test]
fn one_answer_unseals_and_one_refusal_seals() {
    for (outcomes, now) in [("", '?'), ("R", 'S'), ("A", 'U'), ("RRRRA", 'U'), ("AAAAR", 'S'), ("xA", 'U')] {
        assert_eq!(letter(&after(outcomes, true)), now, "{outcomes}");
    }
}

#[test]
fn no_verdict_seals_nobody_and_takes_a_sealed_master_out_only_after_a_while() {
    for (outcomes, now) in [
        ("u", '?'),
        ("uuuuuuuu", '?'),
        ("Ru", 'S'),
        ("Ruu", 'S'),
        ("Ruuu", '?'),
        ("RuuRuu", 'S'),
        ("Au", 'U'),
        ("Auuuuuuu", 'U'),
        ("Axxxxx", 'U'),
    ] {
        assert_eq!(letter(&after(outcomes, true)), now, "{outcomes}");
    }
}

#[test]
fn a_master_too_busy_for_its_health_checks_does_not_leave_for_want_of_a_verdict() {
    assert_eq!(letter(&after("Ruuuuuuuuuu", false)), 'S');
    assert_eq!(letter(&after("RuuuuuuuuuuA", false)), 'U');
}

#[test]
fn where_nobody_can_test_the_master_is_used_and_shown_so() {
    let seal = after("x", true);
    assert!(seal.lets_in() && seal.words().is_some_and(|why| why.contains("used all the same")));
    for (outcomes, now) in [("Rx", 'S'), ("Rxxx", 'x'), ("uxu", 'x'), ("xR", 'S'), ("xl", 'x'), ("Rlx", 'x')]
    {
        assert_eq!(letter(&after(outcomes, true)), now, "{outcomes}");
    }
}

#[test]
fn a_master_that_may_have_changed_is_tested_before_it_is_used_again() {
    for (outcomes, now) in [("Rl", '?'), ("Rlu", '?'), ("RlR", 'S'), ("Al", 'U'), ("Alu", 'U'), ("l", '?')] {
        assert_eq!(letter(&after(outcomes, true)), now, "{outcomes}");
    }
}

#[test]
fn a_turn_is_told_once() {
    let (mut seal, at) = (Seal::new(), At { now: start(), lasts: LASTS });
    let answered = || Outcome::Answered(words("it answers"));
    assert_eq!(seal.tested(Outcome::Refused, true, at), Some(Turn::Sealed));
    assert_eq!(seal.tested(Outcome::Refused, true, at), None);
    assert_eq!(seal.tested(answered(), true, at), Some(Turn::Unsealed));
    assert_eq!(seal.tested(answered(), true, at), None);
    assert_eq!((seal.lost("restarted"), seal.tested(Outcome::Refused, true, at)), (None, Some(Turn::Sealed)));
    assert_eq!((seal.lost("restarted"), seal.lost("restarted")), (Some(Turn::Untested), None));
}

fn master(name: &str, isolation: Isolation) -> Master {
    Master {
        certname: Certname::parse_host(name).expect("a host name"),
        address: format!("{name}:8140"),
        kind: Kind::Sealed { isolation },
        standing: Standing::Admitted,
        header_limit: JETTY_HEADER_LIMIT,
        jrubies: None,
    }
}

#[test]
fn a_refusal_by_what_was_there_before_a_restart_seals_nobody() {
    let (mut state, at) = (State::default(), At { now: start(), lasts: LASTS });
    state.reconcile(&[master("a", Isolation::DoorCa)], at.now);
    let begun = state.seal_test_begins(0).expect("it is there");
    let _turn = state.seal_lost(0, "restarted");
    assert_eq!(state.seal_tested(0, begun, Outcome::Refused, at), None);
    assert_eq!(state.take(Want::LeastBusy, &[], at.now, 0), None);
    let begun = state.seal_test_begins(0).expect("it is there");
    assert_eq!(state.seal_tested(0, begun, Outcome::Refused, at), Some(Turn::Sealed));
    assert_eq!(state.take(Want::LeastBusy, &[], at.now, 0), Some(0));
}

#[test]
fn why_nobody_is_asked_is_told() {
    let (mut state, at) = (State::default(), At { now: start(), lasts: LASTS });
    let roster = [master("a", Isolation::DoorCa), master("b", Isolation::DoorCa)];
    assert_eq!(state.nobody(), Nobody::TakesWork);
    state.reconcile(&roster, at.now);
    assert_eq!(state.nobody(), Nobody::IsTested);
    let _turn = state.seal_tested(0, 0, Outcome::Answered(words("it answers")), at);
    assert_eq!(state.nobody(), Nobody::IsTested);
    let _turn = state.seal_tested(1, 0, Outcome::Answered(words("it answers")), at);
    assert_eq!(state.nobody(), Nobody::IsSealed);
    assert!(!state.able(at.now));
    let _turn = state.seal_tested(1, 0, Outcome::Refused, at);
    assert_eq!(state.nobody(), Nobody::TakesWork);
}

#[derive(Debug, Clone)]
enum Event {
    Begin(u32),
    Answered(u32),
    Refused(u32),
    Unclear(u32),
    Unable(u32),
    Lost(u32),
    Probed(u32, bool),
    Wait(u16),
    Take(Want, u64),
    /// Bits of who is on the roster, who drains, and whose address is another.
    Roster(u8, u8, u8),
}

fn event() -> impl Strategy<Value = Event> {
    let id = || 0_u32..8;
    let want = prop_oneof![
        Just(Want::LeastBusy),
        id().prop_map(Want::Prefer),
        id().prop_map(Want::Stay),
        any::<u64>().prop_map(Want::Rendezvous)
    ];
    prop_oneof![
        3 => id().prop_map(Event::Begin),
        1 => id().prop_map(Event::Answered),
        3 => id().prop_map(Event::Refused),
        1 => id().prop_map(Event::Unclear),
        1 => id().prop_map(Event::Unable),
        1 => id().prop_map(Event::Lost),
        2 => (id(), any::<bool>()).prop_map(|(id, bad)| Event::Probed(id, bad)),
        1 => (0_u16..300).prop_map(Event::Wait),
        6 => (want, any::<u64>()).prop_map(|(want, chance)| Event::Take(want, chance)),
        1 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(on, drains, moved)| Event::Roster(on, drains, moved)),
    ]
}

/// What an onlooker remembers of one master: whether the last thing that was certain was a refusal, by a test that
/// began after the last loss.
#[derive(Debug, Default, Clone, Copy)]
struct Memory {
    refused: bool,
    begun: Option<u32>,
    begun_since_loss: bool,
    firewall: bool,
    unable: bool,
    answered: bool,
}

proptest! {
    /// Whatever happens in whatever order, no request is given to a master that was not refusing strangers when that
    /// was last certain; nor to one behind a firewall, unless so or nobody can tell. The last one is no exception.
    #[test]
    fn no_request_is_given_to_a_master_that_is_untested_or_unsealed(
        events in proptest::collection::vec(event(), 1..120),
    ) {
        let roster = |on: u8, drains: u8, moved: u8| -> Vec<Master> {
            (0..4_u8).filter(|n| on >> n & 1 == 1).map(|n| {
                let isolation = if n == 3 { Isolation::Firewall } else { Isolation::DoorCa };
                let mut master = master(&format!("m{n}"), isolation);
                if drains >> n & 1 == 1 { master.standing = Standing::Draining; }
                if moved >> n & 1 == 1 { master.address = format!("elsewhere{n}:8140"); }
                master
            }).collect()
        };
        let (mut state, mut now) = (State::default(), start());
        let mut memory: std::collections::BTreeMap<u32, Memory> = std::collections::BTreeMap::new();
        let mut on = roster(0b1111, 0, 0);
        let known = |state: &mut State, on: &[Master], now, memory: &mut std::collections::BTreeMap<u32, Memory>| {
            for (id, master) in state.reconcile(on, now).joined {
                let firewall = master.kind == Kind::Sealed { isolation: Isolation::Firewall };
                memory.insert(id, Memory { firewall, ..Memory::default() });
            }
        };
        known(&mut state, &on, now, &mut memory);
        for event in events {
            let at = At { now, lasts: LASTS };
            match event {
                Event::Begin(id) => {
                    let begun = state.seal_test_begins(id);
                    if let Some(m) = memory.get_mut(&id) { m.begun = begun; m.begun_since_loss = true; }
                }
                Event::Answered(id) => {
                    let _turn = state.seal_tested(id, 0, Outcome::Answered(words("a")), at);
                    if let Some(m) = memory.get_mut(&id) { m.refused = false; m.unable = false; m.answered = true; }
                }
                Event::Refused(id) => {
                    let Some(m) = memory.get_mut(&id) else { continue };
                    let Some(begun) = m.begun else { continue };
                    let _turn = state.seal_tested(id, begun, Outcome::Refused, at);
                    if m.begun_since_loss { m.refused = true; m.answered = false; }
                }
                Event::Unclear(id) => { let _turn = state.seal_tested(id, 0, Outcome::Unclear(words("u")), at); }
                Event::Unable(id) => {
                    // No test from here is ever without means.
                    let Some(m) = memory.get_mut(&id).filter(|m| m.firewall) else { continue };
                    let _turn = state.seal_tested(id, 0, Outcome::Unable(words("x")), at);
                    m.unable |= !m.answered;
                }
                Event::Lost(id) => {
                    let _turn = state.seal_lost(id, "restarted");
                    if let Some(m) = memory.get_mut(&id) { m.refused = false; m.begun_since_loss = false; }
                }
                Event::Probed(id, bad) => { let _flip = state.probed(id, bad.then(|| words("ill")), 1, 2); }
                Event::Wait(seconds) => now += Duration::from_secs(seconds.into()),
                Event::Take(want, chance) => {
                    let Some(id) = state.take(want, &[], now, chance) else { continue };
                    let m = memory[&id];
                    prop_assert!(m.refused || (m.firewall && m.unable), "{id}: {m:?}");
                    let live = state.masters().iter().find(|live| live.id == id).expect("it is there");
                    prop_assert!(live.master.standing == Standing::Admitted);
                    state.give_back(id);
                }
                Event::Roster(is_on, drains, moved) => {
                    on = roster(is_on, drains, moved);
                    known(&mut state, &on, now, &mut memory);
                }
            }
        }
    }
}
