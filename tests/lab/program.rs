//! Programs that run to their end: what they said, and an error with all of it when they failed.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

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
