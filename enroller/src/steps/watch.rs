//! The first traffic of a new master, beside what its peers make of the same environments meanwhile.
//!
//! A master that fails catalogs which others compile, or takes much longer for them, is drained again before agents have
//! lost more than a few runs to it. Where there is no traffic, or no peer to compare with, that is said.

mod judge;

use tokio::time::{Instant, sleep};

use super::admit::{drain_at, view};
use super::{Act, BETWEEN, Enrolling, Look, and_missing};
use crate::pipeline::{Facts, Looked, Stop, StopKind, ToLook};
use judge::{Seen, judge};

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
        if let Err(bad) = judge(&seen) {
            for door in &doors {
                drain_at(door, at.master()).await?;
            }
            let reason = format!("{} is drained again at every door: {bad}", at.master());
            let way_out = "see its puppetserver.log for those catalogs; when it is well: `stagedoor roster undrain` at each \
                           door, then resume";
            return Err(Stop::new(StopKind::Failed, reason, way_out));
        }
        let (compiled, failed) = seen.of_master();
        let enough = usize::try_from(compiled).is_ok_and(|compiled| compiled >= watch.catalogs);
        if enough || began.elapsed() >= watch.lasts {
            let facts = Facts::none().and("compiled", compiled.to_string()).and("failed", failed.to_string());
            let facts =
                if compiled == 0 { facts.and("warning", "no agent's catalog came to it") } else { facts };
            return Ok(and_missing(facts, &missing));
        }
        sleep(BETWEEN).await;
    }
}
