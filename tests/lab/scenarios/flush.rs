//! What sealing took away, given back through the door: environment caches flushed, and a master's own status.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Watch, saw};
use crate::agent::Agent;
use crate::code;
use crate::door_ca::DoorCa;
use crate::lab::Lab;
use crate::machine::{Account, DOOR, write};
use crate::master::{Master, stated};
use crate::program::run;

const ENVIRONMENT: &str = "flushed";
/// More than a master has JRubies: each of them has a cache of its own.
const ASKED_AT_ONCE: usize = 4;
const CACHE: &str = "/puppet-admin-api/v1/environment-cache";

pub(super) fn new_code_shows_after_a_flush_on_every_master(lab: &Lab) -> Result<()> {
    let agent = Agent::enrolled(lab, "flushed")?;
    deploy(lab, "first")?;
    compiles(lab, &agent, "first")?;
    deploy(lab, "second")?;
    compiles(lab, &agent, "first")?;
    saw("new code is deployed, and both masters compile the old: environment_timeout = unlimited");

    flush(lab, "production")?;
    compiles(lab, &agent, "first")?;
    saw("another environment is flushed: nothing changes");

    let watch = Watch::begin(lab)?;
    flush(lab, ENVIRONMENT)?;
    for (master, entries) in lab.masters().iter().zip(watch.end(lab)?.masters) {
        let told = entries.iter().find(|entry| entry.target.starts_with(CACHE));
        let told = told.with_context(|| format!("{} was not told", master.host.name))?;
        let expected = format!("{CACHE}?environment={ENVIRONMENT}");
        ensure!(told.method == "DELETE" && told.target == expected, "{} {}", told.method, told.target);
        ensure!(told.dn == format!("CN={}", DOOR.name), "it was told by {:?}", told.dn);
    }
    compiles(lab, &agent, "second")?;
    saw("its own environment is flushed: every JRuby of both masters compiles the new code");

    let ran = agent.succeed(&["--environment", ENVIRONMENT], &[])?;
    ensure!(ran.said().contains("code: second"), "an agent's run got older code:\n{}", ran.said());
    saw("and so it comes to an agent's run through the door");
    Ok(())
}

pub(super) fn a_masters_own_status_is_relayed_by_the_door(lab: &Lab) -> Result<()> {
    for master in &lab.masters() {
        let (status, body) = lab.door().status_of(master.host, "debug")?;
        ensure!(status == "200", "{}: {status} {body:.400}", master.host.name);
        let told: Value = serde_json::from_str(&body).context("a status is JSON")?;
        let jrubies = told.pointer("/jruby-metrics/status/experimental/metrics/num-jrubies");
        ensure!(jrubies == Some(&Value::from(crate::master::JRUBIES)), "JRubies: {jrubies:?}");
        let heap = told.pointer("/status-service/status/experimental/jvm-metrics/heap-memory/used");
        ensure!(heap.is_some_and(Value::is_u64), "heap: {heap:?}");
        saw(&format!("{}: {} bytes at debug, with its JRubies and its heap", master.host.name, body.len()));

        let door = DoorCa::at(&lab.root).door();
        let metrics = run(master.ask("/metrics/v2/list", Some(&door)).args(stated(DOOR.name)).args([
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ]))?;
        ensure!(metrics.output == "403", "metrics: {}", metrics.said());
    }
    saw("/metrics/v2 is 403 by the packaged auth.conf, even for the door");
    Ok(())
}

/// An environment whose catalogs say which code they came from.
fn deploy(lab: &Lab, version: &str) -> Result<()> {
    let folder = code::folder(&lab.root).join("environments").join(ENVIRONMENT);
    write(&folder.join("manifests/site.pp"), &format!("notify {{ 'code: {version}': }}\n"))?;
    Account::named("puppet")?.own(&folder)
}

/// `stagedoor flush`, as r10k's postrun does it.
fn flush(lab: &Lab, environment: &str) -> Result<()> {
    let said = lab.door().flush(environment)?;
    for master in &lab.masters() {
        let line = format!("{} flushed", master.host.name);
        ensure!(said.lines().any(|said| said == line), "stagedoor flush said:\n{said}");
    }
    Ok(())
}

/// Every JRuby of both masters compiles this version for the agent.
fn compiles(lab: &Lab, agent: &Agent, version: &str) -> Result<()> {
    let door = DoorCa::at(&lab.root).door();
    let expected = format!("code: {version}");
    let path = format!("/puppet/v3/catalog/{}?environment={ENVIRONMENT}", agent.certname);
    let ask = |master: &Master| {
        let mut curl = master.ask(&path, Some(&door));
        curl.args(stated(&agent.certname)).args(["--header", "Accept: application/json"]);
        curl.arg("--fail");
        run(&mut curl)
    };
    for master in &lab.masters() {
        let answers: Vec<_> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..ASKED_AT_ONCE).map(|_| scope.spawn(|| ask(master))).collect();
            asked.into_iter().map(|one| one.join()).collect()
        });
        for answer in answers {
            let answer = answer.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            ensure!(
                answer.code == 0 && answer.output.contains(&expected),
                "{} compiled no {expected:?}: {:.600}",
                master.host.name,
                answer.said()
            );
        }
    }
    Ok(())
}
