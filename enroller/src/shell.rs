//! Commands on other machines, by the system's `ssh`.
//!
//! `ssh` is told what it may do before the site's own settings for it are read, and it takes what it was told first:
//! host keys are known beforehand or the connection is refused, nothing is asked of a person, no other program is
//! started here. What a command says is kept up to a bound.
//!
//! | file | holds |
//! |---|---|
//! | `words` | a command as its shell over there reads it (pure) |

mod words;

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Ssh;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;
pub use words::{CommandLine, NotACommand};

/// The most bytes of the beginning and of the end of each output that are kept: a catalog, or a long run's words, and no
/// more of a program that never stops.
const MOST_SAID: usize = 8 << 20;
/// What `ssh` exits with when it is `ssh` that failed.
const OWN_FAILURE: i32 = 255;

/// For a command that only looks.
pub const LOOK: Duration = Duration::from_secs(60);

/// The way to other machines.
#[derive(Debug, Clone)]
pub struct Shell {
    ssh: Option<Ssh>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// Why a command was not run, or nobody knows how it ended.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    /// The settings name no way.
    #[error("expected [ssh] in the settings: {host} is to be reached by it")]
    NoWay {
        /// Which machine.
        host: Certname,
    },
    /// The command is none.
    #[error(transparent)]
    NotACommand(#[from] NotACommand),
    /// `ssh` itself is not there.
    #[error("{}: expected the system's ssh", .program.display())]
    NoProgram {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `ssh` did not get there, or was cut off.
    #[error("ssh to {host}: {words}")]
    NotReached {
        /// Which machine.
        host: Certname,
        /// What `ssh` said.
        words: String,
    },
    /// It was killed here.
    #[error("ssh to {host} was ended by a signal")]
    Killed {
        /// Which machine.
        host: Certname,
    },
    /// It has not ended in its time.
    #[error("{host}: `{command}` has not ended within {} s", .patience.as_secs())]
    Late {
        /// Which machine.
        host: Certname,
        /// What was to be run.
        command: String,
        /// The time.
        patience: Duration,
    },
    /// Its pipes broke.
    #[error("ssh to {host}: its output could not be read")]
    Broken {
        /// Which machine.
        host: Certname,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Ended {
    /// Both outputs, the standard error last, for a person who has to know what went wrong.
    #[must_use]
    pub fn said(&self) -> String {
        let both = [self.out.trim(), self.err.trim()];
        both.iter().filter(|words| !words.is_empty()).copied().collect::<Vec<_>>().join("\n")
    }

    /// The last lines of both outputs in one, fit for a reason.
    #[must_use]
    pub fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        // A person sees enough in five, and a reason has an end.
        let last: Vec<&str> = lines.iter().skip(lines.len().saturating_sub(5)).copied().collect();
        if last.is_empty() { "it said nothing".to_owned() } else { last.join(" / ") }
    }
}

impl Shell {
    /// By these settings; without any, every command is refused.
    #[must_use]
    pub const fn new(ssh: Option<Ssh>) -> Self {
        Self { ssh }
    }

    /// Whether there is a way at all.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.ssh.is_some()
    }

    /// Runs a command that only looks, or takes no longer than one that does.
    ///
    /// # Errors
    /// It was not run, or nobody knows how it ended.
    pub async fn look(&self, host: &Certname, line: &CommandLine) -> Result<Ended, NotRun> {
        let looked = timeout(LOOK, self.run(host, line, &[])).await;
        let late = || NotRun::Late { host: host.clone(), command: line.as_str().to_owned(), patience: LOOK };
        looked.unwrap_or_else(|_| Err(late()))
    }

    /// Runs a command with this on its standard input, for as long as the caller waits; `ssh` is ended when he does no
    /// longer.
    ///
    /// # Errors
    /// It was not run, or nobody knows how it ended.
    pub async fn run(&self, host: &Certname, line: &CommandLine, input: &[u8]) -> Result<Ended, NotRun> {
        let ssh = self.ssh.as_ref().ok_or_else(|| NotRun::NoWay { host: host.clone() })?;
        let line = if ssh.sudo { line.by_sudo() } else { line.clone() };
        let mut command = Command::new(&ssh.program);
        command.args(arguments(ssh)).arg("--").arg(host.as_str()).arg(line.as_str());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // Systems' own settings send the language along, and words in another one would not be known here.
        command.env("LC_ALL", "C.UTF-8").env_remove("LANG").env_remove("LANGUAGE");
        let broken = |source| NotRun::Broken { host: host.clone(), source };
        let mut child =
            command.spawn().map_err(|source| NotRun::NoProgram { program: ssh.program.clone(), source })?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command that does not read its input is told by its exit code.
                stdin.write_all(input).await.ok();
                stdin.shutdown().await.ok();
            }
        };
        let ((), out, err) = tokio::join!(feed, hear(stdout), hear(stderr));
        let (out, err) = (out.map_err(broken)?, err.map_err(broken)?);
        let status = child.wait().await.map_err(broken)?;
        let code = status.code().ok_or_else(|| NotRun::Killed { host: host.clone() })?;
        let ended = Ended { code, out, err };
        if code == OWN_FAILURE {
            return Err(NotRun::NotReached { host: host.clone(), words: ended.last_words() });
        }
        Ok(ended)
    }
}

/// What `ssh` is told; what is told first counts.
fn arguments(ssh: &Ssh) -> Vec<String> {
    let known_hosts = format!("UserKnownHostsFile={}", ssh.known_hosts.display());
    let strict = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        &known_hosts,
        "GlobalKnownHostsFile=/dev/null",
        "KnownHostsCommand=none",
        "UpdateHostKeys=no",
        "VerifyHostKeyDNS=no",
        "ForwardAgent=no",
        "ForwardX11=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "ControlMaster=no",
        "ControlPath=none",
        "RequestTTY=no",
    ];
    let usual = ["ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=4"];
    let mut all = Vec::new();
    for option in strict.into_iter().chain(ssh.options.iter().map(String::as_str)).chain(usual) {
        all.extend(["-o".to_owned(), option.to_owned()]);
    }
    if let Some(key) = &ssh.key {
        all.extend(["-o".to_owned(), "IdentitiesOnly=yes".to_owned(), "-i".to_owned()]);
        all.push(key.display().to_string());
    }
    all.extend(["-l".to_owned(), ssh.user.clone()]);
    all
}

/// Everything that is said; of more than three times [`MOST_SAID`], so much of its beginning and at least that of its end.
pub(crate) async fn hear(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let Some(mut pipe) = pipe else { return Ok(String::new()) };
    let (mut first, mut last, mut piece) = (Vec::new(), Vec::new(), vec![0_u8; 16 << 10]);
    let mut left_out = false;
    loop {
        let count = pipe.read(&mut piece).await?;
        let Some(heard) = piece.get(..count).filter(|heard| !heard.is_empty()) else { break };
        let (begins, goes_on) = heard.split_at(heard.len().min(MOST_SAID.saturating_sub(first.len())));
        first.extend_from_slice(begins);
        last.extend_from_slice(goes_on);
        if last.len() > 2 * MOST_SAID {
            last.drain(..MOST_SAID);
            left_out = true;
        }
    }
    let mut said = String::from_utf8_lossy(&first).into_owned();
    if left_out {
        said.push_str(" … ");
    }
    said.push_str(&String::from_utf8_lossy(&last));
    Ok(said)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    /// Written by another process: were it open here for writing, a program that another thread starts meanwhile would
    /// hold it open, and nobody could run it.
    fn executable(path: &Path, text: &str) {
        let mut install = std::process::Command::new("install");
        install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
        let mut child = install.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// A program in place of `ssh`.
    fn in_place_of_ssh(script: &str) -> (TempDir, Shell) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("ssh");
        executable(&program, &format!("#!/bin/sh\n{script}\n"));
        let ssh = Ssh {
            program,
            user: "puppet-ops".into(),
            sudo: true,
            known_hosts: "/etc/known".into(),
            key: Some("/etc/key".into()),
            options: vec!["Port=2222".into(), "ConnectTimeout=3".into()],
        };
        (folder, Shell::new(Some(ssh)))
    }

    fn host() -> Certname {
        Certname::parse_host("add.example.com").unwrap()
    }

    #[tokio::test]
    async fn ssh_is_told_its_limits_before_anything_else_and_the_command_last() {
        let (_folder, shell) = in_place_of_ssh("printf '%s\\n' \"$@\"");
        let line = CommandLine::of(["echo", "a b"]).unwrap();
        let ended = shell.run(&host(), &line, b"").await.unwrap();
        let said: Vec<&str> = ended.out.lines().collect();
        let at = |word: &str| said.iter().position(|said| *said == word).unwrap_or_else(|| panic!("{word}"));
        assert!(at("StrictHostKeyChecking=yes") < at("Port=2222"));
        assert!(at("UserKnownHostsFile=/etc/known") < at("Port=2222"));
        assert!(at("ConnectTimeout=3") < at("ConnectTimeout=15"));
        assert_eq!(said[said.len() - 3..], ["--", "add.example.com", "sudo -n -- echo 'a b'"]);
        assert_eq!(said[at("-l") + 1], "puppet-ops");
    }

    #[tokio::test]
    async fn how_a_command_ended_and_what_it_said_is_told() {
        let (_folder, shell) = in_place_of_ssh("cat; echo oops >&2; exit 6");
        let line = CommandLine::of(["puppet"]).unwrap();
        let ended = shell.run(&host(), &line, b"in\n").await.unwrap();
        assert_eq!(ended, Ended { code: 6, out: "in\n".into(), err: "oops\n".into() });
        assert_eq!(ended.last_words(), "in / oops");
        let (_folder, shell) = in_place_of_ssh("echo 'Host key verification failed.' >&2; exit 255");
        let told = shell.look(&host(), &line).await.unwrap_err().to_string();
        assert_eq!(told, "ssh to add.example.com: Host key verification failed.");
        let told = Shell::new(None).look(&host(), &line).await.unwrap_err().to_string();
        assert!(told.contains("[ssh]"), "{told}");
    }

    #[tokio::test]
    async fn the_beginning_and_the_end_of_much_that_is_said_are_kept() {
        let (_folder, shell) = in_place_of_ssh(
            "echo the beginning; head -c 40000000 /dev/zero | tr '\\0' x; echo; echo the end; exit 1",
        );
        let ended = shell.run(&host(), &CommandLine::of(["puppet"]).unwrap(), b"").await.unwrap();
        assert!(ended.out.len() <= 3 * MOST_SAID + (32 << 10), "{}", ended.out.len());
        assert!(ended.out.starts_with("the beginning\n") && ended.out.ends_with("the end\n"));
        let (_folder, shell) = in_place_of_ssh("head -c 20000000 /dev/zero | tr '\\0' x");
        let ended = shell.run(&host(), &CommandLine::of(["curl"]).unwrap(), b"").await.unwrap();
        assert_eq!(ended.out.len(), 20_000_000, "nothing is left out of that");
    }
}
