//! Catalogs kept in the doors' queues while a run restarts PuppetDB: every one that was compiled meanwhile would fail.
//!
//! A door keeps them for a minute at most, whatever becomes of whoever asked for it. A run that takes longer than that to
//! come to its restart fails those that meet it, and the journal says how many.

use std::time::Duration;

use stagedoor_config::admin::hold::LONGEST_SECONDS;
use stagedoor_config::certname::Certname;
use tokio::time::{Instant, sleep};

use super::{Act, Enrolling};
use crate::doors::AskedDoor;
use crate::runs::latest;

const LONGEST: Duration = Duration::from_secs(LONGEST_SECONDS as u64);
/// The fact that tells for how long, and where.
const KEPT: &str = "catalogs_kept";
/// Between two looks whether PuppetDB answers again.
const BETWEEN: Duration = Duration::from_millis(250);

/// Runs Puppet on this host; on PuppetDB's with catalogs kept at every door that keeps them.
pub(super) async fn through(at: &Enrolling<'_>, host: &Certname, run: impl Future<Output = Act>) -> Act {
    if at.site.settings.puppetdb.as_ref().is_none_or(|puppetdb| puppetdb.certname != *host) {
        return run.await;
    }
    let began = Instant::now();
    let mut keep = Vec::new();
    for door in AskedDoor::all(at.site) {
        // One that is missing, or too old to keep anything, is no reason not to run.
        if door.hold(LONGEST_SECONDS).await.is_ok() {
            keep.push(door);
        }
    }
    let ran = run.await;
    while ran.is_ok() && began.elapsed() < LONGEST && !answers(at, host).await {
        sleep(BETWEEN).await;
    }
    let kept = began.elapsed().min(LONGEST).as_secs();
    for door in &keep {
        // It lets them go by itself within the minute.
        door.hold(0).await.ok();
    }
    let names: Vec<&str> = keep.iter().map(|door| door.name().as_str()).collect();
    let facts = ran?;
    Ok(if names.is_empty() { facts } else { facts.and(KEPT, format!("{kept} s at {}", names.join(" "))) })
}

async fn answers(at: &Enrolling<'_>, host: &Certname) -> bool {
    match latest::in_puppetdb(at.site) {
        Some(puppetdb) => puppetdb.reports(host).await.is_ok(),
        None => true,
    }
}
