//! Which door is asked, and in what form its answer is told: the same words for every command that asks one.

use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stagedoor_config::proxy::ADMIN_UNIX;

use super::ask::{NoAnswer, ask};
use super::{Failure, SETTINGS, say, settings};

#[derive(Debug, Args)]
pub(super) struct At {
    /// The door's socket; without it, the one that the settings name.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The door's settings, for its socket.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl At {
    /// Whoever may use the socket need not be allowed to read the settings, so those are only insisted on when named.
    pub(super) fn socket(&self) -> Result<PathBuf, Failure> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let settings = match &self.config {
            Some(file) => Some(settings::load(file)?),
            None => settings::read(Path::new(SETTINGS)).ok(),
        };
        match settings {
            None => Ok(ADMIN_UNIX.into()),
            Some(settings) => settings.admin.unix.ok_or_else(|| {
                anyhow::anyhow!(
                    "expected a socket to ask the door at, and `admin.unix` is \"off\" in its settings"
                )
                .into()
            }),
        }
    }

    /// Asks the door for this, and tells the answer: in JSON, or in these words.
    pub(super) fn tell<T: Serialize + DeserializeOwned>(
        &self,
        path: &str,
        words: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let asked = ask::<T>(&self.socket()?, Method::GET, path, None::<&()>);
        let answer = asked.map_err(|why| self.unanswered(why))?;
        say(&if self.json { json(&answer) } else { words(&answer) })
    }

    /// Why there is no answer, in the form that was asked for.
    pub(super) fn unanswered(&self, why: NoAnswer) -> Failure {
        match why {
            NoAnswer::Refused(refusal) if self.json => match say(&json(&refusal)) {
                Ok(()) => Failure::Told,
                Err(unsaid) => unsaid,
            },
            why => why.into(),
        }
    }
}

/// The wire's own types, which hold nothing that JSON cannot.
pub(super) fn json(answer: &impl Serialize) -> String {
    serde_json::to_string_pretty(answer).unwrap_or_default()
}
