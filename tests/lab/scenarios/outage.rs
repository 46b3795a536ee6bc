//! What fails everywhere and is no master's fault: an environment that is broken, and PuppetDB being down.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::steady::Steady;
use super::{enrolling, saw};
use crate::access_log::Mark;
use crate::code;
use crate::fleet::{Fleet, none_failed};
use crate::lab::Lab;
use crate::machine::{Account, write};
use crate::master::Master;
use crate::patience::{until, when};
use crate::recording::Recording;

const PRODUCTION: &str = "production";
const BROKEN: &str = "unfinished";
const FAILURES: &str = "stagedoor_catalog_failures_total";
/// Agents in each environment.
const AGENTS: usize = 3;
/// Failures on each master: more than put one out whose peers did better.
const FAILED: usize = 6;
/// Catalogs that are compiled, all masters together: where there is little to do, most go to whoever is faster just now.
const COMPILED: usize = 24;
/// For so many catalogs, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn an_environment_that_does_not_compile_puts_no_master_out(lab: &Lab) -> Result<()> {
    let _broken = Broken::deploy(lab)?;
    let recording = Recording::of_a_webserver(lab)?;
    let unhappy = Fleet::of(lab, recording.in_environment(BROKEN)?, AGENTS)?;
    let fleet = Fleet::of(lab, recording, AGENTS)?;
    fleet.warm_up(lab)?;
    let (steady, count) = (Steady::begin(lab)?, Count::begin(lab)?);

    let over = AtomicBool::new(false);
    let (failures, outcomes, seen) = thread::scope(|scope| {
        let broken = scope.spawn(|| unhappy.keep_running(&over));
        let runs = scope.spawn(|| fleet.keep_running(&over));
        let watching = scope.spawn(|| steady.watch(&over));
        let enough = until(
            "each master has failed enough of one environment and compiled of the other",
            LIMIT,
            || {
                let failed = count.of_each(lab, BROKEN, 500)?;
                Ok(when(failed.iter().all(|one| *one >= FAILED) && count.compiled_enough(lab)?))
            },
        );
        over.store(true, Ordering::Relaxed);
        let broken = broken.join().map_err(|_| anyhow!("the fleet panicked"))?;
        let outcomes = runs.join().map_err(|_| anyhow!("the fleet panicked"))?;
        let seen = watching.join().map_err(|_| anyhow!("the watch panicked"))?;
        enough?;
        Ok::<_, anyhow::Error>((broken, outcomes, seen?))
    })?;
    none_failed(&outcomes)?;
    let catalogs: Vec<_> = failures.iter().filter(|one| one.name.contains("/catalog/")).collect();
    for catalog in &catalogs {
        let said = catalog.failure.as_deref().unwrap_or("it compiled");
        ensure!(said.contains("500") && said.contains("Syntax error"), "an odd answer: {said}");
    }
    saw(&format!(
        "{} catalogs of {BROKEN} failed as the master says why, and none of {} requests in {PRODUCTION}",
        catalogs.len(),
        outcomes.len()
    ));
    seen.is_well()?;
    steady.nobody_was_ejected()?;
    count.is_told_by_the_door(lab, BROKEN, catalogs.len())?;
    let words = lab.door().masters()?;
    ensure!(words.lines().skip(1).all(|line| line.contains(" fit ")), "stagedoor masters says:\n{words}");
    Ok(())
}

/// The shortest time before PuppetDB is started again, which takes about as long: an ejection lasts for this.
const DOWN: Duration = Duration::from_secs(30);

pub(super) fn puppetdb_down_for_a_minute_puts_no_master_out(lab: &Lab) -> Result<()> {
    let fleet = Fleet::of(lab, Recording::of_a_webserver(lab)?, AGENTS + 1)?;
    fleet.warm_up(lab)?;
    let (steady, count) = (Steady::begin(lab)?, Count::begin(lab)?);
    let over = AtomicBool::new(false);
    let (outcomes, gap, seen) = thread::scope(|scope| {
        let watching = scope.spawn(|| steady.watch(&over));
        let ran = enrolling::while_agents_run(lab, &fleet, || down_and_up(lab, &count));
        over.store(true, Ordering::Relaxed);
        let seen = watching.join().map_err(|_| anyhow!("the watch panicked"))?;
        let (outcomes, gap) = ran?;
        Ok::<_, anyhow::Error>((outcomes, gap, seen?))
    })?;
    enrolling::only_puppetdbs_restart_fails(&outcomes, &gap)?;
    seen.is_well()?;
    steady.nobody_was_ejected()?;
    let failed =
        outcomes.iter().filter(|one| one.failure.is_some() && one.name.contains("/catalog/")).count();
    count.is_told_by_the_door(lab, PRODUCTION, failed)?;
    fleet.warm_up(lab)?;
    saw("all runs go well again, and nobody did anything");
    Ok(())
}

/// Until every master has failed enough, and has compiled enough again.
fn down_and_up(lab: &Lab, count: &Count) -> Result<()> {
    let puppetdb = lab.puppetdb();
    let begun = Instant::now();
    puppetdb.service().stop()?;
    let stopped = Count::begin(lab)?;
    let failed = until("each master has failed enough catalogs", LIMIT, || {
        let failed = count.of_each(lab, PRODUCTION, 500)?;
        Ok(Some(failed).filter(|failed| failed.iter().all(|one| *one >= FAILED) && begun.elapsed() >= DOWN))
    });
    let compiled = stopped.of_each(lab, PRODUCTION, 200)?;
    puppetdb.service().start()?;
    let ([first, second], _) = failed?;
    // One that had what it needed of PuppetDB may end after it.
    ensure!(
        compiled.iter().all(|one| *one <= usize::from(crate::master::JRUBIES)),
        "compiled without PuppetDB: {compiled:?}"
    );
    saw(&format!(
        "PuppetDB was stopped, and up after {} s; until then {first} and {second} catalogs failed",
        begun.elapsed().as_secs()
    ));
    let up = Count::begin(lab)?;
    let (_, took) = until("each master compiles again", LIMIT, || Ok(when(up.compiled_enough(lab)?)))?;
    let [first, second] = up.of_each(lab, PRODUCTION, 200)?;
    saw(&format!("within {} s of that they compiled {first} and {second}", took.as_secs()));
    Ok(())
}

/// Catalogs that both masters answered, as they logged it themselves.
struct Count {
    marks: [Mark; 2],
    /// How many each master has failed since it joined, by the door's word.
    failed: [u64; 2],
    /// How many of all environments have failed, by its metrics.
    in_metrics: f64,
}

impl Count {
    fn begin(lab: &Lab) -> Result<Self> {
        let [first, second] = lab.masters();
        Ok(Self {
            marks: [first.access_log().mark()?, second.access_log().mark()?],
            failed: [failed(lab, &first)?, failed(lab, &second)?],
            in_metrics: lab.door().metric(FAILURES, "")?,
        })
    }

    fn of_each(&self, lab: &Lab, environment: &str, status: u16) -> Result<[usize; 2]> {
        Ok([self.of(lab, 0, environment, status)?, self.of(lab, 1, environment, status)?])
    }

    /// Whether each master has compiled something in production, and all together enough.
    fn compiled_enough(&self, lab: &Lab) -> Result<bool> {
        let compiled = self.of_each(lab, PRODUCTION, 200)?;
        Ok(compiled.iter().all(|one| *one > 0) && compiled.iter().sum::<usize>() >= COMPILED)
    }

    fn of(&self, lab: &Lab, at: usize, environment: &str, status: u16) -> Result<usize> {
        let masters = lab.masters();
        let (master, mark) = masters.iter().zip(self.marks).nth(at).context("there are two masters")?;
        let catalogs = master.access_log().catalogs_since(mark)?;
        let is = catalogs.iter().filter(|one| one.environment() == Some(environment) && one.status == status);
        Ok(is.count())
    }

    /// The door says of each master that it failed as many as that one logged, all of them in this environment; together these.
    fn is_told_by_the_door(&self, lab: &Lab, environment: &str, all: usize) -> Result<()> {
        let mut sum = 0;
        for ((at, master), before) in lab.masters().iter().enumerate().zip(self.failed) {
            let logged = self.of(lab, at, environment, 500)?;
            let told = failed(lab, master)? - before;
            ensure!(
                told == u64::try_from(logged)?,
                "{} logged {logged} failed catalogs, and the door {told}",
                master.host.name
            );
            let view = lab.door().view_of(master.host)?;
            let environments = view.pointer("/catalogs/environments").context("no environments")?;
            let named = |name| {
                environments
                    .as_array()?
                    .iter()
                    .find(|one| one.get("environment").and_then(Value::as_str) == Some(name))
            };
            let counted = |key| named(environment)?.get(key)?.as_u64();
            // Within the last minutes, which are more than this took.
            ensure!(counted("failed") >= Some(told), "{} in {environment}: {environments}", master.host.name);
            ensure!(
                environment == PRODUCTION || (counted("compiled") == Some(0) && named(PRODUCTION).is_some()),
                "{}: {environments}",
                master.host.name
            );
            saw(&format!("/v1/masters: {} failed {told} in {environment}: {environments}", master.host.name));
            sum += logged;
        }
        ensure!(sum == all, "the masters failed {sum} catalogs, and {all} agents were told so");
        let grown = lab.door().metric(FAILURES, "")? - self.in_metrics;
        let named = lab.door().metric(FAILURES, &format!("environment=\"{environment}\""))?;
        // The name may have had its series before.
        ensure!(
            (grown - all as f64).abs() < 0.5 && named > all as f64 - 0.5,
            "{FAILURES} grew by {grown}, and is {named} of {environment}, after {all} failures"
        );
        saw(&format!("{FAILURES} grew by {grown}, all of it in {environment}"));
        Ok(())
    }
}

/// What the door says that a master has failed since it joined.
fn failed(lab: &Lab, master: &Master) -> Result<u64> {
    let view = lab.door().view_of(master.host)?;
    view.pointer("/catalogs/failed_in_all").and_then(Value::as_u64).context("no count of failed catalogs")
}

/// An environment whose code breaks off in the middle of a line. Goes away when dropped.
struct Broken<'l> {
    lab: &'l Lab,
    folder: PathBuf,
}

impl<'l> Broken<'l> {
    fn deploy(lab: &'l Lab) -> Result<Self> {
        let folder = code::folder(&lab.root).join("environments").join(BROKEN);
        write(&folder.join("manifests/site.pp"), "notify { 'half a resource':\n  message =>\n")?;
        Account::named("puppet")?.own(&folder)?;
        Ok(Self { lab, folder })
    }
}

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
        self.lab.door().flush(BROKEN).ok();
    }
}
