//! The door's settings: checked values, as the rest of the program sees them.
//!
//! Text becomes [`Settings`] in [`Settings::parse`], which reads everything before it gives up, so that one run of
//! `stagedoor check` names every mistake.
#![deny(clippy::disallowed_methods)]

mod admin;
mod bounds;
mod listen;
mod parse;
pub mod share;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use admin::{ADMIN_HTTP, ADMIN_UNIX};
pub use bounds::{Bounds, HealthCheck};
pub use parse::{ACCESS_LOG, PUPPET_PORT, ROSTER};

use self::share::Share;
pub use crate::bound::{Bound, Contradiction, commented};
use crate::certname::Certname;
use crate::master::{Check, Master};
use crate::network::Network;

/// The checked settings of one door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where agents come in.
    pub listen: Vec<Listen>,
    /// What the door shows to agents: at most one pair of each key type, ECDSA preferred.
    pub certificates: Vec<KeyPair>,
    /// Who may be believed, agents and masters alike.
    pub puppet_ca: PuppetCa,
    /// Where CA bootstrap and packages go.
    pub mom: Mom,
    /// What the door shows to masters that the door CA seals; none where there are no such masters.
    pub masters: Option<DoorPapers>,
    /// What the door shows to the Master of Masters for certificate renewal alone; none turns renewal off.
    pub renewal: Option<KeyPair>,
    /// The program and arguments that run a command on a host outside the firewall; empty where there is none.
    pub outside: Vec<String>,
    /// The roster file; the door is its only writer.
    pub roster: PathBuf,
    /// Where operators and programs ask.
    pub admin: Admin,
    /// The part of every master's JRubies that is this door's.
    pub share: Share,
    /// Whether a catalog goes where its environment's code is, and a run's files where its catalog was compiled.
    pub affinity: bool,
    /// How masters are asked whether they are fit.
    pub health: HealthCheck,
    /// Where one line per request goes, and as what; none turns it off.
    pub access_log: Option<AccessLog>,
    /// Threads that serve agents; none means one per core.
    pub workers: Option<usize>,
    /// Every bound.
    pub bounds: Bounds,
}

/// Where one line per request goes, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// The file; `-` and `/dev/stdout` are the standard output.
    pub file: PathBuf,
    /// What a line is.
    pub format: LineFormat,
}

/// What an access line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineFormat {
    /// A JSON object, for programs.
    #[default]
    Json,
    /// Words, for whoever greps.
    Text,
}

impl LineFormat {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Json, Self::Text];

    /// The word for it in the settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

impl Settings {
    /// Whether some address divides connections between the two kinds of master.
    #[must_use]
    pub fn splits(&self) -> bool {
        self.listen
            .iter()
            .any(|listen| matches!(&listen.mode, Mode::EndTls(rules) if rules.split == Split::ByCapacity))
    }
}

/// One address that agents connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// What becomes of connections.
    pub mode: Mode,
    /// Balancers in front that announce the real source: their connections must begin with a PROXY protocol header,
    /// and nobody else's may.
    pub accept_proxy_from: Vec<Network>,
    /// The PROXY protocol header in front of what is passed on, if one is wanted.
    pub send_proxy: Option<ProxyVersion>,
}

/// What becomes of the connections to one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The door ends the agents' TLS, except where it is told to pass them.
    EndTls(EndTls),
    /// Every connection is passed, byte for byte.
    Pass(Behind),
}

/// Which connections are passed to open masters although this address ends TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndTls {
    /// Those whose ClientHello is below TLS 1.2.
    pub pass_old_tls: bool,
    /// Those that ask for one of these names, in lower case.
    pub pass_sni: Vec<String>,
    /// A share of all, while both kinds of master are admitted.
    pub split: Split,
}

/// Whether connections are divided between the two kinds of master.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Split {
    /// Every connection is ended.
    #[default]
    Off,
    /// By a hash of the source address, in proportion to what each kind of master can carry.
    ByCapacity,
}

/// What stands behind an address whose connections are passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// The roster's open masters.
    OpenMasters,
    /// These alone: another port than Puppet's, such as 8142.
    Backends {
        /// `host:port` each, no two the same.
        addresses: Vec<String>,
        /// How each is asked whether it is fit.
        check: Check,
    },
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// In text.
    V1,
    /// In binary.
    V2,
}

impl Settings {
    /// Where connections are passed to this master as to a backend: the place of that `[[listen]]`, and the backend as
    /// it is listed, by the master's address or by its name on the same port.
    #[must_use]
    pub fn backend_at(&self, master: &Master) -> Option<(usize, &str)> {
        let port = master.address.rsplit_once(':').map_or("", |(_, port)| port);
        let named = format!("{}:{port}", master.certname);
        let is_there = |backend: &&String| {
            backend.eq_ignore_ascii_case(&master.address) || backend.eq_ignore_ascii_case(&named)
        };
        self.listen.iter().enumerate().find_map(|(place, listen)| match &listen.mode {
            Mode::Pass(Behind::Backends { addresses, .. }) => {
                addresses.iter().find(is_there).map(|backend| (place, backend.as_str()))
            }
            Mode::Pass(Behind::OpenMasters) | Mode::EndTls(_) => None,
        })
    }
}

impl Listen {
    /// Whether some connection to it may end here.
    #[must_use]
    pub const fn ends_tls(&self) -> bool {
        matches!(self.mode, Mode::EndTls(_))
    }

    /// Whether some connection to it may be passed to the roster's open masters.
    #[must_use]
    pub fn passes_to_open_masters(&self) -> bool {
        match &self.mode {
            Mode::EndTls(end) => {
                end.pass_old_tls || !end.pass_sni.is_empty() || end.split == Split::ByCapacity
            }
            Mode::Pass(behind) => *behind == Behind::OpenMasters,
        }
    }
}

/// The door's certificate of the private door CA, and that CA.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DoorPapers {
    /// What is shown.
    pub pair: KeyPair,
    /// `ca.pem`: the door CA, or two of them while one follows the other.
    pub ca: PathBuf,
    /// `crl.pem`: one list for each.
    pub crl: PathBuf,
}

/// A certificate chain and its key, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyPair {
    /// Leaf first.
    pub certificate: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// The Puppet CA's own files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PuppetCa {
    /// `ca_crt.pem`: every CA certificate, root included.
    pub bundle: PathBuf,
    /// `ca_crl.pem`: one list for each CA in the bundle.
    pub crl: PathBuf,
}

/// The Master of Masters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mom {
    /// The name its certificate must carry.
    pub certname: Certname,
    /// `host:port`.
    pub address: String,
}

/// The admin doors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Read-only; loopback unless said otherwise.
    pub http: Option<SocketAddr>,
    /// Read and write, guarded by the mode of the socket's file.
    pub unix: Option<PathBuf>,
    /// Read and write, from other machines; off unless asked for.
    pub tls: Option<AdminTls>,
}

/// The admin door for other machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTls {
    /// Address and port.
    pub address: SocketAddr,
    /// Whose certificates of the Puppet CA it takes: at least one.
    pub allow: Vec<Certname>,
}
