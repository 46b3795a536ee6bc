//! Who waits for an enrollment, and who is under way.
#![deny(clippy::disallowed_methods)]

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use stagedoor_config::certname::Certname;

use crate::pipeline::Procedure;
use crate::steps::Permits;

/// The most that wait: as many masters as a roster holds.
pub(super) const MOST: usize = 1_000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    /// What is done.
    pub(super) what: What,
    /// To whom.
    pub(super) master: Certname,
    /// Where its Puppet Server listens; absent, its certname on Puppet's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    /// Doors that may be missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) missing_doors: Vec<Certname>,
    /// SHA-256 of the new machine's public key, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_fingerprint: Option<String>,
    /// As `--overwrite`.
    #[serde(default)]
    pub(super) overwrite: bool,
    /// As `--machine-gone`.
    #[serde(default)]
    pub(super) machine_gone: bool,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    Enroll,
    Adopt,
    Retire,
    Resume,
}

/// Why a job is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("{0} is under way")]
    UnderWay(Certname),
    #[error("{0} waits already")]
    Waits(Certname),
    #[error("{MOST} wait already")]
    Full,
}

/// Who waits, first come first served, and who is under way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Job>,
    under_way: Option<Certname>,
}

impl Job {
    pub(super) fn resume(master: Certname) -> Self {
        Self {
            what: What::Resume,
            master,
            address: None,
            missing_doors: Vec::new(),
            key_fingerprint: None,
            overwrite: false,
            machine_gone: false,
        }
    }

    pub(super) fn permits(&self) -> Permits {
        Permits {
            insecure_install: false,
            missing_doors: self.missing_doors.clone(),
            key: self.key_fingerprint.clone(),
            overwrite: self.overwrite,
            gone: self.machine_gone,
        }
    }
}

impl What {
    /// The word for it.
    pub(super) const fn name(self) -> &'static str {
        match self.procedure() {
            Some(procedure) => procedure.name(),
            None => "resume",
        }
    }

    /// What begins; none where something is taken up again.
    pub(super) const fn procedure(self) -> Option<Procedure> {
        match self {
            Self::Enroll => Some(Procedure::Enroll),
            Self::Adopt => Some(Procedure::Adopt),
            Self::Retire => Some(Procedure::Retire),
            Self::Resume => None,
        }
    }
}

impl Queue {
    /// Puts a job at the end; gives its place, counted from 1.
    pub(super) fn take(&mut self, job: Job) -> Result<usize, NotTaken> {
        self.has_place_for(&job.master)?;
        self.waiting.push_back(job);
        Ok(self.waiting.len())
    }

    /// Whether a job of this master's can be taken now.
    pub(super) fn has_place_for(&self, master: &Certname) -> Result<(), NotTaken> {
        if self.under_way.as_ref() == Some(master) {
            return Err(NotTaken::UnderWay(master.clone()));
        }
        if self.waiting.iter().any(|waiting| waiting.master == *master) {
            return Err(NotTaken::Waits(master.clone()));
        }
        if self.waiting.len() >= MOST { Err(NotTaken::Full) } else { Ok(()) }
    }

    /// The next one, which is under way from now on.
    pub(super) fn next(&mut self) -> Option<Job> {
        if self.under_way.is_some() {
            return None;
        }
        let job = self.waiting.pop_front()?;
        self.under_way = Some(job.master.clone());
        Some(job)
    }

    /// The one under way is over, or stopped.
    pub(super) fn over(&mut self) {
        self.under_way = None;
    }

    /// Forgets one that waits; whether there was one.
    pub(super) fn forget(&mut self, master: &Certname) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|job| job.master != *master);
        self.waiting.len() < before
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = &Job> {
        self.waiting.iter()
    }

    pub(super) const fn under_way(&self) -> Option<&Certname> {
        self.under_way.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn job(name: &str) -> Job {
        Job::resume(Certname::parse_host(name).unwrap())
    }

    #[test]
    fn nobody_waits_twice_and_one_is_under_way_at_a_time() {
        let mut queue = Queue::default();
        assert_eq!((queue.take(job("a")), queue.take(job("b"))), (Ok(1), Ok(2)));
        assert!(matches!(queue.take(job("a")), Err(NotTaken::Waits(_))));
        assert_eq!(queue.next().unwrap().master.as_str(), "a");
        assert!(queue.next().is_none(), "a is under way");
        assert!(matches!(queue.take(job("a")), Err(NotTaken::UnderWay(_))));
        queue.over();
        assert!(queue.forget(&job("b").master) && !queue.forget(&job("b").master));
        assert!(queue.next().is_none());
    }

    #[test]
    fn a_job_looks_like_this_on_the_wire() {
        let text = r#"{"what":"enroll","master":"a.example.com","address":"10.0.0.7:8140","overwrite":false,"machine_gone":false}"#;
        let job: Job = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&job).unwrap(), text);
        assert!(serde_json::from_str::<Job>(r#"{"what":"enroll","master":"a"}"#).is_ok());
        for bad in [
            r#"{"what":"enrol","master":"a"}"#,
            r#"{"what":"enroll"}"#,
            r#"{"what":"enroll","master":"a","doors":[]}"#,
        ] {
            assert!(serde_json::from_str::<Job>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        /// Whatever is asked, each is taken in the order in which it came, and the queue has an end.
        #[test]
        fn first_come_first_served(names in proptest::collection::vec("[a-f]", 0..30)) {
            let mut queue = Queue::default();
            let mut expected = Vec::new();
            for name in &names {
                if queue.take(job(name)).is_ok() {
                    expected.push(name.clone());
                }
            }
            let mut found = Vec::new();
            while let Some(job) = queue.next() {
                found.push(job.master.to_string());
                queue.over();
            }
            prop_assert_eq!(found, expected);
        }
    }
}
