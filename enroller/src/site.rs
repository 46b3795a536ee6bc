//! The installation, as this program reaches it: the settings, and ways to everybody they name.

use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::UnixTime;
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::{Server, Settings};
use stagedoor_config::read::{self, NotRead};
use stagedoor_config::trust::{Trust, Untrusted};

use crate::ask::{Answer, Https, NoAnswer, Question, by_curl};
use crate::identity::{Identity, NotAnIdentity};
use crate::pipeline::{Stop, StopKind};
use crate::secret::{NotAToken, Token};
use crate::shell::{CommandLine, Ended, NotRun, Shell};
use crate::words::chain;

/// The installation.
#[derive(Debug)]
pub struct Site {
    /// As read from the file.
    pub settings: Settings,
    /// Who is believed.
    pub trust: Arc<Trust>,
    /// The way to servers.
    pub https: Https,
    /// The way to other machines.
    pub shell: Shell,
}

/// Why the installation cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// A file of the Puppet CA's.
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// What stands in it.
    #[error("{}: expected the Puppet CA's own file", .path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Untrusted,
    },
    /// This program's own certificate.
    #[error(transparent)]
    Identity(#[from] NotAnIdentity),
    /// The TLS library.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Site {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// Says which file is wrong, and how.
    pub fn open(settings: Settings) -> Result<Self, NotOpened> {
        let files = &settings.puppet_ca;
        let (bundle, lists) = (read::bytes(&files.bundle)?, read::bytes(&files.crl)?);
        let trust = Trust::from_pem(&bundle, &lists, UnixTime::now()).map_err(|source| {
            let path = match source.source_file() {
                stagedoor_config::trust::Source::Bundle => files.bundle.clone(),
                stagedoor_config::trust::Source::Lists => files.crl.clone(),
            };
            NotOpened::Untrusted { path, source }
        })?;
        let trust = Arc::new(trust);
        let identity = settings.identity.as_ref().map(Identity::read).transpose()?;
        let https = Https::new(Arc::clone(&trust), identity.as_ref())?;
        let shell = Shell::new(settings.ssh.clone());
        Ok(Self { settings, trust, https, shell })
    }

    /// Asks a server of the installation: from here, or on its own machine where it runs on Java 7.
    ///
    /// # Errors
    /// Says why there is no answer; whatever the server answers is one.
    pub async fn ask(&self, server: &Server, question: &Question) -> Result<Answer, NoAnswer> {
        if self.settings.preset.is_java_7() {
            let puppet = self.puppet_program();
            return by_curl(&self.shell, &puppet, (&server.certname, &server.address), question, None).await;
        }
        self.https.ask(&server.certname, &server.address, question).await
    }

    /// The token, read anew each time: whoever renews it writes the file.
    ///
    /// # Errors
    /// The file is not there, exposed or no token.
    pub fn token(&self) -> Result<Option<Token>, Stop> {
        self.settings
            .token
            .as_ref()
            .map(|path| Token::read(path))
            .transpose()
            .map_err(|error| not_a_token(&error))
    }

    /// Runs the machine's own `puppet` with these words, which must only look.
    ///
    /// # Errors
    /// It was not run, or nobody knows how it ended.
    pub async fn puppet(&self, host: &Certname, words: &[&str]) -> Result<Ended, NotRun> {
        let line = self.puppet_line(words)?;
        self.shell.look(host, &line).await
    }

    /// The machine's own `puppet` with these words, as a command.
    ///
    /// # Errors
    /// A word is none.
    pub fn puppet_line(&self, words: &[&str]) -> Result<CommandLine, NotRun> {
        let program = self.puppet_program();
        Ok(CommandLine::of([program.as_str()].into_iter().chain(words.iter().copied()))?)
    }

    /// The values of these settings of Puppet's on a machine, in their order; none where one is missing.
    ///
    /// # Errors
    /// `puppet config print` failed, or was not run.
    pub async fn printed<const N: usize>(
        &self,
        host: &Certname,
        section: &str,
        names: [&str; N],
    ) -> Result<[String; N], Stop> {
        let words: Vec<&str> = ["config", "print", "--section", section].into_iter().chain(names).collect();
        let ended = self.puppet(host, &words).await.map_err(|error| not_run(&error))?;
        if ended.code != 0 {
            let reason =
                format!("{host}: `puppet config print` ended with {}: {}", ended.code, ended.last_words());
            return Err(Stop::new(StopKind::Failed, reason, "see what it says there, then resume"));
        }
        let value = |name: &str| match N {
            1 => ended.out.trim().to_owned(),
            _ => {
                let of = |line: &str| {
                    let (key, value) = line.split_once('=')?;
                    (key.trim() == name).then(|| value.trim().to_owned())
                };
                ended.out.lines().find_map(of).unwrap_or_default()
            }
        };
        Ok(names.map(value))
    }

    /// The `puppet` program of the machines.
    #[must_use]
    pub fn puppet_program(&self) -> String {
        self.settings.runs.puppet.display().to_string()
    }
}

/// The stop that a command which was not run is for a step.
#[must_use]
pub fn not_run(error: &NotRun) -> Stop {
    let (kind, way_out) = match error {
        NotRun::NoWay { .. } => {
            (StopKind::Refused, "write [ssh] with `known_hosts` in the settings, then resume")
        }
        NotRun::NotACommand(_) => (StopKind::Refused, "correct the word in the settings, then resume"),
        NotRun::NoProgram { .. } => (StopKind::Refused, "correct `program` under [ssh], then resume"),
        NotRun::NotReached { .. } => (
            StopKind::Failed,
            "see that `ssh` gets there without a question, as the user and with the known_hosts and key under [ssh], \
             then resume",
        ),
        _ => (StopKind::Failed, "see what keeps it there, then resume"),
    };
    Stop::new(kind, chain(error), way_out)
}

fn not_a_token(error: &NotAToken) -> Stop {
    let way_out = "have a new token written there (`puppet access login`), then resume";
    // Nothing went wrong that another token does not put right.
    Stop::new(StopKind::Paused, chain(error), way_out)
}
