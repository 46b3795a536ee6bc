//! Whether runs that took place before came in the order in which the lists need them.
//!
//! The new master's run that counts is its latest that changed something: it may have been an ordinary node until then.
//! After it, each host of each stage must have begun a good run once the stage before had ended. A run's end is when
//! PuppetDB received its report; its beginning is what its machine says, and no later than its length before that receipt,
//! so that a machine whose clock is ahead shows no more than it has.
#![deny(clippy::disallowed_methods)]

use jiff::Timestamp;
use stagedoor_config::certname::Certname;

use super::report::{Report, Status, Verdict, Wanted, judge};

/// A run that took place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// What its report says.
    pub report: Report,
    /// When it began and ended, by its machine's clock; none where its report does not say.
    pub lasted: Option<(Timestamp, Timestamp)>,
    /// When PuppetDB received its report, by PuppetDB's clock.
    pub received: Timestamp,
}

/// One host's runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    /// Whose.
    pub host: Certname,
    /// Its latest runs, newest first.
    pub newest_first: Vec<Past>,
}

/// Why there is no evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// Whose run is missing.
    pub host: Certname,
    /// When the stage before had ended; none where it is the first.
    pub since: Option<Timestamp>,
}

impl Past {
    fn is_good(&self, host: &Certname) -> bool {
        let alone = std::slice::from_ref(&self.report);
        matches!(judge(host.as_str(), alone, None, Wanted::Latest), Verdict::Succeeded(_))
    }

    /// The latest moment at which it may have begun.
    fn began(&self) -> Option<Timestamp> {
        let (began, ended) = self.lasted?;
        let by_receipt = self.received.checked_sub(ended.duration_since(began)).ok()?;
        Some(began.min(by_receipt))
    }

    fn is_after(&self, since: Option<Timestamp>) -> bool {
        since.is_none_or(|since| self.began().is_some_and(|began| began > since))
    }
}

/// The run that shows that the last of these stages is over for its host, of stages in their order; the last one has but
/// the host that is asked about.
///
/// # Errors
/// The first host that has no such run.
pub fn evidence<'r>(master: &Certname, stages: &'r [Vec<Runs>]) -> Result<Option<&'r Past>, Lacking> {
    let (mut since, mut latest) = (None, None);
    for stage in stages {
        let mut ended = since;
        for Runs { host, newest_first } in stage {
            let good = || newest_first.iter().filter(|past| past.is_good(host) && past.is_after(since));
            let changed = || good().find(|past| past.report.status == Status::Changed);
            let counts =
                if host == master { changed().or_else(|| good().next_back()) } else { good().next_back() };
            let past = counts.ok_or_else(|| Lacking { host: host.clone(), since })?;
            ended = ended.max(Some(past.received));
            latest = Some(past);
        }
        since = ended;
    }
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::report::Catalog;

    fn certname(text: &str) -> Certname {
        Certname::parse_host(text).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// A run from one second to another, received at its end.
    fn run(began: i64, ended: i64, status: Status) -> Past {
        let report = Report {
            hash: format!("{began}"),
            status,
            noop: false,
            catalog: Catalog::Fresh,
            job: None,
            transaction: None,
        };
        Past { report, lasted: Some((at(began), at(ended))), received: at(ended) }
    }

    fn runs(host: &str, mut all: Vec<Past>) -> Vec<Runs> {
        all.sort_by_key(|past| std::cmp::Reverse(past.received));
        vec![Runs { host: certname(host), newest_first: all }]
    }

    fn found(stages: &[Vec<Runs>]) -> Result<String, String> {
        let found = evidence(&certname("new"), stages);
        found.map(|past| past.unwrap().report.hash.clone()).map_err(|lacking| lacking.host.to_string())
    }

    #[test]
    fn a_run_of_before_it_became_a_master_shows_nothing() {
        // An ordinary node all day, a master since second 1000: PuppetDB's run of the morning is no evidence.
        let new = runs("new", vec![run(0, 10, Status::Unchanged), run(1000, 1060, Status::Changed)]);
        let db = |more: Vec<Past>| {
            runs(
                "db",
                [vec![run(100, 110, Status::Changed), run(700, 710, Status::Unchanged)], more].concat(),
            )
        };
        assert_eq!(found(&[new.clone(), db(vec![])]), Err("db".into()));
        assert_eq!(found(&[new, db(vec![run(1061, 1070, Status::Changed)])]), Ok("1061".into()));
    }

    #[test]
    fn a_run_that_had_begun_before_the_stage_before_ended_shows_nothing() {
        let new = runs("new", vec![run(1000, 1060, Status::Changed)]);
        assert_eq!(
            found(&[new.clone(), runs("db", vec![run(1050, 1080, Status::Changed)])]),
            Err("db".into())
        );
        // Nor one whose clock says that it began later than its receipt allows.
        let ahead =
            Past { lasted: Some((at(1065), at(1100))), received: at(1080), ..run(0, 0, Status::Changed) };
        assert_eq!(found(&[new.clone(), runs("db", vec![ahead])]), Err("db".into()));
        let silent = Past { lasted: None, ..run(1070, 1080, Status::Changed) };
        assert_eq!(found(&[new, runs("db", vec![silent])]), Err("db".into()));
    }

    #[test]
    fn a_master_that_has_changed_nothing_for_long_is_one_for_so_long() {
        let new = runs("new", vec![run(0, 10, Status::Unchanged), run(2000, 2010, Status::Unchanged)]);
        assert_eq!(found(&[new, runs("db", vec![run(100, 110, Status::Unchanged)])]), Ok("100".into()));
        assert_eq!(found(&[runs("new", vec![])]), Err("new".into()));
        assert_eq!(found(&[runs("new", vec![run(0, 10, Status::Failed)])]), Err("new".into()));
    }

    proptest! {
        /// Whatever ran when: what is found began after a good run of the master's, its latest change included.
        #[test]
        fn what_is_found_began_after_the_master_last_changed(
            new in proptest::collection::vec((0_i64..500, 1_i64..30, any::<bool>()), 0..6),
            db in proptest::collection::vec((0_i64..500, 1_i64..30, any::<bool>()), 0..6),
        ) {
            let past = |all: &[(i64, i64, bool)]| -> Vec<Past> {
                let status = |changed| if changed { Status::Changed } else { Status::Unchanged };
                all.iter().map(|(began, took, changed)| run(*began, began + took, status(*changed))).collect()
            };
            let stages = [runs("new", past(&new)), runs("db", past(&db))];
            if let Ok(Some(found)) = evidence(&certname("new"), &stages) {
                let (began, _) = found.lasted.unwrap();
                let changes = new.iter().filter(|(.., changed)| *changed);
                prop_assert!(changes.map(|(began, took, _)| at(began + took)).all(|ended| began > ended));
            }
        }
    }
}
