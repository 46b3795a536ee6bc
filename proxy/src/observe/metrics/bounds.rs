//! The buckets of every histogram.

use std::time::Duration;

use crate::observe::meter::Bounds;

const fn millis<const N: usize>(of: [u64; N]) -> [Duration; N] {
    let mut bounds = [Duration::ZERO; N];
    let mut i = 0;
    while i < N {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            bounds[i] = Duration::from_millis(of[i]);
        }
        i += 1;
    }
    bounds
}

const fn days<const N: usize>(of: [u64; N]) -> [Duration; N] {
    let mut bounds = [Duration::ZERO; N];
    let mut i = 0;
    while i < N {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            bounds[i] = Duration::from_secs(of[i] * 86_400);
        }
        i += 1;
    }
    bounds
}

/// Every class in one scale: a file's metadata takes milliseconds, a catalog up to Puppet Server's 20 minutes.
pub(super) static REQUEST: Bounds =
    millis([5, 25, 100, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 120_000, 600_000]);
pub(super) static CONNECT: Bounds = millis([1, 2, 5, 10, 20, 50, 100, 250, 500, 1_000, 5_000]);
/// Fine where catalogs are: half a second to two minutes.
pub(super) static COMPILE: Bounds =
    millis([100, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 40_000, 80_000, 300_000, 1_200_000]);
pub(super) static TRANSFER: Bounds = millis([1, 5, 10, 25, 50, 100, 250, 1_000, 5_000, 30_000, 120_000]);
pub(super) static HANDSHAKE: Bounds = millis([1, 2, 5, 10, 20, 50, 100, 250, 1_000, 2_500, 10_000]);

/// Where agents renew (30 days before the end), what renewed ones live (60 to 90 days) and what others live (5 years).
pub(super) static REMAINING: Bounds = days([1, 7, 14, 30, 60, 90, 180, 365, 2 * 365, 5 * 365, 10 * 365]);
