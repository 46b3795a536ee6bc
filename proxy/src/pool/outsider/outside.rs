//! Having a host outside the firewall try to reach a master that is isolated by it.
//!
//! The command is the operator's (`[outside] command`), usually ssh; what it is told to run over there is [`curl`]'s.
//! It gets no input, a bounded time and a bounded place for its words, and is ended with everything it started.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::super::Member;
use super::super::seal::Outcome;
use super::curl;
use super::verdict::{Try, of_all};
use crate::door::Door;
use crate::observe::log::chain;

/// For the whole command: ssh's own way there, and curl's ten seconds.
const WHOLE: Duration = Duration::from_secs(25);
/// For the door itself to see whether the master is there.
const THERE: Duration = Duration::from_secs(5);
/// The most that is kept of what it writes.
const WORDS: u64 = 4096;
/// Commands at once over all masters: an sshd turns new connections away from ten unauthenticated ones on
/// (MaxStartups), and other doors ask the same host.
static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// Why there was no try.
#[derive(Debug, thiserror::Error)]
enum Untried {
    #[error("the command of [outside] cannot be started: see that its program is there and may be run")]
    Spawn(#[source] io::Error),
    #[error("the command of [outside] was not done within {} s", .0.as_secs())]
    Late(Duration),
    #[error("{0}")]
    Words(String),
}

/// Has every address tried, one after the other.
pub(super) async fn of(door: &Door, member: &Member, addresses: &[SocketAddr]) -> Outcome {
    let settings = Arc::clone(&door.snapshot.load().settings);
    let Some((program, first)) = settings.outside.split_first() else { return curl::without() };
    let mut tries = Vec::with_capacity(addresses.len());
    for address in addresses.iter().copied() {
        // A master that is down refuses everybody and proves nothing by it.
        if let Err(unreached) = there(address).await {
            tries.push(unreached);
            continue;
        }
        let mut command = Command::new(program);
        command.args(first).args(curl::arguments(&member.peer.certname, address));
        let tried = match run(command, WHOLE).await {
            Ok(tried) => tried,
            Err(untried) => return Outcome::Unable(chain(&untried)),
        };
        match tried {
            Try::Refused => tries.push(there(address).await.err().unwrap_or(Try::Refused)),
            other => tries.push(other),
        }
    }
    of_all(tries)
}

async fn there(address: SocketAddr) -> Result<(), Try> {
    match timeout(THERE, TcpStream::connect(address)).await {
        Ok(Ok(_ended_at_once)) => Ok(()),
        Ok(Err(error)) => {
            Err(Try::Unreached(format!("the door itself cannot connect to {address}: {error}")))
        }
        Err(_elapsed) => {
            Err(Try::Unreached(format!("the door itself has no connection to {address} in time")))
        }
    }
}

async fn run(mut command: Command, whole: Duration) -> Result<Try, Untried> {
    let Ok(_place) = AT_ONCE.acquire().await else { return Err(Untried::Late(whole)) };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that what it starts ends with it.
    command.process_group(0).kill_on_drop(true);
    let mut group = Group(command.spawn().map_err(Untried::Spawn)?);
    let (out, err) = (group.0.stdout.take(), group.0.stderr.take());
    let ended = async {
        let (out, err) = tokio::join!(words(out), words(err));
        (group.0.wait().await, out, err)
    };
    match timeout(whole, ended).await {
        Ok((Ok(exit), out, err)) => curl::said(exit.code(), &out, &err).map_err(Untried::Words),
        Ok((Err(error), ..)) => Err(Untried::Words(format!("waiting for the command of [outside]: {error}"))),
        Err(_elapsed) => Err(Untried::Late(whole)),
    }
}

/// The first of what is written; the rest is read and dropped, so that nobody waits for room.
async fn words(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut from) = from {
        // What could be read until an error is what there is.
        drop((&mut from).take(WORDS).read_to_end(&mut kept).await);
        drop(tokio::io::copy(&mut from, &mut tokio::io::sink()).await);
    }
    kept
}

/// A command and what it started.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // None once it was waited for: the number may be another's by then.
        let pid = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = pid {
            // It may be gone already.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_command_that_fails_of_itself_gives_no_verdict() {
        for script in ["exit 255", "exit 7", "kill -9 $$", "echo hello", "printf stagedoor:000:0; exit 3"] {
            assert!(matches!(run(shell(script), WHOLE).await, Err(Untried::Words(_))), "{script}");
        }
        assert!(matches!(run(Command::new("/nowhere/ssh"), WHOLE).await, Err(Untried::Spawn(_))));
    }

    #[tokio::test]
    async fn a_command_that_writes_without_end_is_read_and_not_kept() {
        let script = "head -c 10000000 /dev/zero; head -c 10000000 /dev/zero >&2; exit 9";
        let told = run(shell(script), WHOLE).await.map_err(|untried| untried.to_string());
        assert!(told.unwrap_err().contains("exit code 9"));
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let running = async || {
            let pid = std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))?;
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).ok()?;
            (!stat.contains(") Z ")).then_some(())
        };
        // Longer each time: on a busy machine it may not have come as far as starting anything.
        for seconds in [1, 2, 4, 8, 16] {
            let told = run(shell(&script), Duration::from_secs(seconds)).await;
            assert!(matches!(told, Err(Untried::Late(_))), "{told:?}");
            if file.exists() {
                break;
            }
        }
        assert!(file.exists(), "it started something");
        for _ in 0..1000 {
            if running().await.is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("what it started goes on");
    }
}
