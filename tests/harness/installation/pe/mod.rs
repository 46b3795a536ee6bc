//! What Puppet Enterprise adds to an installation: a console with its classifier and its rights, an orchestrator, and, in
//! its third version, servers on Java 7 and MCollective.
//!
//! Written from the vendor's documentation of each interface; nothing of it could be tried against the real one.
//!
//! | file | holds |
//! |---|---|
//! | `rights` | who may ask: tokens, certificates, permissions |
//! | `classifier` | groups, looked at and changed |
//! | `orchestrator` | jobs that have agents run, and who is connected |
//! | `curl` | `curl` on the machine of a server on Java 7 |
//! | `mco` | MCollective, as `mco rpc` shows it |

mod classifier;
pub(super) mod curl;
pub(super) mod mco;
mod orchestrator;
mod rights;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

pub use classifier::Classifier;
pub use orchestrator::{Next, Orchestrator};
pub use rights::Rights;

use super::{CONSOLE, ENROLLER, Installation, PUPPETDB};
use crate::ca::PuppetCa;
use crate::identity::Leaf;
use crate::listening::Speaks;
use crate::mom::{self, Mom};

/// The token that is valid at first.
pub const TOKEN: &str = "0bA5c-t0k3n-0f-th3-3nr0ll3r";

/// Which Puppet Enterprise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.x: no tokens, no orchestrator, no endpoint that pins; Java 7; MCollective.
    V3,
    /// 2015.3: tokens; no endpoint that pins, and an orchestrator that runs no single nodes.
    V2015,
    /// 2018.1.
    V2018,
    /// 2019 and later.
    V2019,
}

impl Version {
    /// The preset for it.
    #[must_use]
    pub const fn preset(self) -> &'static str {
        match self {
            Self::V3 => "pe-3",
            Self::V2015 | Self::V2018 => "pe-2015",
            Self::V2019 => "pe-2019",
        }
    }
}

/// The console and the orchestrator of an installation.
pub struct Enterprise {
    /// Who may ask them.
    pub rights: Arc<Rights>,
    /// The console's classifier.
    pub classifier: Arc<Classifier>,
    /// The orchestrator.
    pub orchestrator: Arc<Orchestrator>,
    token: PathBuf,
}

impl Enterprise {
    /// Starts them beside an installation, which is one of this version from now on; its settings say so.
    #[must_use]
    pub fn beside(there: &mut Installation, ca: &Arc<PuppetCa>, mom: &Mom, version: Version) -> Self {
        let rights = Arc::new(Rights::default());
        let classifier = Classifier::start(ca, rights.clone(), version);
        let orchestrator = Orchestrator::start(ca, rights.clone(), there.machines.clone(), version);
        let token = there.folder().join("token");
        there.machines.have_no_agent_at_first();
        let this = Self { rights, classifier, orchestrator, token };
        match version {
            Version::V3 => this.on_java_7(there, ca, mom),
            _ => {
                mom.let_token(TOKEN);
                this.new_token(TOKEN);
            }
        }
        let runner = match version {
            Version::V3 => "mcollective".to_owned(),
            _ => format!("orchestrator\"\norchestrator = \"{}", this.orchestrator.address()),
        };
        there.paper.change("\"open-source\"", &format!("\"{}\"", version.preset()));
        there.paper.change("runner = \"ssh\"", &format!("runner = \"{runner}\""));
        let console = this.classifier.address();
        there
            .paper
            .more
            .push_str(&format!("[console]\ncertname = \"{CONSOLE}\"\naddress = \"{console}\"\n\n"));
        if version != Version::V3 {
            there.paper.more.push_str(&format!("[token]\nfile = \"{}\"\n\n", this.token.display()));
        }
        this
    }

    /// Writes a token where the enroller reads it, which is valid from now on.
    pub fn new_token(&self, token: &str) {
        fs::write(&self.token, format!("{token}\n")).expect("a folder of our own");
        fs::set_permissions(&self.token, fs::Permissions::from_mode(0o600)).expect("our own file");
        self.rights.accept(token);
    }

    /// Servers that shake no modern hand, and that `curl` on their own machines reaches all the same.
    fn on_java_7(&self, there: &mut Installation, ca: &Arc<PuppetCa>, mom: &Mom) {
        mom.let_nobody_administer();
        mom.listening().speak(Speaks::Java7);
        there.puppetdb.speak(Speaks::Java7);
        self.classifier.listening().speak(Speaks::Java7);
        for name in [mom::NAME, PUPPETDB, CONSOLE] {
            there.machines.has_papers(name, &ca.issue(&Leaf::node(name)), &ca.bundle_pem());
            there.puppetdb.knows(name);
        }
        self.rights.list(CONSOLE);
        self.rights.unlist(ENROLLER);
        there.machines.on_java_7(self.classifier.clone());
    }
}
