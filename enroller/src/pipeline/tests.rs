//! A model of the world that an enrollment acts on, with crashes, failures and delays at any point.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stagedoor_config::certname::Certname;

use super::*;

fn certname(text: &str) -> Certname {
    Certname::parse_host(text).unwrap()
}

fn stages(names: &[&[&str]]) -> Vec<Vec<Certname>> {
    names.iter().map(|stage| stage.iter().map(|name| certname(name)).collect()).collect()
}

fn words(plan: &Plan) -> Vec<String> {
    plan.steps().iter().map(ToString::to_string).collect()
}

#[test]
fn the_steps_stand_in_the_documented_order() {
    let stages = stages(&[&["new"], &["db1", "db2"], &["console"]]);
    let enroll = Plan::new(Procedure::Enroll, certname("new"), &stages).unwrap();
    let expected = "preflight,install,sign,first-run,classify,run 1 new,run 2 db1,run 2 db2,run 3 console,\
                    seal,check,admit,watch";
    assert_eq!(words(&enroll).join(","), expected);
    let adopt = Plan::new(Procedure::Adopt, certname("new"), &stages).unwrap();
    let expected =
        "preflight,evidence 1 new,evidence 2 db1,evidence 2 db2,evidence 3 console,seal,check,admit,watch";
    assert_eq!(words(&adopt).join(","), expected);
    let retire = Plan::new(Procedure::Retire, certname("new"), &stages).unwrap();
    let expected = "drain,take-off,stop-agent,unpin,deactivate,run 1 db1,run 1 db2,run 2 console,revoke";
    assert_eq!(words(&retire).join(","), expected);
}

#[test]
fn a_host_named_twice_runs_once_at_its_latest_place() {
    let stages = stages(&[&["new"], &["db", "mom", "mom"], &["console", "db"], &["mom"]]);
    let plan = Plan::new(Procedure::Enroll, certname("new"), &stages).unwrap();
    let runs: Vec<String> = words(&plan).into_iter().filter(|step| step.starts_with("run")).collect();
    assert_eq!(runs, ["run 1 new", "run 2 console", "run 2 db", "run 3 mom"]);
    let again = Plan::new(Procedure::Enroll, certname("new"), plan.stages()).unwrap();
    assert_eq!(again, plan, "a plan that is read from a journal is the same plan");
}

#[test]
fn a_master_without_a_run_of_its_own_has_no_plan() {
    let stages = stages(&[&["db"]]);
    assert!(matches!(Plan::new(Procedure::Enroll, certname("new"), &stages), Err(NotAPlan::NoRun { .. })));
    assert!(Plan::new(Procedure::Retire, certname("new"), &stages).is_ok());
    let many = (0..MOST_STEPS).map(|at| vec![certname(&format!("h{at}"))]).collect::<Vec<_>>();
    assert_eq!(Plan::new(Procedure::Enroll, certname("h1"), &many), Err(NotAPlan::TooLong));
}

#[test]
fn a_step_reads_back_from_its_words() {
    for procedure in Procedure::ALL {
        let plan = Plan::new(procedure, certname("new"), &stages(&[&["new"], &["db"]])).unwrap();
        for step in plan.steps() {
            assert_eq!(step.to_string().parse(), Ok(step.clone()));
        }
    }
    for bad in ["", "run", "run 1", "run +1 a", "run 01 a", "run 1 A", "Seal", "run 1 a b", "walk 1 a"] {
        assert!(bad.parse::<Step>().is_err(), "{bad}");
    }
}

#[test]
fn what_is_missing_after_the_act_has_failed() {
    let plan = Plan::new(Procedure::Enroll, certname("new"), &stages(&[&["new"]])).unwrap();
    let mut progress = Progress::new(plan);
    let missing = || Some(Happened::Looked(Looked::Missing(Facts::none())));
    for just in [missing(), Some(Happened::Acted(Acted::Acted(Facts::none()))), missing()] {
        let Now::Record(entry) = next(&progress, just) else { panic!() };
        progress = progress.after(&entry).unwrap();
    }
    assert!(matches!(
        next(&progress, None),
        Now::Stopped(Step::Preflight, Stop { kind: StopKind::Failed, .. })
    ));
    assert!(progress.after(&Entry::Done { step: Step::Preflight, facts: Facts::none() }).is_err());
    let resumed = progress.after(&Entry::Resumed).unwrap();
    assert!(matches!(next(&resumed, None), Now::Look(look) if !look.is_again()));
}

#[test]
fn what_was_noted_first_is_what_is_compared_after_every_crash() {
    let plan = Plan::new(Procedure::Retire, certname("new"), &stages(&[&["db"]])).unwrap();
    let mut progress = Progress::new(plan);
    for noted in ["1", "2"] {
        let missing = Looked::Missing(Facts::none().and("report", noted));
        let Now::Record(entry) = next(&progress, Some(Happened::Looked(missing))) else { panic!() };
        progress = progress.after(&entry).unwrap().after(&Entry::Resumed).unwrap();
        assert_eq!(progress.known().noted.as_ref().unwrap().get("report"), Some("1"));
    }
    let step = Step::Drain;
    for (kind, kept) in [(StopKind::Paused, true), (StopKind::Deadline, true), (StopKind::Failed, false)] {
        let stopped = Entry::Stopped { step: step.clone(), stop: Stop::new(kind, "", "") };
        assert_eq!(progress.after(&stopped).unwrap().known().noted.is_some(), kept, "{kind:?}");
    }
}

#[test]
fn nothing_follows_what_is_given_up() {
    let plan = Plan::new(Procedure::Enroll, certname("new"), &stages(&[&["new"]])).unwrap();
    let over = Progress::new(plan).after(&Entry::Abandoned { reason: "other stages".into() }).unwrap();
    assert!(over.is_over() && over.after(&Entry::Resumed).is_err());
    assert!(matches!(next(&over, None), Now::Abandoned(reason) if reason == "other stages"));
}

/// What an act leaves behind, seen by looking alone.
#[derive(Default)]
struct World {
    /// Steps that are in place.
    there: Vec<Step>,
    /// Each host's reports, newest last: whether it is good, and how many steps were recorded as done when its run
    /// began.
    reports: BTreeMap<String, Vec<(bool, usize)>>,
    acts: BTreeMap<String, usize>,
}

/// Chance, one throw after the other; when they are used up, everything goes well.
struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    fn one_in(&mut self, sides: u8) -> bool {
        self.0.next().is_some_and(|throw| throw % sides == 0)
    }
    fn stop(&mut self) -> Stop {
        let kind = StopKind::ALL[usize::from(self.0.next().unwrap_or_default()) % 4];
        Stop::new(kind, "as it happens", "resume")
    }
}

impl World {
    fn look(&self, look: &ToLook, dice: &mut Dice) -> Looked {
        if dice.one_in(6) {
            return Looked::Stop(dice.stop());
        }
        match look.step() {
            Step::Run { host, .. } => {
                let reports = self.reports.get(host.as_str()).map(Vec::as_slice).unwrap_or_default();
                let noted = look.known().noted.as_ref().and_then(|noted| noted.get("report"));
                match noted.map(|noted| noted.parse::<usize>().unwrap()) {
                    Some(noted) if reports.len() > noted => match reports[reports.len() - 1] {
                        (true, _) => Looked::There(Facts::none().and("report", reports.len().to_string())),
                        (false, _) => Looked::Stop(Stop::new(StopKind::Failed, "the run failed", "resume")),
                    },
                    _ => Looked::Missing(Facts::none().and("report", reports.len().to_string())),
                }
            }
            Step::Evidence { .. } => Looked::There(Facts::none()),
            // A proof is seen by whoever made it, and by nobody else.
            Step::Check if look.known().acted.is_some() => Looked::There(Facts::none()),
            Step::Check => Looked::Missing(Facts::none()),
            step if self.there.contains(step) => Looked::There(Facts::none()),
            _ => Looked::Missing(Facts::none()),
        }
    }

    /// An act may leave its effect and say that it failed, or the other way round.
    fn act(&mut self, act: &ToAct, done: usize, dice: &mut Dice) -> Acted {
        *self.acts.entry(act.step().to_string()).or_default() += 1;
        if !dice.one_in(5) {
            match act.step() {
                Step::Run { host, .. } => {
                    self.reports.entry(host.to_string()).or_default().push((!dice.one_in(4), done));
                }
                step => self.there.push(step.clone()),
            }
        }
        if dice.one_in(5) { Acted::Stop(dice.stop()) } else { Acted::Acted(Facts::none()) }
    }
}

/// Runs an enrollment to its end through whatever the dice bring; the entries that reached the disk.
fn run(plan: &Plan, world: &mut World, dice: &mut Dice) -> Vec<Entry> {
    let mut written: Vec<Entry> = Vec::new();
    'process: for _ in 0..1_000 {
        // A process begins with what is on the disk and nothing else.
        let mut progress = Progress::new(plan.clone());
        for entry in &written {
            progress = progress.after(entry).unwrap();
        }
        if !written.is_empty() && !progress.is_over() {
            written.push(Entry::Resumed);
            progress = progress.after(&Entry::Resumed).unwrap();
        }
        let mut just = None;
        loop {
            if dice.one_in(9) {
                continue 'process;
            }
            let happened = match next(&progress, just.take()) {
                Now::Record(entry) => {
                    progress = progress.after(&entry).unwrap();
                    written.push(entry);
                    continue;
                }
                Now::Look(look) => Happened::Looked(world.look(&look, dice)),
                Now::Act(act) => {
                    let before: Vec<&Step> = done(&written);
                    let place = plan.steps().iter().position(|step| step == act.step()).unwrap();
                    assert_eq!(before, plan.steps()[..place].iter().collect::<Vec<_>>(), "{}", act.step());
                    assert!(
                        matches!(written.last(), Some(Entry::Intended { step, .. }) if step == act.step())
                    );
                    if *act.step() == Step::Admit {
                        let needed = |step: &&Step| {
                            matches!(step, Step::Run { .. } | Step::Evidence { .. } | Step::Check)
                        };
                        assert!(plan.steps().iter().filter(needed).all(|step| before.contains(&step)));
                        let proof = |entry: &Entry| matches!(entry, Entry::Done { step: Step::Check, .. });
                        let proven = written.iter().rposition(proof).unwrap();
                        assert!(!written[proven..].contains(&Entry::Resumed), "an old proof: {written:?}");
                    }
                    Happened::Acted(world.act(&act, before.len(), dice))
                }
                Now::Stopped(..) => continue 'process,
                Now::Finished => return written,
                Now::Abandoned(_) => unreachable!(),
            };
            // The act may have happened, and nothing says so.
            if dice.one_in(9) {
                continue 'process;
            }
            just = Some(happened);
        }
    }
    panic!("it never ends");
}

/// The steps that are done; a proof after which nobody was admitted yet is done until somebody resumes.
fn done(written: &[Entry]) -> Vec<&Step> {
    let mut steps: Vec<&Step> = Vec::new();
    for entry in written {
        match entry {
            Entry::Done { step, .. } => steps.push(step),
            Entry::Resumed => drop(steps.pop_if(|step| **step == Step::Check)),
            _ => {}
        }
    }
    steps
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let host = proptest::sample::select(vec!["new", "db", "console", "mom", "db2"]);
    let others = proptest::collection::vec(proptest::collection::vec(host, 0..3), 0..4);
    (proptest::sample::select(Procedure::ALL.to_vec()), others).prop_map(|(procedure, others)| {
        let mut all = stages(&[&["new"]]);
        all.extend(others.iter().map(|stage| stage.iter().map(|name| certname(name)).collect()));
        Plan::new(procedure, certname("new"), &all).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn through_failures_and_crashes_at_any_point_the_order_holds_and_the_end_is_the_same(
        plan in any_plan(),
        throws in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let (mut world, mut dice) = (World::default(), Dice(throws.into_iter()));
        let written = run(&plan, &mut world, &mut dice);
        prop_assert_eq!(done(&written), plan.steps().iter().collect::<Vec<_>>());
        for (place, step) in plan.steps().iter().enumerate() {
            match step {
                Step::Run { host, .. } => {
                    let (good, began) = *world.reports[host.as_str()].last().unwrap();
                    prop_assert!(good, "{} was taken for a success", step);
                    prop_assert!(began >= place, "{step} began while {began} steps were done");
                }
                Step::Evidence { .. } => prop_assert!(!world.acts.contains_key(&step.to_string())),
                Step::Check => prop_assert!(world.acts.contains_key("check")),
                step => prop_assert_eq!(world.there.iter().filter(|there| *there == step).count(), 1, "{}", step),
            }
        }
    }

    #[test]
    fn without_failures_every_step_is_acted_on_once(plan in any_plan()) {
        let mut world = World::default();
        run(&plan, &mut world, &mut Dice(Vec::new().into_iter()));
        for step in plan.steps() {
            let acts = usize::from(!matches!(step, Step::Evidence { .. }));
            prop_assert_eq!(world.acts.get(&step.to_string()).copied().unwrap_or_default(), acts, "{}", step);
        }
    }

    /// Whatever is recorded, in whatever order: what is accepted has done the steps in theirs.
    #[test]
    fn no_sequence_of_entries_skips_a_step(
        plan in any_plan(),
        throws in proptest::collection::vec((0_usize..20, 0_u8..5), 0..200),
    ) {
        let mut progress = Progress::new(plan.clone());
        let mut accepted: Vec<Entry> = Vec::new();
        for (at, what) in throws {
            let Some(step) = plan.steps().get(at).cloned() else { continue };
            let facts = Facts::none();
            let entry = match what {
                0 => Entry::Intended { step, noted: facts },
                1 => Entry::Acted { step, facts },
                2 => Entry::Done { step, facts },
                3 => Entry::Stopped { step, stop: Stop::new(StopKind::Failed, "", "") },
                _ => Entry::Resumed,
            };
            if let Ok(after) = progress.after(&entry) {
                progress = after;
                accepted.push(entry);
            }
        }
        let done = done(&accepted);
        prop_assert_eq!(&done, &plan.steps()[..done.len()].iter().collect::<Vec<_>>());
        prop_assert_eq!(done.len(), progress.done());
    }

    #[test]
    fn a_fact_is_one_line_and_has_an_end(value in any::<String>(), name in "[A-Za-z_ ]{0,40}") {
        let facts = Facts::none().and(&name, &value).and("report", &value);
        for (_, value) in facts.iter() {
            prop_assert!(value.len() <= 1_024 && !value.chars().any(char::is_control));
        }
        let text = serde_json::to_string(&facts).unwrap();
        prop_assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts);
    }
}
