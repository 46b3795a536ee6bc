//! One enrollment carried on to its end or to where it stops: the turn at PuppetDB and the console taken, the
//! installation's files read, and only then a journal begun or taken up, every step driven and recorded.

use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Settings;
use stagedoor_config::master::Kind;

use crate::bulletin::Bulletin;
use crate::drive::{End, Told, drive};
use crate::journal::{Folder, Journal, JournalError, Turn};
use crate::pipeline::{NotAPlan, Plan, Procedure, Stop};
use crate::site::{NotOpened, Site};
use crate::steps::{Enrolling, Permits};

/// Why an enrollment is not carried on; its journal is as it was.
#[derive(Debug, thiserror::Error)]
pub enum NotCarried {
    /// Another is at work, or the journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is nothing to do.
    #[error(transparent)]
    Plan(#[from] NotPlanned),
    /// A file of the settings.
    #[error(transparent)]
    Site(#[from] NotOpened),
}

/// Why there is no plan for a master.
#[derive(Debug, thiserror::Error)]
pub enum NotPlanned {
    /// The name is not a compile master's: to take it through these steps would break the installation.
    #[error("{name} is {what} in the settings: expected the certname of a compile master")]
    Taken {
        /// The name.
        name: Certname,
        /// Whose it is.
        what: &'static str,
    },
    /// The stages.
    #[error(transparent)]
    NotAPlan(#[from] NotAPlan),
}

/// The plan of an enrollment of this master by these settings.
///
/// # Errors
/// There is none.
pub fn plan(
    settings: &Settings,
    procedure: Procedure,
    master: &Certname,
    address: Option<&str>,
) -> Result<Plan, NotPlanned> {
    if let Some(what) = taken(settings, procedure, master) {
        return Err(NotPlanned::Taken { name: master.clone(), what });
    }
    let plan = Plan::new(procedure, master.clone(), &settings.stages(master))?;
    Ok(match address {
        Some(address) => plan.at(address),
        None => plan,
    })
}

/// Who else has this name: a mistyped one must not take the certificate of the Master of Masters or of PuppetDB away.
fn taken(settings: &Settings, procedure: Procedure, name: &Certname) -> Option<&'static str> {
    let is = |server: &Certname| server == name;
    if is(&settings.mom.certname) {
        // It may well serve catalogs, in its own name: then it is in the pool like any open master.
        let may = procedure == Procedure::Adopt && matches!(settings.master.kind, Kind::Open { .. });
        return (!may).then_some("the Master of Masters");
    }
    if settings.puppetdb.as_ref().is_some_and(|server| is(&server.certname)) {
        return Some("PuppetDB");
    }
    if settings.console.as_ref().is_some_and(|server| is(&server.certname)) {
        return Some("the console");
    }
    if settings.doors.iter().any(|door| is(&door.certname)) {
        return Some("a door");
    }
    settings.names_in_stages(name).then_some("a host of the stages")
}

/// The right to carry enrollments on: until it is dropped, no other process changes the lists of the same hosts.
#[derive(Debug)]
pub struct Carrier {
    _turn: Turn,
    site: Site,
}

impl Carrier {
    /// Takes the turn at the hosts whose lists an enrollment changes, and reads the files of the settings. Only then is
    /// a journal to be begun or taken up: one that could not be carried on would say that it is under way.
    ///
    /// # Errors
    /// Another enrollment has the turn, or a file is not as it must be.
    pub fn ready(settings: &Settings) -> Result<Self, NotCarried> {
        let lists = settings.puppetdb.iter().chain(&settings.console).map(|server| &server.certname);
        let turn = Folder::at(&settings.journal).turn(lists)?;
        Ok(Self { _turn: turn, site: Site::open(settings.clone())? })
    }

    /// Carries an enrollment on; `tell` is told of everything that happens, once it is recorded. Where somebody
    /// interrupts it, what he gives is recorded as its stop.
    ///
    /// # Errors
    /// It is not carried on any further, because of this machine and not of a step.
    pub async fn carry(
        &self,
        mut journal: Journal,
        permits: Permits,
        interrupted: impl Future<Output = Stop> + Send,
        tell: &mut (impl FnMut(&Told) + Send),
    ) -> Result<End, NotCarried> {
        if let Ok(Some(token)) = self.site.token() {
            journal.keep_out(token.as_str());
        }
        let plan = journal.progress().plan().clone();
        let deadlines = &self.site.settings.deadlines;
        let bulletin = Bulletin::of(journal.progress());
        let mut tell = |told: &Told| {
            bulletin.happened(&plan, told);
            tell(told);
        };
        let enrolling = Enrolling { site: &self.site, plan: plan.clone(), permits };
        let driven = drive(&enrolling, &mut journal, deadlines, interrupted, &mut tell);
        Ok(bulletin.beside(&self.site, driven).await?)
    }
}
