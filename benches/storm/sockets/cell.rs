//! What a site goes through: how many runs begin and when, which masters are slow, which one dies.

use std::time::Duration;

use clap::ValueEnum;

use crate::site::{JRUBIES, MASTERS};
use crate::work::{Load, Run, runs};

/// A kind of site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cell {
    /// 95 %, all masters alike.
    Equal,
    /// 95 %, two of ten take twice as long.
    Slow,
    /// 120 % for most of the time, then calm.
    Overload,
    /// 80 %, one master killed, and back later.
    Killed,
}

/// A part of the time in which runs begin.
struct Phase {
    /// Which part of it.
    lasts: f64,
    /// Part of all JRubies' time that is asked for.
    utilisation: f64,
}

/// A run takes more of a JRuby than this on average: so many runs at most begin in a time.
const RUN_TAKES: f64 = 4.0;

impl Cell {
    /// What a table calls it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Equal => "95 %, equal masters",
            Self::Slow => "95 %, two at half speed",
            Self::Overload => "120 % for three fifths of the time, then 60 %",
            Self::Killed => "80 %, one master killed and back later",
        }
    }

    const fn phases(self) -> &'static [Phase] {
        match self {
            Self::Equal | Self::Slow => &[Phase { lasts: 1.0, utilisation: 0.95 }],
            Self::Overload => {
                &[Phase { lasts: 0.6, utilisation: 1.2 }, Phase { lasts: 0.4, utilisation: 0.6 }]
            }
            Self::Killed => &[Phase { lasts: 1.0, utilisation: 0.8 }],
        }
    }

    /// How many times as long as a usual one a master takes.
    pub(crate) const fn slower(self, master: usize) -> f64 {
        if matches!(self, Self::Slow) && master < 2 { 2.0 } else { 1.0 }
    }

    /// The master that dies, when, and when it is back, in parts of the time in which runs begin.
    pub(crate) const fn killed(self) -> Option<(usize, f64, f64)> {
        if matches!(self, Self::Killed) { Some((MASTERS - 1, 0.4, 0.7)) } else { None }
    }

    /// The runs that begin within so long, by the site's clock.
    pub(crate) fn arrivals(self, time: Duration, seed: u64) -> Vec<Run> {
        let jrubies: f64 = (0..MASTERS).map(|at| f64::from(JRUBIES) / self.slower(at)).sum();
        let (mut all, mut from) = (Vec::new(), Duration::ZERO);
        for (number, Phase { lasts, utilisation }) in (0_u64..).zip(self.phases()) {
            let lasts = time.mul_f64(*lasts);
            let most = (lasts.as_secs_f64() * jrubies * utilisation / RUN_TAKES).ceil();
            let (runs_at_most, utilisation) = (most as usize, *utilisation);
            let load = Load { runs: runs_at_most, utilisation, surge: None, jrubies, environments: 1 };
            let of_phase = runs(load, seed.wrapping_add(number << 32));
            let within = of_phase.into_iter().take_while(|run| run.at < lasts);
            all.extend(within.map(|run| Run { at: from + run.at, ..run }));
            from += lasts;
        }
        all
    }
}
