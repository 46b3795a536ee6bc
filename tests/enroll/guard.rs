//! What must not come about, whoever mistypes, hurries, comes back or would like to be another node.

use std::sync::Arc;

use harness::identity::{KeyKind, Leaf};
use harness::installation::{PUPPETDB, Turn};
use harness::mom;
use harness::wait::in_time;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use stagedoor_config::certname::Certname;
use stagedoor_enroller::steps::Permits;
use tokio::sync::Notify;

use super::crash::killed_before_admission;
use super::doors::second_door;
use super::order::{goes_on, stops_at};
use super::sidecar::Sidecar;
use super::{NEW, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_retired_whose_name_is_another_role_s_or_on_no_roster() {
    let scene = Scene::open().await;
    for name in [mom::NAME, PUPPETDB, "door1.example.com"] {
        for words in [&["retire", name][..], &["enroll", name], &["plan", name, "--retire"]] {
            let said = scene.there.enroller(words).await;
            assert_eq!(said.code, 1, "{}", said.out);
            assert!(said.err.contains("expected the certname of a compile master"), "{}", said.err);
        }
    }
    let said = scene.there.enroller(&["retire", "web01.example.com"]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("is on no door's roster"), "{}", said.err);
    assert!(scene.there.machines.runs().is_empty());
    assert!(scene.fleet.mom.record().of("certificate_status").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_replaced_just_before_it_was_signed_comes_to_a_revoked_certificate() {
    for name in [NEW.to_owned(), format!("canary.{NEW}")] {
        let scene = Scene::open().await;
        let forged = Leaf::node(&name);
        let forged = if name == NEW { forged.alt_name("puppet") } else { forged };
        scene.fleet.mom.replace_before_signing(&name, &forged.request_pem(&KeyKind::P256.generate()));
        let told = stops_at(&scene, if name == NEW { "sign" } else { "check" }).await;
        assert!(told.contains("its key (SHA-256"), "{told}");
        let asked = scene.fleet.mom.record().of("certificate_status");
        assert_eq!(asked.iter().filter(|seen| seen.path().ends_with(&name)).count(), 2, "signed and revoked");
        assert!(scene.fleet.mom.has_revoked(&name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrollment_that_a_person_interrupts_waits_for_a_person() {
    let mut scene = Scene::open().await;
    let begun = Arc::new(Notify::new());
    scene.there.machines.script(PUPPETDB, "agent --test", 1, Turn::Hangs(begun.clone()));
    let enroller = scene.there.start(&["enroll", NEW, "--address", &scene.address()]);
    in_time("its run on PuppetDB", begun.notified()).await;
    let id = enroller.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let said = in_time("it ends", enroller.wait_with_output()).await.unwrap();
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{told}");
    assert!(told.contains("run 2 puppetdb.example.com: paused: SIGINT stopped it"), "{told}");
    // A sidecar takes up what a crash cut off, and not this.
    let sidecar = Sidecar::open(&mut scene, "").await;
    assert_eq!(sidecar.state().await.as_deref(), Some("paused"));
    drop(sidecar);
    goes_on(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_shown_to_compile_anew_by_whoever_resumes_before_it_is_admitted() {
    let mut scene = Scene::open().await;
    let door_ca = scene.fleet.door_ca.clone();
    let door2 = second_door(&mut scene, &door_ca).await;
    let papers = door2.papers().clone();
    door2.stop().await;
    let missing = vec![Certname::parse_host("door2.example.com").unwrap()];
    let permits = Permits { missing_doors: missing, ..Permits::default() };
    killed_before_admission(&scene, permits).await;
    let catalogs = || scene.there.machines.master(NEW).record().of("catalog").len();
    let before = catalogs();
    let door2 = harness::door::Door::start(papers).await;
    goes_on(&scene).await;
    assert!(catalogs() > before);
    // It was warm at the door that had been missing, before it was admitted there.
    let seen = door2.master(NEW).await;
    assert!(seen["canary"]["compiled"].as_u64() > Some(0) && seen["standing"] == "admitted", "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_somebody_took_off_before_it_was_admitted_is_shown_to_compile_once_more() {
    let scene = Scene::open().await;
    killed_before_admission(&scene, Permits::default()).await;
    scene.fleet.door.change("retire", &json!({ "certname": NEW })).await;
    let begun = scene.there.machines.master(NEW).record().of("catalog").len();
    goes_on(&scene).await;
    assert!(scene.there.machines.master(NEW).record().of("catalog").len() > begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_behind_a_firewall_is_enrolled_and_what_nobody_tested_is_said() {
    let mut scene = Scene::open().await;
    scene.there.paper.more = "[master]\nisolation = \"firewall\"\n".to_owned();
    scene.there.machines.leave_open(NEW);
    let said = scene.there.enroller(&["enroll", NEW, "--address", &scene.address()]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("strangers not tried from here: the firewall is between"), "{}", said.out);
    assert!(said.out.contains("nobody outside its firewall tests it for door1.example.com"), "{}", said.out);
    assert_eq!(scene.standing(NEW).await.as_deref(), Some("admitted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_retired_and_cleaned_is_enrolled_again_once_its_canary_is_cleaned_too() {
    let scene = Scene::open().await;
    let canary = format!("canary.{NEW}");
    killed_before_admission(&scene, Permits::default()).await;
    scene.fleet.mom.revoke_named(&canary).unwrap();
    scene.fleet.ca.write(scene.there.folder());
    let said = scene.there.enroller(&["resume", NEW]).await;
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains(&format!("the CA's certificate of {canary} is believed by nobody")),
        "{}",
        said.err
    );
    assert!(said.err.contains(&format!("ca clean --certname {canary}")), "{}", said.err);
    scene.fleet.mom.clean(&canary);
    goes_on(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_takes_nothing_that_cannot_be_begun() {
    let mut scene = Scene::open().await;
    scene.there.machines.script(PUPPETDB, "agent --test", 1, Turn::Reports("failed", json!({})));
    stops_at(&scene, "run 2 puppetdb.example.com").await;
    let sidecar = Sidecar::open(&mut scene, "").await;
    for (job, status, words) in [
        (json!({ "what": "enroll", "master": NEW }), 409, "resume it, or give it up"),
        (json!({ "what": "resume", "master": "other.example.com" }), 409, "other.example.com"),
        (json!({ "what": "retire", "master": mom::NAME }), 422, "is the Master of Masters"),
        (json!({ "what": "resume", "master": NEW, "address": "10.0.0.7:8140" }), 422, "expected with enroll"),
    ] {
        let (found, told) = sidecar.ask("POST", "/v1/enrollments", &job).await;
        assert!(found == status && told.contains(words), "{job}: {found} {told}");
    }
    let (_, all) = sidecar.ask("GET", "/v1/enrollments", &Value::Null).await;
    assert!(all.contains("\"waiting\":[]"), "{all}");
}
