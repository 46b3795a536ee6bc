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
use crate::pipeline::evidence::{Lacking, Runs};
use crate::pipeline::report::{Report, Status, Verdict, Wanted, judge};
use crate::pipeline::{self, Facts, Looked, Stop, StopKind, ToLook};
use crate::runs::{NONE, latest, wanted};

/// How many catalogs failed: before a run so far, after it meanwhile.
const FAILED: &str = "catalogs_failed";
/// For PuppetDB to have the report of a run whose end is known: it takes reports in from a queue, and may itself have been
/// restarted by that run.
const CONFIRMED: Duration = Duration::from_secs(5 * 60);
/// A report is mostly there within seconds; what is not is asked for less often, since each question is one to PuppetDB or
/// two to the machine.
const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(5);

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
        let reports = match latest::reports(at.site, host).await {
            Ok(reports) => reports,
            // The run that was waited for may have restarted PuppetDB.
            Err(stop) if task.is_again() && stop.kind == StopKind::Failed && began.elapsed() < CONFIRMED => {
                sleep(LATER).await;
                continue;
            }
            Err(stop) => return Err(stop),
        };
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
                return Err(unconfirmed(host, at));
            }
            Verdict::NotYet if began.elapsed() < SOON => sleep(BETWEEN).await,
            Verdict::NotYet => sleep(LATER).await,
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

fn unconfirmed(host: &Certname, at: &Enrolling<'_>) -> Stop {
    let who = if latest::in_puppetdb(at.site).is_some() { "PuppetDB" } else { "the machine's agent" };
    let reason = format!(
        "the run on {host} ended well, and {who} has no report of it after {} minutes",
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
    if !puppetdb.is_active(at.master()).await? {
        let reason = format!(
            "{} is no active node in PuppetDB: whatever it reported, it was retired since",
            at.master()
        );
        return Err(Stop::new(
            StopKind::Refused,
            reason,
            format!("have Puppet run on {}, then resume", at.master()),
        ));
    }
    let before = stage.saturating_sub(1);
    let mut stages: Vec<Vec<Runs>> = Vec::new();
    for hosts in at.plan.stages().iter().take(before).map(Vec::as_slice).chain([std::slice::from_ref(host)]) {
        let mut runs = Vec::new();
        for host in hosts {
            runs.push(Runs { host: host.clone(), newest_first: puppetdb.reports(host).await? });
        }
        stages.push(runs);
    }
    match pipeline::evidence::evidence(at.master(), &stages) {
        Ok(Some(past)) => {
            Ok(Looked::There(shown(&past.report).and("received", format!("{:.3}", past.received))))
        }
        Ok(None) => Err(no_run(host)),
        Err(Lacking { host, since: None }) => Err(no_run(&host)),
        Err(Lacking { host, since: Some(since) }) => {
            let reason =
                format!("{host} has begun no good run since {since}, when the stage before had ended");
            Err(Stop::new(StopKind::Refused, reason, format!("have Puppet run on {host} now, then resume")))
        }
    }
}

fn no_run(host: &Certname) -> Stop {
    let reason = format!("nobody knows of a good run of {host}");
    Stop::new(StopKind::Refused, reason, format!("have Puppet run on {host}, then resume"))
}
