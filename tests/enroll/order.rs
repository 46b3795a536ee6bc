//! The order of the runs, and what keeps a new master from being admitted.

use harness::answer::{Act, Answer};
use harness::installation::{CONSOLE, PUPPETDB, Turn};
use harness::mom;
use serde_json::{Value, json};

use super::{NEW, Scene};

/// Enrolls and expects it to stop at this step; gives what was said of that.
pub(crate) async fn stops_at(scene: &Scene, step: &str) -> String {
    let said = scene.there.enroller(&["enroll", NEW, "--address", &scene.address()]).await;
    stopped(scene, &said, step).await
}

async fn stopped(scene: &Scene, said: &harness::installation::Said, step: &str) -> String {
    assert_eq!(said.code, 1, "{}\n{}", said.out, said.err);
    assert!(said.err.contains(&format!("{NEW}: {step}: ")), "{}", said.err);
    assert_ne!(scene.standing(NEW).await.as_deref(), Some("admitted"), "{}", said.err);
    // The last line of the journal says the same, for whoever comes later.
    let journal = scene.there.paper.journal(NEW);
    let last: Value = serde_json::from_str(journal.lines().last().unwrap()).unwrap();
    assert_eq!(last["step"], step, "{last}");
    assert!(!last["way_out"].as_str().unwrap().is_empty(), "{last}");
    said.err.clone()
}

pub(crate) async fn goes_on(scene: &Scene) {
    let said = scene.there.enroller(&["resume", NEW]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert_eq!(scene.standing(NEW).await.as_deref(), Some("admitted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_failed_stops_everything_after_it_until_it_succeeds() {
    let scene = Scene::open().await;
    scene.there.machines.script(PUPPETDB, "agent --test", 1, Turn::Reports("failed", json!({})));
    let told = stops_at(&scene, "run 2 puppetdb.example.com").await;
    assert!(told.contains("some resources failed"), "{told}");
    assert!(!scene.there.puppetdb.lets_in(NEW));
    assert!(scene.fleet.masters[0].record().of("catalog").is_empty());
    assert_eq!(
        scene.there.machines.master(NEW).record().of("catalog").len(),
        0,
        "no canary came before its turn"
    );
    goes_on(&scene).await;
    assert_eq!(scene.fleet.mom.times_signed(NEW), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_took_up_no_list_is_no_run() {
    for (more, words) in [
        (json!({ "noop": true }), "only looked"),
        (json!({ "cached_catalog_status": "on_failure" }), "no new one could be compiled"),
        (json!({ "cached_catalog_status": "explicitly_requested" }), "use_cached_catalog"),
    ] {
        let scene = Scene::open().await;
        scene.there.machines.script(PUPPETDB, "agent --test", 1, Turn::Reports("unchanged", more));
        let told = stops_at(&scene, "run 2 puppetdb.example.com").await;
        assert!(told.contains(words), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_progress_is_waited_for_and_not_taken_for_the_one_that_was_asked_for() {
    let scene = Scene::open().await;
    let words = "Notice: Run of Puppet configuration client already in progress; skipping  (/x.lock exists)";
    scene.there.machines.script(PUPPETDB, "agent --test", 1, Turn::Says(1, words.to_owned()));
    let enroller = scene.there.start(&["enroll", NEW, "--address", &scene.address()]);
    let said = enroller.wait_with_output().await.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(scene.there.machines.runs().iter().filter(|host| *host == PUPPETDB).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_that_is_a_stage_runs_after_puppetdb() {
    let mut scene = Scene::open().await;
    scene.there.paper.change(
        "runner = \"ssh\"\n",
        &format!("runner = \"ssh\"\nstages = [[\"{{master}}\"], [\"{{puppetdb}}\"], [\"{CONSOLE}\"]]\n"),
    );
    let said = scene.there.enroller(&["enroll", NEW, "--address", &scene.address()]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(scene.there.machines.runs(), [NEW, NEW, PUPPETDB, CONSOLE]);
    assert!(scene.there.machines.console().contains(&NEW.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_says_running_and_answers_every_catalog_with_an_error_is_not_admitted() {
    let scene = Scene::open().await;
    // As after runs in the wrong order: every one good, and the name on no list.
    scene.there.machines.script(PUPPETDB, "agent --test", 1, Turn::Reports("changed", json!({})));
    let told = stops_at(&scene, "check").await;
    assert!(told.contains("500") && told.contains("403: The client certificate name"), "{told}");
    assert!(told.contains("allowlist"), "{told}");
    // It is warm: its canary alone has come to it.
    let seen = scene.there.machines.master(NEW).record().of("catalog");
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.path().ends_with(&format!("/canary.{NEW}"))));
    scene.there.machines.runs_by_itself(PUPPETDB);
    goes_on(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_whose_catalogs_are_not_the_moms_is_told_resource_by_resource() {
    let scene = Scene::open().await;
    scene.fleet.mom.compiles_bytes(10);
    let told = stops_at(&scene, "check").await;
    assert!(told.contains("Notify[filler]: message has another value"), "{told}");
    scene.fleet.mom.compiles_bytes(2048);
    goes_on(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_no_master_compiles_wants_facts() {
    let scene = Scene::open().await;
    let refused = Answer::text(500, "Server Error: Evaluation Error: unknown datacenter");
    scene.fleet.mom.script("/catalog/", None, Act::Answer(refused.clone()));
    scene.there.machines.master(NEW).script("/catalog/", None, Act::Answer(refused));
    let told = stops_at(&scene, "check").await;
    assert!(
        told.contains("nor does the Master of Masters") && told.contains("`facts` under [canary]"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_is_behind_is_told_with_both_versions() {
    let mut scene = Scene::open().await;
    let folder = scene.there.folder().to_owned();
    scene.there.paper.change("compare = \"command\"\n", "compare = \"r10k\"\n");
    let command =
        format!("command = [\"{}\", \"{{host}}\"]\n", scene.there.machines.program("code-version").display());
    scene.there.paper.change(&command, "");
    let deploy = |host: &str, signature: &str| {
        let environment = folder.join(format!("{host}.environments/production"));
        std::fs::create_dir_all(&environment).unwrap();
        std::fs::write(environment.join(".r10k-deploy.json"), json!({ "signature": signature }).to_string())
            .unwrap();
    };
    deploy(mom::NAME, "4dd9a2e0");
    let told = stops_at(&scene, "check").await;
    assert!(told.contains(&format!("{NEW}: r10k left no signature in production")), "{told}");
    deploy(NEW, "4dd9a2e0");
    goes_on(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_answers_strangers_is_not_admitted() {
    let scene = Scene::open().await;
    scene.there.machines.leave_open(NEW);
    let mut enroller = scene.there.start(&["enroll", NEW, "--address", &scene.address()]);
    // Its own run does not seal it: the step waits for a restart that does not come.
    harness::wait::eventually("the seal is waited for", async || {
        let journal = scene.there.paper.journal(NEW);
        if journal.lines().any(|line| line.contains("\"acted\"") && line.contains("\"seal\"")) {
            Ok(())
        } else {
            Err(journal)
        }
    })
    .await;
    assert_eq!(scene.standing(NEW).await, None);
    enroller.kill().await.unwrap();
    let journal = scene.there.paper.journal(NEW);
    assert!(journal.contains("nobody was answered HTTP/1.1"), "{journal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_here_has_site_code_seal_it_and_the_restart_is_seen() {
    let mut scene = Scene::open().await;
    scene.there.machines.leave_open(NEW);
    let program = scene.there.machines.program("seal-master");
    scene.there.paper.more = format!("[seal]\ncommand = [\"{}\", \"{{host}}\"]\n", program.display());
    let said = scene.there.enroller(&["enroll", NEW, "--address", &scene.address()]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("restart seen"), "{}", said.out);
}
