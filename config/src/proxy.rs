//! The door's settings: checked values, as the rest of the program sees them.
//!
//! Text becomes [`Settings`] in `parse`, which reads everything before it gives up, so that one run of
//! `stagedoor check` names every mistake.
#![deny(clippy::disallowed_methods)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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

/// How a master is asked whether it is fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthCheck {
    /// Between two questions to one master.
    pub interval: Duration,
    /// For one answer.
    pub timeout: Duration,
    /// Good answers in a row before an unfit master is fit.
    pub rise: u32,
    /// Bad answers in a row before a fit master is unfit.
    pub fall: u32,
}

/// Every bound of the door, each with its reason in `proxy.toml`. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Agent connections open at once; at the bound the door stops accepting and counts.
    pub connections: usize,
    /// Handshakes under way at once.
    pub handshakes: usize,
    /// From accept to the end of the handshake; the ClientHello must be here within it.
    pub handshake_time: Duration,
    /// The head of a request.
    pub head: usize,
    /// From the first byte of a head to its last, and between two requests (hyper has one timer for both).
    pub head_time: Duration,
    /// One body that is kept; a larger one streams and is not replayed.
    pub body: usize,
    /// All kept bodies together.
    pub bodies: usize,
    /// A certificate request.
    pub csr: usize,
    /// The least a body or a response must move, in bytes per second over [`Bounds::rate_window`].
    pub rate: usize,
    /// Over how long [`Bounds::rate`] is taken.
    pub rate_window: Duration,
    /// Connections open to one master, over all threads.
    pub master_connections: usize,
    /// Requests at the Master of Masters at once: CA bootstrap.
    pub mom_ca: usize,
    /// Requests at the Master of Masters at once: packages.
    pub mom_packages: usize,
    /// Connections without a verified certificate from one source address.
    pub unauthenticated_per_source: usize,
    /// To open a connection to a master, handshake included.
    pub connect_time: Duration,
    /// To wait for a response's head: Puppet Server's own borrow timeout is 20 minutes.
    pub response_time: Duration,
    /// Attempts for one request, the first included.
    pub attempts: u32,
    /// For requests under way when the door is told to stop.
    pub drain_time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 16_384,
            handshakes: 256,
            handshake_time: Duration::from_secs(10),
            head: 32 * 1024,
            head_time: Duration::from_secs(15),
            body: 8 * 1024 * 1024,
            bodies: 256 * 1024 * 1024,
            csr: 64 * 1024,
            rate: 1024,
            rate_window: Duration::from_secs(60),
            master_connections: 512,
            mom_ca: 32,
            mom_packages: 32,
            unauthenticated_per_source: 256,
            connect_time: Duration::from_secs(5),
            response_time: Duration::from_secs(21 * 60),
            attempts: 3,
            drain_time: Duration::from_secs(120),
        }
    }
}
