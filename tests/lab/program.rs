//! Programs that run to their end: what they said, and an error with all of it when they failed. And programs of this
//! workspace.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How a program ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; -1 when a signal ended it.
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ended {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Everything it wrote, for a message to a person.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.output, self.errors)
    }
}

pub(crate) fn run(command: &mut Command) -> Result<Ended> {
    let written = line_of(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run: {written}"))?;
    Ok(Ended::of(&output))
}

/// Runs a program that reads this first.
pub(crate) fn run_with(command: &mut Command, input: &[u8]) -> Result<Ended> {
    let written = line_of(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run: {written}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that has ended before it read anything says why in what it wrote.
        drop(stdin.write_all(input));
    }
    let output = child.wait_with_output().with_context(|| format!("cannot run: {written}"))?;
    Ok(Ended::of(&output))
}

/// Runs a program that has to succeed, and gives what it wrote on its standard output.
pub(crate) fn succeed(command: &mut Command) -> Result<String> {
    let ended = run(command)?;
    if ended.code != 0 {
        bail!("exit {} from: {}\n{}", ended.code, line_of(command), ended.said());
    }
    Ok(ended.output)
}

fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// A program of this workspace: built as it is shipped, once, unless a variable names one.
pub(crate) fn built(once: &OnceLock<PathBuf>, package: &str, variable: &str) -> Result<PathBuf> {
    if let Some(built) = once.get() {
        return Ok(built.clone());
    }
    let found = match std::env::var_os(variable) {
        Some(given) => PathBuf::from(given),
        None => build(package)?,
    };
    Ok(once.get_or_init(|| found).clone())
}

fn build(package: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release", "--package", package, "--message-format", "json"]);
    let messages = succeed(cargo.current_dir(env!("CARGO_MANIFEST_DIR")))
        .with_context(|| format!("{package} does not build"))?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message.get("executable").and_then(|path| path.as_str()).map(PathBuf::from))
        .find(|path| path.ends_with(package))
        .with_context(|| format!("cargo built {package} and named no binary"))
}
