use std::num::NonZero;

use proptest::prelude::*;
use stagedoor_config::certname::Certname;
use stagedoor_config::master::{Check, JETTY_HEADER_LIMIT, Kind};
use stagedoor_config::proxy::Behind;

use super::*;

const OPEN: Kind = Kind::Open { check: Check::Status };

fn master(kind: Kind, jrubies: u16) -> Master {
    Master {
        certname: Certname::parse_host("m.example.com").unwrap(),
        address: "m.example.com:8140".to_owned(),
        kind,
        standing: Standing::Admitted,
        header_limit: JETTY_HEADER_LIMIT,
        jrubies: NonZero::new(jrubies),
    }
}

fn sides(masters: &[Master]) -> Sides {
    Sides::of(masters.iter().map(|master| (master, true)))
}

fn from(number: u32) -> IpAddr {
    IpAddr::V4((0x0a00_0000 | number).into())
}

fn ended(sides: &Sides, sources: u32) -> u32 {
    (0..sources).map(|number| u32::from(sides.ends(from(number)))).sum()
}

const HELLO: First<'static> = First::Hello(Hello { highest: 0x0304, sni: None });
const OLD: First<'static> = First::TooOld(Hello { highest: 0x0301, sni: None });

fn rules(pass_old_tls: bool, pass_sni: &[&str], split: Split) -> Mode {
    let pass_sni = pass_sni.iter().map(|&name| name.to_owned()).collect();
    Mode::EndTls(EndTls { pass_old_tls, pass_sni, split })
}

const TOO_OLD: Way = Way::Refuse(Refused::TooOld);

#[test]
fn an_address_that_was_told_nothing_ends_everything_and_refuses_what_is_too_old() {
    let rules = rules(false, &[], Split::Off);
    let both = || sides(&[master(Kind::SEALED, 0), master(OPEN, 0)]);
    for first in [HELLO, First::Fragmented, First::Broken] {
        assert_eq!(way(&rules, &first, from(1), both), Way::End);
    }
    assert_eq!(way(&rules, &OLD, from(1), both), TOO_OLD);
}

#[test]
fn an_old_agent_is_passed_while_an_open_master_is_admitted() {
    let rules = rules(true, &[], Split::Off);
    let mut there = [master(Kind::SEALED, 0), master(OPEN, 0)];
    assert_eq!(way(&rules, &OLD, from(1), || sides(&there)), Way::Pass(Why::OldTls));
    assert_eq!(way(&rules, &HELLO, from(1), || sides(&there)), Way::End);
    there[1].standing = Standing::Draining;
    assert_eq!(way(&rules, &OLD, from(1), || sides(&there)), TOO_OLD);
}

#[test]
fn a_name_that_is_passed_is_passed_in_every_spelling_and_no_other() {
    let rules = rules(false, &["old.example.com"], Split::Off);
    let open = || sides(&[master(OPEN, 0)]);
    let asks = |name| way(&rules, &First::Hello(Hello { highest: 0x0303, sni: Some(name) }), from(1), open);
    assert_eq!(asks("old.example.com"), Way::Pass(Why::Sni));
    assert_eq!(asks("OLD.Example.com."), Way::Pass(Why::Sni));
    assert_eq!(asks("older.example.com"), Way::End);
    let named = First::Hello(Hello { highest: 0x0303, sni: Some("old.example.com") });
    assert_eq!(way(&rules, &named, from(1), || sides(&[master(Kind::SEALED, 0)])), Way::End);
}

#[test]
fn both_kinds_share_by_capacity_and_one_alone_has_all() {
    let rules = rules(false, &[], Split::ByCapacity);
    let both = sides(&[master(Kind::SEALED, 2), master(OPEN, 6)]);
    let share = ended(&both, 10_000);
    assert!((2_350..2_650).contains(&share), "a quarter of 10000 is not {share}");
    for source in 0..100 {
        let one = way(&rules, &HELLO, from(source), || sides(&[master(Kind::SEALED, 1)]));
        assert_eq!(one, Way::End);
        let other = way(&rules, &First::Fragmented, from(source), || sides(&[master(OPEN, 1)]));
        assert_eq!(other, Way::Pass(Why::Split));
        assert_eq!(
            way(&rules, &First::Broken, from(source), || both),
            Way::End,
            "an alert is for the library"
        );
        assert_eq!(
            way(&rules, &HELLO, from(source), Sides::default),
            Way::End,
            "the door has words for that"
        );
    }
}

#[test]
fn a_master_of_which_nobody_said_how_much_it_carries_counts_as_the_mean_of_the_others() {
    let told = sides(&[master(Kind::SEALED, 2), master(Kind::SEALED, 4), master(OPEN, 0)]);
    assert_eq!((told.sealed.capacity, told.open.capacity), (6 * Sides::ONE, 3 * Sides::ONE));
    let untold = sides(&[master(Kind::SEALED, 0), master(OPEN, 0), master(OPEN, 0)]);
    assert_eq!((untold.sealed.capacity, untold.open.capacity), (Sides::ONE, 2 * Sides::ONE));
}

#[test]
fn a_kind_without_a_fit_master_leaves_everybody_to_the_other() {
    let both = [master(Kind::SEALED, 1), master(OPEN, 1)];
    let of = |sealed, open| Sides::of(both.iter().zip([sealed, open]));
    assert_eq!(ended(&of(true, false), 1_000), 1_000);
    assert_eq!(ended(&of(false, true), 1_000), 0);
    assert_eq!(of(false, false).ends(from(1)), of(true, true).ends(from(1)), "health never empties");
}

#[test]
fn where_an_address_stands_is_the_same_in_every_release() {
    // Doors of two releases stand side by side during an upgrade; these numbers may never change.
    let places =
        ["10.0.0.1", "192.0.2.7", "2001:db8::1"].map(|ip| pick::hash_of_address(ip.parse().unwrap()));
    assert_eq!(places.map(|place| place >> 48), PLACES);
    assert_eq!(pick::hash_of_address("::ffff:10.0.0.1".parse().unwrap()), places[0]);
}

const PLACES: [u64; 3] = [59303, 49213, 8557];

#[test]
fn an_address_that_passes_passes_every_hello_and_nothing_else() {
    let mode = Mode::Pass(Behind::OpenMasters);
    for first in [HELLO, OLD, First::Fragmented] {
        assert_eq!(way(&mode, &first, from(1), Sides::default), Way::Pass(Why::Listener));
    }
    assert_eq!(way(&mode, &First::Broken, from(1), Sides::default), Way::Refuse(Refused::Broken));
}

#[test]
fn what_is_no_tls_is_refused_everywhere() {
    let first = First::NotTls(NotTls::PlainHttp);
    for mode in [Mode::Pass(Behind::OpenMasters), rules(true, &[], Split::ByCapacity)] {
        let open = || sides(&[master(OPEN, 0)]);
        assert_eq!(way(&mode, &first, from(1), open), Way::Refuse(Refused::NotTls(NotTls::PlainHttp)));
    }
}

fn any_masters() -> impl Strategy<Value = Vec<Master>> {
    let one = (any::<bool>(), 0_u16..33)
        .prop_map(|(sealed, jrubies)| master(if sealed { Kind::SEALED } else { OPEN }, jrubies));
    proptest::collection::vec(one, 1..20)
}

proptest! {
    #[test]
    fn an_address_that_is_ended_stays_ended_while_masters_move_from_open_to_sealed(
        mut masters in any_masters(),
        moves in proptest::collection::vec(any::<prop::sample::Index>(), 1..20),
        sources in proptest::collection::vec(any::<IpAddr>(), 1..50),
    ) {
        // Each is drained, retired and admitted anew: three rosters. With every number said, or none.
        if masters.iter().any(|m| m.jrubies.is_none()) {
            masters.iter_mut().for_each(|m| m.jrubies = None);
        }
        let mut before: Vec<bool> = sources.iter().map(|ip| sides(&masters).ends(*ip)).collect();
        for at in moves {
            let at = at.index(masters.len());
            if masters[at].kind.is_sealed() {
                continue;
            }
            masters[at].standing = Standing::Draining;
            for turn in 0..2 {
                let now: Vec<bool> = sources.iter().map(|ip| sides(&masters).ends(*ip)).collect();
                for (ip, (was, is)) in sources.iter().zip(before.iter().zip(&now)) {
                    prop_assert!(is >= was, "{ip} goes back to the open masters at turn {turn}");
                }
                before = now;
                masters[at].standing = Standing::Admitted;
                masters[at].kind = Kind::SEALED;
            }
        }
    }

    #[test]
    fn nobody_is_passed_without_an_open_master_or_ended_by_the_split_without_a_sealed_one(
        masters in any_masters(),
        fits in proptest::collection::vec(any::<bool>(), 20),
        source: IpAddr,
    ) {
        let sides = Sides::of(masters.iter().zip(fits));
        let any = |sealed: bool| masters.iter().any(|m| m.kind.is_sealed() == sealed);
        if !any(false) {
            prop_assert!(sides.ends(source));
        } else if !any(true) {
            prop_assert!(!sides.ends(source));
        }
    }
}
