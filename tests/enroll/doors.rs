//! Every door is told, or is said to be missing; and what comes of the first traffic.

use harness::agent::Shape;
use harness::answer::{Act, Answer};
use harness::ca::DoorCa;
use harness::door::{Door, Papers};
use harness::fleet::Site;
use harness::identity::Leaf;
use harness::installation::Installation;
use harness::wait::eventually;

use super::order::{goes_on, stops_at};
use super::{NEW, Scene, standing};

/// A second door of the same site, which is reached by its `admin.tls`.
pub(super) async fn second_door(scene: &mut Scene, door_ca: &DoorCa) -> Door {
    let shown = scene.fleet.ca.issue(&Leaf::server("door2.example.com").alt_name("puppet"));
    let mut papers = Papers::showing(&shown, &scene.fleet.ca, door_ca, scene.fleet.mom.address());
    let address = papers.admin_tls(&[harness::installation::ENROLLER]);
    for master in &scene.fleet.masters {
        papers.admit(master);
    }
    scene.there.paper.more = format!(
        "[[door]]\ncertname = \"door2.example.com\"\naddress = \"{address}\"\nagents = \"{}\"\n",
        papers.listen
    );
    Door::start(papers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_admitted_at_every_door_over_the_socket_and_over_tls() {
    let mut scene = Scene::open().await;
    let door_ca = scene.fleet.door_ca.clone();
    let door2 = second_door(&mut scene, &door_ca).await;
    let said = scene.there.enroller(&["enroll", NEW, "--address", &scene.address()]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    for door in [&scene.fleet.door, &door2] {
        assert_eq!(standing(door, NEW).await.as_deref(), Some("admitted"));
    }
    assert!(said.out.contains("generations 3 3"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_is_missing_refuses_unless_it_is_named() {
    let mut scene = Scene::open().await;
    let door_ca = scene.fleet.door_ca.clone();
    let door2 = second_door(&mut scene, &door_ca).await;
    door2.stop().await;
    let told = stops_at(&scene, "preflight").await;
    assert!(told.contains("the door door2.example.com is missing"), "{told}");
    assert!(told.contains("--missing-door door2.example.com"), "{told}");
    let said = scene.there.enroller(&["resume", NEW, "--missing-door", "door2.example.com"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("missing_doors door2.example.com"), "{}", said.out);
    assert_eq!(scene.standing(NEW).await.as_deref(), Some("admitted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_canary_comes_to_a_master_before_it_is_admitted() {
    let scene = Scene::open().await;
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let agent = scene.fleet.agent("web01.example.com");
    let running = {
        let (over, agent) = (over.clone(), agent.clone());
        tokio::spawn(async move {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                agent.run(Shape::default()).await.unwrap();
            }
        })
    };
    // It stops while it is warm, and agents go on.
    scene.fleet.mom.compiles_bytes(10);
    stops_at(&scene, "check").await;
    assert_eq!(scene.standing(NEW).await.as_deref(), Some("warm"));
    for _ in 0..3 {
        agent.run(Shape::default()).await.unwrap();
    }
    let seen = scene.there.machines.master(NEW).record().of_agents();
    assert!(!seen.is_empty());
    for seen in &seen {
        let canarys =
            seen.identity_headers().iter().any(|(_, value)| value.contains(&format!("canary.{NEW}")));
        // Strangers who were refused said nothing that came through.
        assert!(canarys, "{} {:?}", seen.head.first, seen.identity_headers());
    }
    scene.fleet.mom.compiles_bytes(2048);
    goes_on(&scene).await;
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    running.await.unwrap();
    assert!(scene.there.puppetdb.was_told_of_the_end_of(&format!("canary.{NEW}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_fails_what_its_peers_compile_is_drained_again() {
    let mut scene = Scene::open().await;
    scene.there.paper.change("lasts = \"1s\"", "lasts = \"60s\"");
    let fleet = &scene.fleet;
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut running = Vec::new();
    for number in 0..4 {
        let (over, agent) = (over.clone(), fleet.agent(&format!("web{number:02}.example.com")));
        running.push(tokio::spawn(async move {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                // Those that come to it fail, as they must here.
                agent.run(Shape::default()).await.ok();
            }
        }));
    }
    let master = scene.there.machines.master(NEW);
    let canary = format!("canary.{NEW}");
    master.script_where(
        move |head| head.path().contains("/catalog/") && !head.path().contains(&canary),
        Act::Answer(Answer::text(500, "Server Error: no such function")),
    );
    let said = scene.there.enroller(&["enroll", NEW, "--address", &scene.address()]).await;
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    for one in running {
        one.await.unwrap();
    }
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(
        said.err.contains("watch: failed") && said.err.contains("is drained again at every door"),
        "{}",
        said.err
    );
    assert!(said.err.contains("of its peers' 0 of"), "{}", said.err);
    assert_eq!(scene.standing(NEW).await.as_deref(), Some("draining"));
    // Put right and let in again: what it was drained for is not held against it once more.
    master.behave();
    scene.fleet.door.change("undrain", &serde_json::json!({ "certname": NEW })).await;
    scene.there.paper.change("lasts = \"60s\"", "lasts = \"2s\"");
    let said = scene.there.enroller(&["resume", NEW]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(scene.standing(NEW).await.as_deref(), Some("admitted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_somebody_admitted_by_hand_is_told() {
    let site = Site::with_masters(1);
    let mut there = Installation::around(&site, &[NEW]);
    there.paper.door("door1.example.com", &site.papers);
    let address = there.machines.address(NEW);
    let site = site.change(|papers| papers.admit_at(NEW, address));
    let fleet = site.open().await;
    let scene = Scene { fleet, there };
    let said = scene.there.enroller(&["enroll", NEW, "--address", &scene.address()]).await;
    assert!(said.err.contains("is admitted at door1.example.com already, without a proof"), "{}", said.err);
    eventually("it is found fit all the same", async || {
        let seen = scene.fleet.door.master(NEW).await;
        if seen["fit"] == "fit" { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
}
