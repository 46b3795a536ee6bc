//! A whole installation that masters are enrolled in: machines that a stand-in for `ssh` reaches, a CA that is asked to
//! sign, a PuppetDB whose list is made by its own run, a console likewise, and doors.
//!
//! The order of runs matters here as it does in the field: a master whose name is not on PuppetDB's list says that it
//! runs and answers every catalog with an error; the list is made of what masters' own runs have exported when PuppetDB's
//! machine runs, and not before.
//!
//! | file | holds |
//! |---|---|
//! | `machines` | programs on machines: `puppet`, `puppetserver` and what a shell asks about names and ports |
//! | `pe` | what Puppet Enterprise adds: the console, the orchestrator, MCollective, servers on Java 7 |
//! | `puppetdb` | PuppetDB: reports, nodes, its list |
//! | `program` | the `stagedoor-enroller` program |
//! | `settings` | the enroller's settings and files |

mod machines;
mod pe;
mod program;
mod puppetdb;
mod settings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

pub use machines::{Machines, Turn};
pub use pe::{Classifier, Enterprise, Next, Orchestrator, Rights, TOKEN, Version};
pub use program::{Said, binary};
pub use puppetdb::PuppetDb;
pub use settings::Paper;

use crate::ca::PuppetCa;
use crate::fleet::Site;
use crate::identity::Leaf;
use crate::master::Plan;
use crate::mom;

/// The certname of the enroller's own certificate.
pub const ENROLLER: &str = "enroller.example.com";
/// PuppetDB's machine.
pub const PUPPETDB: &str = "puppetdb.example.com";
/// The console's.
pub const CONSOLE: &str = "console.example.com";

/// An installation around a site, whose door may be open or not.
pub struct Installation {
    /// PuppetDB.
    pub puppetdb: Arc<PuppetDb>,
    /// Its machines.
    pub machines: Machines,
    /// The enroller's files.
    pub paper: Paper,
    _folder: TempDir,
}

impl Installation {
    /// One around this site, with these machines that have no agent yet: their certnames.
    #[must_use]
    pub fn around(site: &Site, new: &[&str]) -> Self {
        site.mom.autosign(false);
        Self::of(site, new.iter().map(|name| Self::plan(name)))
    }

    /// One around this site, with machines that have no agent yet and become masters like these. The site's own masters
    /// serve already: their names are on the lists.
    #[must_use]
    pub fn of(site: &Site, new: impl IntoIterator<Item = Plan>) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let puppetdb = PuppetDb::start(&site.ca);
        site.mom.let_administer(ENROLLER);
        for master in &site.masters {
            puppetdb.knows(master.name());
        }
        puppetdb.knows(mom::NAME);
        puppetdb.knows(ENROLLER);
        let machines = Machines::start(folder.path(), site, puppetdb.clone(), new);
        let paper = Paper::write(folder.path(), &site.ca, &site.mom, &puppetdb, &machines);
        Self { puppetdb, machines, paper, _folder: folder }
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.paper.folder()
    }

    /// What a new master is, once its first run has made it one.
    #[must_use]
    pub fn plan(certname: &str) -> Plan {
        Plan { alt_names: vec![certname.to_owned(), "puppet".to_owned()], ..Plan::named(certname) }
    }
}

/// Values of `puppet config`, by name.
pub(crate) type Settings = BTreeMap<String, String>;

/// The enroller's own certificate.
#[must_use]
pub fn enroller(ca: &PuppetCa) -> crate::identity::Identity {
    ca.issue(&Leaf::server(ENROLLER))
}
