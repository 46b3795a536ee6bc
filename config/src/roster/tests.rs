use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::master::{Check, Isolation, JETTY_HEADER_LIMIT, Kind};
use crate::mistake::Mistake;

fn name(text: &str) -> Certname {
    Certname::parse_host(text).unwrap()
}

fn master(certname: &str) -> Master {
    Master {
        certname: name(certname),
        address: format!("{certname}:8140"),
        kind: Kind::SEALED,
        standing: Standing::Admitted,
        header_limit: JETTY_HEADER_LIMIT,
        jrubies: None,
    }
}

fn two() -> Roster {
    let roster = Roster::default().admit(master("compile1.example.com"), None).unwrap();
    roster.admit(master("compile2.example.com"), Some(1)).unwrap()
}

fn parse(text: &str) -> Result<Roster, Vec<Mistake>> {
    Roster::parse(Path::new("roster.toml"), text)
}

fn mistake(old: &str, new: &str) -> String {
    let text = two().render();
    assert!(text.contains(old), "{old}");
    let mistakes = parse(&text.replacen(old, new, 1)).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    mistakes[0].to_string()
}

#[test]
fn each_change_counts_the_generation_up_by_one() {
    let roster = two();
    assert_eq!((roster.generation, roster.masters.len()), (2, 2));
    let compile1 = name("compile1.example.com");
    let drained = roster.drain(&compile1, Some(2)).unwrap();
    assert_eq!((drained.generation, drained.masters[0].standing), (3, Standing::Draining));
    assert_eq!(drained.masters[1], roster.masters[1]);
    let back = drained.undrain(&compile1, None).unwrap();
    assert_eq!((back.generation, &back.masters), (4, &roster.masters));
    let retired = drained.retire(&compile1, false, Some(3)).unwrap();
    assert_eq!((retired.generation, &retired.masters[..]), (4, &roster.masters[1..]));
}

#[test]
fn asking_twice_changes_nothing_even_when_the_generation_has_moved_on() {
    let roster = two();
    assert_eq!(roster.admit(master("compile2.example.com"), Some(1)).unwrap(), roster);
    let compile1 = name("compile1.example.com");
    let drained = roster.drain(&compile1, Some(2)).unwrap();
    assert_eq!(drained.drain(&compile1, Some(2)).unwrap(), drained);
    assert_eq!(roster.undrain(&compile1, Some(0)).unwrap(), roster);
}

#[test]
fn a_change_is_refused_once_somebody_else_changed_the_roster() {
    let roster = two();
    let compile1 = name("compile1.example.com");
    let moved = RosterRefusal::MovedOn { expected: 1, found: 2 };
    assert_eq!(roster.admit(master("compile3.example.com"), Some(1)), Err(moved.clone()));
    assert_eq!(roster.drain(&compile1, Some(1)), Err(moved.clone()));
    assert_eq!(roster.retire(&compile1, true, Some(1)), Err(moved.clone()));
    assert!(moved.hint().contains("generation 2"));
}

#[test]
fn an_unknown_master_is_told_with_the_nearest_name() {
    let refusal = two().drain(&name("compile1.exmaple.com"), None).unwrap_err();
    assert_eq!(refusal.to_string(), "compile1.exmaple.com is not on the roster");
    assert_eq!(refusal.hint(), "did you mean compile1.example.com?");
    assert!(matches!(
        two().retire(&name("web"), true, None),
        Err(RosterRefusal::Unknown { nearest: None, .. })
    ));
}

#[test]
fn a_master_that_takes_requests_is_retired_by_force_only() {
    let roster = two();
    let compile1 = name("compile1.example.com");
    let refusal = roster.retire(&compile1, false, None).unwrap_err();
    assert_eq!(refusal, RosterRefusal::NotDrained { certname: compile1.clone() });
    assert!(refusal.hint().contains("--force"));
    assert_eq!(roster.retire(&compile1, true, None).unwrap().masters.len(), 1);
}

#[test]
fn admitting_never_undoes_a_drain_or_changes_an_address_unseen() {
    let roster = two().drain(&name("compile1.example.com"), None).unwrap();
    let refusal = roster.admit(master("compile1.example.com"), None).unwrap_err();
    assert!(matches!(refusal, RosterRefusal::Draining { .. }), "{refusal}");
    let elsewhere = Master { address: "10.0.0.9:8140".into(), ..master("compile2.example.com") };
    let refusal = roster.admit(elsewhere, None).unwrap_err();
    assert!(refusal.to_string().contains("compile2.example.com:8140"), "{refusal}");
}

#[test]
fn a_master_is_warmed_then_admitted_each_once() {
    let warm = two().warm(master("compile3.example.com"), Some(2)).unwrap();
    assert_eq!((warm.generation, warm.masters[2].standing), (3, Standing::Warm));
    assert_eq!(warm.masters[..2], two().masters[..]);
    assert_eq!(warm.warm(master("compile3.example.com"), Some(2)).unwrap(), warm, "asking twice");
    let moved = RosterRefusal::MovedOn { expected: 2, found: 3 };
    assert_eq!(warm.admit(master("compile3.example.com"), Some(2)), Err(moved));
    let admitted = warm.admit(master("compile3.example.com"), Some(3)).unwrap();
    assert_eq!((admitted.generation, admitted.masters[2].standing), (4, Standing::Admitted));
    assert_eq!(
        admitted,
        two().admit(master("compile3.example.com"), None).map(|r| Roster { generation: 4, ..r }).unwrap()
    );
    let elsewhere = || Master { address: "10.0.0.9:8140".into(), ..master("compile3.example.com") };
    for refused in [warm.admit(elsewhere(), None), warm.warm(elsewhere(), None)] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, RosterRefusal::Differs { .. }) && refused.hint().contains("retire it"),
            "{refused}"
        );
    }
}

#[test]
fn no_master_that_agents_were_sent_to_becomes_warm() {
    let roster = two().drain(&name("compile2.example.com"), None).unwrap();
    for (certname, standing) in [("compile1.example.com", "admitted"), ("compile2.example.com", "draining")] {
        let refusal = roster.warm(master(certname), None).unwrap_err();
        assert!(matches!(refusal, RosterRefusal::PastWarm { .. }), "{refusal}");
        assert!(refusal.to_string().contains(&format!("is {standing}")) && !refusal.hint().is_empty());
    }
}

#[test]
fn a_warm_master_has_nothing_to_drain_and_is_retired_without_force() {
    let roster = Roster::default().warm(master("compile1.example.com"), None).unwrap();
    let compile1 = name("compile1.example.com");
    for refused in [roster.drain(&compile1, None), roster.undrain(&compile1, None)] {
        let refusal = refused.unwrap_err();
        assert_eq!(refusal, RosterRefusal::Warm { certname: compile1.clone() });
        assert!(refusal.hint().contains("roster admit") && refusal.hint().contains("roster retire"));
    }
    assert_eq!(
        roster.retire(&compile1, false, Some(1)).unwrap(),
        Roster { generation: 2, masters: Vec::new() }
    );
    assert!(matches!(
        Roster::default().warm(Master { header_limit: 100, ..master("compile1") }, None),
        Err(RosterRefusal::HeaderLimit { .. })
    ));
}

#[test]
fn a_master_that_could_not_be_read_back_is_not_admitted() {
    let roster = two();
    let new = || master("compile3.example.com");
    let bad = [
        Master { address: "compile3\"\n[[master]]:8140".into(), ..new() },
        Master { header_limit: 100, ..new() },
        Master { jrubies: NonZero::new(MOST_JRUBIES + 1), ..new() },
        Master { certname: Certname::parse("a b").unwrap(), ..new() },
    ];
    for master in bad {
        let refusal = roster.admit(master, None).unwrap_err();
        assert!(!refusal.hint().is_empty());
    }
    let masters = (0..MOST_MASTERS).map(|n| master(&format!("m{n}"))).collect();
    let full = Roster { generation: 1, masters };
    assert_eq!(full.admit(new(), None), Err(RosterRefusal::Full));
    assert_eq!(parse(&full.render()), Ok(full));
}

#[test]
fn a_roster_looks_like_this() {
    let text = two().drain(&name("compile2.example.com"), None).unwrap().render();
    let body = text.split_once("version").unwrap().1;
    assert_eq!(
        body,
        " = 1\ngeneration = 3\ncount = 2\n\n[[master]]\ncertname = \"compile1.example.com\"\n\
         address = \"compile1.example.com:8140\"\nkind = \"sealed\"\nisolation = \"door-ca\"\n\
         standing = \"admitted\"\nheader_limit = 8192\njrubies = 0\n\n\
         [[master]]\ncertname = \"compile2.example.com\"\naddress = \"compile2.example.com:8140\"\nkind = \"sealed\"\n\
         isolation = \"door-ca\"\nstanding = \"draining\"\nheader_limit = 8192\njrubies = 0\n"
    );
    assert!(text.starts_with("# ") && text.contains("stagedoor roster"));
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let told = mistake("version = 1", "version = 2\nnew = 3");
    assert!(told.starts_with("roster.toml:3: version = 2") && told.contains("newer stagedoor"), "{told}");
    let told = mistake("compile2.example.com\"\naddr", "compile1.example.com\"\naddr");
    assert!(told.contains("master[1].certname") && told.contains("no other"), "{told}");
    let told = mistake("standing", "standng = 1\nstanding");
    assert!(told.contains("master[0].standng") && told.contains("nearest is `standing`"), "{told}");
    let told = mistake("compile1.example.com:8140", "compile1.example.com");
    assert!(told.contains("master[0].address") && told.contains("a host and a port"), "{told}");
    let told = mistake("generation = 2", "generation = 18446744073709551615");
    assert!(told.contains("generation") && told.contains("whole number"), "{told}");
    let told = mistake("jrubies = 0", "jrubies = 513");
    assert!(told.contains("master[0].jrubies") && told.contains("at most 512"), "{told}");
    let told = mistake("count = 2", "count = 3");
    assert!(told.contains("cut short"), "{told}");
    assert!(parse("").unwrap_err()[0].to_string().contains("empty"));
    assert!(parse("[master]\n").unwrap_err().iter().any(|m| m.expected.contains("[[master]]")));
}

#[test]
fn a_roster_that_marks_one_master_both_sealed_and_open_is_refused() {
    let told = mistake("isolation = \"door-ca\"", "isolation = \"door-ca\"\ncheck = \"tcp\"");
    assert!(told.contains("master[0].check") && told.contains("no master is both"), "{told}");
    let told = mistake("kind = \"sealed\"", "kind = \"open\"\ncheck = \"status\"");
    assert!(told.contains("master[0].isolation") && told.contains("no master is both"), "{told}");
    let told = mistake("kind = \"sealed\"\nisolation = \"door-ca\"", "kind = \"open\"");
    assert!(told.contains("master[0].check") && told.contains("missing"), "{told}");
    let told = mistake("kind = \"sealed\"", "kind = \"shut\"");
    assert!(told.contains("\"sealed\" or \"open\""), "{told}");
    let second = "certname = \"compile2.example.com\"\naddress = \"compile2.example.com:8140\"\nkind = \"sealed\"\n\
                  isolation = \"door-ca\"";
    let told = mistake(
        second,
        "certname = \"compile2.example.com\"\naddress = \"Compile1.example.com:8140\"\nkind = \"open\"\ncheck = \"tcp\"",
    );
    assert!(told.contains("master[1].address") && told.contains("never both"), "{told}");

    let open = Kind::Open { check: Check::Status };
    let roster = two();
    let there = Master { kind: open, ..master("compile1.example.com") };
    assert!(matches!(roster.admit(there, None), Err(RosterRefusal::Differs { .. })));
    let other =
        Master { address: "compile1.example.com:8140".into(), kind: open, ..master("compile3.example.com") };
    let refusal = roster.admit(other, None).unwrap_err();
    assert!(refusal.to_string().contains("compile1.example.com's, which is sealed"), "{refusal}");
    assert!(refusal.hint().contains("never both"), "{refusal}");
}

#[test]
fn a_roster_of_too_many_masters_is_refused_in_no_time() {
    let masters = (0..50_000).map(|n| master(&format!("m{n}"))).collect();
    let told = parse(&Roster { generation: 1, masters }.render()).unwrap_err();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].expected.contains("at most 1000 masters"), "{}", told[0]);
}

#[test]
fn no_beginning_of_a_roster_passes_for_a_roster() {
    for roster in [Roster::default(), two()] {
        let text = roster.render();
        for end in 0..text.len() {
            assert!(parse(&text[..end]).is_err(), "{:?}", &text[..end]);
        }
    }
}

prop_compose! {
    fn any_master(number: usize)(
        host in "[a-z0-9][a-z0-9_-]{0,20}(\\.[a-z0-9][a-z0-9-]{0,10}){0,3}",
        port in 1_u16..,
        standing in prop::sample::select(&Standing::ALL[..]),
        header_limit in HEADER_LIMITS,
        kind in prop_oneof![
            prop::sample::select(&Isolation::ALL[..]).prop_map(|isolation| Kind::Sealed { isolation }),
            prop::sample::select(&Check::ALL[..]).prop_map(|check| Kind::Open { check }),
        ],
        jrubies in 0..=MOST_JRUBIES,
    ) -> Master {
        Master {
            certname: Certname::parse_host(&format!("m{number}.{host}")).unwrap(),
            address: format!("m{number}.{host}:{port}"),
            kind,
            standing,
            header_limit,
            jrubies: NonZero::new(jrubies),
        }
    }
}

prop_compose! {
    fn any_roster()(count in 0_usize..8)(
        generation in 0_u64..1 << 53,
        masters in (0..count).map(any_master).collect::<Vec<_>>(),
    ) -> Roster {
        Roster { generation, masters }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(roster in any_roster()) {
        prop_assert_eq!(parse(&roster.render()), Ok(roster));
    }

    /// Whatever a disk or a hand does to one byte, the reader answers and never makes up a master.
    #[test]
    fn a_changed_byte_is_refused_or_read_as_one_changed_field(
        roster in any_roster(), place in any::<prop::sample::Index>(), byte in 0_u8..128,
    ) {
        let mut bytes = roster.render().into_bytes();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let text = String::from_utf8(bytes).unwrap();
        if let Ok(read) = parse(&text) {
            prop_assert_eq!(read.masters.len(), roster.masters.len());
        }
    }

    #[test]
    fn any_text_is_refused_in_words(text in "\\PC{0,200}") {
        prop_assert!(!parse(&text).unwrap_err().is_empty());
    }
}
