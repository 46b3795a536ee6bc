//! A compile master dies without a word while agents run.
//!
//! The forty runs are not forty agents: `fleet` says why.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::{Watch, saw};
use crate::fleet::{Fleet, Outcome};
use crate::lab::Lab;
use crate::patience::{until, when};
use crate::puppet_server::START;
use crate::recording::Recording;

const RUNS: usize = 40;
/// Runs under way at once: more than the JRubies of one master, so that both have work when one dies.
const ABREAST: usize = 6;
/// Enough that both masters are warm, few enough that most are still to come.
const BEFORE_THE_KILL: usize = 12;

pub(super) fn a_killed_master_costs_only_what_it_had(lab: &Lab) -> Result<()> {
    let recording = Recording::of_a_webserver(lab)?;
    saw(&format!("a real run was recorded: {} requests", recording.requests.len()));
    let fleet = Fleet::of(lab, recording, ABREAST)?;
    let [doomed, survivor] = lab.masters();
    fleet.warm_up(lab)?;

    let (watch, lines) = (Watch::begin(lab)?, lab.door().access_lines()?.len());
    let ended = AtomicUsize::new(0);
    let (outcomes, death) = thread::scope(|scope| {
        let runs = scope.spawn(|| fleet.run(RUNS, &ended));
        let enough = || Ok(when(ended.load(Ordering::Relaxed) >= BEFORE_THE_KILL));
        until("a third of the runs has ended", Duration::from_secs(240), enough)?;
        let (had, _) = until("the doomed master is at work", Duration::from_secs(60), || {
            Ok(Some(lab.door().in_flight(doomed.host)?).filter(|count| *count > 0))
        })?;
        let killing = Instant::now();
        doomed.process().kill()?;
        let death = Death { killing, gone: Instant::now() };
        saw(&format!("{} killed with {had} requests in flight", doomed.host.name));
        let outcomes = runs.join().map_err(|_| anyhow::anyhow!("the client that replays runs panicked"))?;
        Ok::<_, anyhow::Error>((outcomes, death))
    })?;
    judge(&outcomes, &death)?;
    for line in lab.door().access_lines()?.iter().skip(lines) {
        let failed = line.get("status").and_then(Value::as_u64).is_some_and(|status| status >= 500);
        let master = line.get("master").and_then(Value::as_str);
        ensure!(
            !failed || master == Some(doomed.host.name),
            "the door failed a request of another master: {line}"
        );
    }
    let reached = survivor.access_log().since(watch.masters[1])?;
    saw(&format!("{} logged {} requests meanwhile", survivor.host.name, reached.len()));

    let mark = doomed.access_log().mark()?;
    doomed.start()?;
    until(&format!("{} runs again", doomed.host.name), START, || doomed.is_ready())?;
    let (count, waited) = until("the master that is back takes traffic", Duration::from_secs(120), || {
        let outcomes = fleet.run(ABREAST, &AtomicUsize::new(0));
        if let Some(failed) = outcomes.iter().find(|outcome| outcome.failure.is_some()) {
            bail!("a request failed while the master was coming back: {failed:?}");
        }
        let entries = doomed.access_log().since(mark)?.len();
        Ok(if entries > 0 { Some(entries) } else { None })
    })?;
    saw(&format!(
        "{} is back and took {count} requests within {} s of being ready; nobody told the door",
        doomed.host.name,
        waited.as_secs()
    ));
    Ok(())
}

/// A process does not die in an instant: the kernel needs a while for a JVM's memory, and closes its connections
/// somewhere in between.
struct Death {
    killing: Instant,
    gone: Instant,
}

/// Only a request that was under way when the master died may fail.
fn judge(outcomes: &[Outcome], death: &Death) -> Result<()> {
    let failures: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in outcomes {
        *by_name.entry(outcome.name.split('/').nth(3).unwrap_or("?")).or_default() += 1;
    }
    saw(&format!("{} requests in {RUNS} runs ({by_name:?}), {} failed", outcomes.len(), failures.len()));
    for failure in &failures {
        saw(&format!("failed: {} ({})", failure.name, failure.failure.as_deref().unwrap_or_default()));
    }
    let after = outcomes.iter().filter(|outcome| outcome.begun > death.gone).count();
    ensure!(after > 0, "the runs were over before the master died; nothing was shown");
    for failure in &failures {
        ensure!(
            failure.begun <= death.gone && failure.ended >= death.killing,
            "a request failed that the dead master did not have: {} was under way for {:?} and over {:?} after the \
             kill (before it: 0), {:?}",
            failure.name,
            failure.ended - failure.begun,
            failure.ended.saturating_duration_since(death.killing),
            failure.failure
        );
    }
    saw(&format!("{after} requests were begun after it was gone, and all of them were answered"));
    Ok(())
}
