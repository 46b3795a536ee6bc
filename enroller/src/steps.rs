//! The steps, each in a file of its name: it looks, acts if it must, and looks again.
//!
//! A look changes nothing, wherever it looks. An act may be cut off at any point: what it began elsewhere is found again
//! by the next look, or told from older things by what was noted before. What cannot go on says why and what to do.
//!
//! | file | step |
//! |---|---|
//! | `preflight` | everything is there that the others need |
//! | `install` | the agent, from the Master of Masters |
//! | `sign` | the certificate |
//! | `ordered_runs` | the first run, the ordered runs, and the evidence of earlier ones |
//! | `classify` | groups and classes, and out of them again |
//! | `seal` | the isolation, by a run of the master's own |
//! | `check` | the proof that it compiles |
//! | `admit` | at every door; drained and off the rosters again |
//! | `watch` | the first traffic |
//! | `would` | (what each step would do, in words, for a plan) |
//! | `leave` | the agent stopped, the node no node any more, the certificate taken back |

mod admit;
mod check;
mod classify;
mod hold;
mod install;
mod leave;
mod ordered_runs;
mod preflight;
mod seal;
mod sign;
mod watch;
mod would;

use std::time::Duration;

use stagedoor_config::admin::{Admit, KindName};
use stagedoor_config::certname::Certname;
use stagedoor_config::master::Kind;

use crate::doors::{AskedDoor, NotDone};
use crate::drive::Steps;
use crate::pipeline::{Acted, Facts, Looked, Plan, Procedure, Step, Stop, StopKind, ToAct, ToLook};
use crate::runs::Purpose;
use crate::site::Site;

pub use would::would;

/// Between two looks at something that takes a while.
const BETWEEN: Duration = Duration::from_millis(500);

/// What an operator allows in one invocation, and what he knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permits {
    /// The install script may be fetched without knowing from whom.
    pub insecure_install: bool,
    /// Doors that may be missing.
    pub missing_doors: Vec<Certname>,
    /// SHA-256 of the new machine's public key, as the operator read it there.
    pub key: Option<String>,
    /// Values of the classifier's that are otherwise than they should be may be overwritten.
    pub overwrite: bool,
    /// The machine of a master that is retired is gone: nothing is asked of it.
    pub gone: bool,
}

/// One enrollment's steps.
#[derive(Debug)]
pub struct Enrolling<'s> {
    /// The installation.
    pub site: &'s Site,
    /// What is done to whom.
    pub plan: Plan,
    /// What the operator allows.
    pub permits: Permits,
}

type Look = Result<Looked, Stop>;
type Act = Result<Facts, Stop>;

impl Steps for Enrolling<'_> {
    async fn look(&self, task: &ToLook) -> Looked {
        let looked = match task.step() {
            Step::Preflight => preflight::look(self).await,
            Step::Install => install::look(self, task).await,
            Step::Sign => sign::look(self).await,
            Step::FirstRun => ordered_runs::look(self, task, self.master()).await,
            Step::Classify => classify::look(self, task).await,
            Step::Run { host, .. } => ordered_runs::look(self, task, host).await,
            Step::Evidence { stage, host } => ordered_runs::evidence(self, *stage, host).await,
            Step::Seal => seal::look(self, task).await,
            Step::Check => check::look(task),
            Step::Admit => admit::look(self).await,
            Step::Watch => watch::look(task),
            Step::Drain => admit::drained(self).await,
            Step::TakeOff => admit::off(self).await,
            Step::StopAgent => leave::agent_stopped(self).await,
            Step::Unpin => classify::unpinned(self).await,
            Step::Deactivate => leave::deactivated(self, task).await,
            Step::Revoke => leave::revoked(self, task).await,
        };
        looked.unwrap_or_else(Looked::Stop)
    }

    async fn act(&self, task: ToAct) -> Acted {
        let acted = match task.step() {
            // It is there or it refuses.
            Step::Preflight | Step::Evidence { .. } => Ok(Facts::none()),
            Step::Install => install::act(self).await,
            Step::Sign => sign::act(self).await,
            Step::FirstRun => crate::runs::first(self.site, self.master()).await,
            Step::Classify => classify::act(self).await,
            Step::Run { host, .. } => {
                let purpose = self.purpose(&task);
                hold::through(self, host, crate::runs::run(self.site, host, &purpose)).await
            }
            Step::Seal => seal::act(self, &task).await,
            Step::Check => check::act(self, &task).await,
            Step::Admit => admit::act(self, &task).await,
            Step::Watch => watch::act(self).await,
            Step::Drain => admit::drain(self).await,
            Step::TakeOff => admit::take_off(self).await,
            Step::StopAgent => leave::stop_agent(self).await,
            Step::Unpin => classify::unpin(self).await,
            Step::Deactivate => leave::deactivate(self).await,
            Step::Revoke => leave::revoke(self).await,
        };
        acted.map_or_else(Acted::Stop, Acted::Acted)
    }
}

impl Enrolling<'_> {
    /// What a look at a step sees now, out of its turn.
    pub async fn glance(&self, step: &Step) -> Looked {
        self.look(&ToLook::glance(step)).await
    }

    /// Who is enrolled.
    #[must_use]
    pub const fn master(&self) -> &Certname {
        self.plan.master()
    }

    /// What a run is for that a step has begun.
    fn purpose(&self, task: &ToAct) -> Purpose {
        let words = format!("{} {}, {}", self.plan.procedure().name(), self.master(), task.step());
        let after = task.known().noted.as_ref().and_then(|noted| noted.get("report")).map(str::to_owned);
        Purpose { master: self.master().clone(), words, after }
    }

    /// What the doors are told of the new master.
    #[must_use]
    pub fn admission(&self, generation: Option<u64>) -> Admit {
        let new = &self.site.settings.master;
        let (kind, isolation, check) = match new.kind {
            Kind::Sealed { isolation } => (KindName::Sealed, Some(isolation), None),
            Kind::Open { check } => (KindName::Open, None, Some(check)),
        };
        Admit {
            certname: self.master().clone(),
            address: Some(self.plan.address().to_owned()),
            kind: Some(kind),
            isolation,
            check,
            header_limit: Some(new.header_limit),
            jrubies: new.jrubies,
            generation,
        }
    }

    /// Whether a certname is this program's canary of the new master.
    ///
    /// # Errors
    /// The master's name leaves no room for it.
    pub fn canary(&self) -> Result<Certname, Stop> {
        Certname::parse_host(&format!("canary.{}", self.master())).map_err(|error| {
            let way_out = "give the master a shorter certname";
            Stop::new(StopKind::Refused, format!("canary.{}: {error}", self.master()), way_out)
        })
    }

    /// Every door that may not be missing or is not, and the names of those that are missing and may be.
    async fn doors(&self) -> Result<(Vec<AskedDoor<'_>>, Vec<&Certname>), Stop> {
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        for door in AskedDoor::all(self.site) {
            match door.roster().await {
                Ok(_) => there.push(door),
                Err(error) if error.is_missing() && self.permits.missing_doors.contains(door.name()) => {
                    missing.push(door.name());
                }
                Err(error) => return Err(error.stop()),
            }
        }
        if there.is_empty() {
            let reason = "every door is missing: there is nobody to admit a master at";
            return Err(Stop::new(StopKind::Refused, reason, "start a door, then resume"));
        }
        Ok((there, missing))
    }

    /// Whether this is a master that serves already.
    const fn adopts(&self) -> bool {
        matches!(self.plan.procedure(), Procedure::Adopt)
    }
}

/// Facts with the doors that are missing among them, where any are.
fn and_missing(facts: Facts, missing: &[&Certname]) -> Facts {
    if missing.is_empty() {
        return facts;
    }
    let names: Vec<&str> = missing.iter().map(|name| name.as_str()).collect();
    facts.and("missing_doors", names.join(" "))
}

impl From<NotDone> for Stop {
    fn from(error: NotDone) -> Self {
        error.stop()
    }
}

impl From<crate::ask::NoAnswer> for Stop {
    fn from(error: crate::ask::NoAnswer) -> Self {
        error.stop()
    }
}

impl From<crate::shell::NotRun> for Stop {
    fn from(error: crate::shell::NotRun) -> Self {
        crate::site::not_run(&error)
    }
}
