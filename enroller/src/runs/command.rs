//! A run by a program here, and programs here at all.

use std::io;
use std::process::Stdio;

use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::HOST;
use tokio::process::Command;

use super::own::{self, Try, is_busy};
use crate::pipeline::{Facts, Stop, StopKind};
use crate::shell::{Ended, hear};
use crate::site::Site;

/// How a program here did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Any code but 0.
    Any,
    /// Any but 0 and 2, as `puppet agent --test` ends.
    AsAgents,
}

pub(super) async fn run(site: &Site, command: &[String], host: &Certname) -> Result<Facts, Stop> {
    own::run(site, host, "command", || once(command, host)).await
}

async fn once(command: &[String], host: &Certname) -> Result<Try, Stop> {
    let ended = start(command, host).await?;
    if is_busy(&ended) {
        return Ok(Try::Busy);
    }
    good(command, host, &ended, Wrong::AsAgents).map(|()| Try::Over)
}

/// Runs a program here for a host, as long as the caller waits; what it said, where it ended with 0.
///
/// # Errors
/// It could not be started, or did not end well.
pub async fn program(command: &[String], host: &Certname) -> Result<String, Stop> {
    let ended = start(command, host).await?;
    good(command, host, &ended, Wrong::Any)?;
    Ok(ended.out)
}

async fn start(command: &[String], host: &Certname) -> Result<Ended, Stop> {
    let words = command.iter().map(|word| if word == HOST { host.as_str() } else { word.as_str() });
    let words: Vec<&str> = words.collect();
    let Some((program, arguments)) = words.split_first() else {
        return Err(Stop::new(StopKind::Refused, "a command of no words", "correct the settings"));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let heard = async {
        let mut child = command.spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (out, err) = tokio::join!(hear(out), hear(err));
        let (out, err) = (out?, err?);
        Ok::<_, io::Error>(Ended { code: child.wait().await?.code().unwrap_or(-1), out, err })
    };
    heard.await.map_err(|error| {
        let reason = format!("{program}: cannot be run here: {error}");
        Stop::new(StopKind::Refused, reason, "correct the command in the settings, then resume")
    })
}

fn good(command: &[String], host: &Certname, ended: &Ended, wrong: Wrong) -> Result<(), Stop> {
    if ended.code == 0 || ended.code == 2 && wrong == Wrong::AsAgents {
        return Ok(());
    }
    let program = command.first().map(String::as_str).unwrap_or_default();
    let reason = format!("{program} for {host} ended with {}: {}", ended.code, ended.last_words());
    Err(Stop::new(StopKind::Failed, reason, "put right what it says, then resume"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script, "sh", HOST].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn a_program_here_is_told_the_host_and_how_it_ends_counts() {
        let host = Certname::parse_host("add.example.com").unwrap();
        assert_eq!(program(&sh("echo \"v1 $1\""), &host).await.unwrap(), "v1 add.example.com\n");
        let stop = program(&sh("echo oops >&2; exit 2"), &host).await.unwrap_err();
        assert_eq!(stop.reason, "/bin/sh for add.example.com ended with 2: oops");
        let ended = start(&sh("exit 2"), &host).await.unwrap();
        assert!(good(&sh(""), &host, &ended, Wrong::AsAgents).is_ok());
        let stop = program(&["/nonexistent".to_owned(), HOST.to_owned()], &host).await.unwrap_err();
        assert!(stop.kind == StopKind::Refused && stop.reason.contains("/nonexistent"), "{stop:?}");
    }
}
