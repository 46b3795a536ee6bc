//! How many connections one verified agent has.
//!
//! An agent has one or two, a busy tool a few dozen. Whoever holds one node's key could otherwise open all that may be
//! open and keep them by asking for something now and then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use stagedoor_config::certname::Certname;

/// Counts by certname; an entry lives as long as a connection it counts.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    here: Arc<Mutex<HashMap<Certname, usize>>>,
    most: usize,
}

/// One connection among its agent's, until dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    certificates: Certificates,
    certname: Certname,
    /// Whether the agent has more than it may.
    pub over: bool,
}

impl Certificates {
    /// One agent may have a sixteenth of all connections when they become few: hundreds at the default.
    pub(crate) fn new(connections: usize) -> Self {
        Self { here: Arc::default(), most: (connections / 16).max(1) }
    }

    /// One more connection of this agent.
    pub(crate) fn enter(&self, certname: &Certname) -> Entered {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        let count = here.entry(certname.clone()).or_insert(0);
        *count += 1;
        Entered { certificates: self.clone(), certname: certname.clone(), over: *count > self.most }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut here = self.certificates.here.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = here.get_mut(&self.certname) else { return };
        *count -= 1;
        if *count == 0 {
            here.remove(&self.certname);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_cannot_have_all_connections_and_others_are_not_touched() {
        let certificates = Certificates::new(32);
        let [one, other] = ["web01", "web02"].map(|name| Certname::parse(name).expect("a certname"));
        let held: Vec<_> = (0..2).map(|_| certificates.enter(&one)).collect();
        assert!(held.iter().all(|entered| !entered.over));
        assert!(certificates.enter(&one).over);
        assert!(!certificates.enter(&other).over);
        drop(held);
        assert!(!certificates.enter(&one).over);
        assert!(certificates.here.lock().expect("not poisoned").is_empty(), "nothing is kept of who left");
    }
}
