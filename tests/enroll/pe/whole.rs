//! One enrollment of each kind of installation, from nothing to admitted.

use harness::agent::Shape;
use harness::installation::{CONSOLE, PUPPETDB, Version};
use harness::java7::AES128_SHA;
use harness::raw::Spoken;
use harness::wait::eventually;
use harness::{identity, mom};
use serde_json::json;

use super::{BALANCER, NEW, ORDER, Pe};

#[tokio::test(flavor = "multi_thread")]
async fn a_master_of_pe_3_is_enrolled_by_curl_and_mcollective_and_passed_to() {
    let pe = Pe::with(Version::V3, &format!("balancer = \"{BALANCER}\"")).await;
    let said = pe.is_enrolled().await;
    // Its first run by ssh, which alone gets there, and then the documented order by MCollective.
    assert_eq!(pe.scene.there.machines.runs(), [NEW, NEW, PUPPETDB, CONSOLE], "{}", said.out);
    assert!(said.out.contains("run 3 console.example.com: done ("), "{}", said.out);
    assert!(said.out.contains("runner mcollective"), "{}", said.out);
    let classifier = &pe.pe.classifier;
    assert_eq!(classifier.times_named("PE Master", NEW), 1);
    assert_eq!(classifier.times_named("PE Master", mom::NAME), 1);
    let master = classifier.group("PE Master");
    assert_eq!(master["classes"]["puppet_enterprise::profile::master"], json!({ "enable_ca_proxy": true }));
    assert_eq!(master["classes"]["pe_repo"]["master"], BALANCER);
    let child = classifier.group("PE CA pe_repo override");
    assert_eq!((&child["parent"], &child["rule"]), (&master["id"], &json!(["or", ["=", "name", NEW]])));
    assert_eq!(child["classes"]["pe_repo"]["master"], mom::NAME);
    // Nothing here ever shook hands with a server, nor could it.
    for listening in [classifier.listening(), pe.scene.fleet.mom.listening()] {
        assert_eq!(listening.counts().handshakes(), 0);
    }
    assert_eq!(pe.scene.fleet.mom.times_signed(NEW), 1);

    // An agent of that time comes through the door to the new master, byte for byte.
    let mut agent = Spoken::to(pe.scene.fleet.door.address()).await;
    agent.say(&crate::pass::old_hello()).await;
    let heard = agent.hear(5).await;
    assert_eq!(heard[..3], [22, 3, 1], "{heard:?}");
    let hello = agent.rest().await;
    assert!(hello.windows(2).any(|two| two == AES128_SHA), "{hello:?}");
    assert_eq!(pe.scene.there.machines.master(NEW).listening().counts().handshakes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_of_pe_2018_is_pinned_and_run_by_the_orchestrator() {
    let pe = Pe::with(Version::V2018, &format!("balancer = \"{BALANCER}\"\noverride = \"ca\"")).await;
    let said = pe.is_enrolled().await;
    assert_eq!(pe.scene.there.machines.runs()[1..], ORDER, "{}", said.out);
    assert_eq!(pe.pe.orchestrator.jobs(), ORDER);
    assert!(said.out.contains("looking again (job 81, runner orchestrator)"), "{}", said.out);
    assert!(said.out.contains("signed_by token"), "{}", said.out);
    assert_eq!(pe.pe.classifier.times_named("PE Master", NEW), 1);
    assert_eq!(pe.pe.classifier.times_named("PE CA pe_repo override", mom::NAME), 1);
    let described = pe.pe.orchestrator.descriptions();
    assert!(
        described[1].starts_with(&format!("stagedoor-enroller: enroll {NEW}, run 2 {PUPPETDB}")),
        "{described:?}"
    );
    let agent = pe.scene.fleet.agent("web01.example.com");
    eventually("an agent's catalog comes from it", async || {
        let run = agent.run(Shape::default()).await.map_err(|error| error.to_string())?;
        if run.compiler == NEW { Ok(()) } else { Err(run.compiler) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_of_pe_2019_asks_for_its_role_before_it_is_signed() {
    let pe = Pe::with(Version::V2019, &format!("balancer = \"{BALANCER}\"")).await;
    let said = pe.is_enrolled().await;
    assert_eq!(pe.pe.orchestrator.jobs(), ORDER);
    let signed = pe.scene.fleet.mom.signed(NEW).unwrap();
    let words = harness::puppet::CertificateWords::from_pem(&signed).unwrap();
    let role = (format!("{}3.13", harness::puppet::EXTENSIONS), "pe_compiler".to_owned());
    assert!(words.extensions.contains(&role), "{:?}", words.extensions);
    assert_ne!(role.0, identity::PP_ROLE);
    let classifier = &pe.pe.classifier;
    assert_eq!(classifier.times_named("PE Infrastructure Agent", NEW), 1);
    // PE Compiler takes it in by that role: nothing is pinned there, nor to PE Master.
    assert_eq!(
        (classifier.times_named("PE Compiler", NEW), classifier.times_named("PE Master", NEW)),
        (0, 0)
    );
    assert!(said.out.contains("warning_groups"), "{}", said.out);
    assert!(said.out.contains("PE Agent has no `server_list`"), "{}", said.out);
    assert_eq!(classifier.group("PE Agent")["classes"], json!({ "puppet_enterprise::profile::agent": {} }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_java_7_is_recognised_and_the_way_there_is_said() {
    let mut pe = Pe::open(Version::V3).await;
    // As somebody would who takes 3.8 for a later version.
    pe.scene.there.paper.change("preset = \"pe-3\"", "preset = \"pe-2015\"");
    let said = pe.enroll().await;
    assert_eq!(said.code, 1);
    for words in ["shares no version of TLS or no cipher suite", "Java 7", "preset = \"pe-3\""] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert!(pe.scene.there.machines.runs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_is_to_do_in_the_console_and_changes_nothing() {
    let pe = Pe::with(Version::V3, &format!("balancer = \"{BALANCER}\"")).await;
    let before = pe.pe.classifier.groups();
    let said = pe.scene.there.enroller(&["plan", NEW, "--address", &pe.scene.address()]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    for words in [
        "classify: to do (balancer puppet.example.com, by classifier, to_do add a branch for new.example.com to the rule of \
         PE Master; set ",
        "since this version has no endpoint that pins",
        "The vendor's later text names mom.example.com itself in that group",
        "have Puppet run on puppetdb.example.com, by MCollective",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    assert_eq!(pe.pe.classifier.groups(), before);
    assert!(pe.pe.classifier.record().all().iter().all(|seen| seen.head.method() == "GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_master_of_pe_3_leaves_the_rule_as_it_was_but_for_its_name() {
    let pe = Pe::with(Version::V3, &format!("balancer = \"{BALANCER}\"")).await;
    pe.pe.classifier.change("PE Master", |group| {
        group["rule"] = json!(["or", ["and", ["=", ["fact", "role"], "master"]], ["=", "name", mom::NAME]]);
    });
    let before = pe.pe.classifier.group("PE Master")["rule"].clone();
    pe.is_enrolled().await;
    let enroller = pe.scene.there.start(&["retire", NEW]);
    eventually("its certificate is taken back", async || {
        let journal = pe.scene.there.paper.journal(NEW);
        if journal.contains("revoked_by") { Ok(()) } else { Err(journal) }
    })
    .await;
    pe.scene.fleet.door.papers().write_ca(&pe.scene.fleet.ca);
    let said = enroller.wait_with_output().await.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(pe.pe.classifier.group("PE Master")["rule"], before);
    assert_eq!(pe.pe.classifier.times_named("PE CA pe_repo override", NEW), 0);
    assert!(!pe.scene.there.puppetdb.is_active(NEW));
    assert_eq!(pe.scene.standing(NEW).await, None);
}
