//! A compile master enrolled by `stagedoor-enroller`, adopted, kept out for every reason, and retired, with real programs
//! everywhere. Agents run meanwhile: the only thing that may fail them is PuppetDB's own restart, which its run asks for
//! when its list has changed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde_json::Value;

use super::{Watch, saw};
use crate::classification::Classification;
use crate::door_ca::DoorCa;
use crate::enroller::Enroller;
use crate::fleet::{Fleet, Outcome};
use crate::lab::Lab;
use crate::machine::{CONSOLE, Host, PUPPETDB};
use crate::program::run;
use crate::recording::Recording;

/// Agents that run all the while: each costs the one master that serves them a JRuby now and then.
const AGENTS: usize = 2;

pub(super) fn a_new_master_is_enrolled_from_nothing_while_agents_run(lab: &Lab) -> Result<()> {
    let [first, second] = lab.masters();
    let new = second.host;
    let enroller = Enroller::lay_out(lab)?;
    let fleet = Fleet::of(lab, Recording::of_a_webserver(lab)?, AGENTS)?;
    let watch = Watch::begin(lab)?;
    let restarts = lab.puppetdb().service().restarts()?;

    let (outcomes, gap) = while_agents_run(lab, &fleet, || {
        let begun = Instant::now();
        enroller.kill_at(&["enroll", new.name], new, "done", "sign")?;
        saw(&format!("killed after sign, {} s after the command", begun.elapsed().as_secs()));
        let run = format!("run 2 {}", PUPPETDB.name);
        enroller.kill_at(&["resume", new.name], new, "intended", &run)?;
        saw(&format!("resumed, and killed in the middle of the run of {}", PUPPETDB.name));
        let ended = enroller.succeed(&["resume", new.name])?;
        saw(&format!("resumed to its end, {} s after the command", begun.elapsed().as_secs()));
        for line in
            ended.output.lines().filter(|line| line.contains(": done (") || line.contains("looking again ("))
        {
            saw(line.trim());
        }
        Ok(())
    })?;
    only_puppetdbs_restart_fails(&outcomes, &gap)?;
    ensure!(lab.puppetdb().service().restarts()? == restarts + 1, "PuppetDB was not restarted once");

    in_the_programs_own_words(lab, &watch, new)?;
    let journal = enroller.journal(new)?;
    let counted: u64 = journal
        .iter()
        .filter(|entry| entry.what() == "done")
        .filter_map(|entry| entry.fact("catalogs_failed")?.parse::<u64>().ok())
        .sum();
    let failed = failed_catalogs(&outcomes);
    // The recorded agents are all there are, and a catalog that PuppetDB fails is answered 500 by the master.
    ensure!(counted == failed, "the journal counts {counted} failed catalogs, the agents {failed}");
    saw(&format!("{failed} catalogs met PuppetDB's restart, and the journal counts {counted}"));
    lab.door().until_used(new)?;

    let mark = first.access_log().mark()?;
    enroller.succeed(&["adopt", first.host.name])?;
    let adopted = enroller.journal(first.host)?;
    let evidence: Vec<&str> = adopted
        .iter()
        .filter(|entry| entry.what() == "done" && entry.step().starts_with("evidence"))
        .filter_map(|entry| entry.fact("received"))
        .collect();
    ensure!(evidence.len() == 3 && evidence.is_sorted(), "an odd evidence: {evidence:?}");
    ensure!(
        first.access_log().since(mark)?.iter().any(|entry| is_canarys(&entry.dn)),
        "no canary came to it"
    );
    saw(&format!("{} adopted: its runs are evidenced in their order, {evidence:?}", first.host.name));
    Ok(())
}

/// What the MoM, PuppetDB, the door and the new master's own log say of it.
fn in_the_programs_own_words(lab: &Lab, watch: &Watch, new: &Host) -> Result<()> {
    let reached = watch.end(lab)?;
    let signed = |name: &str| {
        let target = format!("/puppet-ca/v1/certificate_status/{name}");
        reached.mom.iter().filter(|entry| entry.method == "PUT" && entry.target == target).count()
    };
    let canary = format!("canary.{}", new.name);
    // The canary's certificate stays from one enrollment to the next.
    ensure!(signed(new.name) == 1 && signed(&canary) <= 1, "the CA was asked to sign otherwise than once");
    saw("the CA was asked once to sign, by the enroller");

    let installs =
        reached.mom.iter().filter(|entry| entry.target == "/packages/current/install.bash").count();
    ensure!(installs == 1, "install.bash was fetched {installs} times from the MoM");
    let at_new: Vec<_> =
        reached.masters[1].iter().filter(|entry| entry.target.starts_with("/puppet/")).collect();
    let first_agent = at_new.iter().position(|entry| !is_canarys(&entry.dn)).unwrap_or(at_new.len());
    let last_canary = at_new.iter().rposition(|entry| is_canarys(&entry.dn));
    ensure!(
        last_canary.is_some_and(|last| last < first_agent),
        "somebody came to the new master before the canary was done: {at_new:?}"
    );
    ensure!(first_agent < at_new.len(), "no agent came to the new master, which was admitted for them");
    saw(&format!(
        "its access log: {first_agent} requests of its canary, then {} of agents",
        at_new.len() - first_agent
    ));

    let received = |certname: &str| -> Result<String> {
        let reports = lab.puppetdb().query(&format!(
            "reports[receive_time] {{ certname = '{certname}' order by receive_time desc limit 1 }}"
        ))?;
        let latest = reports.get(0).and_then(|report| report.get("receive_time")).and_then(Value::as_str);
        Ok(latest.unwrap_or_default().to_owned())
    };
    let order = [received(new.name)?, received(PUPPETDB.name)?, received(CONSOLE.name)?];
    ensure!(order.is_sorted(), "PuppetDB received the reports in another order: {order:?}");
    saw(&format!("PuppetDB received the reports of master, PuppetDB and console in this order: {order:?}"));
    ensure!(
        lab.puppetdb().allowlist().names(new.name)? && lab.console().allowlist().names(new.name)?,
        "it is on no list"
    );
    let node = lab
        .puppetdb()
        .query(&format!("nodes[deactivated] {{ certname = '{canary}' and node_state = 'inactive' }}"))?;
    ensure!(node.get(0).is_some(), "the canary still counts as a node: {node}");
    Ok(())
}

pub(super) fn what_keeps_a_master_out_is_told_and_it_is_not_admitted(lab: &Lab) -> Result<()> {
    let [_, second] = lab.masters();
    let new = second.host;
    let enroller = Enroller::lay_out(lab)?;
    let (mom, puppetdb, door) = (lab.mom(), lab.puppetdb(), lab.door());

    // As nobody can set it: PuppetDB's run before the master's. It was on the list, so it goes from there first.
    door.cut_off(new)?;
    puppetdb.deactivate(&mom, new)?;
    let stages = format!("[[\"{}\"],[\"{}\"]]", PUPPETDB.name, new.name);
    enroller.begin_by_hand(new, &stages, &["preflight", "install", "sign", "first-run", "classify"])?;
    let told = enroller.stops_at(&["resume", new.name], "check")?;
    ensure!(
        told.contains("500") && told.contains("403 Forbidden") && told.contains("allowlist"),
        "an odd reason: {told}"
    );
    let mut status = second.ask("/status/v1/simple", Some(&DoorCa::at(&lab.root).door()));
    ensure!(run(&mut status)?.output == "running", "it does not even say that it runs");
    is_not_admitted(lab, new)?;
    saw(&format!("stages swapped: its status says running, and the canary fails: {told:.400}"));

    // The run that was missing fails, and then succeeds.
    enroller.succeed(&["resume", new.name, "--give-up", "the order was wrong"])?;
    let stages = format!("[[\"{}\"],[\"{}\"]]", new.name, PUPPETDB.name);
    enroller.begin_by_hand(
        new,
        &stages,
        &["preflight", "install", "sign", "first-run", "classify", &format!("run 1 {}", new.name)],
    )?;
    let classification = Classification::at(&lab.root);
    classification.break_catalogs_of(&PUPPETDB)?;
    let told = enroller.stops_at(&["resume", new.name], &format!("run 2 {}", PUPPETDB.name))?;
    classification.lay_out()?;
    is_not_admitted(lab, new)?;
    saw(&format!("a run that fails stops it: {told:.300}"));

    enroller.compare_by("command")?;
    enroller.say_code_of(new, "v0\n")?;
    let told = enroller.stops_at(&["resume", new.name], "check")?;
    ensure!(told.contains("is v0, and v1 on"), "an odd reason: {told}");
    is_not_admitted(lab, new)?;
    saw(&format!("code that is behind: {told:.300}"));

    enroller.say_code_of(new, "v1\n")?;
    enroller.succeed(&["resume", new.name])?;
    door.until_used(new)?;
    saw("put right one by one, it was admitted");
    Ok(())
}

pub(super) fn a_retired_master_is_on_no_list_and_no_run_fails_for_it(lab: &Lab) -> Result<()> {
    let [_, second] = lab.masters();
    let old = second.host;
    let enroller = Enroller::lay_out(lab)?;
    let fleet = Fleet::of(lab, Recording::of_a_webserver(lab)?, AGENTS)?;
    fleet.warm_up(lab)?;
    let (outcomes, gap) = while_agents_run(lab, &fleet, || {
        let ended = enroller.succeed(&["retire", old.name])?;
        for line in ended.output.lines().filter(|line| line.contains(": done")) {
            saw(line.trim());
        }
        Ok(())
    })?;
    only_puppetdbs_restart_fails(&outcomes, &gap)?;
    let failed = failed_catalogs(&outcomes);
    ensure!(failed == 0, "{failed} catalogs failed, which the door keeps while PuppetDB restarts");
    ensure!(gap.from.is_some(), "PuppetDB was not restarted, so that nothing was shown");
    saw("no catalog failed while PuppetDB was away: the door kept them");
    ensure!(lab.door().says_of(old, "standing").is_err(), "it is still on the roster");
    for (list, what) in [(lab.puppetdb().allowlist(), "PuppetDB"), (lab.console().allowlist(), "console")] {
        ensure!(!list.names(old.name)?, "its name is still on the list of {what}");
    }
    ensure!(second.node().run()?.said().contains("administratively disabled"), "its agent still runs");
    saw("off the roster, on neither list, its agent disabled, its certificate refused by the door");
    Ok(())
}

fn is_not_admitted(lab: &Lab, host: &Host) -> Result<()> {
    let standing = lab.door().says_of(host, "standing")?;
    ensure!(standing.as_deref() == Some("warm"), "it is {standing:?} at the door");
    Ok(())
}

fn is_canarys(dn: &str) -> bool {
    dn.contains("CN=canary.")
}

/// When PuppetDB did not answer.
pub(super) struct Gap {
    from: Option<Instant>,
    to: Option<Instant>,
}

/// Does something while agents run over and over, and looks all the while whether PuppetDB answers.
pub(super) fn while_agents_run(
    lab: &Lab,
    fleet: &Fleet,
    act: impl FnOnce() -> Result<()>,
) -> Result<(Vec<Outcome>, Gap)> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let runs = scope.spawn(|| fleet.keep_running(&over));
        let looks = scope.spawn(|| {
            let mut gap = Gap { from: None, to: None };
            while !over.load(Ordering::Relaxed) {
                let before = Instant::now();
                if !lab.puppetdb().answers() {
                    gap.from.get_or_insert(before);
                    gap.to = Some(Instant::now());
                }
                thread::sleep(Duration::from_millis(100));
            }
            gap
        });
        let acted = act();
        over.store(true, Ordering::Relaxed);
        let outcomes = runs.join().map_err(|_| anyhow!("the client that replays runs panicked"))?;
        let gap = looks.join().map_err(|_| anyhow!("the look at PuppetDB panicked"))?;
        acted.map(|()| (outcomes, gap))
    })
}

/// Requests fail only where PuppetDB was away meanwhile, and those that need nothing of it never.
pub(super) fn only_puppetdbs_restart_fails(outcomes: &[Outcome], gap: &Gap) -> Result<()> {
    let failures: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
    ensure!(!outcomes.is_empty(), "no agent ran");
    for failure in &failures {
        let met = gap.from.is_some_and(|from| failure.ended >= from)
            // A server notices a moment after PuppetDB answers again.
            && gap.to.is_some_and(|to| failure.begun <= to + Duration::from_secs(1));
        let needs_puppetdb = ["catalog", "report", "node", "facts"]
            .iter()
            .any(|what| failure.name.contains(&format!("/{what}/")));
        ensure!(met && needs_puppetdb, "a request failed that did not meet PuppetDB's restart: {failure:?}");
    }
    let away = gap.from.zip(gap.to).map_or(0, |(from, to)| (to - from).as_secs());
    saw(&format!(
        "{} requests of agents meanwhile, {} of them failed, all while PuppetDB was away ({away} s)",
        outcomes.len(),
        failures.len()
    ));
    Ok(())
}

fn failed_catalogs(outcomes: &[Outcome]) -> u64 {
    let failed = outcomes.iter().filter(|one| one.failure.is_some() && one.name.contains("/catalog/"));
    u64::try_from(failed.count()).unwrap_or(u64::MAX)
}

/// For a scenario that has opened a master: it is not adopted, and why is told.
pub(super) fn strangers_keep_it_out(lab: &Lab, host: &Host) -> Result<()> {
    // The lab makes a master with runs that overlap, and evidence is of runs one after the other.
    lab.puppetdb().node().succeed()?;
    lab.console().node().succeed()?;
    let told = Enroller::lay_out(lab)?.stops_at(&["adopt", host.name], "seal")?;
    ensure!(told.contains("answers strangers after its run"), "an odd reason: {told}");
    saw(&format!("the enroller does not adopt it: {told:.300}"));
    Ok(())
}
