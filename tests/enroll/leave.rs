//! A master that is retired, and one that is adopted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::agent::Shape;
use harness::installation::PUPPETDB;
use harness::wait::eventually;

use super::{NEW, Scene};

async fn enrolled() -> Scene {
    let scene = Scene::open().await;
    let said = scene.there.enroller(&["enroll", NEW, "--address", &scene.address()]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_master_is_on_no_list_and_no_run_fails_meanwhile() {
    let scene = enrolled().await;
    let over = Arc::new(AtomicBool::new(false));
    let mut running = Vec::new();
    for number in 0..3 {
        let (over, agent) = (over.clone(), scene.fleet.agent(&format!("web{number:02}.example.com")));
        running.push(tokio::spawn(async move {
            let mut runs = 0;
            while !over.load(Ordering::Relaxed) {
                agent.run(Shape::default()).await.unwrap();
                runs += 1;
            }
            runs
        }));
    }
    let enroller = scene.there.start(&["retire", NEW]);
    // Each door has its list of revoked certificates from whoever copies it there.
    eventually("its certificate is taken back", async || {
        let journal = scene.there.paper.journal(NEW);
        if journal.contains("revoked_by") { Ok(()) } else { Err(journal) }
    })
    .await;
    scene.fleet.door.papers().write_ca(&scene.fleet.ca);
    let said = enroller.wait_with_output().await.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    over.store(true, Ordering::Relaxed);
    for one in running {
        assert!(one.await.unwrap() > 0);
    }
    assert_eq!(scene.standing(NEW).await, None);
    assert!(scene.there.machines.is_disabled(NEW) && !scene.there.puppetdb.lets_in(NEW));
    assert!(!scene.there.puppetdb.is_active(NEW));
    assert_eq!(scene.there.machines.runs().last().map(String::as_str), Some(PUPPETDB));
    // Its name is known to the CA, so that it is not enrolled anew by mistake.
    let again = scene.there.enroller(&["enroll", NEW, "--address", &scene.address()]).await;
    assert!(again.err.contains("the CA has a certificate of"), "{}", again.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_serves_is_adopted_by_the_evidence_of_its_runs_in_their_order() {
    let scene = enrolled().await;
    scene.fleet.door.change("drain", &serde_json::json!({ "certname": NEW })).await;
    scene.fleet.door.change("retire", &serde_json::json!({ "certname": NEW })).await;
    let runs = scene.there.machines.runs().len();
    let said = scene.there.enroller(&["adopt", NEW, "--address", &scene.address()]).await;
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    assert_eq!(scene.there.machines.runs().len(), runs, "nothing is repeated");
    assert_eq!(scene.standing(NEW).await.as_deref(), Some("admitted"));
    assert!(said.out.contains("evidence 2 puppetdb.example.com: done (received "), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_whose_puppetdb_has_not_run_since_is_not_adopted() {
    let scene = enrolled().await;
    let list = scene.there.folder().join("masters");
    // Its runs before are those of an ordinary node; it became a master by its latest, and PuppetDB ran before that.
    scene.there.machines.runs_by_itself(PUPPETDB);
    scene.there.machines.runs_by_itself(NEW);
    std::fs::write(&list, format!("{NEW} {}\n", scene.address())).unwrap();
    let said = scene.there.enroller(&["adopt", "--all", list.to_str().unwrap()]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains(&format!("{PUPPETDB} has begun no good run since")), "{}", said.err);
    assert!(said.err.contains(&format!("not adopted: {NEW}")), "{}", said.err);
    scene.there.machines.runs_by_itself(PUPPETDB);
    let said = scene.there.enroller(&["resume", NEW]).await;
    assert_eq!(said.code, 0, "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_each_step_found_and_would_do_and_changes_nothing() {
    let scene = Scene::open().await;
    let said = scene.there.enroller(&["plan", NEW, "--address", &scene.address()]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.contains(" 1/11 preflight: done"), "{}", said.out);
    assert!(
        said.out
            .contains("2/11 install: to do\n    fetch mom.example.com's own /packages/current/install.bash"),
        "{}",
        said.out
    );
    assert!(said.out.contains("have Puppet run on puppetdb.example.com, by ssh"), "{}", said.out);
    assert!(scene.there.machines.runs().is_empty() && scene.standing(NEW).await.is_none());
    assert!(scene.there.paper.journal(NEW).is_empty());
    let json = scene.there.enroller(&["plan", NEW, "--json"]).await;
    let rows: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(rows[0]["step"], "preflight");
    let retire = scene.there.enroller(&["plan", NEW, "--retire"]).await;
    assert!(retire.out.contains("disable the agent on new.example.com"), "{}", retire.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_enrollments_are_never_at_one_puppetdb_at_once() {
    let scene = Scene::open().await;
    let begun = Arc::new(tokio::sync::Notify::new());
    scene.there.machines.script(
        PUPPETDB,
        "agent --test",
        1,
        harness::installation::Turn::Hangs(begun.clone()),
    );
    let mut first = scene.there.start(&["enroll", NEW, "--address", &scene.address()]);
    harness::wait::in_time("its run on PuppetDB", begun.notified()).await;
    let second = scene.there.enroller(&["enroll", "other.example.com"]).await;
    assert_eq!(second.code, 1);
    assert!(second.err.contains("puppetdb.example.com: another enrollment (process "), "{}", second.err);
    let same = scene.there.enroller(&["resume", NEW]).await;
    assert!(same.err.contains("another enrollment (process "), "{}", same.err);
    // Nobody else comes to be under way by that, nor is what is under way touched.
    let status = scene.there.enroller(&["status"]).await;
    assert!(status.out.contains("under way") && !status.out.contains("other.example.com"), "{}", status.out);
    first.kill().await.unwrap();
}
