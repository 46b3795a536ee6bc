//! One enrollment carried on to its end or to where it stops: the turn at PuppetDB and the console taken, the
//! installation's files read, every step driven and recorded.

use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Settings;

use crate::drive::{End, Told, drive};
use crate::journal::{Folder, Journal, JournalError, Turn};
use crate::pipeline::{NotAPlan, Plan, Procedure};
use crate::site::{NotOpened, Site};
use crate::steps::{Enrolling, Permits};

/// Why an enrollment was not carried on; its journal is as it was.
#[derive(Debug, thiserror::Error)]
pub enum NotCarried {
    /// Another is at work, or the journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is nothing to do.
    #[error(transparent)]
    Plan(#[from] NotAPlan),
    /// A file of the settings.
    #[error(transparent)]
    Site(#[from] NotOpened),
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
) -> Result<Plan, NotAPlan> {
    let plan = Plan::new(procedure, master.clone(), &settings.stages(master))?;
    Ok(match address {
        Some(address) => plan.at(address),
        None => plan,
    })
}

/// The turn at the hosts whose lists an enrollment changes.
///
/// # Errors
/// Another enrollment has it.
pub fn turn(settings: &Settings) -> Result<Turn, JournalError> {
    let lists = settings.puppetdb.iter().chain(&settings.console).map(|server| &server.certname);
    Folder::at(&settings.journal).turn(lists)
}

/// Carries an enrollment on; `tell` is told of everything that happens, once it is recorded.
///
/// # Errors
/// It was not carried on, or no further, because of this machine and not of a step.
pub async fn carry(
    settings: &Settings,
    mut journal: Journal,
    permits: Permits,
    tell: &mut (impl FnMut(&Told) + Send),
) -> Result<End, NotCarried> {
    let _turn = turn(settings)?;
    let site = Site::open(settings.clone())?;
    if let Ok(Some(token)) = site.token() {
        journal.keep_out(token.as_str());
    }
    let plan = journal.progress().plan().clone();
    let enrolling = Enrolling { site: &site, plan, permits };
    Ok(drive(&enrolling, &mut journal, &settings.deadlines, tell).await?)
}
