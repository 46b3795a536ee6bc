//! The command line: what an operator types, and what comes back.
//!
//! | file | holds |
//! |---|---|
//! | `procedures` | `enroll`, `adopt`, `retire`, `resume`: an enrollment carried on to its end or to where it stops |
//! | `plan` | `stagedoor-enroller plan`: what each step finds, and would do |
//! | `serve` | `stagedoor-enroller serve`: the sidecar |
//! | `check` | `stagedoor-enroller check`: everything that an enrollment would stumble over, told before |
//! | `status` | `stagedoor-enroller status`: how each master's latest enrollment stands |
//!
//! Exit codes: 0 done, 1 failed, 64 bad usage or settings. What was asked for goes to the standard output, mistakes
//! and errors to the standard error.

mod check;
mod plan;
mod procedures;
mod serve;
mod status;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stagedoor_config::enroller::Settings;
use stagedoor_config::mistake::{Mistake, report};
use stagedoor_config::read::{self, NotRead};

use crate::words::chain;

/// Where the settings are, unless said otherwise.
const SETTINGS: &str = "/etc/stagedoor/enroller.toml";

const DONE: u8 = 0;
const FAILED: u8 = 1;
const BAD_USAGE: u8 = 64;

/// Takes a compile master through the ordered Puppet runs and admits it at every door only then.
#[derive(Debug, Parser)]
#[command(name = "stagedoor-enroller", version, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take a new master from a machine without an agent to one that serves.
    Enroll(procedures::Enroll),
    /// Take a master that serves already: its earlier runs are read, not repeated.
    Adopt(procedures::Adopt),
    /// Go on with an enrollment that stopped or was cut off.
    Resume(procedures::Resume),
    /// Take a master from the doors to a name that is on no list.
    Retire(procedures::Retire),
    /// Say what each step finds and would do, and change nothing.
    Plan(plan::Plan),
    /// Take enrollments over a socket, one after the other.
    Serve(serve::Serve),
    /// Read the settings and every file they name, and tell every mistake.
    Check(check::Check),
    /// Show how each master's latest enrollment stands, from the journals.
    Status(status::Status),
}

/// Why a command did not do what was asked.
#[derive(Debug)]
enum Failure {
    /// The settings are wrong; said already, or the words to say.
    Settings(Option<String>),
    /// Said already, in the form that was asked for.
    Told,
    /// Anything else, in words with its causes.
    Error(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(chain(&error))
    }
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // Where even this cannot be said, the exit code still tells.
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { BAD_USAGE } else { DONE });
        }
    };
    let done = match line.command {
        Command::Enroll(enroll) => enroll.run(),
        Command::Adopt(adopt) => adopt.run(),
        Command::Resume(resume) => resume.run(),
        Command::Retire(retire) => retire.run(),
        Command::Plan(plan) => plan.run(),
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
        Command::Status(status) => status.run(),
    };
    let (code, words) = match done {
        Ok(()) => (DONE, None),
        Err(Failure::Settings(words)) => (BAD_USAGE, words),
        Err(Failure::Told) => (FAILED, None),
        Err(Failure::Error(words)) => (FAILED, Some(format!("stagedoor-enroller: {words}"))),
    };
    if let Some(words) = words {
        warn(&words);
    }
    ExitCode::from(code)
}

/// Why there are no settings.
#[derive(Debug)]
enum Bad {
    /// The file cannot be read.
    File(NotRead),
    /// Its text is wrong.
    Text { mistakes: Vec<Mistake>, text: String },
}

fn settings(file: &Path) -> Result<Settings, Bad> {
    let text = read::text(file).map_err(Bad::File)?;
    Settings::parse(file, &text).map_err(|mistakes| Bad::Text { mistakes, text })
}

impl Bad {
    /// For a person, with colours where the standard error is a terminal.
    fn words(&self) -> String {
        match self {
            Self::File(error) => format!("stagedoor-enroller: {}", chain(error)),
            Self::Text { mistakes, text } => report(mistakes, text, std::io::stderr().is_terminal()),
        }
    }
}

/// What was asked for. A pipe that is closed early is the reader's choice, but not success.
fn say(words: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(words.as_bytes())
        .and_then(|()| if words.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") })
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Error(format!("write to the standard output: {error}")))
}

/// What went wrong. Where even this cannot be said, the exit code still tells.
fn warn(words: &str) {
    writeln!(std::io::stderr().lock(), "{words}").ok();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn the_usual_lines_are_understood() {
        for line in [
            "stagedoor-enroller check",
            "stagedoor-enroller check --config /x --json",
            "stagedoor-enroller status",
            "stagedoor-enroller status --config /x --json",
            "stagedoor-enroller enroll a.example.com --address 10.0.0.7:8140 --missing-door d --json",
            "stagedoor-enroller adopt a.example.com",
            "stagedoor-enroller adopt --all /x",
            "stagedoor-enroller resume a.example.com --overwrite",
            "stagedoor-enroller resume a.example.com --give-up wrong",
            "stagedoor-enroller retire a.example.com --machine-gone",
            "stagedoor-enroller plan a.example.com --retire",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "stagedoor-enroller",
            "stagedoor-enroller enroll",
            "stagedoor-enroller adopt",
            "stagedoor-enroller chekc",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
