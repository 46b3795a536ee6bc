//! Waiting for a state, never for a time: the limit only says when to give up, and giving up is a failure.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Looks until `look` gives something; `what` completes the sentence "gave up waiting until …".
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<(T, Duration)> {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look()? {
            return Ok((seen, begun.elapsed()));
        }
        if begun.elapsed() > limit {
            bail!("gave up waiting until {what}: not after {} s", limit.as_secs());
        }
        sleep(LOOK);
    }
}

/// `Some(())` for true: a condition as `until` wants it.
pub(crate) fn when(condition: bool) -> Option<()> {
    condition.then_some(())
}
