//! Whether an ordered run has succeeded, from the reports of a node.
//!
//! No clock is compared with another's. The node's latest report is noted after the stage before has succeeded and
//! before the run is started; a run that counts has left another report, and is told from one that was under way already
//! by its own identifier or its job's, or by being the second. It must have applied a catalog that was
//! compiled for it: a cached one, or one that was only looked at (noop), takes up no list.
#![deny(clippy::disallowed_methods)]

use super::{Stop, StopKind};

/// What a report says of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What tells it from others.
    pub hash: String,
    /// How it ended.
    pub status: Status,
    /// Whether it only looked.
    pub noop: bool,
    /// Whether its catalog was compiled for it.
    pub catalog: Catalog,
    /// The orchestrator's job that started it; none where it was none, or nobody knows.
    pub job: Option<String>,
    /// The run's own identifier, as the agent chose it; none where nobody knows.
    pub transaction: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It changed something.
    Changed,
    /// Everything was right already.
    Unchanged,
    /// Something went wrong.
    Failed,
}

/// Where a run's catalog came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catalog {
    /// It was compiled for this run.
    Fresh,
    /// An old one, as the node's settings ask for.
    Cached,
    /// An old one, because no new one could be had.
    CachedOnFailure,
}

/// Which report counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// Any, the latest: of a run that took place before.
    Latest,
    /// That of this job.
    Job(&'a str),
    /// That of the run with this identifier, or one after it.
    Transaction(&'a str),
    /// The second after the one that was noted: nobody can tell the run from others, and the first may have begun before.
    Second,
}

/// What the reports come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<'r> {
    /// This one shows it.
    Succeeded(&'r Report),
    /// None of them counts: wait.
    NotYet,
    /// One counts, and it is not good.
    Stop(Stop),
}

/// Judges a node's reports, given newest first, as far back as the noted one or as they go.
#[must_use]
pub fn judge<'r>(host: &str, reports: &'r [Report], noted: Option<&str>, wanted: Wanted<'_>) -> Verdict<'r> {
    let since = reports.iter().position(|report| Some(report.hash.as_str()) == noted);
    let new = reports.get(..since.unwrap_or(reports.len())).unwrap_or_default();
    let counts = match wanted {
        Wanted::Latest => new.first(),
        Wanted::Second => new.first().filter(|_| new.len() > 1),
        Wanted::Job(job) => new.iter().find(|report| report.job.as_deref() == Some(job)),
        Wanted::Transaction(run) => {
            let at = new.iter().position(|report| report.transaction.as_deref() == Some(run));
            // What a later run says of the machine is as good, and newer.
            at.and_then(|_| new.first())
        }
    };
    let Some(report) = counts else { return Verdict::NotYet };
    let stop = |kind, reason: String, way_out: String| {
        Verdict::Stop(Stop::new(kind, format!("{host}: {reason} (report {})", report.hash), way_out))
    };
    let agent = "as root there, `puppet agent -t` shows it";
    match report {
        Report { noop: true, .. } => stop(
            StopKind::Refused,
            "the run only looked, since the node is set to noop".to_owned(),
            format!("take `noop` out of {host}'s puppet.conf, then resume"),
        ),
        Report { status: Status::Failed, .. } => stop(
            StopKind::Failed,
            "the run failed".to_owned(),
            format!("put right what failed ({agent}), then resume"),
        ),
        Report { catalog: Catalog::CachedOnFailure, .. } => stop(
            StopKind::Failed,
            "the run applied an old catalog, since no new one could be compiled".to_owned(),
            format!("put right what keeps the catalog from being compiled ({agent}), then resume"),
        ),
        Report { catalog: Catalog::Cached, .. } => stop(
            StopKind::Refused,
            "the run applied an old catalog, as the node is set to".to_owned(),
            format!("take `use_cached_catalog` out of {host}'s puppet.conf, then resume"),
        ),
        Report { status: Status::Changed | Status::Unchanged, .. } => Verdict::Succeeded(report),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(hash: &str) -> Report {
        Report {
            hash: hash.into(),
            status: Status::Changed,
            noop: false,
            catalog: Catalog::Fresh,
            job: None,
            transaction: None,
        }
    }

    fn kind(verdict: &Verdict<'_>) -> Option<StopKind> {
        match verdict {
            Verdict::Stop(stop) => Some(stop.kind),
            _ => None,
        }
    }

    #[test]
    fn the_report_that_was_noted_never_counts() {
        let old = [report("b"), report("a")];
        assert_eq!(judge("h", &old, Some("b"), Wanted::Latest), Verdict::NotYet);
        assert_eq!(judge("h", &old, Some("a"), Wanted::Latest), Verdict::Succeeded(&old[0]));
        assert_eq!(judge("h", &old, None, Wanted::Latest), Verdict::Succeeded(&old[0]));
        assert_eq!(judge("h", &[], None, Wanted::Latest), Verdict::NotYet);
        assert_eq!(judge("h", &old, Some("long gone"), Wanted::Latest), Verdict::Succeeded(&old[0]));
    }

    #[test]
    fn where_nobody_can_tell_the_run_the_second_new_report_counts() {
        let three = [report("c"), report("b"), report("a")];
        assert_eq!(judge("h", &three, Some("b"), Wanted::Second), Verdict::NotYet);
        assert_eq!(judge("h", &three, Some("a"), Wanted::Second), Verdict::Succeeded(&three[0]));
    }

    #[test]
    fn a_job_is_told_from_the_runs_beside_it() {
        let job = Report { job: Some("81".into()), ..report("b") };
        let reports = [report("c"), job, report("a")];
        assert_eq!(judge("h", &reports, Some("a"), Wanted::Job("81")), Verdict::Succeeded(&reports[1]));
        assert_eq!(judge("h", &reports, Some("a"), Wanted::Job("82")), Verdict::NotYet);
        assert_eq!(judge("h", &reports, Some("b"), Wanted::Job("81")), Verdict::NotYet);
    }

    #[test]
    fn a_run_that_was_under_way_before_is_not_taken_for_the_one_that_was_started() {
        let own = Report { transaction: Some("u1".into()), ..report("b") };
        let earlier = [report("x"), report("a")];
        assert_eq!(judge("h", &earlier, Some("a"), Wanted::Transaction("u1")), Verdict::NotYet);
        let both = [own.clone(), report("x"), report("a")];
        assert_eq!(judge("h", &both, Some("a"), Wanted::Transaction("u1")), Verdict::Succeeded(&both[0]));
        let later = [report("y"), own, report("a")];
        assert_eq!(judge("h", &later, Some("a"), Wanted::Transaction("u1")), Verdict::Succeeded(&later[0]));
    }

    #[test]
    fn a_run_that_took_up_no_list_is_no_success() {
        let failed = [Report { status: Status::Failed, ..report("a") }];
        assert_eq!(kind(&judge("h", &failed, None, Wanted::Latest)), Some(StopKind::Failed));
        let noop = [Report { noop: true, ..report("a") }];
        assert_eq!(kind(&judge("h", &noop, None, Wanted::Latest)), Some(StopKind::Refused));
        let cached = [Report { catalog: Catalog::Cached, status: Status::Unchanged, ..report("a") }];
        assert_eq!(kind(&judge("h", &cached, None, Wanted::Latest)), Some(StopKind::Refused));
        let on_failure = [Report { catalog: Catalog::CachedOnFailure, ..report("a") }];
        assert_eq!(kind(&judge("h", &on_failure, None, Wanted::Latest)), Some(StopKind::Failed));
        let Verdict::Stop(stop) = judge("db.example.com", &noop, None, Wanted::Latest) else { panic!() };
        assert!(stop.reason.contains("db.example.com") && stop.way_out.contains("puppet.conf"), "{stop:?}");
        let unchanged = [Report { status: Status::Unchanged, ..report("a") }];
        assert_eq!(judge("h", &unchanged, None, Wanted::Latest), Verdict::Succeeded(&unchanged[0]));
    }
}
