//! What keeps JRubies busy to no end: a pool that is locked for a deployment, and an agent that asks, hangs up and asks
//! again. Both are real compiles, which last as long as a file is there.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::saw;
use super::steady::Steady;
use crate::access_log::Entry;
use crate::code;
use crate::fleet::{Fleet, none_failed};
use crate::lab::Lab;
use crate::machine::{Account, Host, make_folder, read, write};
use crate::master::Master;
use crate::patience::{until, when};
use crate::recording::Recording;

/// Agents that run all the while: more than the JRubies of one master.
const AGENTS: usize = 4;
/// Catalogs that one master compiles for them while the other's pool is locked.
const MEANWHILE: usize = 12;
/// For a compile to begin or to end, and for JRubies to be made anew.
const LIMIT: Duration = Duration::from_secs(90);

pub(super) fn a_locked_pool_is_given_nothing_and_no_run_fails(lab: &Lab) -> Result<()> {
    let long = LongCatalogs::deploy(lab)?;
    let recording = Recording::of_a_webserver(lab)?;
    let fleet = Fleet::of(lab, recording.clone(), AGENTS)?;
    let slow = Fleet::of(lab, recording.in_environment(ENVIRONMENT)?, 1)?;
    fleet.warm_up(lab)?;
    let steady = Steady::begin(lab)?;

    long.hold()?;
    let over = AtomicBool::new(false);
    let (slow_outcomes, outcomes, seen) = thread::scope(|scope| {
        let slow = scope.spawn(|| slow.run(1, &AtomicUsize::new(0)));
        let watching = scope.spawn(|| steady.watch(&over));
        let acted = long.until(1, 0).and_then(|()| {
            let busy = until("the door shows who compiles it", LIMIT, || at_work(lab))?.0;
            let runs = scope.spawn(|| fleet.keep_running(&over));
            let acted = lock(lab, &busy, &long);
            over.store(true, Ordering::Relaxed);
            let outcomes = runs.join().map_err(|_| anyhow!("the fleet panicked"))?;
            acted.map(|()| outcomes)
        });
        // Whatever went wrong, nothing waits for it any more.
        over.store(true, Ordering::Relaxed);
        long.let_go()?;
        let slow = slow.join().map_err(|_| anyhow!("the slow agent panicked"))?;
        let seen = watching.join().map_err(|_| anyhow!("the watch panicked"))?;
        Ok::<_, anyhow::Error>((slow, acted?, seen?))
    })?;
    none_failed(&slow_outcomes)?;
    none_failed(&outcomes)?;
    saw(&format!("{} requests of agents meanwhile, and the long catalog: none failed", outcomes.len()));
    seen.is_well()?;
    steady.nobody_was_ejected()
}

/// Locks the pool of this master, which compiles for long, and lets it go again.
fn lock(lab: &Lab, busy: &Master, long: &LongCatalogs) -> Result<()> {
    let door = lab.door();
    let [first, second] = lab.masters();
    let other = if busy.host.name == first.host.name { second } else { first };
    let name = busy.host.name;
    let locked = || Ok::<_, anyhow::Error>(door.view_of(busy.host)?.pointer("/seats/locked").cloned());
    thread::scope(|scope| {
        let flush = scope.spawn(|| busy.flush_pool());
        let acted = (|| {
            let (_, noticed) = until(&format!("the door sees that {name} is locked"), LIMIT, || {
                Ok(when(locked()? == Some(Value::Bool(true))))
            })?;
            let words = door.masters()?;
            let line = words.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            ensure!(line.contains("locked") && line.contains(" fit "), "stagedoor masters says:\n{words}");
            let of = |host: &Host| door.metric("stagedoor_master_pool_locked", host.name);
            let (here, there) = (of(busy.host)?, of(other.host)?);
            ensure!(
                here > 0.5 && there < 0.5,
                "stagedoor_master_pool_locked is {here} of it and {there} of the other"
            );
            saw(&format!(
                "flushed while it compiles, {name} is locked; the door saw it after {} s:\n    {line}",
                noticed.as_secs()
            ));
            let marks = (busy.access_log().mark()?, other.access_log().mark()?);
            let had = door.in_flight(busy.host)?;
            until("the other master has compiled for all", LIMIT, || {
                ensure!(!flush.is_finished(), "its pool was unlocked before the long catalog was compiled");
                Ok(when(other.access_log().catalogs_since(marks.1)?.len() >= MEANWHILE))
            })?;
            let (has, through) = (door.in_flight(busy.host)?, busy.access_log().since(marks.0)?);
            let through: Vec<_> = through.iter().filter(|entry| entry.needs_jruby()).collect();
            ensure!(
                has <= had && through.is_empty(),
                "it had {had} and has {has} in flight, and answered {through:?}"
            );
            saw(&format!(
                "{} compiled {MEANWHILE} catalogs, {name} got nothing more than the {had} it had",
                other.host.name
            ));
            Ok(())
        })();
        long.let_go()?;
        let flushed = flush.join().map_err(|_| anyhow!("the flush panicked"))??;
        acted?;
        ensure!(flushed.code == 0, "its pool was not flushed: {}", flushed.said());
        Ok::<_, anyhow::Error>(())
    })?;
    let mark = busy.access_log().mark()?;
    until(&format!("{name} is no longer locked"), LIMIT, || Ok(when(locked()? == Some(Value::Bool(false)))))?;
    let (_, took) = until(&format!("{name} compiles again"), LIMIT, || {
        let catalogs = busy.access_log().catalogs_since(mark)?;
        // The long one is none of those that came after.
        let is = |entry: &Entry| entry.status == 200 && entry.environment() != Some(ENVIRONMENT);
        Ok(when(catalogs.iter().any(is)))
    })?;
    saw(&format!("its compile over and its JRubies new, {name} compiles again after {} s", took.as_secs()));
    Ok(())
}

/// Who has something in hand.
fn at_work(lab: &Lab) -> Result<Option<Master>> {
    for master in lab.masters() {
        if lab.door().in_flight(master.host)? > 0 {
            return Ok(Some(master));
        }
    }
    Ok(None)
}

/// Hang-ups of one agent while its first catalog is being compiled, and then while each takes as long as it does.
const HANG_UPS: [usize; 2] = [40, 20];
/// As long as it waits for its catalog: long enough for the request to be at the door.
const PATIENCE: Duration = Duration::from_millis(300);

pub(super) fn an_agent_that_hangs_up_and_asks_again_has_one_seat(lab: &Lab) -> Result<()> {
    let door = lab.door();
    let long = LongCatalogs::deploy(lab)?;
    let recording = Recording::of_a_webserver(lab)?;
    let fleet = Fleet::of(lab, recording.clone(), AGENTS)?;
    let impatient = Fleet::of(lab, recording.in_environment(ENVIRONMENT)?, 1)?;
    fleet.warm_up(lab)?;
    let impatience = || {
        sleep(PATIENCE);
        Ok(())
    };
    let left = || door.metric("stagedoor_requests_total", "class=\"catalog\",outcome=\"left\"");
    let (steady, before) = (Steady::begin(lab)?, left()?);

    long.hold()?;
    let over = AtomicBool::new(false);
    let (acted, outcomes, seen) = thread::scope(|scope| {
        let runs = scope.spawn(|| fleet.keep_running(&over));
        let watching = scope.spawn(|| steady.watch(&over));
        let acted = (|| {
            impatient.hang_up(|| long.until(1, 0))?;
            (1..HANG_UPS[0]).try_for_each(|_| impatient.hang_up(impatience))?;
            long.until(1, 0)?;
            let orphaned = door.metric("stagedoor_master_orphaned", "")?;
            ensure!(
                (orphaned - 1.0).abs() < 0.5,
                "{orphaned} requests are orphaned by the metrics, and one is"
            );
            let hung_up = HANG_UPS[0] as f64;
            until("the metrics show each time that it hung up", LIMIT, || {
                let left = left()? - before;
                ensure!(
                    left < hung_up + 0.5,
                    "it hung up {hung_up} times, and {left} requests left by the metrics"
                );
                Ok(when(left > hung_up - 0.5))
            })?;
            saw(&format!(
                "it hung up {hung_up} times while its catalog was compiled, once; the metrics count each"
            ));
            long.let_go()?;
            (0..HANG_UPS[1]).try_for_each(|_| impatient.hang_up(impatience))?;
            let patient = impatient.run(1, &AtomicUsize::new(0));
            none_failed(&patient)?;
            saw("and got it as soon as it waited");
            Ok::<_, anyhow::Error>(())
        })();
        over.store(true, Ordering::Relaxed);
        long.let_go()?;
        let outcomes = runs.join().map_err(|_| anyhow!("the fleet panicked"))?;
        let seen = watching.join().map_err(|_| anyhow!("the watch panicked"))?;
        Ok::<_, anyhow::Error>((acted, outcomes, seen?))
    })?;
    acted?;
    none_failed(&outcomes)?;
    let compiled = long.one_at_a_time()?;
    seen.is_well()?;
    // Each agent has one catalog and, as these agents do, one request at a time.
    let agents = u64::try_from(AGENTS + 1)?;
    ensure!(seen.queued <= agents, "{} requests waited at once", seen.queued);
    saw(&format!(
        "{compiled} compiles of it, never two at once; {} requests of others, none failed; at most {} waited",
        outcomes.len(),
        seen.queued
    ));
    steady.nobody_was_ejected()
}

const ENVIRONMENT: &str = "longwinded";

/// An environment whose catalogs take as long as a file is there, and are counted as they begin and end. Goes away when
/// dropped.
struct LongCatalogs<'l> {
    lab: &'l Lab,
    folder: PathBuf,
}

impl<'l> LongCatalogs<'l> {
    fn deploy(lab: &'l Lab) -> Result<Self> {
        let this = Self { lab, folder: lab.root.join(ENVIRONMENT) };
        make_folder(&this.folder)?;
        let at = this.folder.display();
        write(
            &this.folder.join("compile"),
            &format!(
                "echo begun >>{at}/compiles\nwhile [ -e {at}/held ]; do /bin/sleep 0.1; done\necho over >>{at}/compiles\n"
            ),
        )?;
        write(&this.folder.join("compiles"), "")?;
        Account::named("puppet")?.own(&this.folder)?;
        let environment = this.environment();
        let site = format!("$done = generate('/bin/sh', '{at}/compile')\n");
        write(&environment.join("manifests/site.pp"), &site)?;
        Account::named("puppet")?.own(&environment)?;
        Ok(this)
    }

    fn environment(&self) -> PathBuf {
        code::folder(&self.lab.root).join("environments").join(ENVIRONMENT)
    }

    fn held(&self) -> PathBuf {
        self.folder.join("held")
    }

    /// From now on none that begins ends.
    fn hold(&self) -> Result<()> {
        write(&self.held(), "")
    }

    fn let_go(&self) -> Result<()> {
        if self.held().exists() {
            fs::remove_file(self.held()).context("cannot let the long catalogs go")?;
        }
        Ok(())
    }

    /// Waits until so many have begun and so many are over.
    fn until(&self, begun: usize, over: usize) -> Result<()> {
        let (_, _) = until(&format!("{begun} long catalogs have begun and {over} are over"), LIMIT, || {
            let compiles = self.compiles()?;
            let count = |word| compiles.lines().filter(|line| *line == word).count();
            Ok(when((count("begun"), count("over")) == (begun, over)))
        })?;
        Ok(())
    }

    /// How many there were, of which no two at once.
    fn one_at_a_time(&self) -> Result<usize> {
        let compiles = self.compiles()?;
        let words: Vec<&str> = compiles.lines().collect();
        for pair in words.chunks(2) {
            ensure!(pair == ["begun", "over"], "two at once, or one that is not over: {words:?}");
        }
        Ok(words.len() / 2)
    }

    fn compiles(&self) -> Result<String> {
        read(&self.folder.join("compiles"))
    }
}

impl Drop for LongCatalogs<'_> {
    fn drop(&mut self) {
        self.let_go().ok();
        fs::remove_dir_all(self.environment()).ok();
        fs::remove_dir_all(&self.folder).ok();
        self.lab.door().flush(ENVIRONMENT).ok();
    }
}
