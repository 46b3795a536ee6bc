//! Killed before and after each step's act, one after the other, in one enrollment: the same end.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::Path;
use std::sync::Mutex;

use harness::installation::Version;
use harness::mom;
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Settings;
use stagedoor_enroller::drive::{End, Steps, Told, drive};
use stagedoor_enroller::journal::{Folder, JournalError};
use stagedoor_enroller::pipeline::{Acted, Looked, Plan, Procedure, ToAct, ToLook};
use stagedoor_enroller::site::Site;
use stagedoor_enroller::steps::{Enrolling, Permits};
use tokio::sync::Notify;

use super::{BALANCER, NEW, ORDER, Pe};

/// The real steps, of which nobody hears any more at the first point that is new.
struct Killed<'s> {
    steps: Enrolling<'s>,
    /// Every point at which a process was killed, in this one or an earlier one.
    points: &'s Mutex<BTreeSet<String>>,
    killed: Notify,
}

impl Killed<'_> {
    async fn point(&self, point: String) {
        let is_new = self.points.lock().unwrap().insert(point);
        if is_new {
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
        let step = task.step().to_string();
        self.point(format!("before {step}")).await;
        let acted = self.steps.act(task).await;
        self.point(format!("after {step}")).await;
        acted
    }
}

/// Carries on in one process; none where it was killed.
async fn process(pe: &Pe, points: &Mutex<BTreeSet<String>>) -> Option<End> {
    let text = std::fs::read_to_string(pe.scene.there.paper.settle()).unwrap();
    let settings = Settings::parse(Path::new("enroller.toml"), &text).unwrap();
    let (folder, master) = (Folder::at(&settings.journal), Certname::parse_host(NEW).unwrap());
    let mut journal = match folder.resume(&master) {
        Ok(resumed) => resumed.journal,
        Err(JournalError::Unknown { .. }) => {
            let plan = Plan::new(Procedure::Enroll, master.clone(), &settings.stages(&master)).unwrap();
            folder.begin(plan.at(pe.scene.address())).unwrap()
        }
        Err(other) => panic!("{other}"),
    };
    let site = Site::open(settings).unwrap();
    let plan = journal.progress().plan().clone();
    let steps = Enrolling { site: &site, plan, permits: Permits::default() };
    let killed = Killed { steps, points, killed: Notify::new() };
    let mut tell = |_: &Told| {};
    tokio::select! {
        biased;
        () = killed.killed.notified() => None,
        end = drive(&killed, &mut journal, &site.settings.deadlines, pending(), &mut tell) => Some(end.unwrap()),
    }
}

/// Kills until there is no new point left; gives the points.
async fn through(pe: &Pe) -> BTreeSet<String> {
    let points = Mutex::default();
    for _ in 0..60 {
        if let Some(end) = process(pe, &points).await {
            assert_eq!(end, End::Finished, "{:?}", points.lock().unwrap());
            return points.into_inner().unwrap();
        }
    }
    panic!("it never ends: {:?}", points.lock().unwrap());
}

async fn came_to_the_same_end(pe: &Pe) {
    assert_eq!(pe.scene.standing(NEW).await.as_deref(), Some("admitted"));
    for name in [NEW.to_owned(), format!("canary.{NEW}")] {
        assert_eq!(pe.scene.fleet.mom.times_signed(&name), 1, "{name}");
    }
    let mut names: Vec<_> = pe.pe.classifier.groups().iter().map(|group| group["name"].clone()).collect();
    let count = names.len();
    names.sort_by_key(ToString::to_string);
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_and_after_each_act_an_enrollment_in_pe_2019_has_one_certificate_one_pin_and_one_job_each()
 {
    let pe = Pe::with(Version::V2019, &format!("balancer = \"{BALANCER}\"")).await;
    let points = through(&pe).await;
    // install, sign, first run, classify, four runs, check, admit, watch.
    assert_eq!(points.len(), 22, "{points:?}");
    came_to_the_same_end(&pe).await;
    assert_eq!(pe.pe.classifier.times_named("PE Infrastructure Agent", NEW), 1);
    assert_eq!(pe.pe.orchestrator.jobs(), ORDER);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_and_after_each_act_an_enrollment_in_pe_3_has_one_certificate_and_one_branch_in_each_rule()
 {
    let pe = Pe::with(Version::V3, &format!("balancer = \"{BALANCER}\"")).await;
    let points = through(&pe).await;
    assert_eq!(points.len(), 20, "{points:?}");
    came_to_the_same_end(&pe).await;
    for (group, nodes) in [("PE Master", &[NEW, mom::NAME][..]), ("PE CA pe_repo override", &[NEW])] {
        let rule = pe.pe.classifier.group(group)["rule"].clone();
        assert_eq!(rule.as_array().map(Vec::len), Some(1 + nodes.len()), "{rule}");
        for node in nodes {
            assert_eq!(pe.pe.classifier.times_named(group, node), 1);
        }
    }
    let runs = pe.scene.there.machines.runs();
    let last = |host: &str| runs.iter().rposition(|run| run == host);
    assert!(last(ORDER[0]) < last(ORDER[1]) && last(ORDER[1]) < last(ORDER[2]), "{runs:?}");
}
