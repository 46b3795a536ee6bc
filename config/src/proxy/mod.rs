//! The door's settings: checked values, as the rest of the program sees them.
//!
//! Text becomes [`Settings`] in [`Settings::parse`], which reads everything before it gives up, so that one run of
//! `stagedoor check` names every mistake.
#![deny(clippy::disallowed_methods)]

mod bounds;
mod parse;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use bounds::{Bound, Bounds, Contradiction, HealthCheck, commented};
pub use parse::{ACCESS_LOG, ADMIN_HTTP, ADMIN_UNIX, PUPPET_PORT, ROSTER};

use crate::certname::Certname;

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
    /// What the door shows to sealed masters: a certificate of the private door CA.
    pub master_client: KeyPair,
    /// The roster file; the door is its only writer.
    pub roster: PathBuf,
    /// Where operators and programs ask.
    pub admin: Admin,
    /// How masters are asked whether they are fit.
    pub health: HealthCheck,
    /// Where one line per request goes; none turns it off.
    pub access_log: Option<PathBuf>,
    /// Threads that serve agents; none means one per core.
    pub workers: Option<usize>,
    /// Every bound.
    pub bounds: Bounds,
}

/// One address that agents connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
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
}
