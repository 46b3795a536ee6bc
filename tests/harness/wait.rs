//! Waiting for a state, never for a time.
//!
//! Every wait of the tests goes through [`eventually`], which looks again and again and says what it saw last when
//! its patience ends. There is one knob: `STAGEDOOR_PATIENCE`, in seconds, for machines slower than ours.

use std::time::{Duration, Instant};

/// How long a test waits for a state before it fails: 20 s, or `STAGEDOOR_PATIENCE` seconds.
#[must_use]
pub fn patience() -> Duration {
    let seconds = std::env::var("STAGEDOOR_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

/// Looks until `look` answers `Ok`, and gives back what it found; an `Err` says what was seen instead.
///
/// # Panics
/// When patience ends, with `what` and the last `Err`.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(patience(), what, look).await
}

/// [`eventually`] with a patience of its own, for promises that name a time ("within two seconds").
///
/// # Panics
/// When `patience` ends, with `what` and the last `Err`.
pub async fn within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let began = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        let seen = match look().await {
            Ok(found) => return found,
            Err(seen) => seen,
        };
        assert!(began.elapsed() < patience, "not within {patience:?}: {what}; last seen: {seen}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Waits for one future, at most as long as our patience lasts.
///
/// # Panics
/// When patience ends.
pub async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(patience(), wait).await {
        Ok(done) => done,
        Err(_) => panic!("not within {:?}: {what}", patience()),
    }
}
