//! What is counted of enrollments.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::journal::{Folder, standings};
use crate::pipeline::Step;

/// Every series, and the registry that tells them.
pub(super) struct Metrics {
    registry: Registry,
    ended: Family<Ending, Counter>,
    steps: Family<Done, Counter>,
    waiting: Gauge,
    under_way: Gauge,
    masters: Family<InState, Gauge>,
}

/// How an enrollment ended, or stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ending {
    end: &'static str,
}

/// A step by its word, without its host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Done {
    step: String,
}

/// How a master's latest enrollment stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// How a journal may stand; each is told, also where no master is in it.
const STATES: [&str; 9] = [
    "under way",
    "interrupted",
    "refused",
    "failed",
    "paused",
    "deadline",
    "finished",
    "given up",
    "not understood",
];

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("stagedoor_enroller");
        let this = Self {
            ended: Family::default(),
            steps: Family::default(),
            waiting: Gauge::default(),
            under_way: Gauge::default(),
            masters: Family::default(),
            registry: Registry::default(),
        };
        for end in ["finished", "refused", "failed", "paused", "deadline", "abandoned", "error"] {
            drop(this.ended.get_or_create(&Ending { end }));
        }
        for step in Step::words() {
            drop(this.steps.get_or_create(&Done { step: step.to_owned() }));
        }
        registry.register("ended", "Enrollments that ended or stopped", this.ended.clone());
        registry.register("steps_done", "Steps that were seen to be done", this.steps.clone());
        registry.register("waiting", "Enrollments that wait for their turn", this.waiting.clone());
        registry.register("under_way", "Whether an enrollment is under way here", this.under_way.clone());
        registry.register("masters", "Masters by the state of their latest enrollment", this.masters.clone());
        Self { registry, ..this }
    }

    pub(super) fn ended(&self, end: &'static str) {
        self.ended.get_or_create(&Ending { end }).inc();
    }

    pub(super) fn step_done(&self, step: &Step) {
        let word = step.to_string();
        let step = word.split(' ').next().unwrap_or_default().to_owned();
        self.steps.get_or_create(&Done { step }).inc();
    }

    /// Everything as of now.
    pub(super) fn scrape(&self, folder: &Folder, waiting: usize, under_way: bool) -> String {
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.under_way.set(i64::from(under_way));
        self.masters.clear();
        for state in STATES {
            drop(self.masters.get_or_create(&InState { state }));
        }
        for (state, count) in standings(folder) {
            self.masters.get_or_create(&InState { state }).set(count);
        }
        let mut page = String::new();
        // Writing into memory does not fail.
        text::encode(&mut page, &self.registry).ok();
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_metrics_says_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let page = Metrics::new().scrape(&Folder::at(folder.path()), 0, false);
        let written = include_str!("../../../dashboards/metrics.md");
        let (mut help, mut kind) = ("", "");
        for line in page.lines() {
            if let Some(words) = line.strip_prefix("# HELP ") {
                help = words.split_once(' ').unwrap().1.trim_end_matches('.');
            } else if let Some(words) = line.strip_prefix("# TYPE ") {
                kind = words.split_once(' ').unwrap().1;
            } else if !line.starts_with('#') {
                let (series, _) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let label = labels.split('=').next().unwrap();
                let row = format!("| `{name}` | {kind} | {label} | {help} |\n");
                assert!(
                    written.contains(&row),
                    "dashboards/metrics.md is to have this line of the enroller's:\n{row}"
                );
            }
        }
    }
}
