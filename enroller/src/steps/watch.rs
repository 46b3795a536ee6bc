//! The first traffic of a new master, beside what its peers make of the same environments meanwhile.
//!
//! A master that fails catalogs which others compile, or takes much longer for them, is drained again before agents have
//! lost more than a few runs to it. Where there is no traffic, or no peer to compare with, that is said.

mod judge;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::admit::{drain_now, view};
use super::check::has_left;
use super::{Act, BETWEEN, Enrolling, Look, and_missing};
use crate::pipeline::{Facts, Looked, Stop, StopKind, ToLook};
use judge::{Seen, judge};

/// For so long a door counts a catalog, and a minute more.
const REMEMBERED: Duration = Duration::from_secs(11 * 60);

pub(super) fn look(task: &ToLook) -> Look {
    // What was seen in those minutes is on record, and cannot be seen again.
    Ok(match task.known().acted {
        Some(_) => Looked::There(Facts::none()),
        None => Looked::Missing(Facts::none()),
    })
}

pub(super) async fn act(at: &Enrolling<'_>) -> Act {
    let began = Instant::now();
    let watch = at.site.settings.watch;
    let mut before: Option<Seen> = None;
    loop {
        let (doors, missing) = at.doors().await?;
        let mut seen = Seen::default();
        for door in &doors {
            let masters = door.masters().await?;
            if view(&masters.masters, at.master()).is_none() {
                let reason = format!("{} is no longer on the roster of {}", at.master(), door.name());
                let way_out = "somebody retired it; admit it there again, then resume";
                return Err(Stop::new(StopKind::Refused, reason, way_out));
            }
            seen.add(&masters, at.master());
        }
        // What came before is no judgement of now: a resumption finds there what it was drained for, and a master that is
        // adopted may have served alone while PuppetDB was away.
        let earlier = before.get_or_insert_with(|| seen.clone());
        // The doors forget what is older than their minutes.
        if began.elapsed() < REMEMBERED {
            seen.take_away(earlier);
        }
        if let Err(bad) = judge(&seen) {
            let errors = drain_now(at).await;
            let reason = if errors.is_empty() {
                format!("{} is drained again at every door: {bad}", at.master())
            } else {
                format!("{} must be drained at once: {bad}; not done: {}", at.master(), errors.join("; "))
            };
            let way_out = "see its puppetserver.log for those catalogs; when it is well: `stagedoor roster undrain` at each \
                           door, then resume";
            return Err(Stop::new(StopKind::Failed, reason, way_out));
        }
        let (compiled, failed) = seen.of_master();
        let enough = usize::try_from(compiled).is_ok_and(|compiled| compiled >= watch.catalogs);
        if enough || began.elapsed() >= watch.lasts {
            let facts = Facts::none().and("compiled", compiled.to_string()).and("failed", failed.to_string());
            let facts = match compiled {
                0 if !at.site.settings.master.kind.is_sealed() => {
                    facts.and("warning", "no door sees the catalogs of an open master")
                }
                0 => facts.and("warning", "no agent's catalog came to it"),
                _ => facts,
            };
            let facts = match has_left(at).await? {
                true => facts,
                false => facts.and(
                    "warning_canary",
                    "PuppetDB still counts the canary as a node; deactivate it by hand",
                ),
            };
            return Ok(and_missing(facts, &missing));
        }
        sleep(BETWEEN).await;
    }
}
