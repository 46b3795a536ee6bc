//! What is shown of the turns: each balancer's figures, and the table of a cell's rounds.

use std::collections::BTreeMap;

use super::Scale;
use super::agent::{Failure, Told};
use super::balancer::Program;
use crate::figures::{mean, quantile};

/// What one balancer did in one turn. Times are in seconds of the site's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures([f64; ROWS.len()]);

/// How a row is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The door's in this unit, the others' as a multiple of it.
    Ratio(&'static str),
    /// Everybody's as it is, since many are 0.
    Count,
}

const ROWS: [(&str, Shown); 14] = [
    ("run mean", Shown::Ratio(" s")),
    ("run p95", Shown::Ratio(" s")),
    ("run p99", Shown::Ratio(" s")),
    ("catalog mean", Shown::Ratio(" s")),
    ("catalog p50", Shown::Ratio(" s")),
    ("catalog p95", Shown::Ratio(" s")),
    ("catalog p99", Shown::Ratio(" s")),
    ("small p99", Shown::Ratio(" s")),
    ("runs that came to their end", Shown::Count),
    ("failed runs", Shown::Count),
    ("told to come back", Shown::Count),
    ("CPU of the balancer", Shown::Ratio(" s")),
    ("CPU of agents and masters", Shown::Ratio(" s")),
    ("CPU of the machine", Shown::Ratio(" s")),
];

/// Seconds of CPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpus {
    /// The balancer's.
    pub balancer: f64,
    /// This program's: agents and masters.
    pub load: f64,
    /// The whole machine's.
    pub machine: f64,
}

impl Figures {
    /// Of what agents saw: those after the first tenth, when the site is warm, and every failure.
    pub(crate) fn new(told: &[Told], scale: Scale, cpu: Cpus) -> Self {
        let warm = told.get(told.len() / 10..).unwrap_or_default();
        let site = |of: &dyn Fn(&Told) -> Vec<std::time::Duration>| -> Vec<_> {
            warm.iter().flat_map(of).map(|wall| scale.site(wall)).collect()
        };
        let mut runs = site(&|told| told.run.into_iter().collect());
        let mut catalogs = site(&|told| told.catalogs.clone());
        let mut small = site(&|told| told.small.clone());
        let failed = told.iter().filter(|told| told.failure.is_some()).count();
        Self([
            mean(&runs),
            quantile(&mut runs, 0.95),
            quantile(&mut runs, 0.99),
            mean(&catalogs),
            quantile(&mut catalogs, 0.50),
            quantile(&mut catalogs, 0.95),
            quantile(&mut catalogs, 0.99),
            quantile(&mut small, 0.99),
            (told.len() - failed) as f64,
            failed as f64,
            told.iter().map(|told| told.returns).sum::<usize>() as f64,
            cpu.balancer,
            cpu.load,
            cpu.machine,
        ])
    }
}

/// Why runs failed, each reason with its number.
pub(crate) fn failures(told: &[Told]) -> String {
    let mut all: BTreeMap<Failure, usize> = BTreeMap::new();
    for failure in told.iter().filter_map(|told| told.failure) {
        *all.entry(failure).or_default() += 1;
    }
    if all.is_empty() {
        return "none failed".to_owned();
    }
    let words: Vec<String> = all.iter().map(|(why, count)| format!("{count} {why}")).collect();
    format!("failed: {}", words.join(", "))
}

/// A cell's rounds: for each balancer its figures, unless they are void. The first balancer is what the others are held
/// against, within the round.
pub(crate) fn table(title: &str, programs: &[Program], rounds: &[Vec<Option<Figures>>]) -> String {
    let heads: Vec<&str> = programs.iter().map(|program| program.title()).collect();
    let mut table = format!("| {title} | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for (row, (name, shown)) in ROWS.iter().enumerate() {
        let cells = (0..programs.len()).map(|at| {
            let figure = |round: &Vec<Option<Figures>>, at: usize| {
                round.get(at).copied().flatten().map(|figures| figures.0[row])
            };
            match shown {
                Shown::Count => spread(rounds.iter().filter_map(|round| figure(round, at)), 0, ""),
                Shown::Ratio(unit) if at == 0 => {
                    spread(rounds.iter().filter_map(|round| figure(round, 0)), 2, unit)
                }
                Shown::Ratio(_) => {
                    let ratios =
                        rounds.iter().filter_map(|round| Some(figure(round, at)? / figure(round, 0)?));
                    spread(ratios, 2, "")
                }
            }
        });
        let cells: Vec<String> = cells.collect();
        table += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    table
}

/// The median, and how far the rounds lie apart.
fn spread(figures: impl Iterator<Item = f64>, digits: usize, unit: &str) -> String {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else { return "void".to_owned() };
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    if sorted.len() == 1 {
        return format!("{median:.digits$}{unit}");
    }
    format!("{median:.digits$}{unit} ({least:.digits$}-{most:.digits$})")
}
