//! The first run, the ordered runs, and the evidence of earlier ones.
//!
//! A run has succeeded when its report says so: of a catalog compiled for it, applied, and changed or unchanged. Which
//! report is the run's is told by its own identifier or its job's; a run that nobody can tell from others must be the
//! second one after the stage before has ended, since the first may have begun earlier.

use std::time::Duration;

use stagedoor_config::certname::Certname;
use tokio::time::{Instant, sleep};

use super::{BETWEEN, Enrolling, Look};
use crate::doors::AskedDoor;
use crate::pipeline::report::{Report, Status, Verdict, Wanted, judge};
use crate::pipeline::{Facts, Looked, Stop, StopKind, ToLook};
use crate::puppetdb::Received;
use crate::runs::{NONE, latest, wanted};

/// How many catalogs failed: before a run so far, after it meanwhile.
const FAILED: &str = "catalogs_failed";
/// For PuppetDB to have the report of a run whose end is known: it takes reports in from a queue, and may itself have been
/// restarted by that run.
const CONFIRMED: Duration = Duration::from_secs(5 * 60);

pub(super) async fn look(at: &Enrolling<'_>, task: &ToLook, host: &Certname) -> Look {
    let Some(noted) = task.known().noted.as_ref().and_then(|noted| noted.get("report")) else {
        let reports = latest::reports(at.site, host).await?;
        let latest = reports.first().map_or(NONE, |report| report.hash.as_str());
        let noted = Facts::none().and("report", latest);
        return Ok(Looked::Missing(match failed(at).await {
            Some(failed) => noted.and(FAILED, failed.to_string()),
            None => noted,
        }));
    };
    let before = task.known().noted.as_ref().and_then(|noted| noted.get(FAILED)?.parse().ok());
    let noted = Some(noted).filter(|noted| *noted != NONE);
    let wanted = wanted(task.known().acted.as_ref());
    let began = Instant::now();
    loop {
        let reports = latest::reports(at.site, host).await?;
        match judge(host.as_str(), &reports, noted, wanted) {
            Verdict::Succeeded(report) => {
                return Ok(Looked::There(with_failed(at, shown(report), before).await));
            }
            Verdict::Stop(stop) => return Err(stop),
            // What was begun before is not there: it is begun anew.
            Verdict::NotYet if !task.is_again() => {
                return Ok(Looked::Missing(Facts::none().and("report", noted.unwrap_or(NONE))));
            }
            Verdict::NotYet if wanted != Wanted::Second && began.elapsed() > CONFIRMED => {
                return Err(unconfirmed(host));
            }
            Verdict::NotYet => sleep(BETWEEN).await,
        }
    }
}

/// Agents' catalogs that failed at the doors' masters so far; none where a door does not say.
async fn failed(at: &Enrolling<'_>) -> Option<u64> {
    let mut all = 0;
    for door in AskedDoor::all(at.site) {
        let masters = door.masters().await.ok()?;
        let of = masters.masters.iter().filter_map(|view| view.catalogs.as_ref());
        all += of.map(|catalogs| catalogs.failed_in_all).sum::<u64>();
    }
    Some(all)
}

/// With how many failed since: those that met a restart which the run asked for, of PuppetDB above all.
async fn with_failed(at: &Enrolling<'_>, facts: Facts, before: Option<u64>) -> Facts {
    match (before, failed(at).await) {
        (Some(before), Some(now)) => facts.and(FAILED, now.saturating_sub(before).to_string()),
        _ => facts,
    }
}

fn shown(report: &Report) -> Facts {
    let status = match report.status {
        Status::Changed => "changed",
        Status::Unchanged => "unchanged",
        Status::Failed => "failed",
    };
    Facts::none().and("report", &report.hash).and("status", status)
}

fn unconfirmed(host: &Certname) -> Stop {
    let reason = format!(
        "the run on {host} ended well, and PuppetDB has no report of it after {} minutes",
        CONFIRMED.as_secs() / 60
    );
    let way_out = format!(
        "see that `report = true` on {host} and `reports = puppetdb` on its server, and that PuppetDB's queue moves; then \
         resume, which has it run again"
    );
    Stop::new(StopKind::Failed, reason, way_out)
}

/// What shows that a host has run after every host of the stages before it, by PuppetDB's own clock.
pub(super) async fn evidence(at: &Enrolling<'_>, stage: usize, host: &Certname) -> Look {
    let Some(puppetdb) = latest::in_puppetdb(at.site) else {
        let reports = latest::reports(at.site, host).await?;
        return match judge(host.as_str(), &reports, None, Wanted::Latest) {
            Verdict::Succeeded(report) => Ok(Looked::There(shown(report).and("order", "not known"))),
            Verdict::Stop(stop) => Err(stop),
            Verdict::NotYet => Err(no_run(host)),
        };
    };
    let mut since: Option<String> = None;
    for (number, hosts) in at.plan.stages().iter().enumerate().take(stage.saturating_sub(1)) {
        let mut ended = since.clone();
        for earlier in hosts {
            let reports = puppetdb.reports(earlier).await?;
            let Some(first) = first_good_after(earlier, &reports, since.as_deref()) else {
                let reason =
                    format!("PuppetDB has no good run of {earlier} that belongs to stage {}", number + 1);
                let way_out = format!("have Puppet run on {earlier}, then resume");
                return Err(Stop::new(StopKind::Refused, reason, way_out));
            };
            ended = ended.max(Some(first.at.clone()));
        }
        since = ended;
    }
    let reports = puppetdb.reports(host).await?;
    match first_good_after(host, &reports, since.as_deref()) {
        Some(found) => Ok(Looked::There(shown(&found.report).and("received", &found.at))),
        None if reports.is_empty() => Err(no_run(host)),
        None => {
            let since = since.unwrap_or_default();
            let reason = format!("{host} has had no good run since {since}, when the stage before had ended");
            let way_out = format!("have Puppet run on {host} now, then resume");
            Err(Stop::new(StopKind::Refused, reason, way_out))
        }
    }
}

/// The earliest good run after a time.
fn first_good_after<'r>(
    host: &Certname,
    newest_first: &'r [Received],
    since: Option<&str>,
) -> Option<&'r Received> {
    newest_first.iter().rev().find(|received| {
        let alone = std::slice::from_ref(&received.report);
        let is_good = matches!(judge(host.as_str(), alone, None, Wanted::Latest), Verdict::Succeeded(_));
        is_good && since.is_none_or(|since| received.at.as_str() > since)
    })
}

fn no_run(host: &Certname) -> Stop {
    let reason = format!("nobody knows of a run of {host}");
    Stop::new(StopKind::Refused, reason, format!("have Puppet run on {host}, then resume"))
}
