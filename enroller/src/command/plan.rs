//! `stagedoor-enroller plan`: what each step finds now and would do. It changes nothing.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use stagedoor_config::certname::Certname;

use super::procedures::{address, certname};
use super::{Failure, SETTINGS, say, settings};
use crate::carry::plan;
use crate::pipeline::{Facts, Looked, Procedure, Step, Stop};
use crate::site::Site;
use crate::steps::{Enrolling, Permits, would};

#[derive(Debug, Args)]
pub(super) struct Plan {
    /// The master.
    #[arg(value_name = "CERTNAME", value_parser = certname)]
    master: Certname,
    /// Of `adopt` instead of `enroll`.
    #[arg(long, conflicts_with = "retire")]
    adopt: bool,
    /// Of `retire` instead of `enroll`.
    #[arg(long)]
    retire: bool,
    /// Where its Puppet Server listens, where that is not its certname on port 8140.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    address: Option<String>,
    /// The settings.
    #[arg(long, value_name = "FILE", default_value = SETTINGS)]
    config: PathBuf,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    step: String,
    /// `done`, `to do`, or how it would stop.
    found: &'static str,
    #[serde(skip_serializing_if = "Facts::is_empty")]
    facts: Facts,
    /// What it would do; of a step that is done, nothing.
    would: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    way_out: Option<String>,
}

impl Plan {
    pub(super) fn run(self) -> Result<(), Failure> {
        let settings = settings(&self.config).map_err(|bad| Failure::Settings(Some(bad.words())))?;
        let procedure = match (self.adopt, self.retire) {
            (true, _) => Procedure::Adopt,
            (_, true) => Procedure::Retire,
            _ => Procedure::Enroll,
        };
        let plan = plan(&settings, procedure, &self.master, self.address.as_deref())?;
        let site = Site::open(settings)?;
        let enrolling = Enrolling { site: &site, plan, permits: Permits::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut rows = Vec::new();
        for step in enrolling.plan.steps() {
            let row = runtime.block_on(row(&enrolling, step));
            if !self.json {
                say(&words(rows.len() + 1, enrolling.plan.steps().len(), &row))?;
            }
            rows.push(row);
        }
        if self.json { say(&serde_json::to_string_pretty(&rows)?) } else { Ok(()) }
    }
}

async fn row(enrolling: &Enrolling<'_>, step: &Step) -> Row {
    let looked = enrolling.glance(step).await;
    let row = Row {
        step: step.to_string(),
        found: "to do",
        facts: Facts::none(),
        would: would(enrolling, step),
        reason: None,
        way_out: None,
    };
    match looked {
        Looked::There(facts) => Row { found: "done", facts, would: String::new(), ..row },
        Looked::Missing(facts) => Row { facts, ..row },
        Looked::Stop(Stop { kind, reason, way_out }) => {
            Row { found: kind.name(), reason: Some(reason), way_out: Some(way_out), ..row }
        }
    }
}

fn words(number: usize, of: usize, row: &Row) -> String {
    let width = of.to_string().len();
    let mut out = format!("{number:>width$}/{of} {}: {}", row.step, row.found);
    let facts: Vec<String> = row.facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if !facts.is_empty() {
        out.push_str(&format!(" ({})", facts.join(", ")));
    }
    for words in [Some(&row.would), row.reason.as_ref(), row.way_out.as_ref()].into_iter().flatten() {
        if !words.is_empty() {
            out.push_str(&format!("\n    {words}"));
        }
    }
    out
}
