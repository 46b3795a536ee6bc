//! `stagedoor top`: the door at a glance, again and again.
//!
//! On a terminal the screen is painted anew at each look, until it is interrupted; elsewhere it is told once, so that it can be
//! kept.

use std::io::{IsTerminal as _, Write as _};
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use http::Method;
use stagedoor_config::admin::overview::{Overview, Slot};
use stagedoor_config::admin::seats::Seats;
use stagedoor_config::admin::{Fit, MasterView, Seal};
use stagedoor_config::master::Standing;

use super::ask::ask;
use super::at::{At, json};
use super::table::{Cell, Paint, table};
use super::{Failure, say};

#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3600))]
    every: u16,
    #[command(flatten)]
    at: At,
}

/// To the upper left, and nothing below.
const ANEW: &str = "\x1b[H\x1b[2J";

impl Asked {
    pub(super) fn run(self) -> Result<(), Failure> {
        let socket = self.at.socket()?;
        let look = || ask::<Overview>(&socket, Method::GET, "/v1/overview", None::<&()>);
        let first = look().map_err(|why| self.at.unanswered(why))?;
        if self.at.json {
            return say(&json(&first));
        }
        let mut out = std::io::stdout();
        if !out.is_terminal() {
            return say(&words(&first, false));
        }
        let mut shown = words(&first, true);
        loop {
            out.write_all(format!("{ANEW}{shown}").as_bytes())?;
            out.flush()?;
            sleep(Duration::from_secs(self.every.into()));
            shown = match look() {
                Ok(seen) => words(&seen, true),
                // It may be started again while somebody watches.
                Err(why) => format!("{:#}\n", anyhow::Error::new(why)),
            };
        }
    }
}

fn words(seen: &Overview, colours: bool) -> String {
    let Overview { version, now, started, ready, connections, masters, queue, .. } = seen;
    let state = if ready.ready { "ready".to_owned() } else { format!("NOT READY: {}", ready.why.join("; ")) };
    let seats = masters.masters.iter().filter(|master| master.standing == Standing::Admitted);
    let (taken, ours) = seats
        .filter_map(|master| master.seats)
        .fold((0, 0), |(taken, ours), seats| (taken + seats.taken, ours + seats.ours));
    let waits = queue.oldest_seconds.map_or_else(
        || "nobody waits".to_owned(),
        |oldest| {
            format!(
                "{} catalogs and {} small requests wait, the oldest for {oldest:.1} s",
                queue.catalogs, queue.small
            )
        },
    );
    let mut out = format!(
        "stagedoor {version}, up {}, {state}; roster generation {}; {connections} agent connections\n\
         JRubies: {taken} of {ours} at work; {waits}\n\
         catalogs: {}\n\n",
        length(now.saturating_sub(*started)),
        masters.generation,
        catalogs(seen),
    );
    if masters.masters.is_empty() {
        return out + "no compile master is on the roster\n";
    }
    let head = ["MASTER", "STATE", "SEAL", "JRUBIES", "IN FLIGHT", "CATALOGS", "FAILED", "MEAN", "WHY"];
    let mut rows = vec![head.map(Cell::plain).to_vec()];
    rows.extend(masters.masters.iter().map(row));
    out.push_str(&table(&rows, colours));
    for event in seen.events.iter().take(5) {
        let what = if event.back { "is back" } else { "is out" };
        let ago = length(now.saturating_sub(event.at));
        out.push_str(&format!("\n{ago} ago {} {what}: {}", event.master, event.why));
    }
    out.push('\n');
    out
}

fn catalogs(seen: &Overview) -> String {
    let Slot { compiled, failed, p50_seconds, p95_seconds } = seen.compile.all;
    let (Some(half), Some(most)) = (p50_seconds, p95_seconds) else {
        return format!("none compiled within ten minutes, {failed} failed");
    };
    format!(
        "{:.2} per second; within ten minutes {compiled} compiled, half of them within {half:.1} s, 95 of 100 within \
         {most:.1} s; {failed} failed",
        seen.compile.per_second
    )
}

fn row(master: &MasterView) -> Vec<Cell> {
    let locked = master.seats.is_some_and(|seats| seats.locked);
    let (state, paint) = match (master.standing, master.seal, master.fit) {
        (Standing::Warm, ..) => ("warm", Paint::Odd),
        (Standing::Draining, ..) => ("draining", Paint::Odd),
        (_, Some(Seal::Unsealed), _) => ("out", Paint::Bad),
        (_, _, Fit::Unfit) => ("unfit", Paint::Bad),
        (_, _, Fit::Unknown) => ("unknown", Paint::Odd),
        (_, _, Fit::Fit) if locked => ("locked", Paint::Odd),
        (_, _, Fit::Fit) => ("fit", Paint::Good),
    };
    let seal = match master.seal {
        None => Cell::plain("open"),
        Some(seal) => Cell::new(
            seal.name(),
            match seal {
                Seal::Sealed => Paint::Good,
                Seal::Untested => Paint::Odd,
                Seal::Unsealed => Paint::Bad,
            },
        ),
    };
    let all = master.catalogs.iter().flat_map(|catalogs| &catalogs.environments);
    let (compiled, failed, took) = all.fold((0, 0, 0), |(compiled, failed, took), one| {
        (compiled + one.compiled, failed + one.failed, took + one.compiled * one.mean_ms)
    });
    let mean =
        took.checked_div(compiled).map_or_else(|| "-".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1e3));
    let why: Vec<&str> = [&master.seal_why, &master.why].into_iter().flatten().map(String::as_str).collect();
    let failed = Cell::new(failed.to_string(), if failed > 0 { Paint::Odd } else { Paint::Plain });
    vec![
        Cell::plain(master.certname.as_str()),
        Cell::new(state, paint),
        seal,
        Cell::plain(
            master
                .seats
                .map_or_else(|| "-".to_owned(), |Seats { taken, ours, .. }| format!("{taken}/{ours}")),
        ),
        Cell::plain(master.in_flight.to_string()),
        Cell::plain(compiled.to_string()),
        failed,
        Cell::plain(mean),
        Cell::plain(why.join("; ")),
    ]
}

/// Seconds, for people.
fn length(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: &str = r#"{"version":"0.1.0","now":1800000000,"started":1799990000,"ready":{"ready":true,"why":[]},
        "connections":120,"masters":{"generation":3,"masters":[
        {"certname":"c1","address":"c1:8140","kind":"sealed","isolation":"door-ca","standing":"admitted","fit":"fit",
        "seal":"sealed","in_flight":3,"seats":{"jrubies":4,"known":"gauges","ours":4,"taken":3,"others":0,"locked":false},
        "catalogs":{"minutes":10,"environments":[{"environment":"production","compiled":10,"failed":1,"mean_ms":4000},
        {"environment":"test","compiled":10,"failed":0,"mean_ms":2000}],"failed_in_all":1}},
        {"certname":"c2","address":"c2:8140","kind":"sealed","isolation":"door-ca","standing":"admitted","fit":"unfit",
        "why":"no answer in time","seal":"sealed","in_flight":0}]},
        "queue":{"small":1,"catalogs":2,"oldest_seconds":1.25,"expected_seconds":3.0},
        "compile":{"all":{"compiled":20,"failed":1,"p50_seconds":3.0,"p95_seconds":7.25},"per_second":0.75,"slot_seconds":10,
        "slots":[{"compiled":9,"failed":0},{"compiled":6,"failed":0},{"compiled":5,"failed":1}]},
        "events":[{"at":1799999990,"master":"c2","back":false,"why":"no answer in time"}],
        "refusals":[],"roster":[],"expiry":[],"enrollments":[]}"#;

    #[test]
    fn a_look_says_what_is_at_work_who_waits_how_catalogs_go_and_how_each_master_does() {
        let seen: Overview = serde_json::from_str(SEEN).unwrap();
        let expected = "\
stagedoor 0.1.0, up 2 h, ready; roster generation 3; 120 agent connections
JRubies: 3 of 4 at work; 2 catalogs and 1 small requests wait, the oldest for 1.2 s
catalogs: 0.75 per second; within ten minutes 20 compiled, half of them within 3.0 s, 95 of 100 within 7.2 s; 1 failed

MASTER  STATE  SEAL    JRUBIES  IN FLIGHT  CATALOGS  FAILED  MEAN   WHY
c1      fit    sealed  3/4      3          20        1       3.0 s
c2      unfit  sealed  -        0          0         0       -      no answer in time

10 s ago c2 is out: no answer in time
";
        assert_eq!(words(&seen, false), expected);
        assert!(words(&seen, true).contains("\x1b[31munfit\x1b[0m"));
    }

    #[test]
    fn a_door_with_nothing_to_do_and_nobody_to_do_it_says_so() {
        let mut seen: Overview = serde_json::from_str(SEEN).unwrap();
        seen.masters.masters.clear();
        seen.compile.all = Slot::default();
        seen.queue.oldest_seconds = None;
        seen.ready.ready = false;
        seen.ready.why.push("the roster is empty: admit a master".to_owned());
        let words = words(&seen, false);
        assert!(words.contains("NOT READY: the roster is empty: admit a master"), "{words}");
        assert!(
            words.contains("nobody waits") && words.contains("none compiled within ten minutes"),
            "{words}"
        );
        assert!(words.ends_with("no compile master is on the roster\n"), "{words}");
    }
}
