//! What is shown of simulations: a table of the door's figures and of the others' beside them.

use std::time::Duration;

use crate::NAMES;
use crate::simulate::Seen;
use crate::site::Site;

/// What is shown of one simulation, in seconds.
pub(crate) const SHOWN: [&str; 9] = [
    "run mean",
    "run p50",
    "run p95",
    "run p99",
    "catalog mean",
    "catalog p50",
    "catalog p95",
    "catalog p99",
    "small p99",
];

/// Mean and quantiles of whole runs among [`SHOWN`].
pub(crate) const RUNS: [usize; 4] = [0, 1, 2, 3];
/// The same of catalogs.
pub(crate) const CATALOGS: [usize; 4] = [4, 5, 6, 7];

/// One simulation's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// As [`SHOWN`] names them.
    pub(crate) times: [f64; SHOWN.len()],
    /// Runs that lost a request, or whose agent left.
    pub(crate) failed: usize,
    sent_away: usize,
    most_waiting: usize,
}

impl Figures {
    pub(crate) fn of(seen: &mut Seen) -> Self {
        let Seen { runs, catalogs, small, failed, sent_away, most_waiting } = seen;
        let times = [
            mean(runs),
            quantile(runs, 0.5),
            quantile(runs, 0.95),
            quantile(runs, 0.99),
            mean(catalogs),
            quantile(catalogs, 0.5),
            quantile(catalogs, 0.95),
            quantile(catalogs, 0.99),
            quantile(small, 0.99),
        ];
        Self { times, failed: *failed, sent_away: *sent_away, most_waiting: *most_waiting }
    }
}

/// Prints what became of a site, by seed and balancer.
pub(crate) fn show(site: &Site, all: &[[Figures; 6]]) {
    println!(
        "\n{} ({}): seconds of the door (median), and the others' as a multiple of it (median, range over seeds)",
        site.name, site.key
    );
    print!("{:<26}", "");
    SHOWN.iter().for_each(|figure| print!("{figure:>21}"));
    println!("{:>10}{:>10}{:>10}", "failed", "sent away", "waiting");
    for (at, name) in NAMES.iter().enumerate() {
        print!("{name:<26}");
        for figure in 0..SHOWN.len() {
            let of = |one: &[Figures; 6]| match at {
                0 => one[0].times[figure],
                _ => one[at].times[figure] / one[0].times[figure],
            };
            let mut of: Vec<f64> = all.iter().map(of).collect();
            of.sort_unstable_by(f64::total_cmp);
            let (least, middle, most) = (of[0], of[of.len() / 2], of[of.len() - 1]);
            print!("{:>21}", format!("{middle:.2} ({least:.2}-{most:.2})"));
        }
        let most = |of: fn(&Figures) -> usize| all.iter().map(|one| of(&one[at])).max().unwrap_or_default();
        println!(
            "{:>10}{:>10}{:>10}",
            most(|one| one.failed),
            most(|one| one.sent_away),
            most(|one| one.most_waiting)
        );
    }
}

pub(crate) fn mean(all: &[Duration]) -> f64 {
    all.iter().map(Duration::as_secs_f64).sum::<f64>() / all.len().max(1) as f64
}

pub(crate) fn quantile(all: &mut [Duration], part: f64) -> f64 {
    all.sort_unstable();
    let at = ((all.len() as f64 * part) as usize).min(all.len().saturating_sub(1));
    all.get(at).map_or(0.0, Duration::as_secs_f64)
}
