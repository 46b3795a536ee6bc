//! What the demo prints: a line that lives while agents run on a terminal, plain lines elsewhere, a table in the end.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::sync::atomic::{AtomicU32, Ordering};

use harness::door::Papers;
use harness::fleet::Site;
use harness::master::Master;
use hdrhistogram::Histogram;

use crate::traffic::{Outcome, Traffic};
use crate::verdict::Verdict;

/// Clears the line that the cursor is in.
const AFRESH: &str = "\r\x1b[2K";

/// Where it is printed.
pub(crate) struct Screen {
    lives: bool,
    quarters: AtomicU32,
}

impl Screen {
    /// The standard output.
    pub(crate) fn new() -> Self {
        Self { lives: stdout().is_terminal(), quarters: AtomicU32::new(0) }
    }

    fn print(&self, text: &str) {
        // Whoever closed our output does not want to hear about it.
        stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()).ok();
    }

    /// A line of its own.
    pub(crate) fn say(&self, text: &str) {
        let afresh = if self.lives { AFRESH } else { "" };
        self.print(&format!("{afresh}{text}\n"));
    }

    /// Who is there.
    pub(crate) fn opening(&self, site: &Site, second: &Master) {
        let mut lines = vec![
            ("the door", site.papers.listen, "where agents connect"),
            ("mom.example.com", site.mom.address(), "CA and packages"),
        ];
        lines.extend(site.masters.iter().map(|master| (master.name(), master.address(), "on the roster")));
        lines.push((second.name(), second.address(), "a machine without an agent"));
        for (name, address, words) in lines {
            self.say(&format!("  {name:<22}{address:<24}{words}"));
        }
    }

    /// How far the agents are.
    pub(crate) fn progress(&self, traffic: &Traffic, masters: &[Master], second: &Master) {
        let (finished, agents, failed) = (traffic.finished(), traffic.agents(), traffic.failed());
        let shares: Vec<String> = masters
            .iter()
            .chain([second])
            .map(|master| {
                let short = master.name().split('.').next().unwrap_or_default();
                format!("{short} {} ({} busy)", master.record().of("catalog").len(), master.busy())
            })
            .collect();
        let line = format!("{finished}/{agents} runs, {failed} failed; catalogs: {}", shares.join(", "));
        if self.lives {
            let filled = (finished * 20 / agents) as usize;
            self.print(&format!("{AFRESH}[{:-<20}] {line}", "#".repeat(filled)));
        } else if finished * 4 / agents > self.quarters.load(Ordering::Relaxed) {
            self.quarters.store(finished * 4 / agents, Ordering::Relaxed);
            self.say(&line);
        }
    }

    /// What came of it.
    pub(crate) fn table(&self, site: &Site, second: &Master, outcome: &Outcome, verdict: &Verdict) {
        let row = |what: &str, value: String| self.say(&format!("  {what:<36}{value}"));
        self.say("");
        row("runs", format!("{} in {:.1} s", outcome.runs.len(), outcome.took.as_secs_f64()));
        row("failures", outcome.failures.len().to_string());
        for master in site.masters.iter().chain([second]) {
            let (p50, p99, count) = catalog_times(outcome, master.name());
            let times = format!("{count} catalogs, p50 {p50:.0} ms, p99 {p99:.0} ms");
            row(&format!("compiled by {}", master.name()), times);
        }
        let at_the_mom = site.mom.record().all();
        let ca = at_the_mom.iter().filter(|seen| seen.asked().is_ca()).count();
        let packages = at_the_mom.iter().filter(|seen| seen.asked().mount == "packages").count();
        let masters = site.masters.iter().chain([second]);
        let astray: usize = masters
            .map(|master| {
                let seen = master.record().of_agents();
                seen.iter().filter(|s| s.asked().is_ca() || s.asked().mount == "packages").count()
            })
            .sum();
        row("CA requests", format!("{ca} to mom.example.com, {astray} elsewhere"));
        row("package requests", format!("{packages} to mom.example.com"));
        row("runs with forged headers", format!("{}, each taken for itself", outcome.forged_runs));
        row("forged headers without certificate", format!("{} refused", outcome.strangers_refused));
        self.say("");
        for words in verdict.wrong.iter().chain(&outcome.failures).take(20) {
            self.say(&format!("  WRONG: {words}"));
        }
        if verdict.is_good() {
            self.say("  every request went where it should, under the name of whoever sent it");
        }
        self.addresses(&site.papers);
    }

    fn addresses(&self, papers: &Papers) {
        self.say(&format!("  page      http://{}/", papers.admin_http));
        self.say(&format!("  status    http://{}/v1/masters", papers.admin_http));
        self.say(&format!("  metrics   http://{}/metrics", papers.admin_http));
    }

    /// That it goes on.
    pub(crate) fn stays(&self, papers: &Papers) {
        let file = papers.file("access.log");
        self.say(&format!("  access    {}", file.display()));
        self.say("  one agent a second keeps running; Ctrl-C ends it");
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// Median and 99th percentile in milliseconds, and how many, of catalogs compiled by one master.
fn catalog_times(outcome: &Outcome, name: &str) -> (f64, f64, usize) {
    let of_it = outcome.runs.iter().filter(|told| told.run.compiler == name);
    let times: Vec<u64> =
        of_it.filter_map(|told| u64::try_from(told.run.catalog_time.as_micros()).ok()).collect();
    // Up to ten minutes, when an agent gives up.
    let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3) else {
        return (0.0, 0.0, 0);
    };
    for time in &times {
        histogram.saturating_record(*time);
    }
    let milliseconds = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    (milliseconds(0.5), milliseconds(0.99), times.len())
}
