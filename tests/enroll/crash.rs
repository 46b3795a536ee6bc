//! Killed before and after each step's act, and in the middle of what takes long, and taken up again: the same end.

use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::installation::{PUPPETDB, Turn};
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Settings;
use stagedoor_enroller::drive::{End, Steps, drive};
use stagedoor_enroller::journal::{Folder, JournalError};
use stagedoor_enroller::pipeline::{Acted, Looked, Plan, Procedure, ToAct, ToLook};
use stagedoor_enroller::site::Site;
use stagedoor_enroller::steps::{Enrolling, Permits};
use tokio::sync::Notify;

use super::order::goes_on;
use super::{NEW, Scene};

/// The real steps, of which nobody hears any more at one point: before or after an act.
struct Killed<'s> {
    steps: Enrolling<'s>,
    points: AtomicUsize,
    at: usize,
    killed: Notify,
}

impl Killed<'_> {
    async fn point(&self) {
        if self.points.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            self.killed.notify_one();
            pending::<()>().await;
        }
    }
}

impl Steps for Killed<'_> {
    async fn look(&self, task: &ToLook) -> Looked {
        self.steps.look(task).await
    }

    async fn act(&self, task: ToAct) -> Acted {
        self.point().await;
        let acted = self.steps.act(task).await;
        self.point().await;
        acted
    }
}

/// Carries on in one process; none where it was killed at this point.
pub(super) async fn process(scene: &Scene, at: usize, permits: Permits) -> Option<End> {
    let file = scene.there.paper.settle();
    let settings =
        Settings::parse(Path::new("enroller.toml"), &std::fs::read_to_string(file).unwrap()).unwrap();
    let folder = Folder::at(&settings.journal);
    let master = Certname::parse_host(NEW).unwrap();
    let mut journal = match folder.resume(&master) {
        Ok(resumed) => resumed.journal,
        Err(JournalError::Unknown { .. }) => {
            let plan = Plan::new(Procedure::Enroll, master.clone(), &settings.stages(&master)).unwrap();
            folder.begin(plan.at(scene.address())).unwrap()
        }
        Err(other) => panic!("{other}"),
    };
    let site = Site::open(settings).unwrap();
    let plan = journal.progress().plan().clone();
    let steps = Enrolling { site: &site, plan, permits };
    let killed = Killed { steps, points: AtomicUsize::new(0), at, killed: Notify::new() };
    let mut tell = |_: &stagedoor_enroller::drive::Told| {};
    tokio::select! {
        biased;
        () = killed.killed.notified() => None,
        end = drive(&killed, &mut journal, &site.settings.deadlines, pending(), &mut tell) => Some(end.unwrap()),
    }
}

/// Check is done, and nobody is admitted.
pub(super) const BEFORE_ADMIT: usize = 13;
/// Acts of one enrollment: install, sign, first run, two runs, check, admit, watch. The seal is there already.
const POINTS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_and_after_each_act_an_enrollment_comes_to_the_same_end() {
    for at in 1..=POINTS {
        let scene = Scene::open().await;
        assert_eq!(process(&scene, at, Permits::default()).await, None, "nobody was killed at point {at}");
        assert_eq!(
            process(&scene, usize::MAX, Permits::default()).await,
            Some(End::Finished),
            "killed at point {at}"
        );
        assert_eq!(scene.standing(NEW).await.as_deref(), Some("admitted"));
        assert_eq!(scene.fleet.mom.times_signed(NEW), 1, "killed at point {at}");
        assert_eq!(scene.fleet.mom.times_signed(&format!("canary.{NEW}")), 1, "killed at point {at}");
        let runs = scene.there.machines.runs();
        let last = runs.iter().rposition(|host| host == PUPPETDB);
        assert!(last > runs.iter().position(|host| host == NEW), "{runs:?}");
    }
    let scene = Scene::open().await;
    assert_eq!(
        process(&scene, POINTS + 1, Permits::default()).await,
        Some(End::Finished),
        "there are more points than {POINTS}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_run_of_puppetdb_it_runs_once_more() {
    let scene = Scene::open().await;
    let begun = Arc::new(Notify::new());
    scene.there.machines.script(PUPPETDB, "agent --test", 1, Turn::Hangs(begun.clone()));
    let mut enroller = scene.there.start(&["enroll", NEW, "--address", &scene.address()]);
    harness::wait::in_time("its run on PuppetDB", begun.notified()).await;
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
