//! `stagedoor-enroller status`: how each master's latest enrollment stands, from the journals. It changes nothing.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, SETTINGS, say, settings};
use crate::journal::{Folder, Row, rows};

#[derive(Debug, Args)]
pub(super) struct Status {
    /// The settings, which say where the journals are.
    #[arg(long, value_name = "FILE", default_value = SETTINGS)]
    config: PathBuf,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self) -> Result<(), Failure> {
        let settings = settings(&self.config).map_err(|bad| Failure::Settings(Some(bad.words())))?;
        let rows = rows(&Folder::at(&settings.journal))?;
        if self.json {
            say(&serde_json::to_string_pretty(&rows)?)?;
        } else {
            say(&table(&rows))?;
        }
        let understood = rows.iter().all(|row| row.state != "not understood");
        if understood { Ok(()) } else { Err(Failure::Told) }
    }
}

/// A line for each enrollment, what is wrong with it below.
fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no journals\n".to_owned();
    }
    let mut lines = vec![["MASTER", "PROCEDURE", "STATE", "DONE", "STEP", "LATEST"].map(str::to_owned)];
    for row in rows {
        let (step, done) = (row.step.clone().unwrap_or_default(), format!("{}/{}", row.done, row.of));
        let (procedure, state) = (row.procedure.to_owned(), row.state.to_owned());
        lines.push([row.master.clone(), procedure, state, done, step, row.latest.clone()]);
    }
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for (place, line) in lines.iter().enumerate() {
        let cells: Vec<String> =
            widths.iter().zip(line).map(|(width, cell)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
        let row = place.checked_sub(1).and_then(|at| rows.get(at));
        for words in row.into_iter().flat_map(|row| [&row.reason, &row.way_out]).flatten() {
            out.push_str(&format!("    {words}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use stagedoor_config::certname::Certname;

    use super::*;
    use crate::journal::Folder;
    use crate::pipeline::{Entry, Facts, Plan, Procedure, Step, Stop, StopKind};

    fn plan(master: &str) -> Plan {
        let master = Certname::parse_host(master).unwrap();
        Plan::new(Procedure::Enroll, master.clone(), &[vec![master]]).unwrap()
    }

    #[test]
    fn each_masters_latest_enrollment_is_shown_with_its_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path());
        assert_eq!(table(&[]), "no journals\n");
        let mut stopped = folder.begin(plan("b.example.com")).unwrap();
        stopped.append(Entry::Done { step: Step::Preflight, facts: Facts::none() }).unwrap();
        let stop = Stop::new(StopKind::Refused, "another extension", "take it out of the request");
        stopped.append(Entry::Stopped { step: Step::Install, stop }).unwrap();
        drop(stopped);
        drop(folder.begin(plan("a.example.com")).unwrap());
        let busy = folder.begin(plan("c.example.com")).unwrap();
        fs::write(dir.path().join("d.example.com.0001.jsonl"), "{}\n").unwrap();
        let rows: Vec<Row> = folder.latest().unwrap().into_iter().map(Row::of).collect();
        let states: Vec<&str> = rows.iter().map(|row| row.state).collect();
        assert_eq!(states, ["interrupted", "refused", "under way", "not understood"]);
        let shown = table(&rows);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].starts_with("MASTER         PROCEDURE  STATE           DONE  STEP"), "{shown}");
        assert!(lines[2].starts_with("b.example.com  enroll     refused         1/10  install"), "{shown}");
        assert_eq!(lines[3..5], ["    another extension", "    take it out of the request"]);
        assert!(shown.contains("line 1: expected a line"), "{shown}");
        drop(busy);
    }
}
