use std::io::{self, BufRead as _, BufReader};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::pipeline::{Procedure, Step, StopKind};

fn certname(text: &str) -> Certname {
    Certname::parse_host(text).unwrap()
}

fn plan() -> Plan {
    let stages = [["new.example.com"], ["db.example.com"]].map(|stage| stage.map(certname).to_vec());
    Plan::new(Procedure::Enroll, certname("new.example.com"), &stages).unwrap()
}

fn master() -> Certname {
    certname("new.example.com")
}

fn folder() -> (TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path());
    (dir, folder)
}

fn facts(value: &str) -> Facts {
    Facts::none().and("report", value)
}

/// The entries of a step that was acted on.
fn acted(step: &Step) -> [Entry; 3] {
    [
        Entry::Intended { step: step.clone(), noted: facts("before") },
        Entry::Acted { step: step.clone(), facts: facts("81") },
        Entry::Done { step: step.clone(), facts: facts("after") },
    ]
}

fn finish(journal: &mut Journal) {
    while let Some(step) = journal.progress().step().cloned() {
        journal.append(Entry::Done { step, facts: Facts::none() }).unwrap();
    }
}

#[test]
fn a_journal_looks_like_this() {
    let (_dir, folder) = folder();
    let mut journal = folder.begin(plan()).unwrap();
    acted(&Step::Preflight).into_iter().for_each(|entry| drop(journal.append(entry).unwrap()));
    let stop = Stop::new(StopKind::Paused, "the token has expired", "write a new one, then resume");
    journal.append(Entry::Stopped { step: Step::Install, stop }).unwrap();
    let text = fs::read_to_string(journal.path()).unwrap();
    let timeless: Vec<String> = text
        .lines()
        .map(|line| {
            let (before, rest) = line.split_once("\"at\":\"").unwrap();
            format!("{before}{}", rest.split_once("\",").unwrap().1)
        })
        .collect();
    let expected = [
        r#"{"n":1,"what":"begun","version":1,"procedure":"enroll","master":"new.example.com","stages":[["new.example.com"],["db.example.com"]]}"#,
        r#"{"n":2,"what":"intended","step":"preflight","facts":{"report":"before"}}"#,
        r#"{"n":3,"what":"acted","step":"preflight","facts":{"report":"81"}}"#,
        r#"{"n":4,"what":"done","step":"preflight","facts":{"report":"after"}}"#,
        r#"{"n":5,"what":"paused","step":"install","reason":"the token has expired","way_out":"write a new one, then resume"}"#,
    ];
    assert_eq!(timeless, expected);
    assert!(journal.path().ends_with("new.example.com.0001.jsonl"), "{journal:?}");
}

#[test]
fn what_is_read_again_is_what_was_written() {
    let (_dir, folder) = folder();
    let mut journal = folder.begin(plan()).unwrap();
    acted(&Step::Preflight).into_iter().for_each(|entry| drop(journal.append(entry).unwrap()));
    journal.append(Entry::Intended { step: Step::Install, noted: facts("x") }).unwrap();
    let before = journal.progress().clone();
    drop(journal);
    assert_eq!(folder.latest().unwrap()[0].read.as_ref().unwrap().progress, before);
    let resumed = folder.resume(&master()).unwrap();
    assert_eq!(resumed.cut, 0);
    assert_eq!(resumed.journal.progress(), &before.after(&Entry::Resumed).unwrap());
    assert_eq!(resumed.journal.progress().known().noted, Some(facts("x")));
}

#[test]
fn two_enrollments_of_one_master_exclude_each_other() {
    let (_dir, folder) = folder();
    let journal = folder.begin(plan()).unwrap();
    let own = Some(std::process::id());
    assert!(matches!(folder.begin(plan()), Err(JournalError::Busy { by, .. }) if by == own));
    assert!(matches!(folder.resume(&master()), Err(JournalError::Busy { .. })));
    assert!(folder.latest().unwrap()[0].busy);
    let other = Plan::new(Procedure::Retire, certname("other.example.com"), &[]).unwrap();
    assert!(folder.begin(other).is_ok());
    drop(journal);
    assert!(!folder.latest().unwrap()[0].busy);
    assert!(folder.resume(&master()).is_ok());
}

#[test]
fn another_begins_only_when_the_one_before_is_over() {
    let (_dir, folder) = folder();
    assert!(matches!(folder.resume(&master()), Err(JournalError::Unknown { .. })));
    let mut journal = folder.begin(plan()).unwrap();
    finish(&mut journal);
    assert!(matches!(journal.append(Entry::Resumed), Err(JournalError::OutOfOrder { .. })));
    drop(journal);
    assert!(matches!(folder.resume(&master()), Err(JournalError::Over { .. })));
    drop(folder.begin(plan()).unwrap());
    let refused = folder.begin(plan()).unwrap_err().to_string();
    assert!(refused.contains("0002.jsonl is at preflight and not over"), "{refused}");
    folder.abandon(&master(), "other stages\n").unwrap();
    let third = folder.begin(plan()).unwrap();
    assert!(third.path().ends_with("new.example.com.0003.jsonl"));
    assert_eq!(folder.latest().unwrap().len(), 1);
}

#[test]
fn a_last_line_that_was_cut_off_is_told_and_cut_away() {
    let (_dir, folder) = folder();
    let mut journal = folder.begin(plan()).unwrap();
    acted(&Step::Preflight).into_iter().for_each(|entry| drop(journal.append(entry).unwrap()));
    let path = journal.path().to_owned();
    drop(journal);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let found = folder.latest().unwrap().remove(0).read.unwrap();
    assert!(found.torn > 0 && found.lines == 3, "{found:?}");
    let Resumed { journal, cut } = folder.resume(&master()).unwrap();
    assert_eq!(cut, found.torn);
    assert_eq!(journal.progress().done(), 0);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.ends_with("\"what\":\"resumed\"}\n") && text.lines().count() == 4, "{text}");
}

#[test]
fn a_line_that_is_not_understood_is_refused_with_its_number() {
    let (_dir, folder) = folder();
    let mut journal = folder.begin(plan()).unwrap();
    acted(&Step::Preflight).into_iter().for_each(|entry| drop(journal.append(entry).unwrap()));
    let path = journal.path().to_owned();
    drop(journal);
    let good = fs::read_to_string(&path).unwrap();
    let told = |old: &str, new: &str| {
        assert!(good.contains(old), "{old}");
        fs::write(&path, good.replacen(old, new, 1)).unwrap();
        let error = folder.resume(&master()).unwrap_err();
        assert!(error.to_string().contains("new.example.com.0001.jsonl"), "{error}");
        let cause = std::error::Error::source(&error).unwrap();
        let why = std::error::Error::source(cause).map(ToString::to_string).unwrap_or_default();
        format!("{cause}: {why}")
    };
    assert!(told("\"version\":1", "\"version\":2").contains("expected version 1, not 2"));
    assert!(told("\"acted\"", "\"danced\"").starts_with("line 3:"));
    assert!(told("\"facts\":{\"report\":\"81\"}", "\"facts\":{\"report\":81}").starts_with("line 3:"));
    assert!(told("\"n\":3", "\"n\":4").contains("its number is 4"));
    assert!(told("\"acted\"", "\"done\"").contains("expected what was acted"));
    assert!(told("preflight", "admit").contains("the first step that is not done"));
    assert!(told("preflight", "seal ").contains("is no step"));
    assert!(told("\"what\":\"done\"", "\"what\":\"failed\"").contains("`failed` has other fields"));
    assert!(told("\"what\":\"done\"", "\"why\":1,\"what\":\"done\"").contains("its fields"));
    assert!(told("{\"n\":2", "\n{\"n\":2").starts_with("line 2:"));
    fs::write(&path, "{\"n\":1").unwrap();
    assert!(folder.resume(&master()).is_err());
    assert!(folder.begin(plan()).is_err(), "what was done before is not known, so nothing begins");
}

#[test]
fn a_secret_is_never_recorded() {
    let (_dir, folder) = folder();
    let mut journal = folder.begin(plan()).unwrap();
    journal.keep_out("AKqW6-very-secret-token");
    let long = format!("{}AKqW6-very-secret-token", "x".repeat(1_010));
    for words in ["answered: AKqW6-very-secret-token is expired", long.as_str()] {
        let stop = Stop::new(StopKind::Paused, words, words);
        journal.append(Entry::Stopped { step: Step::Preflight, stop }).unwrap();
        journal.append(Entry::Resumed).unwrap();
    }
    let noted = Facts::none().and("answer", "token=AKqW6-very-secret-token");
    journal.append(Entry::Intended { step: Step::Preflight, noted }).unwrap();
    let text = fs::read_to_string(journal.path()).unwrap();
    assert!(!text.contains("AKqW6-ve") && text.contains("(secret) is expired"), "{text}");
}

#[test]
fn a_journal_has_an_end() {
    let (_dir, folder) = folder();
    let mut journal = folder.begin(plan()).unwrap();
    journal.length = LARGEST - 10;
    assert!(matches!(journal.append(Entry::Resumed), Err(JournalError::Full { .. })));
    let long = vec!["a".repeat(60); 4].join(".");
    let plan = Plan::new(Procedure::Retire, certname(&long), &[]).unwrap();
    assert!(matches!(folder.begin(plan), Err(JournalError::NameTooLong { .. })));
    assert!(matches!(Folder::at("/nonexistent").latest(), Err(JournalError::Failed { .. })));
}

#[test]
fn after_a_line_that_could_not_be_written_nothing_is() {
    let (_dir, folder) = folder();
    let mut journal = folder.begin(plan()).unwrap();
    journal.file = File::open(journal.path()).unwrap();
    assert!(matches!(journal.append(Entry::Resumed), Err(JournalError::Failed { .. })));
    assert!(matches!(journal.append(Entry::Resumed), Err(JournalError::Broken { .. })));
}

/// Any sequence of entries that a journal may hold.
fn any_journal() -> impl Strategy<Value = (Vec<u8>, Vec<Progress>)> {
    proptest::collection::vec((0_u8..7, "\\PC{0,12}"), 0..20).prop_map(|throws| {
        let mut progress = Progress::new(plan());
        let mut text = line::begin(progress.plan(), "2026-01-01T00:00:00Z");
        let mut states = vec![progress.clone()];
        for (what, words) in throws {
            let Some(step) = progress.step().cloned() else { break };
            let entry = match what {
                0 | 1 => Entry::Intended { step, noted: facts(&words) },
                2 => Entry::Acted { step, facts: facts(&words) },
                3 => Entry::Done { step, facts: facts(&words) },
                4 => Entry::Stopped { step, stop: Stop::new(StopKind::Deadline, &words, &words) },
                5 => Entry::Stopped { step, stop: Stop::new(StopKind::Failed, &words, &words) },
                _ => Entry::Resumed,
            };
            if let Ok(after) = progress.after(&entry) {
                let n = u64::try_from(states.len()).unwrap() + 1;
                text.push_str(&line::render(n, "2026-01-01T00:00:00Z", &entry));
                progress = after;
                states.push(progress.clone());
            }
        }
        (text.into_bytes(), states)
    })
}

proptest! {
    // Each case reads a journal again for each of its bytes.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_beginning_of_a_journal_is_its_state_up_to_the_last_whole_line_or_refused(
        (bytes, states) in any_journal(),
    ) {
        for end in 0..=bytes.len() {
            let lines = bytes[..end].iter().filter(|byte| **byte == b'\n').count();
            match line::read(&bytes[..end]) {
                Ok(read) => {
                    prop_assert_eq!(&read.progress, &states[lines - 1]);
                    prop_assert_eq!(read.whole + read.torn, u64::try_from(end).unwrap());
                }
                Err(NotAJournal::NoLine) => prop_assert_eq!(lines, 0),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(
        (bytes, _) in any_journal(),
        place in any::<prop::sample::Index>(),
        more in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = bytes;
        let at = place.index(bytes.len());
        bytes.splice(at..at, more);
        if let Err(error) = line::read(&bytes) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

/// Where the child of the next test writes.
const CHILD: &str = "STAGEDOOR_JOURNAL_OF_THE_CHILD";

#[test]
fn whoever_is_killed_leaves_a_journal_that_holds_all_it_said() {
    if let Ok(folder) = std::env::var(CHILD) {
        return write_for_ever(&Folder::at(folder));
    }
    let (dir, folder) = folder();
    let name = "journal::tests::whoever_is_killed_leaves_a_journal_that_holds_all_it_said";
    for round in 0_usize..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("wrote ")?.parse::<usize>().ok());
        let last = said.take(7 * (round + 1)).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let found = folder.latest().unwrap().remove(0);
        let read = found.read.unwrap();
        assert!(!found.busy, "the lock outlived its process");
        assert!(usize::try_from(read.lines).unwrap() >= last, "{} lines, and {last} were said", read.lines);
    }
    assert!(folder.resume(&master()).is_ok());
}

/// Begins or resumes, and says each line that is on the disk.
fn write_for_ever(folder: &Folder) {
    let mut journal = match folder.resume(&master()) {
        Ok(resumed) => resumed.journal,
        Err(_) => folder.begin(plan()).unwrap(),
    };
    loop {
        let step = journal.progress().step().cloned().unwrap();
        let stop = Stop::new(StopKind::Deadline, "x".repeat(500), "resume");
        for entry in [
            Entry::Intended { step: step.clone(), noted: Facts::none() },
            Entry::Stopped { step, stop },
            Entry::Resumed,
        ] {
            journal.append(entry).unwrap();
            let mut out = io::stdout().lock();
            writeln!(out, "wrote {}", journal.lines).and_then(|()| out.flush()).unwrap();
        }
    }
}
