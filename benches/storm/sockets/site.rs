//! Around the balancers: a Puppet CA, the door's CA, agents and their certificates. Every key is P-256, so that TLS costs
//! little beside what is measured.

use std::sync::Arc;

use harness::agent::DIALS;
use harness::ca::{DoorCa, PuppetCa};
use harness::identity::Leaf;
use harness::tls::{self, Versions};
use rustls::{ClientConfig, ServerConfig};

/// The CAs, and whom they know.
pub(crate) struct Site {
    /// Puppet's.
    pub ca: PuppetCa,
    /// The one that sealed masters accept.
    pub door_ca: DoorCa,
    agents: Vec<Arc<ClientConfig>>,
}

impl Site {
    /// Nobody but the CAs.
    pub(crate) fn new() -> Self {
        Self { ca: PuppetCa::with_intermediate(), door_ca: DoorCa::new(), agents: Vec::new() }
    }

    /// The certname of an agent.
    pub(crate) fn certname(number: usize) -> String {
        format!("agent{number}.example.com")
    }

    /// What agents show and believe: so many, those who were known before among them.
    pub(crate) fn agents(&mut self, count: usize) -> Vec<Arc<ClientConfig>> {
        for number in self.agents.len()..count {
            let own = self.ca.agent(&Self::certname(number));
            self.agents.push(tls::client(&self.ca, Some(&own), Versions::Both));
        }
        self.agents.iter().take(count).cloned().collect()
    }

    /// What a master shows and demands: for doors, and for agents that are passed to it.
    pub(crate) fn master(&self, name: &str) -> (Arc<ServerConfig>, Arc<ServerConfig>) {
        let own = self.ca.issue(&Leaf::server(name).alt_name(DIALS));
        (tls::sealed_master(&own, &self.door_ca), tls::open_master(&own, &self.ca))
    }
}
