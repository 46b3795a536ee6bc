//! A new master taken through the ordered runs, against stand-ins for the machines and servers of an installation, with a
//! real door.

mod crash;
mod doors;
mod ground;
mod guard;
mod leave;
mod order;
mod pe;
mod sidecar;

use harness::agent::Shape;
use harness::door::Door;
use harness::fleet::{Fleet, Site};
use harness::installation::{ENROLLER, Installation};
use harness::wait::eventually;
use serde_json::Value;

/// The new master of these tests.
pub(crate) const NEW: &str = "new.example.com";

/// An installation with one master that serves, a door, and a machine for another.
pub(crate) struct Scene {
    pub(crate) fleet: Fleet,
    pub(crate) there: Installation,
}

impl Scene {
    pub(crate) async fn open() -> Self {
        let site = Site::with_masters(1);
        let mut there = Installation::around(&site, &[NEW]);
        there.paper.door("door1.example.com", &site.papers);
        Self { fleet: site.open().await, there }
    }

    pub(crate) fn address(&self) -> String {
        self.there.machines.address(NEW).to_string()
    }

    /// The standing of a master at the door; none where it is not on the roster.
    pub(crate) async fn standing(&self, certname: &str) -> Option<String> {
        standing(&self.fleet.door, certname).await
    }
}

async fn standing(door: &Door, certname: &str) -> Option<String> {
    let roster: Value = door.admin("GET", "/v1/roster", "").await.json();
    let masters = roster["masters"].as_array().unwrap();
    let found = masters.iter().find(|master| master["certname"] == certname)?;
    found["standing"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_master_is_enrolled_from_nothing_by_one_command() {
    let scene = Scene::open().await;
    let said = scene.there.enroller(&["enroll", NEW, "--address", &scene.address()]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert_eq!(scene.standing(NEW).await.as_deref(), Some("admitted"));
    // The documented order: its first run, then itself, PuppetDB; and no run of another's.
    assert_eq!(scene.there.machines.runs(), [NEW, NEW, "puppetdb.example.com"], "{}", said.out);
    let agent = scene.fleet.agent("web01.example.com");
    eventually("an agent's catalog comes from it", async || {
        let run = agent.run(Shape::default()).await.map_err(|error| error.to_string())?;
        if run.compiler == NEW { Ok(()) } else { Err(run.compiler) }
    })
    .await;
    assert_eq!(scene.fleet.mom.times_signed(NEW), 1);
    let status = scene.there.enroller(&["status"]).await;
    assert!(status.out.contains("enroll     finished"), "{}", status.out);
    assert!(scene.there.puppetdb.lets_in(ENROLLER));
    // The command ends when every door knows.
    let seen: Value = scene.fleet.door.admin("GET", "/v1/overview", "").await.json();
    let shown = &seen["enrollments"][0];
    assert_eq!((&shown["certname"], &shown["procedure"]), (&NEW.into(), &"enroll".into()), "{seen}");
    let steps = shown["steps"].as_array().unwrap();
    assert!(steps.len() > 8 && steps.iter().all(|step| step["state"] == "done"), "{shown}");
}
