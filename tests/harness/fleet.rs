//! A whole installation: CA, Master of Masters, compile masters, and a door in front of them.

use std::sync::Arc;

use crate::agent::Agent;
use crate::ca::{DoorCa, PuppetCa};
use crate::door::{Door, Papers};
use crate::identity::Leaf;
use crate::master::{Master, Plan};
use crate::mom::Mom;

/// Everything behind a door, and its papers, before the door starts.
pub struct Site {
    /// Puppet's CA.
    pub ca: Arc<PuppetCa>,
    /// The door's private CA.
    pub door_ca: Arc<DoorCa>,
    /// The Master of Masters.
    pub mom: Mom,
    /// The compile masters, named `m1.example.com`, `m2.example.com`, …
    pub masters: Vec<Master>,
    /// What the door will be given.
    pub papers: Papers,
}

impl Site {
    /// So many compile masters, all on the roster.
    #[must_use]
    pub fn with_masters(count: usize) -> Self {
        Self::with((1..=count).map(|n| Plan::named(&format!("m{n}.example.com"))))
    }

    /// These compile masters, all on the roster.
    #[must_use]
    pub fn with(plans: impl IntoIterator<Item = Plan>) -> Self {
        Self::under(PuppetCa::with_intermediate(), plans)
    }

    /// These compile masters, certified by this CA.
    #[must_use]
    pub fn under(ca: PuppetCa, plans: impl IntoIterator<Item = Plan>) -> Self {
        Self::sealed_by(DoorCa::new(), ca, plans)
    }

    /// These compile masters, certified by this CA and sealed by that one.
    #[must_use]
    pub fn sealed_by(door_ca: DoorCa, ca: PuppetCa, plans: impl IntoIterator<Item = Plan>) -> Self {
        let ca = Arc::new(ca);
        let mom = Mom::start(&ca, &door_ca);
        let masters: Vec<Master> = plans.into_iter().map(|plan| Master::start(plan, &ca, &door_ca)).collect();
        let mut papers = Papers::new(&ca, &door_ca, mom.address());
        for master in &masters {
            papers.admit(master);
        }
        Self { ca, door_ca: Arc::new(door_ca), mom, masters, papers }
    }

    /// The same site, its papers changed.
    #[must_use]
    pub fn change(mut self, change: impl FnOnce(&mut Papers)) -> Self {
        change(&mut self.papers);
        self
    }

    /// Starts the door and waits until it is ready.
    pub async fn open(self) -> Fleet {
        let Self { ca, door_ca, mom, masters, papers } = self;
        Fleet { door: Door::start(papers).await, ca, door_ca, mom, masters }
    }

    /// Starts the door and waits until its admin door answers, ready or not.
    pub async fn open_unready(self) -> Fleet {
        let Self { ca, door_ca, mom, masters, papers } = self;
        Fleet { door: Door::start_unready(papers).await, ca, door_ca, mom, masters }
    }
}

/// A site with its door open.
pub struct Fleet {
    /// The door.
    pub door: Door,
    /// Puppet's CA.
    pub ca: Arc<PuppetCa>,
    /// The door's private CA.
    pub door_ca: Arc<DoorCa>,
    /// The Master of Masters.
    pub mom: Mom,
    /// The compile masters.
    pub masters: Vec<Master>,
}

impl Fleet {
    /// An agent that has been signed.
    #[must_use]
    pub fn agent(&self, certname: &str) -> Agent {
        Agent::signed(certname, &self.ca, self.door.address())
    }

    /// An agent that has been signed with more in its certificate.
    #[must_use]
    pub fn agent_of(&self, leaf: &Leaf) -> Agent {
        Agent::with(self.ca.issue(leaf), &self.ca, self.door.address())
    }

    /// A brand-new agent, or whoever else has no certificate.
    #[must_use]
    pub fn stranger(&self, certname: &str) -> Agent {
        Agent::new(certname, &self.ca, self.door.address())
    }

    /// One of the compile masters, counted from 0.
    #[must_use]
    pub fn master(&self, number: usize) -> &Master {
        &self.masters[number]
    }

    /// The compile master of this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn named(&self, name: &str) -> &Master {
        self.masters.iter().find(|m| m.name() == name).unwrap_or_else(|| panic!("no master is named {name}"))
    }

    /// How many requests of agents the masters have seen, all together, that asked for this.
    #[must_use]
    pub fn seen_by_masters(&self, what: &str) -> usize {
        self.masters.iter().map(|master| master.record().of(what).len()).sum()
    }

    /// What the door sent, to anybody, that no proxy may send.
    #[must_use]
    pub fn offences(&self) -> Vec<String> {
        let of_masters = self.masters.iter().flat_map(|master| master.record().offences());
        of_masters.chain(self.mom.record().offences()).collect()
    }
}
