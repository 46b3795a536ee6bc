//! The command line: what an operator types, and what comes back.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | the words and the exit codes |
//! | `settings` | the settings' file, read for every command alike |
//! | `check` | `stagedoor check`: everything that start would stumble over, told before |
//! | `signed` | `check --signed`: which agents the door would turn away |
//! | `roster` | `stagedoor roster`: the roster, asked of the running door |
//! | `door_ca` | `stagedoor door-ca`: the private CA that opens sealed masters |
//! | `masters` | `stagedoor masters`: how each master does |
//! | `queue` | `stagedoor queue`: who waits for a JRuby |
//! | `top` | `stagedoor top`: the door at a glance, again and again |
//! | `flush` | `stagedoor flush`: every master forgets its environments |
//! | `table` | a table for people |
//! | `at` | which door is asked: the options that such commands share |
//! | `ask` | one request to `admin.unix` |
//!
//! Exit codes: 0 done, 1 failed, 64 bad usage or settings. What was asked for goes to the standard output, mistakes
//! and errors to the standard error, each once with its causes.

mod ask;
mod at;
mod check;
mod door_ca;
mod flush;
mod masters;
mod queue;
mod roster;
mod settings;
mod signed;
mod table;
mod top;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Where the settings are, unless said otherwise.
const SETTINGS: &str = "/etc/stagedoor/proxy.toml";

const DONE: u8 = 0;
const FAILED: u8 = 1;
const BAD_USAGE: u8 = 64;

/// A TLS proxy on Puppet's port 8140: it establishes who each agent is, and sends it to a compile master or to the
/// Master of Masters.
#[derive(Debug, Parser)]
#[command(name = "stagedoor", version, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the door, until it is told to stop.
    Run {
        /// The settings.
        #[arg(long, value_name = "FILE", default_value = SETTINGS)]
        config: PathBuf,
        /// What the door says of itself on the standard error: error, warn, info, debug, or as tracing's filters.
        #[arg(long, value_name = "LEVEL", default_value = "info")]
        log: String,
    },
    /// Read the settings and every file they name, and tell every mistake.
    Check(check::Check),
    /// Show or change the compile masters that the running door sends agents to.
    Roster(roster::Asked),
    /// Make and keep the private CA whose certificates alone open sealed masters.
    DoorCa(door_ca::Asked),
    /// Show every compile master as the running door sees it: what it is, how it does, and how many requests it has
    /// from this door (connections, where it is open).
    Masters(masters::Asked),
    /// Show who waits for a JRuby, and for how long.
    Queue(queue::Asked),
    /// Show what is at work, who waits, how catalogs go and how each compile master does, again and again.
    Top(top::Asked),
    /// Have every compile master forget its environments, after a deployment.
    Flush(flush::Asked),
}

/// Why a command did not do what was asked.
#[derive(Debug)]
enum Failure {
    /// The settings are wrong; said already, or the words to say.
    Settings(Option<String>),
    /// Said already, in the form that was asked for.
    Told,
    /// Anything else.
    Error(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
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
        Command::Run { config, log } => run(&config, &log),
        Command::Check(check) => check.run(),
        Command::Roster(asked) => asked.run(),
        Command::DoorCa(asked) => asked.run(),
        Command::Masters(asked) => asked.run(),
        Command::Queue(asked) => asked.run(),
        Command::Top(asked) => asked.run(),
        Command::Flush(asked) => asked.run(),
    };
    let (code, words) = match done {
        Ok(()) => (DONE, None),
        Err(Failure::Settings(words)) => (BAD_USAGE, words),
        Err(Failure::Told) => (FAILED, None),
        // One line with every cause, each once: no error's own text repeats its cause.
        Err(Failure::Error(error)) => (FAILED, Some(format!("stagedoor: {error:#}"))),
    };
    if let Some(words) = words {
        warn(&words);
    }
    ExitCode::from(code)
}

fn run(config: &std::path::Path, log: &str) -> Result<(), Failure> {
    let settings = settings::load(config)?;
    crate::observe::log::start(log)?;
    Ok(crate::run::run(settings)?)
}

/// What was asked for. A pipe that is closed early is the reader's choice, but not success.
fn say(words: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(words.as_bytes())
        .and_then(|()| if words.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") })
        .and_then(|()| out.flush())
        .map_err(|error| anyhow::Error::new(error).context("write to the standard output").into())
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
            "stagedoor run",
            "stagedoor run --config /etc/stagedoor/proxy.toml",
            "stagedoor check --config /x --json --signed /etc/puppetlabs/puppetserver/ca/signed",
            "stagedoor roster show --json",
            "stagedoor roster --socket /run/x.sock show",
            "stagedoor roster admit compile1.example.com --address 10.0.0.1:8140 --header-limit 16384 --generation 3",
            "stagedoor roster admit compile1.example.com --open --check tcp --jrubies 4",
            "stagedoor roster admit compile1.example.com --isolation firewall",
            "stagedoor roster warm compile1.example.com --isolation firewall --jrubies 4 --generation 3",
            "stagedoor roster drain compile1.example.com --socket /run/x.sock",
            "stagedoor roster undrain compile1.example.com",
            "stagedoor roster retire compile1.example.com --force --config /x",
            "stagedoor door-ca init --folder /root/door-ca",
            "stagedoor door-ca issue door1.example.com --folder /root/door-ca --out /root",
            "stagedoor door-ca revoke door1.example.com",
            "stagedoor door-ca renew",
            "stagedoor door-ca --folder /root/door-ca renew --finish --force",
            "stagedoor door-ca show --json",
            "stagedoor masters",
            "stagedoor queue --json",
            "stagedoor masters --json --socket /run/x.sock",
            "stagedoor top",
            "stagedoor top --every 10 --socket /run/x.sock",
            "stagedoor flush",
            "stagedoor flush --environment production --environment test --json",
            "stagedoor flush --environment production test --socket /run/x.sock",
            "stagedoor flush --environment",
        ] {
            let parsed = Line::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
        for line in [
            "stagedoor",
            "stagedoor rum",
            "stagedoor roster drain",
            "stagedoor roster drain Compile1",
            "stagedoor roster warm compile1.example.com --open --isolation firewall",
            "stagedoor top --every 0",
            "stagedoor flush --environment a/b",
            "stagedoor flush production",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
