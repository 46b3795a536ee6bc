//! Around the proxies: Puppet's CA as it is in the field, agents, a master, and the files of each program.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use harness::ca::{DoorCa, PuppetCa};
use harness::door::Papers;
use harness::identity::{Identity, KeyKind, Leaf};
use harness::listening::{free_address, own_address};
use harness::tls::{self, Versions};
use harness::{mom, tls::sealed_master};
use rustls::ClientConfig;

use crate::agent::SERVER;
use crate::master;

/// The master's certname.
pub(crate) const MASTER: &str = "m1.example.com";
/// The agent's.
pub(crate) const AGENT: &str = "agent1.example.com";

/// Everything around the proxies.
pub(crate) struct Site {
    /// The door's files; the other programs' lie in the same folder.
    pub papers: Papers,
    /// Where the master listens.
    pub master: SocketAddr,
    /// HAProxy's `http-reuse`.
    pub reuse: String,
    ca: PuppetCa,
    agents: HashMap<&'static str, Arc<ClientConfig>>,
}

impl Site {
    /// Makes keys and certificates and starts the master. `shown` is the kind of key that proxies show to agents;
    /// `revoked` is how many certificates the CA has taken back.
    pub(crate) async fn new(shown: KeyKind, revoked: u64, reuse: &str) -> Result<Self> {
        // Puppet's keys are RSA with 4096 bits: the CA's too, so that a client's chain costs what it costs there.
        let (ca, door_ca) = (PuppetCa::with_keys(KeyKind::Rsa4096), DoorCa::new());
        for serial in 0..revoked {
            ca.signing().revoke_serial(&(0x10_0000 + serial).to_be_bytes()[5..]);
        }
        let leaf = Leaf::server(MASTER).alt_name(mom::NAME).key(KeyKind::Rsa4096);
        let master = master::start(sealed_master(&ca.issue(&leaf), &door_ca)).await?;
        let shown = ca.issue(&Leaf::server("door1.example.com").alt_name(SERVER).key(shown));
        let mut papers = Papers::showing(&shown, &ca, &door_ca, master);
        papers.admit_at(MASTER, master);
        papers.extra.0 = "workers = 1".to_owned();
        for (key, value) in [("interval", "\"5s\""), ("timeout", "\"5s\""), ("rise", "2"), ("fall", "3")] {
            papers.health(key, value);
        }
        for (key, value) in [("connections", "4000"), ("handshakes", "256"), ("head_time", "\"60s\"")] {
            papers.bound(key, value);
        }
        pair(&papers, "door", &shown);
        let client = fs::read_to_string(papers.file("door-client.pem"))?;
        let key = fs::read_to_string(papers.file("door-client.key"))?;
        papers.write("door-client.both", &(client + &key));
        let agents = [KeyKind::Rsa4096, KeyKind::P256]
            .map(|kind| (word(kind), tls::client(&ca, Some(&agent(&ca, kind)), Versions::Both)));
        Ok(Self { papers, master, reuse: reuse.to_owned(), ca, agents: agents.into() })
    }

    /// What an agent with a key of this kind shows and believes.
    pub(crate) fn agent(&self, kind: KeyKind) -> Result<&Arc<ClientConfig>> {
        self.agents.get(word(kind)).context("agents have RSA-4096 or P-256 keys")
    }

    /// So many agents that nobody has seen before.
    pub(crate) fn newcomers(&self, count: usize) -> Vec<Arc<ClientConfig>> {
        let newcomer = || tls::client(&self.ca, Some(&agent(&self.ca, KeyKind::P256)), Versions::Both);
        std::iter::repeat_with(newcomer).take(count).collect()
    }

    /// An address of its own for a proxy.
    pub(crate) fn address() -> SocketAddr {
        free_address(own_address())
    }

    /// Fills in a template and writes it beside the other files.
    pub(crate) fn fill(&self, name: &str, template: &str, listen: SocketAddr) -> Result<std::path::PathBuf> {
        let file = |name: &str| self.papers.file(name).display().to_string();
        let filled = [
            ("@LISTEN@", listen.to_string()),
            ("@SHOWN@", file("door.both")),
            ("@CA@", file("ca_crt.pem")),
            ("@CRL@", file("ca_crl.pem")),
            ("@CLIENT@", file("door-client.both")),
            ("@MASTER@", self.master.to_string()),
            ("@MASTER_NAME@", MASTER.to_owned()),
            ("@REUSE@", self.reuse.clone()),
            ("@MOM@", self.master.to_string()),
            ("@MOM_NAME@", mom::NAME.to_owned()),
            ("@FOLDER@", self.papers.folder().display().to_string()),
        ]
        .iter()
        .fold(template.to_owned(), |text, (hole, value)| text.replace(hole, value));
        self.papers.write(name, &filled);
        Ok(self.papers.file(name))
    }
}

fn agent(ca: &PuppetCa, kind: KeyKind) -> Identity {
    ca.issue(&Leaf::node(AGENT).role("web").key(kind))
}

fn word(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::P256 => "p256",
        KeyKind::Rsa2048 => "rsa2048",
        KeyKind::Rsa4096 => "rsa4096",
    }
}

/// Certificate and key in one file, as HAProxy wants them.
fn pair(papers: &Papers, stem: &str, identity: &Identity) {
    papers.write(&format!("{stem}.both"), &format!("{}{}", identity.certificate_pem, identity.key_pem));
}
