//! The enroller's settings: checked values, as the rest of the program sees them.
//!
//! Text becomes [`Settings`] in [`Settings::parse`], which reads everything before it gives up, so that one run of
//! `stagedoor-enroller check` names every mistake. An order of runs that would leave the new master off PuppetDB's or
//! the console's list is a mistake like any other: no setting turns the order round.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | the settings as values |
//! | `preset` | what goes without saying in each kind of installation |
//! | `parse` | text → settings |
//! | `stages` | the order of the runs, and whether it can work |
//! | `install` | how the agent comes onto a new machine |
//! | `groups` | who says what a new master is, and the console's groups |
//! | `proof` | what has to be shown before a master is admitted, and what is looked at afterwards |
//! | `runner` | how a run is started on another machine; `ssh`'s options |
//! | `serve` | where the sidecar is asked |
//! | `extension` | what may stand in a new master's certificate |
//! | `deadlines` | how long each step may take, with reasons |
#![deny(clippy::disallowed_methods)]

mod deadlines;
mod extension;
mod groups;
mod install;
mod parse;
mod preset;
mod proof;
mod runner;
mod serve;
mod stages;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;

pub use deadlines::Deadlines;
pub use extension::Extension;
pub use groups::{Groups, Override};
pub use install::{By, Install};
pub use parse::JOURNAL;
pub use preset::Preset;
pub use proof::{Canary, Compared, Watch};
pub use runner::{HOST, Runner, Ssh};
pub use serve::SOCKET;
pub use stages::Place;

use crate::certname::Certname;
use crate::master::Kind;
use crate::proxy::{KeyPair, PuppetCa};

/// The checked settings of an enroller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What kind of installation it is.
    pub preset: Preset,
    /// The Master of Masters, which holds the CA.
    pub mom: Server,
    /// PuppetDB; none where an open-source installation has none.
    pub puppetdb: Option<Server>,
    /// The console with its classifier; none in an open-source installation.
    pub console: Option<Server>,
    /// Who may be believed.
    pub puppet_ca: PuppetCa,
    /// This program's own certificate of the Puppet CA: what it shows to all of them.
    pub identity: Option<KeyPair>,
    /// The file that holds an RBAC token. Its text is read where it is used and never kept in settings.
    pub token: Option<PathBuf>,
    /// Every door that a master is admitted at, in the order written; no certname twice.
    pub doors: Vec<Door>,
    /// What a new master is admitted as.
    pub master: NewMaster,
    /// How the agent comes onto a new machine.
    pub install: Install,
    /// What a new master's certificate may say.
    pub certificate: Request,
    /// A program here that classifies a new master, with its arguments, [`HOST`] among them; none where nothing has to be
    /// done, or where the console's classifier is asked.
    pub classify: Option<Vec<String>>,
    /// The console's groups; none in an open-source installation.
    pub groups: Option<Groups>,
    /// The runs and their order.
    pub runs: Runs,
    /// A program here that has the site's code seal a new master, with its arguments, [`HOST`] among them; none where its
    /// classes say so already.
    pub seal: Option<Vec<String>>,
    /// How the code of a new master is compared with the Master of Masters'.
    pub code: Compared,
    /// The node whose catalog is compiled for a proof.
    pub canary: Canary,
    /// When a new master is believed to serve well.
    pub watch: Watch,
    /// How another machine is reached; none where nothing needs it.
    pub ssh: Option<Ssh>,
    /// Where `stagedoor-enroller serve` is asked.
    pub serve: Serve,
    /// The folder that holds one journal per enrollment.
    pub journal: PathBuf,
    /// How long each step may take.
    pub deadlines: Deadlines,
}

/// A machine of the installation that this program asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    /// The name its certificate must carry, and its name as a node.
    pub certname: Certname,
    /// `host:port`.
    pub address: String,
}

/// A door, asked at one of its writing admin doors.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Door {
    /// The name its certificate must carry, and the name it is told by.
    pub certname: Certname,
    /// How it is reached.
    pub admin: DoorAdmin,
    /// `host:port` where agents reach it, as the canary does.
    pub agents: String,
}

/// How a door's admin door is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DoorAdmin {
    /// On this machine: its `admin.unix`.
    Unix(PathBuf),
    /// From another machine, showing [`Settings::identity`]: `host:port` of its `admin.tls`.
    Tls(String),
}

/// Where `stagedoor-enroller serve` is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serve {
    /// Its socket, whose file's mode decides who may ask; none when it is off.
    pub unix: Option<PathBuf>,
    /// From other machines; off where it is not written.
    pub tls: Option<ServeTls>,
}

/// Where it is asked from other machines: [`Settings::identity`] is shown, and a client certificate demanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeTls {
    /// Where it listens.
    pub address: SocketAddr,
    /// Certnames that may ask; at least one.
    pub allow: Vec<Certname>,
}

/// What a new master is admitted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NewMaster {
    /// How it is protected.
    pub kind: Kind,
    /// The most bytes of request head that its web server reads.
    pub header_limit: usize,
    /// How many catalogs it compiles at once; none where nobody said.
    pub jrubies: Option<NonZero<u16>>,
}

/// What a new master's certificate request must say, and all that it may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its alternative names, in lower case, beside its certname.
    pub dns_alt_names: Vec<String>,
    /// Its extensions below Puppet's own arc.
    pub extensions: Vec<Extension>,
}

/// The ordered runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    /// One stage begins only after the one before it has succeeded.
    pub stages: Vec<Vec<Place>>,
    /// How a run is started.
    pub runner: Runner,
    /// The `puppet` program on the machines that run it.
    pub puppet: PathBuf,
}

impl Settings {
    /// The stages of one enrollment by name, as written: a host may stand there twice.
    #[must_use]
    pub fn stages(&self, master: &Certname) -> Vec<Vec<Certname>> {
        let name = |place: &Place| match place {
            Place::Master => Some(master.clone()),
            Place::Mom => Some(self.mom.certname.clone()),
            Place::Puppetdb => self.puppetdb.as_ref().map(|server| server.certname.clone()),
            Place::Console => self.console.as_ref().map(|server| server.certname.clone()),
            Place::Node(certname) => Some(certname.clone()),
        };
        self.runs.stages.iter().map(|stage| stage.iter().filter_map(name).collect()).collect()
    }
}
