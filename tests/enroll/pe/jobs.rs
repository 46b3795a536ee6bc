//! The orchestrator's jobs, and runs by MCollective.

use harness::answer::{Act, Answer};
use harness::installation::{Next, PUPPETDB, Turn, Version};
use harness::mom;
use harness::wait::eventually;
use serde_json::json;

use super::{NEW, ORDER, Pe};
use crate::enroll::order::{goes_on, stops_at};

const RUN: &str = "run 2 puppetdb.example.com";

#[tokio::test(flavor = "multi_thread")]
async fn each_way_in_which_a_job_brings_no_run_is_told_and_the_next_attempt_starts_another() {
    for (next, words) in [
        (Next::Errored("The PCP message timed out".into()), "not run by job 82: The PCP message timed out"),
        (Next::Skipped("a dependency failed".into()), "not run by job 82: a dependency failed"),
        (Next::Stopped, "somebody stopped the job"),
        (Next::Failed, "the run of job 82 failed: Finished puppet run - Failed! Exec[x] failed"),
    ] {
        let pe = Pe::open(Version::V2018).await;
        pe.pe.orchestrator.next(PUPPETDB, next);
        let told = stops_at(&pe.scene, RUN).await;
        assert!(told.contains(words) && told.contains("`puppet job show 82`"), "{words}: {told}");
        goes_on(&pe.scene).await;
        assert_eq!(pe.pe.orchestrator.states(PUPPETDB).len(), 2, "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_another_run_is_in_progress_a_job_is_started_anew_until_it_is_over() {
    let pe = Pe::open(Version::V2018).await;
    let words = "Error running puppet on puppetdb.example.com: Puppet agent run is already in progress";
    pe.pe.orchestrator.next(PUPPETDB, Next::Errored(words.into()));
    let enroller = pe.scene.there.start(&["enroll", NEW, "--address", &pe.scene.address()]);
    // Longer than a test waits for anything: it waits itself before it asks again.
    let said = enroller.wait_with_output().await.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(pe.pe.orchestrator.states(PUPPETDB), ["failed", "finished"]);
    let runs = pe.scene.there.machines.runs();
    assert_eq!(runs.iter().filter(|host| *host == PUPPETDB).count(), 1, "{runs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_job_runs_it_is_found_again_and_no_second_one_is_started() {
    let pe = Pe::open(Version::V2019).await;
    pe.pe.orchestrator.next(PUPPETDB, Next::Runs(2));
    let mut enroller = pe.scene.there.start(&["enroll", NEW, "--address", &pe.scene.address()]);
    eventually("the job is started", async || {
        let jobs = pe.pe.orchestrator.jobs();
        if jobs.iter().any(|node| node == PUPPETDB) { Ok(()) } else { Err(format!("{jobs:?}")) }
    })
    .await;
    enroller.kill().await.unwrap();
    goes_on(&pe.scene).await;
    assert_eq!(pe.pe.orchestrator.jobs(), ORDER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_connected_is_refused_before_a_job_is_started() {
    let pe = Pe::open(Version::V2018).await;
    pe.pe.orchestrator.unplug(PUPPETDB);
    let told = stops_at(&pe.scene, RUN).await;
    assert!(told.contains("puppetdb.example.com is not connected to the orchestrator"), "{told}");
    assert!(told.contains("pxp-agent runs on puppetdb.example.com"), "{told}");
    assert_eq!(pe.pe.orchestrator.jobs(), [NEW]);
    pe.pe.orchestrator.plug(PUPPETDB);
    let broker =
        Answer::json(&json!({ "kind": "puppetlabs.orchestrator/unknown-error", "msg": "no broker" }));
    let broker = Answer { status: 500, ..broker };
    pe.pe.orchestrator.script().add("/inventory/", Some(1), Act::Answer(broker));
    let said = pe.scene.there.enroller(&["resume", NEW]).await;
    assert!(said.err.contains("no broker") && said.err.contains("the PCP broker runs"), "{}", said.err);
    goes_on(&pe.scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_for_more_nodes_than_one_is_stopped_at_once() {
    let pe = Pe::open(Version::V2018).await;
    pe.pe.orchestrator.next(NEW, Next::Wider);
    let told = stops_at(&pe.scene, "run 1 new.example.com").await;
    assert!(told.contains("is for more nodes: it was stopped"), "{told}");
    assert_eq!(pe.pe.orchestrator.states(NEW), ["stopped"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_that_is_away_for_a_moment_is_waited_for() {
    let pe = Pe::open(Version::V2018).await;
    pe.pe.orchestrator.script().add("/jobs/82/nodes", Some(1), Act::Close);
    pe.is_enrolled().await;
    assert_eq!(pe.pe.orchestrator.jobs(), ORDER);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_there_is_not_is_told_with_the_key_that_names_it() {
    let mut pe = Pe::open(Version::V2018).await;
    pe.scene.there.paper.change("compiles = 3", "environments = [\"test\"]\ncompiles = 3");
    let told = stops_at(&pe.scene, "run 1 new.example.com").await;
    assert!(told.contains("404 Not Found: Unknown environment") && told.contains("[canary]"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_orchestrator_that_takes_no_description_is_asked_without_one() {
    let pe = Pe::open(Version::V2018).await;
    let refused = Answer::json(&json!({
        "kind": "puppetlabs.validators/validation-error", "msg": "disallowed key: description",
    }));
    let refused = Answer { status: 400, ..refused };
    pe.pe.orchestrator.script().add("/command/deploy", Some(1), Act::Answer(refused));
    pe.is_enrolled().await;
    let described = pe.pe.orchestrator.descriptions();
    assert_eq!((described.len(), described[0].as_str()), (4, ""), "{described:?}");
}

/// What `mco rpc puppet status` says of PuppetDB's machine while a catalog is applied there.
fn applying() -> String {
    let data = json!({ "applying": true, "enabled": true, "idling": false, "lastrun": 1_417_000_000 });
    format!("{}\n", json!([{ "sender": PUPPETDB, "statuscode": 0, "statusmsg": "OK", "data": data }]))
}

#[tokio::test(flavor = "multi_thread")]
async fn mcollective_waits_for_a_run_in_progress_and_for_the_end_of_its_own() {
    let pe = Pe::open(Version::V3).await;
    let status = format!("status -I {PUPPETDB}");
    pe.scene.there.machines.script(mom::NAME, &status, 1, Turn::Prints(applying()));
    pe.is_enrolled().await;
    let runs = pe.scene.there.machines.runs();
    assert_eq!(runs.iter().filter(|host| *host == PUPPETDB).count(), 1, "{runs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_run_by_mcollective_ended_is_read_on_its_machine() {
    let pe = Pe::open(Version::V3).await;
    let machines = &pe.scene.there.machines;
    machines.script(PUPPETDB, "run by mcollective", 1, Turn::Reports("failed", json!({})));
    let told = stops_at(&pe.scene, RUN).await;
    assert!(told.contains("puppetdb.example.com: the run failed"), "{told}");
    machines.script(mom::NAME, "rpc puppet", 1, Turn::Says(1, "ActiveMQ: Connection refused".to_owned()));
    let said = pe.scene.there.enroller(&["resume", NEW]).await;
    assert!(said.err.contains("`mco rpc puppet` ended with 1: ActiveMQ: Connection refused"), "{}", said.err);
    goes_on(&pe.scene).await;
}
