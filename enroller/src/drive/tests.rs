//! Enrollments with steps that keep their world in memory, killed at every point and taken up again.

use std::collections::BTreeMap;
use std::fs;
use std::future::pending;
use std::sync::Mutex;

use proptest::prelude::*;
use stagedoor_config::certname::Certname;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::journal::{Folder, Resumed};
use crate::pipeline::{Facts, Plan, Procedure};

fn certname(text: &str) -> Certname {
    Certname::parse_host(text).unwrap()
}

fn plan(procedure: Procedure) -> Plan {
    let stages = [vec![certname("new")], vec![certname("db"), certname("console")]];
    Plan::new(procedure, certname("new"), &stages).unwrap()
}

/// What is there, whatever becomes of the processes that look and act.
#[derive(Default)]
struct World {
    /// How often each step's effect came about.
    effects: Mutex<BTreeMap<String, usize>>,
    points: Mutex<Points>,
    /// Somebody was killed.
    killed: Notify,
}

#[derive(Default)]
struct Points {
    passed: usize,
    kill_at: Option<usize>,
    /// Whether the last one came before anything was done, so that the line before it may not have reached the disk.
    before: bool,
}

impl World {
    fn effects(&self, step: &Step) -> usize {
        self.effects.lock().unwrap().get(&step.to_string()).copied().unwrap_or_default()
    }

    /// A point where a process may be killed: it stays here for ever, and is dropped.
    async fn point(&self, before: bool) {
        let killed = {
            let mut points = self.points.lock().unwrap();
            points.passed += 1;
            points.before = before;
            points.kill_at == Some(points.passed)
        };
        if killed {
            self.killed.notify_one();
            pending::<()>().await;
        }
    }
}

impl Steps for World {
    async fn look(&self, task: &ToLook) -> Looked {
        self.point(true).await;
        let there = self.effects(task.step());
        let noted = task.known().noted.as_ref().and_then(|noted| noted.get("report"));
        let looked = match task.step() {
            // A run's success is a report that was not there before.
            Step::Run { .. } => match noted {
                Some(noted) if there > noted.parse().unwrap() => Looked::There(Facts::none()),
                _ => Looked::Missing(Facts::none().and("report", there.to_string())),
            },
            Step::Evidence { .. } => Looked::There(Facts::none().and("report", "early")),
            _ if there > 0 => Looked::There(Facts::none()),
            _ => Looked::Missing(Facts::none()),
        };
        self.point(false).await;
        looked
    }

    async fn act(&self, task: ToAct) -> Acted {
        self.point(true).await;
        *self.effects.lock().unwrap().entry(task.step().to_string()).or_default() += 1;
        self.point(false).await;
        Acted::Acted(Facts::none().and("job", "81"))
    }
}

/// Drives as far as it goes in one process; none where it was killed.
async fn process(world: &World, folder: &Folder, procedure: Procedure) -> Option<End> {
    let plan = plan(procedure);
    let mut journal = match folder.resume(plan.master()) {
        Ok(Resumed { journal, .. }) => journal,
        Err(JournalError::Unknown { .. }) => folder.begin(plan).unwrap(),
        Err(other) => panic!("{other}"),
    };
    let deadlines = Deadlines::default();
    let mut tell = |_: &Told| {};
    tokio::select! {
        biased;
        () = world.killed.notified() => None,
        end = drive(world, &mut journal, &deadlines, pending(), &mut tell) => Some(end.unwrap()),
    }
}

/// The last line of the only journal loses its second half, as if the process had been killed while it wrote.
fn tear(dir: &TempDir) {
    let mut files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let path = files.find(|path| path.extension().is_some_and(|end| end == "jsonl")).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    if let Some(last) = text.lines().last().filter(|_| text.lines().count() > 1) {
        fs::write(&path, &text[..text.len() - last.len() / 2 - 1]).unwrap();
    }
}

/// Kills one process after the other at these points, then lets one go on to the end.
async fn through(procedure: Procedure, kills: &[usize], torn: bool) -> (World, Option<End>) {
    // In memory where that can be had: thousands of lines are brought to the disk, and no power fails here.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let folder = Folder::at(dir.path());
    let world = World::default();
    for kill_at in kills {
        *world.points.lock().unwrap() = Points { kill_at: Some(*kill_at), ..Points::default() };
        if let Some(end) = process(&world, &folder, procedure).await {
            return (world, Some(end));
        }
        if torn && world.points.lock().unwrap().before {
            tear(&dir);
        }
    }
    *world.points.lock().unwrap() = Points::default();
    let end = process(&world, &folder, procedure).await;
    (world, end)
}

fn every_effect_came_about_once(world: &World, procedure: Procedure) {
    for step in plan(procedure).steps() {
        let expected = usize::from(!matches!(step, Step::Evidence { .. }));
        assert_eq!(world.effects(step), expected, "{step}");
    }
}

#[tokio::test]
async fn killed_at_any_point_and_resumed_it_comes_to_the_same_end_and_does_nothing_twice() {
    for procedure in Procedure::ALL {
        let (unharmed, _) = through(procedure, &[], false).await;
        let points = unharmed.points.lock().unwrap().passed;
        for point in 1..=points {
            for torn in [false, true] {
                let (world, end) = through(procedure, &[point], torn).await;
                assert_eq!(end, Some(End::Finished), "{procedure:?}, killed at point {point}");
                every_effect_came_about_once(&world, procedure);
            }
        }
        assert!(points > 20, "{points} points");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn killed_again_and_again_it_comes_to_the_same_end(
        kills in proptest::collection::vec(1_usize..12, 0..12),
        torn in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (world, end) = runtime.block_on(through(Procedure::Enroll, &kills, torn));
        prop_assert_eq!(end, Some(End::Finished));
        every_effect_came_about_once(&world, Procedure::Enroll);
    }
}

/// Steps of which one does as it is told and the others are done.
struct Only<F>(F);

impl<F: Fn(&Step) -> Option<Looked> + Sync> Steps for Only<F> {
    async fn look(&self, task: &ToLook) -> Looked {
        match (self.0)(task.step()) {
            Some(looked) => looked,
            None => pending().await,
        }
    }
    async fn act(&self, _: ToAct) -> Acted {
        Acted::Acted(Facts::none())
    }
}

fn begun() -> (TempDir, Folder, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path());
    let journal = folder.begin(plan(Procedure::Enroll)).unwrap();
    (dir, folder, journal)
}

#[tokio::test(start_paused = true)]
async fn a_step_that_never_ends_is_dropped_at_its_deadline_and_can_be_resumed() {
    let (_dir, folder, mut journal) = begun();
    let deadlines = Deadlines { sign: Duration::from_secs(50), ..Deadlines::default() };
    let mut lines = Vec::new();
    let hangs = Only(|step: &Step| (*step != Step::Sign).then(|| Looked::There(Facts::none())));
    let began = Instant::now();
    let end = drive(&hangs, &mut journal, &deadlines, pending(), &mut |told| lines.push(told.to_string()))
        .await
        .unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(50));
    let End::Stopped(Step::Sign, stop) = end else { panic!("{end:?}") };
    assert_eq!(stop.kind, StopKind::Deadline);
    assert!(stop.way_out.contains("`sign` under [deadlines]"), "{stop:?}");
    let expected = [
        " 1/12 preflight: looking",
        " 1/12 preflight: done",
        " 2/12 install: looking",
        " 2/12 install: done",
        " 3/12 sign: looking",
        " 3/12 sign: still at it, 15s of at most 50s",
        " 3/12 sign: still at it, 30s of at most 50s",
        " 3/12 sign: still at it, 45s of at most 50s",
    ];
    assert_eq!(lines[..lines.len() - 1], expected);
    assert!(lines.last().unwrap().starts_with(" 3/12 sign: deadline: it was not seen"), "{lines:?}");
    drop(journal);
    let mut journal = folder.resume(&certname("new")).unwrap().journal;
    let good = Only(|_: &Step| Some(Looked::There(Facts::none())));
    assert_eq!(drive(&good, &mut journal, &deadlines, pending(), &mut |_| {}).await.unwrap(), End::Finished);
}

#[tokio::test]
async fn a_refusal_stops_everything_after_it_and_is_told_without_secrets() {
    let (_dir, folder, mut journal) = begun();
    journal.keep_out("s3cr3t-t0k3n");
    let refuses = Only(|step: &Step| {
        Some(match step {
            Step::Check => {
                let reason = "asked with s3cr3t-t0k3n, answered 403";
                Looked::Stop(Stop::new(StopKind::Refused, reason, "allow it, then resume"))
            }
            Step::Admit | Step::Watch => panic!("nothing comes after a refusal"),
            _ => Looked::There(Facts::none().and("report", "a1b2")),
        })
    });
    let mut lines = Vec::new();
    let tell = &mut |told: &Told| lines.push(told.to_string());
    let end = drive(&refuses, &mut journal, &Deadlines::default(), pending(), tell).await.unwrap();
    assert!(matches!(end, End::Stopped(Step::Check, _)), "{end:?}");
    let last = lines.last().unwrap();
    assert_eq!(last, "10/12 check: refused: asked with (secret), answered 403: allow it, then resume");
    assert!(lines.contains(&" 7/12 run 2 db: done (report a1b2)".to_owned()), "{lines:?}");
    drop(journal);
    let found = folder.latest().unwrap().remove(0).read.unwrap();
    assert_eq!(found.progress.done(), 9);
}

#[test]
fn every_step_has_a_deadline_of_its_own_in_the_settings() {
    use stagedoor_config::bound::Bound;
    let deadlines = Deadlines::default();
    let mut keys: Vec<&str> = Procedure::ALL
        .into_iter()
        .flat_map(|procedure| {
            plan(procedure).steps().iter().map(|step| deadline(step, &deadlines).0).collect::<Vec<_>>()
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let mut table: Vec<&str> = Deadlines::TABLE.iter().map(|row: &Bound<Deadlines>| row.key).collect();
    table.sort_unstable();
    assert_eq!(keys, table);
}
