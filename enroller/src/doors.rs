//! The doors, each asked at one of its writing admin doors.

use http::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stagedoor_config::admin::enrollment::Enrollment;
use stagedoor_config::admin::hold::{Hold, Holding};
use stagedoor_config::admin::judge::{Judge, Judged};
use stagedoor_config::admin::{Admit, MastersView, Move, Refusal, Retire, RosterView};
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::{Door, DoorAdmin};

use crate::ask::{Answer, NoAnswer, Question};
use crate::pipeline::{Stop, StopKind};
use crate::site::Site;
use crate::words::chain;

/// One door.
#[derive(Debug, Clone, Copy)]
pub struct AskedDoor<'s> {
    site: &'s Site,
    door: &'s Door,
}

/// Why a door did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// It cannot be asked.
    #[error("the door {door} cannot be asked")]
    NoAnswer {
        /// Which.
        door: Certname,
        /// Why not.
        #[source]
        source: NoAnswer,
    },
    /// It will not.
    #[error("the door {door} answered {status}: {words}")]
    Refused {
        /// Which.
        door: Certname,
        /// Its answer's status.
        status: StatusCode,
        /// Its words.
        words: String,
        /// What it says to do.
        hint: String,
    },
}

impl<'s> AskedDoor<'s> {
    /// Every door of the settings, in their order.
    pub fn all(site: &'s Site) -> impl Iterator<Item = Self> {
        site.settings.doors.iter().map(move |door| Self { site, door })
    }

    /// The name it is told by.
    #[must_use]
    pub const fn name(&self) -> &'s Certname {
        &self.door.certname
    }

    /// Where agents reach it.
    #[must_use]
    pub fn agents(&self) -> &'s str {
        &self.door.agents
    }

    /// The roster in force there.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn roster(&self) -> Result<RosterView, NotDone> {
        self.read(Question::get("/v1/roster")).await
    }

    /// Every master as it sees it.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn masters(&self) -> Result<MastersView, NotDone> {
        self.read(Question::get("/v1/masters")).await
    }

    /// Puts a master on the roster, for its canary alone.
    ///
    /// # Errors
    /// It cannot be asked, or will not.
    pub async fn warm(&self, master: &Admit) -> Result<RosterView, NotDone> {
        self.change("warm", master).await
    }

    /// Puts a master on the roster, for everybody.
    ///
    /// # Errors
    /// It cannot be asked, or will not.
    pub async fn admit(&self, master: &Admit) -> Result<RosterView, NotDone> {
        self.change("admit", master).await
    }

    /// Lets a master finish what it has.
    ///
    /// # Errors
    /// It cannot be asked, or will not.
    pub async fn drain(&self, master: &Certname, generation: Option<u64>) -> Result<RosterView, NotDone> {
        self.change("drain", &Move { certname: master.clone(), generation }).await
    }

    /// Takes a master off the roster.
    ///
    /// # Errors
    /// It cannot be asked, or will not.
    pub async fn retire(&self, master: &Certname, generation: Option<u64>) -> Result<RosterView, NotDone> {
        self.change("retire", &Retire { certname: master.clone(), force: false, generation }).await
    }

    /// Whether it would let in whoever shows this certificate.
    ///
    /// # Errors
    /// It cannot be asked, or cannot read the certificate.
    pub async fn judges(&self, certificate: &str) -> Result<Judged, NotDone> {
        let judge = Judge { certificate: certificate.to_owned() };
        self.read(Question::of(Method::POST, "/v1/judge").json(&judge)).await
    }

    /// Has it keep catalogs in its queue for so many seconds, or let them go.
    ///
    /// # Errors
    /// It cannot be asked, or keeps nothing.
    pub async fn hold(&self, seconds: u16) -> Result<Holding, NotDone> {
        self.read(Question::of(Method::POST, "/v1/hold").json(&Hold { seconds })).await
    }

    /// Has it remember how far an enrollment is, for its page.
    ///
    /// # Errors
    /// It cannot be asked, or is too old to listen.
    pub async fn enrolls(&self, enrollment: &Enrollment) -> Result<Enrollment, NotDone> {
        self.read(Question::of(Method::POST, "/v1/enrollments").json(enrollment)).await
    }

    async fn change(&self, what: &str, body: &impl Serialize) -> Result<RosterView, NotDone> {
        self.read(Question::of(Method::POST, format!("/v1/roster/{what}")).json(body)).await
    }

    async fn read<T: DeserializeOwned>(&self, question: Question) -> Result<T, NotDone> {
        let door = || self.door.certname.clone();
        let answer = self.ask(question).await?;
        if answer.status.is_success() {
            let read = answer.read(self.door.certname.as_str());
            return read.map_err(|source| NotDone::NoAnswer { door: door(), source });
        }
        let refusal: Option<Refusal> = serde_json::from_slice(&answer.body).ok();
        let (words, hint) = match refusal {
            Some(refusal) => (refusal.error, refusal.hint),
            None => (answer.words(), "see that a door of this version answers there".to_owned()),
        };
        Err(NotDone::Refused { door: door(), status: answer.status, words, hint })
    }

    async fn ask(&self, question: Question) -> Result<Answer, NotDone> {
        let answer = match &self.door.admin {
            DoorAdmin::Unix(path) => self.site.https.ask_socket(path, &question).await,
            DoorAdmin::Tls(address) => {
                self.site.https.ask(&self.door.certname, address, &question.shown()).await
            }
        };
        answer.map_err(|source| NotDone::NoAnswer { door: self.door.certname.clone(), source })
    }
}

impl NotDone {
    /// Whether the door is not there at all.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::NoAnswer { source: NoAnswer::NotConnected { .. } | NoAnswer::Late { .. }, .. })
    }

    /// The stop that this is for a step.
    #[must_use]
    pub fn stop(&self) -> Stop {
        match self {
            Self::NoAnswer { door, source } if self.is_missing() => {
                let way_out = format!(
                    "start it, then resume; or go on without it, `--missing-door {door}`, and admit the master there by \
                     hand before agents come to it"
                );
                Stop::new(
                    StopKind::Refused,
                    format!("the door {door} is missing: {}", chain(source)),
                    way_out,
                )
            }
            Self::NoAnswer { source, .. } => {
                let Stop { kind, way_out, .. } = source.stop();
                Stop::new(kind, chain(self), way_out)
            }
            Self::Refused { hint, .. } => {
                Stop::new(StopKind::Refused, self.to_string(), format!("{hint}; then resume"))
            }
        }
    }
}
