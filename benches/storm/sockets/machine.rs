//! How busy the whole machine was, whoever used it (`/proc/stat`).

use std::convert::Infallible;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Between two looks at how busy it is: a program that gets no processor for so long takes masters for dead.
const LOOKS: Duration = Duration::from_secs(3);

/// The machine's processors so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// Hundredths of a second in which they worked, for this machine or, stolen, for another on the same host.
    busy: u64,
    /// All that went by, once for each processor.
    all: u64,
}

/// What they did between two looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// In seconds of one processor.
    pub seconds: f64,
    /// Part of what all of them had.
    pub part: f64,
}

impl Machine {
    /// As of now.
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        let line = text.lines().find_map(|line| line.strip_prefix("cpu ")).context("/proc/stat: cpu")?;
        // user nice system idle iowait irq softirq steal; what follows is in user and nice already.
        let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|word| word.parse().ok()).collect();
        let [_, _, _, idle, waiting, ..] = ticks[..] else {
            anyhow::bail!("/proc/stat: eight numbers expected, not {line:?}");
        };
        let all = ticks.iter().sum();
        Ok(Self { busy: all - idle - waiting, all })
    }

    /// Looks every few seconds, and says when the machine was busiest.
    pub(crate) async fn watch(busiest: &mut f64) -> Result<Infallible> {
        let mut before = Self::now()?;
        loop {
            tokio::time::sleep(LOOKS).await;
            let now = Self::now()?;
            *busiest = busiest.max(now.since(before).part);
            before = now;
        }
    }

    /// Since `before`.
    pub(crate) fn since(self, before: Self) -> Used {
        let busy = self.busy.saturating_sub(before.busy) as f64;
        let all = self.all.saturating_sub(before.all).max(1) as f64;
        Used { seconds: busy / 100.0, part: busy / all }
    }
}
