//! What agents ask for: runs, drawn once from a seed, so that every balancer gets the same arrivals and sizes.

use std::time::Duration;

/// One request of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// What it is.
    pub(crate) what: What,
    /// How long it holds a JRuby of a master of usual speed.
    pub(crate) work: Duration,
    /// How long the agent does something else before it. Longer than [`REOPENS`] costs the connection.
    pub(crate) pause: Duration,
}

/// What a request is, as far as a balancer tells requests apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// The first one of a run.
    Node,
    /// Milliseconds of a JRuby.
    Small,
    /// Seconds of a JRuby.
    Catalog,
    /// The last one of a run.
    Report,
}

/// One agent's run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// When it begins.
    pub(crate) at: Duration,
    /// The environment it is in.
    pub(crate) environment: usize,
    /// One after the other.
    pub(crate) steps: Vec<Step>,
}

/// What a site does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// How many runs.
    pub(crate) runs: usize,
    /// Part of all JRubies' time that they ask for, where each environment is warm.
    pub(crate) utilisation: f64,
    /// The same for so long at the beginning.
    pub(crate) surge: Option<(f64, Duration)>,
    /// JRubies of all masters together, in masters of usual speed.
    pub(crate) jrubies: f64,
    /// Environments; the second has half as many runs as the first, the third a third, and so on.
    pub(crate) environments: usize,
}

/// An agent closes a connection that was idle for longer.
pub(crate) const REOPENS: Duration = Duration::from_secs(4);
/// An agent leaves when a request has not been answered by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Files that a run asks for one by one after its catalog.
const FILES: usize = 10;
/// From plugins to the catalog: what Facter takes.
const FACTS: Duration = Duration::from_secs(8);
/// From the last file to the report: what applying takes.
const APPLIES: Duration = Duration::from_secs(6);
/// The mean of a catalog's work; log-normal, with a deviation as large.
const CATALOG: f64 = 5.0;

/// The runs of one seed.
pub(crate) fn runs(load: Load, seed: u64) -> Vec<Run> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let each: f64 = 0.1 + 0.3 + CATALOG + 0.05 * FILES as f64 + 0.3;
    let mut at = 0.0;
    let mut all = Vec::with_capacity(load.runs);
    for _ in 0..load.runs {
        let surges = load.surge.filter(|(_, lasts)| at < lasts.as_secs_f64());
        let utilisation = surges.map_or(load.utilisation, |(utilisation, _)| utilisation);
        let apart = each / (load.jrubies * utilisation);
        at -= chance.f64().max(f64::MIN_POSITIVE).ln() * apart;
        let steps = steps(&mut chance);
        // A site of one environment draws as many numbers, so that its runs are the same with twelve.
        let environment = environment(chance.f64(), load.environments);
        all.push(Run { at: Duration::from_secs_f64(at), environment, steps });
    }
    all
}

fn environment(chance: f64, environments: usize) -> usize {
    let part = |at: usize| 1.0 / (at + 1) as f64;
    let all: f64 = (0..environments).map(part).sum();
    let mut left = chance * all;
    (0..environments)
        .find(|at| {
            left -= part(*at);
            left < 0.0
        })
        .unwrap_or_default()
}

fn steps(chance: &mut fastrand::Rng) -> Vec<Step> {
    let step = |what, work, pause| Step { what, work: Duration::from_secs_f64(work), pause };
    let none = Duration::ZERO;
    let mut steps = vec![step(What::Node, 0.1, none), step(What::Small, 0.3, none)];
    steps.push(step(What::Catalog, log_normal(chance, CATALOG), FACTS));
    steps.extend((0..FILES).map(|_| step(What::Small, 0.05, none)));
    steps.push(step(What::Report, 0.3, APPLIES));
    steps
}

/// With this mean, and a deviation as large as it.
fn log_normal(chance: &mut fastrand::Rng, mean: f64) -> f64 {
    let (one, two) = (chance.f64().max(f64::MIN_POSITIVE), chance.f64());
    let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos();
    let sigma = std::f64::consts::LN_2.sqrt();
    mean * (sigma * normal - sigma * sigma / 2.0).exp()
}
