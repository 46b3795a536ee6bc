use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const QUICK: Became = Became::Compiled(Duration::from_millis(100));

#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn start() -> Instant {
    Instant::now()
}

fn told(catalogs: &Catalogs, now: Instant) -> Vec<(String, u64, u64, u64)> {
    let told = catalogs.lately(now);
    assert_eq!(told.minutes, MINUTES);
    told.environments.into_iter().map(|e| (e.environment, e.compiled, e.failed, e.mean_ms)).collect()
}

fn one(name: &str, compiled: u64, failed: u64, mean_ms: u64) -> (String, u64, u64, u64) {
    (name.to_owned(), compiled, failed, mean_ms)
}

#[test]
fn the_busiest_environment_comes_first_with_the_mean_of_what_was_compiled() {
    let now = start();
    let mut catalogs = Catalogs::new(now);
    for millis in [100, 300] {
        catalogs.count(Whose::Agents(Some("test")), Became::Compiled(Duration::from_millis(millis)), now);
    }
    for became in [QUICK, Became::Failed, Became::Failed] {
        catalogs.count(Whose::Agents(Some("production")), became, now);
    }
    catalogs.count(Whose::Agents(None), Became::Failed, now);
    assert_eq!(
        told(&catalogs, now),
        [one("production", 1, 2, 100), one("test", 2, 0, 200), one(wire::OTHER, 0, 1, 0)]
    );
}

#[test]
fn failures_are_counted_on_when_their_minutes_are_forgotten_and_a_canarys_never() {
    let now = start();
    let mut catalogs = Catalogs::new(now);
    for whose in [Whose::Agents(Some("a")), Whose::Agents(None), Whose::Canarys] {
        catalogs.count(whose, Became::Failed, now);
    }
    catalogs.count(Whose::Agents(Some("a")), QUICK, now);
    let later = catalogs.lately(now + 100 * MINUTE);
    assert_eq!((later.environments.len(), later.failed_in_all), (0, 2));
}

#[test]
fn what_was_counted_ten_minutes_ago_is_forgotten_minute_by_minute() {
    let now = start();
    let mut catalogs = Catalogs::new(now);
    for minute in 0..12 {
        catalogs.count(Whose::Agents(Some("production")), QUICK, now + minute * MINUTE);
    }
    let compiled = |minutes: u32| told(&catalogs, now + minutes * MINUTE).first().map_or(0, |one| one.1);
    assert_eq!([11, 12, 15, 20, 21, 1000].map(compiled), [10, 9, 6, 1, 0, 0]);
}

#[test]
fn a_canarys_catalogs_are_counted_apart_and_for_ever() {
    let now = start();
    let mut catalogs = Catalogs::new(now);
    for became in [QUICK, QUICK, Became::Failed] {
        catalogs.count(Whose::Canarys, became, now);
    }
    assert_eq!(catalogs.canary(), wire::CanaryCatalogs { compiled: 2, failed: 1 });
    assert_eq!(told(&catalogs, now), []);
}

#[test]
fn a_flood_of_environments_that_fail_takes_no_place_from_one_that_compiles() {
    let now = start();
    let mut catalogs = Catalogs::new(now);
    for n in 0..1000 {
        catalogs.count(Whose::Agents(Some(&format!("e{n}"))), Became::Failed, now);
    }
    catalogs.count(Whose::Agents(Some("production")), QUICK, now);
    let all = told(&catalogs, now);
    assert_eq!(all.len(), MOST + 1);
    assert!(all.contains(&one("production", 1, 0, 100)), "{all:?}");
    assert_eq!(all[0], one(wire::OTHER, 0, 1000 - (MOST as u64 - 1), 0));
    let later = now + 10 * MINUTE;
    catalogs.count(Whose::Agents(Some("test")), Became::Failed, later);
    assert_eq!(told(&catalogs, later), [one("test", 0, 1, 0)], "they have given up their places");
}

#[test]
fn an_environment_that_is_called_other_is_told_once() {
    let now = start();
    let mut catalogs = Catalogs::new(now);
    catalogs.count(Whose::Agents(Some(wire::OTHER)), QUICK, now);
    catalogs.count(Whose::Agents(None), QUICK, now);
    assert_eq!(told(&catalogs, now), [one(wire::OTHER, 2, 0, 100)]);
}

#[test]
fn only_what_a_master_did_itself_counts_against_it() {
    let took = Duration::from_millis(7);
    let of = |status: u16, refused| Became::of_answer(StatusCode::from_u16(status).unwrap(), refused, took);
    assert_eq!([of(200, false), of(204, false)], [Some(Became::Compiled(took)); 2]);
    assert_eq!([of(500, false), of(503, false)], [Some(Became::Failed); 2]);
    assert_eq!([of(503, true), of(404, false), of(403, false), of(304, false)], [None; 4]);
    for asked in [Failure::Cut { reused: true }, Failure::Cut { reused: false }, Failure::Silent] {
        assert_eq!(Became::of_failure(asked), Some(Became::Failed), "{asked:?}");
    }
    for not in [Failure::Unconnected, Failure::ClosedIdle, Failure::NothingSent, Failure::Refused] {
        assert_eq!(Became::of_failure(not), None, "{not:?}");
    }
}

proptest! {
    /// Against an onlooker who remembers every catalog: nothing is lost or counted twice, whatever comes in whatever
    /// order; names beyond the bound are told together; no more than the bound is kept.
    #[test]
    fn every_catalog_of_the_last_minutes_is_counted_once(
        names in 1_u32..60,
        events in prop::collection::vec((any::<u32>(), any::<Option<u16>>(), 0_u64..90, any::<bool>()), 0..400),
        wait in 0_u64..1000,
    ) {
        let mut now = start();
        let began = now;
        let mut catalogs = Catalogs::new(now);
        let mut seen: Vec<(String, Became, u64)> = Vec::new();
        let minute = |now: Instant| now.duration_since(began).as_secs() / 60;
        for (name, took, pause, nameless) in events {
            now += Duration::from_secs(pause);
            let name = format!("e{}", name % names);
            let became = took.map_or(Became::Failed, |ms| Became::Compiled(Duration::from_millis(ms.into())));
            catalogs.count(Whose::Agents((!nameless).then_some(&name)), became, now);
            seen.push((if nameless { wire::OTHER.to_owned() } else { name }, became, minute(now)));
        }
        now += Duration::from_secs(wait);
        let mut expected: BTreeMap<String, Slot> = BTreeMap::new();
        seen.retain(|(.., at)| at + u64::from(MINUTES) > minute(now));
        for (name, became, _) in seen {
            let slot = expected.entry(name).or_default();
            match became {
                Became::Compiled(took) => { slot.compiled += 1; slot.took += took; }
                Became::Failed => slot.failed += 1,
            }
        }
        let all = told(&catalogs, now);
        prop_assert!(all.len() <= MOST + 1 && catalogs.named.len() <= MOST);
        prop_assert!(all.windows(2).all(|two| two[0].1 + two[0].2 >= two[1].1 + two[1].2));
        let (compiled, failed) = all.iter().fold((0, 0), |sum, one| (sum.0 + one.1, sum.1 + one.2));
        prop_assert_eq!(compiled, expected.values().map(|slot| slot.compiled).sum::<u64>());
        prop_assert_eq!(failed, expected.values().map(|slot| slot.failed).sum::<u64>());
        for (name, compiled, failed, mean) in all {
            let own = expected.get(&name).copied().unwrap_or_default();
            if names <= MOST as u32 {
                prop_assert_eq!((compiled, failed, mean), (own.compiled, own.failed, mean_ms(&own)), "{}", name);
            } else if name != wire::OTHER {
                prop_assert!(compiled <= own.compiled && failed <= own.failed, "{}", name);
            }
        }
    }
}
