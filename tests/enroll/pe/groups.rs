//! What is left alone, changed and refused in the console.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::answer::{Act, Answer};
use harness::installation::{CONSOLE, PUPPETDB, Version};
use harness::mom;
use serde_json::json;

use super::{BALANCER, NEW, Pe};
use crate::enroll::order::{goes_on, stops_at};

fn balancer() -> String {
    format!("balancer = \"{BALANCER}\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_right_is_left_alone_and_a_second_look_changes_nothing() {
    for version in [Version::V3, Version::V2018] {
        let pe = Pe::with(version, &balancer()).await;
        // Somebody has done it all by hand before.
        pe.pe.classifier.change("PE Master", |group| {
            group["rule"] = json!(["or", ["=", "name", NEW], ["=", "name", mom::NAME]]);
            group["classes"]["puppet_enterprise::profile::master"]["enable_ca_proxy"] = json!("true");
            group["classes"]["pe_repo"]["master"] = json!(BALANCER);
        });
        let before = pe.pe.classifier.group("PE Master");
        let said = pe.is_enrolled().await;
        assert_eq!(pe.pe.classifier.group("PE Master"), before, "{}", said.out);
        let groups = pe.pe.classifier.groups();
        let posts =
            || pe.pe.classifier.record().all().iter().filter(|seen| seen.head.method() == "POST").count();
        let so_far = posts();
        let plan = pe.scene.there.enroller(&["plan", NEW]).await;
        assert!(
            plan.out.contains("classify: done (balancer puppet.example.com, by classifier)"),
            "{}",
            plan.out
        );
        assert_eq!((pe.pe.classifier.groups(), posts()), (groups, so_far));
        assert_eq!(pe.pe.classifier.times_named("PE CA pe_repo override", NEW), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_otherwise_is_refused_and_overwritten_only_when_that_is_said() {
    let pe = Pe::with(Version::V2018, &balancer()).await;
    pe.pe
        .classifier
        .change("PE Master", |group| group["config_data"]["pe_repo"] = json!({ "master": "lb.example.com" }));
    let told = stops_at(&pe.scene, "classify").await;
    assert!(
        told.contains(
            "PE Master has pe_repo's `master` = \"lb.example.com\", expected \"puppet.example.com\""
        ),
        "{told}"
    );
    assert!(told.contains("refused") && told.contains("`--overwrite`"), "{told}");
    assert_eq!(pe.pe.classifier.times_named("PE Master", NEW), 0, "nothing is changed before that is clear");
    let said = pe.scene.there.enroller(&["resume", NEW, "--overwrite"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(pe.pe.classifier.group("PE Master")["config_data"]["pe_repo"]["master"], BALANCER);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_are_sent_elsewhere_are_told_parameter_by_parameter() {
    let pe = Pe::with(Version::V2019, &balancer()).await;
    pe.pe.classifier.change("PE Agent", |group| {
        group["classes"]["puppet_enterprise::profile::agent"] = json!({
            "server_list": ["lb.example.com"], "pcp_broker_list": [format!("{BALANCER}:8142")],
            "primary_uris": "[\"https://lb.example.com\"]",
        });
    });
    let told = stops_at(&pe.scene, "classify").await;
    assert!(
        told.contains("`server_list` = [\"lb.example.com\"]") && told.contains("`primary_uris`"),
        "{told}"
    );
    assert!(!told.contains("pcp_broker_list"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_an_upgrade_left_without_classes_are_explained() {
    let pe = Pe::open(Version::V3).await;
    pe.pe.classifier.change("PE Master", |group| group["classes"] = json!({}));
    let told = stops_at(&pe.scene, "classify").await;
    assert!(
        told.contains("the console's group PE Master has no puppet_enterprise::profile::master,"),
        "{told}"
    );
    assert!(told.contains("an upgrade leaves the groups without their classes"), "{told}");
    let pe = Pe::open(Version::V2019).await;
    pe.pe
        .classifier
        .change("PE Compiler", |group| group["rule"] = json!(["or", ["=", "name", "old.example.com"]]));
    let told = stops_at(&pe.scene, "classify").await;
    assert!(told.contains("PE Compiler does not say") && told.contains("pe-2015"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_that_the_classifier_does_not_know_yet_is_read_anew_and_one_that_no_code_has_is_told() {
    let pe = Pe::with(Version::V3, &balancer()).await;
    pe.pe.classifier.has_not_seen("pe_repo");
    pe.is_enrolled().await;
    let asked = pe.pe.classifier.record().for_path("/classifier-api/v1/update-classes");
    assert_eq!(asked.len(), 1);

    let pe = Pe::with(Version::V2018, &balancer()).await;
    pe.pe.classifier.lacks("pe_repo");
    let told = stops_at(&pe.scene, "classify").await;
    assert!(told.contains("does not know the class pe_repo in the environment production"), "{told}");
    assert!(told.contains("reads classes from"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_somebody_changes_meanwhile_is_looked_at_anew() {
    let pe = Pe::open(Version::V2018).await;
    // One other commit between each of the first looks and the change that follows it.
    let (classifier, times) = (pe.pe.classifier.clone(), Arc::new(AtomicUsize::new(0)));
    pe.pe.classifier.change("PE Master", |group| {
        group["classes"]["puppet_enterprise::profile::master"]["java_args"] = json!({ "Xmx": "2g" });
    });
    let counted = times.clone();
    pe.pe.classifier.script().add_matching(
        move |head| {
            let is_change = head.method() == "POST" && head.path().ends_with("/pin");
            if is_change && counted.fetch_add(1, Ordering::Relaxed) < 2 {
                classifier.change("PE Master", |group| group["variables"]["ours"] = json!("x"));
                return true;
            }
            false
        },
        None,
        Act::Answer(conflict()),
    );
    pe.is_enrolled().await;
    assert_eq!(times.load(Ordering::Relaxed), 3);
    let group = pe.pe.classifier.group("PE Master");
    assert_eq!(
        (&group["variables"]["ours"], pe.pe.classifier.times_named("PE Master", NEW)),
        (&json!("x"), 1)
    );

    let pe = Pe::open(Version::V2018).await;
    pe.pe.classifier.script().add_matching(
        |head| head.method() == "POST" && head.path().ends_with("/pin"),
        None,
        Act::Answer(conflict()),
    );
    let told = stops_at(&pe.scene, "classify").await;
    assert!(
        told.contains("somebody else changes the console's groups: pin new.example.com to PE Master"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serial_number_keeps_a_change_from_undoing_anothers() {
    let pe = Pe::with(Version::V2018, &format!("{}\noverride = \"none\"", balancer())).await;
    let (classifier, times) = (pe.pe.classifier.clone(), Arc::new(AtomicUsize::new(0)));
    // Somebody sets another value between the look and the change: it is seen, and not overwritten.
    pe.pe.classifier.script().add_matching(
        move |head| {
            let path = head.path();
            let is_change = head.method() == "POST"
                && path.starts_with("/classifier-api/v1/groups/")
                && !path.ends_with("/pin");
            if is_change && times.fetch_add(1, Ordering::Relaxed) == 0 {
                classifier.change("PE Master", |group| group["classes"]["pe_repo"]["master"] = json!("lb"));
            }
            false
        },
        None,
        Act::Close,
    );
    let told = stops_at(&pe.scene, "classify").await;
    assert!(told.contains("`master` = \"lb\""), "{told}");
    assert_eq!(pe.pe.classifier.group("PE Master")["classes"]["pe_repo"]["master"], "lb");
}

fn conflict() -> Answer {
    let mut answer =
        Answer::json(&json!({ "kind": "serial-number-conflict", "msg": "The group has changed" }));
    answer.status = 409;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_without_an_endpoint_that_pins_has_the_rule_changed() {
    let mut pe = Pe::open(Version::V2015).await;
    let told = stops_at(&pe.scene, "run 1 new.example.com").await;
    // Its orchestrator would have run everybody.
    assert!(told.contains("before Puppet Enterprise 2016.5") && told.contains("runner = \"ssh\""), "{told}");
    assert!(pe.pe.orchestrator.jobs().is_empty());
    assert_eq!(pe.pe.classifier.times_named("PE Master", NEW), 1);
    let orchestrator =
        format!("runner = \"orchestrator\"\norchestrator = \"{}\"", pe.pe.orchestrator.address());
    pe.scene.there.paper.change(&orchestrator, "runner = \"ssh\"");
    goes_on(&pe.scene).await;
    assert_eq!(pe.scene.there.machines.runs(), [NEW, NEW, PUPPETDB, CONSOLE, mom::NAME]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classifier_that_refuses_a_change_is_told_in_its_own_words() {
    let pe = Pe::open(Version::V2018).await;
    let mut cycle =
        Answer::json(&json!({ "kind": "inheritance-cycle", "msg": "PE Master -> Ours -> PE Master" }));
    cycle.status = 422;
    pe.pe.classifier.script().add("/pin", Some(1), Act::Answer(cycle));
    let told = stops_at(&pe.scene, "classify").await;
    assert!(told.contains("422 Unprocessable Entity: PE Master -> Ours -> PE Master"), "{told}");
    pe.pe.classifier.script().add("/pin", Some(1), Act::Answer(Answer::text(500, "Internal Server Error")));
    let said = pe.scene.there.enroller(&["resume", NEW]).await;
    assert!(said.err.contains("500") && said.err.contains("console-services"), "{}", said.err);
    goes_on(&pe.scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_own_command_is_run_where_it_is_to_do_it() {
    let mut pe = Pe::with(Version::V2019, "delegate = true").await;
    pe.scene.there.paper.more.push_str("[deadlines]\nclassify = \"20m\"\n\n");
    let token = harness::installation::Turn::Says(
        1,
        "Error: your token has expired. Run `puppet access login`".to_owned(),
    );
    pe.scene.there.machines.script(mom::NAME, "infrastructure provision", 1, token);
    let told = stops_at(&pe.scene, "classify").await;
    assert!(told.contains("paused") && told.contains("as root on mom.example.com"), "{told}");
    goes_on(&pe.scene).await;
    assert_eq!(pe.scene.there.machines.provisioned(), [format!("{NEW} --dns-alt-names puppet")]);
    assert_eq!(pe.pe.classifier.times_named("PE Infrastructure Agent", NEW), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_master_is_unpinned_from_the_groups_it_was_pinned_to_and_no_other() {
    let pe = Pe::with(Version::V2018, &balancer()).await;
    pe.is_enrolled().await;
    // A group of the site's own, which is nobody else's business.
    pe.pe.classifier.change("All Nodes", |group| group["rule"] = json!(["or", ["=", "name", NEW]]));
    let enroller = pe.scene.there.start(&["retire", NEW]);
    harness::wait::eventually("its certificate is taken back", async || {
        let journal = pe.scene.there.paper.journal(NEW);
        if journal.contains("revoked_by") { Ok(()) } else { Err(journal) }
    })
    .await;
    pe.scene.fleet.door.papers().write_ca(&pe.scene.fleet.ca);
    let said = enroller.wait_with_output().await.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    for group in ["PE Master", "PE CA pe_repo override"] {
        assert_eq!(pe.pe.classifier.times_named(group, NEW), 0, "{group}");
    }
    assert_eq!(pe.pe.classifier.times_named("All Nodes", NEW), 1);
    assert_eq!(pe.pe.classifier.times_named("PE Master", mom::NAME), 1);
    assert!(pe.pe.classifier.record().all().iter().all(|seen| !seen.path().contains("unpin-from-all")));
}
