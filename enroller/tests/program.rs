//! The program as operators and other programs meet it: exit codes, and what goes to which output.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::fs;
use std::path::Path;
use std::process::Command;

struct Told {
    code: i32,
    out: String,
    err: String,
}

fn told(arguments: &[&str]) -> Told {
    let output = Command::new(env!("CARGO_BIN_EXE_stagedoor-enroller")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Told { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// The shipped settings with journals in this folder.
fn settings(folder: &Path) -> String {
    let shipped = include_str!("../../config/enroller.toml");
    let journal = format!("folder = \"{}\"", folder.display());
    let path = folder.join("enroller.toml");
    fs::write(&path, shipped.replace("# folder = \"/var/lib/stagedoor/journal\"", &journal)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn bad_usage_and_bad_settings_are_64_and_nothing_is_said_on_the_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.toml");
    fs::write(&path, "preset = \"pe-4\"\n").unwrap();
    let path = path.to_str().unwrap();
    for arguments in [
        &["check", "--config", path][..],
        &["status", "--config", path],
        &["check", "--config", "/nonexistent/enroller.toml"],
        &["enroll", "New.example.com"],
        &[],
    ] {
        let told = told(arguments);
        assert_eq!((told.code, told.out.as_str()), (64, ""), "{arguments:?}");
        assert!(!told.err.is_empty(), "{arguments:?}");
    }
    assert!(
        told(&["check", "--config", path])
            .err
            .contains("\"pe-3\", \"pe-2015\", \"pe-2019\", \"open-source\"")
    );
}

#[test]
fn help_names_the_commands_that_there_are() {
    let told = told(&["--help"]);
    assert_eq!(told.code, 0);
    let commands = told.out.split_once("Commands:").unwrap().1.split_once("Options:").unwrap().0;
    let words: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(words, ["enroll", "adopt", "resume", "retire", "plan", "serve", "check", "status", "help"]);
}

#[test]
fn files_that_are_missing_are_1_in_words_and_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let config = settings(folder.path());
    let words = told(&["check", "--config", &config]);
    assert_eq!((words.code, words.out.as_str()), (1, ""));
    assert!(
        words.err.contains("error: `puppet_ca.bundle`: /etc/stagedoor/ca/ca_crt.pem: expected a file"),
        "{}",
        words.err
    );
    let json = told(&["check", "--config", &config, "--json"]);
    let found: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, found["good"].as_bool()), (1, Some(false)));
    assert_eq!(found["errors"][0]["key"], "puppet_ca.bundle");
}

#[test]
fn status_reads_every_journal_and_tells_one_that_it_does_not_understand() {
    let folder = tempfile::tempdir().unwrap();
    let config = settings(folder.path());
    let none = told(&["status", "--config", &config]);
    assert_eq!((none.code, none.out.as_str()), (0, "no journals\n"));
    let begun = r#"{"n":1,"at":"2026-01-01T00:00:00Z","what":"begun","version":1,"procedure":"enroll","master":"new.example.com","stages":[["new.example.com"],["db.example.com"]]}"#;
    fs::write(folder.path().join("new.example.com.0001.jsonl"), format!("{begun}\n")).unwrap();
    let json = told(&["status", "--config", &config, "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &rows[0]["state"]), (0, &"interrupted".into()));
    assert_eq!((&rows[0]["step"], &rows[0]["of"]), (&"preflight".into(), &11.into()));
    fs::write(folder.path().join("odd.example.com.0001.jsonl"), "hello\n").unwrap();
    let odd = told(&["status", "--config", &config]);
    assert_eq!(odd.code, 1);
    assert!(odd.out.contains("odd.example.com.0001.jsonl") && odd.out.contains("line 1"), "{}", odd.out);
}
