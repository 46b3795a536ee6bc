//! Killed before and after each step's act, and in the middle of what takes long, and taken up again: the same end.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::installation::{PUPPETDB, Turn};
use harness::wait::in_time;
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Settings;
use stagedoor_enroller::carry::plan;
use stagedoor_enroller::drive::{End, Steps, Told, drive};
use stagedoor_enroller::journal::{Folder, JournalError};
use stagedoor_enroller::pipeline::{Acted, Looked, Procedure, ToAct, ToLook};
use stagedoor_enroller::site::Site;
use stagedoor_enroller::steps::{Enrolling, Permits};
use tokio::sync::Notify;

use super::order::goes_on;
use super::{NEW, Scene};

/// The real steps, of which nobody hears any more at some points: before or after an act.
struct Killed<'s, K> {
    steps: Enrolling<'s>,
    is_killed: K,
    killed: Notify,
}

impl<K: Fn(String) -> bool + Sync> Killed<'_, K> {
    async fn point(&self, point: String) {
        if (self.is_killed)(point) {
            self.killed.notify_one();
            pending::<()>().await;
        }
    }
}

impl<K: Fn(String) -> bool + Sync> Steps for Killed<'_, K> {
    async fn look(&self, task: &ToLook) -> Looked {
        self.steps.look(task).await
    }

    async fn act(&self, task: ToAct) -> Acted {
        let step = task.step().to_string();
        self.point(format!("before {step}")).await;
        let acted = self.steps.act(task).await;
        self.point(format!("after {step}")).await;
        acted
    }
}

/// Carries on in one process, or begins; none where it was killed.
async fn process(
    scene: &Scene,
    procedure: Procedure,
    permits: Permits,
    is_killed: impl Fn(String) -> bool + Sync,
) -> Option<End> {
    let text = std::fs::read_to_string(scene.there.paper.settle()).unwrap();
    let settings = Settings::parse(Path::new("enroller.toml"), &text).unwrap();
    let (folder, master) = (Folder::at(&settings.journal), Certname::parse_host(NEW).unwrap());
    let mut journal = match folder.resume(&master) {
        Ok(resumed) => resumed.journal,
        Err(JournalError::Unknown { .. } | JournalError::Over { .. }) => {
            let address = scene.address();
            folder.begin(plan(&settings, procedure, &master, Some(&address)).unwrap()).unwrap()
        }
        Err(other) => panic!("{other}"),
    };
    let site = Site::open(settings).unwrap();
    let plan = journal.progress().plan().clone();
    let steps = Enrolling { site: &site, plan, permits };
    let killed = Killed { steps, is_killed, killed: Notify::new() };
    let mut tell = |_: &Told| {};
    tokio::select! {
        biased;
        () = killed.killed.notified() => None,
        end = drive(&killed, &mut journal, &site.settings.deadlines, pending(), &mut tell) => Some(end.unwrap()),
    }
}

/// Begins an enrollment, and kills it when check is done and nobody is admitted yet.
pub(super) async fn killed_before_admission(scene: &Scene, permits: Permits) {
    let end = process(scene, Procedure::Enroll, permits, |point| point == "before admit").await;
    assert_eq!(end, None, "nobody was killed");
}

/// Kills at each point that is new, one process after the other, until there is none left; gives the points.
pub(super) async fn through(scene: &Scene, procedure: Procedure) -> BTreeSet<String> {
    let points = Mutex::new(BTreeSet::new());
    for _ in 0..60 {
        let is_new = |point| points.lock().unwrap().insert(point);
        if let Some(end) = process(scene, procedure, Permits::default(), is_new).await {
            assert_eq!(end, End::Finished, "{:?}", points.lock().unwrap());
            return points.into_inner().unwrap();
        }
    }
    panic!("it never ends: {:?}", points.lock().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_and_after_each_act_every_procedure_comes_to_the_same_end() {
    let scene = Scene::open().await;
    let canary = format!("canary.{NEW}");
    let points = through(&scene, Procedure::Enroll).await;
    // install, sign, first run, two runs, check, admit, watch. The seal is there already.
    assert_eq!(points.len(), 16, "{points:?}");
    assert_eq!(scene.standing(NEW).await.as_deref(), Some("admitted"));
    assert_eq!(scene.fleet.mom.times_signed(NEW), 1);
    assert_eq!(scene.fleet.mom.times_signed(&canary), 1);
    let runs = scene.there.machines.runs();
    let last = |host: &str| runs.iter().rposition(|run| run == host);
    assert!(last(PUPPETDB) > last(NEW), "{runs:?}");

    // It is taken off by hand, and adopted.
    for change in ["drain", "retire"] {
        scene.fleet.door.change(change, &serde_json::json!({ "certname": NEW })).await;
    }
    let points = through(&scene, Procedure::Adopt).await;
    assert_eq!(points.len(), 6, "check, admit, watch: {points:?}");
    assert_eq!(scene.standing(NEW).await.as_deref(), Some("admitted"));
    assert_eq!(scene.there.machines.runs(), runs, "nothing is repeated");

    // Each door has its list of revoked certificates from whoever copies it there.
    let copies = async {
        let revoked = || [NEW, &canary].map(|name| scene.fleet.mom.has_revoked(name));
        let (mut copied, mut looks) = ([false; 2], tokio::time::interval(Duration::from_millis(50)));
        loop {
            looks.tick().await;
            // Only what is new: a door takes files that two looks of its found alike.
            if revoked() != copied {
                copied = revoked();
                scene.fleet.door.papers().write_ca(&scene.fleet.ca);
            }
        }
    };
    let points = tokio::select! {
        points = through(&scene, Procedure::Retire) => points,
        () = copies => unreachable!("it goes on for ever"),
    };
    // drain, take off, stop the agent, deactivate, PuppetDB's run, revoke. There is nothing to unpin.
    assert_eq!(points.len(), 12, "{points:?}");
    assert_eq!(scene.standing(NEW).await, None);
    assert!(scene.there.machines.is_disabled(NEW) && !scene.there.puppetdb.lets_in(NEW));
    assert!(scene.fleet.mom.has_revoked(NEW) && scene.fleet.mom.has_revoked(&canary));
    let kept = scene.there.folder().join("journal/canary");
    assert_eq!(std::fs::read_dir(kept).unwrap().count(), 0, "the canary's key is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_run_of_puppetdb_it_runs_once_more() {
    let scene = Scene::open().await;
    let begun = Arc::new(Notify::new());
    scene.there.machines.script(PUPPETDB, "agent --test", 1, Turn::Hangs(begun.clone()));
    let mut enroller = scene.there.start(&["enroll", NEW, "--address", &scene.address()]);
    in_time("its run on PuppetDB", begun.notified()).await;
    enroller.kill().await.unwrap();
    assert_eq!(scene.standing(NEW).await, None);
    let status = scene.there.enroller(&["status"]).await;
    assert!(
        status.out.contains("interrupted") && status.out.contains("run 2 puppetdb.example.com"),
        "{}",
        status.out
    );
    goes_on(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_can_be_begun_anew() {
    let scene = Scene::open().await;
    scene.there.machines.script(PUPPETDB, "agent --test", 1, Turn::Reports("failed", serde_json::json!({})));
    super::order::stops_at(&scene, "run 2 puppetdb.example.com").await;
    let refused = scene.there.enroller(&["enroll", NEW]).await;
    assert!(refused.err.contains("resume it, or give it up"), "{}", refused.err);
    let said = scene.there.enroller(&["resume", NEW, "--give-up", "another machine"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let begun = scene.there.enroller(&["enroll", NEW]).await;
    assert!(begun.err.contains("preflight"), "{}", begun.err);
}
