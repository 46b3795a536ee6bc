//! What ends on a date, and how close to it a check begins to warn and to fail.
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use rustls_pki_types::UnixTime;
use stagedoor_config::trust::{Authority, Trust};

const DAY: u64 = 24 * 3600;

/// What ends sooner is worth a warning: a month is what Puppet's own tools warn at.
const SOON: Duration = Duration::from_secs(30 * DAY);

/// What ends sooner fails a check: it may end over a long weekend.
const TOO_SOON: Duration = Duration::from_secs(7 * DAY);

/// How close the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// More than a month away.
    Far,
    /// So many whole days away, at least a week.
    Soon(u64),
    /// So many whole days away, less than a week.
    TooSoon(u64),
    /// Over.
    Past,
}

impl End {
    /// What lies between now and the end.
    pub(super) fn of(at: UnixTime, now: UnixTime) -> Self {
        if at < now {
            return Self::Past;
        }
        let left = Duration::from_secs(at.as_secs() - now.as_secs());
        match left.as_secs() / DAY {
            days if left < TOO_SOON => Self::TooSoon(days),
            days if left < SOON => Self::Soon(days),
            _ => Self::Far,
        }
    }

    /// What to say of something that ends; none while the end is far.
    pub(super) fn words(self, what: &str, remedy: &str) -> Option<String> {
        match self {
            Self::Far => None,
            Self::Past => Some(format!("expected {what} that has not expired: {remedy}")),
            Self::TooSoon(days) => {
                Some(format!("expected {what} with at least 7 days left, and it has {days}: {remedy}"))
            }
            Self::Soon(days) => Some(format!("{what} with {days} days left: {remedy}")),
        }
    }

    /// Whether a check fails.
    pub(super) const fn fails(self) -> bool {
        matches!(self, Self::TooSoon(_) | Self::Past)
    }
}

/// Whether another CA of the bundle goes on in this one's place: of the same name, and good for longer than a check
/// warns. A CA that has ended is passed over where any other goes on: it is history, kept beside its successor.
pub(super) fn succeeded(trust: &Trust, authority: &Authority, now: UnixTime) -> bool {
    let past = End::of(authority.not_after, now) == End::Past;
    trust.authorities().iter().any(|other| {
        other.key != authority.key
            && End::of(other.not_after, now) == End::Far
            && (past || other.subject == authority.subject)
    }) || trust.authorities().iter().any(|other| {
        // Renewed with its own key.
        other.key == authority.key
            && other.not_after > authority.not_after
            && End::of(other.not_after, now) == End::Far
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_warns_under_thirty_days_and_fails_under_seven() {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_000 * DAY));
        let end = |seconds| End::of(UnixTime::since_unix_epoch(Duration::from_secs(seconds)), now);
        for (seconds, expected, fails) in [
            (1_030 * DAY, End::Far, false),
            (1_030 * DAY - 1, End::Soon(29), false),
            (1_007 * DAY, End::Soon(7), false),
            (1_007 * DAY - 1, End::TooSoon(6), true),
            (1_000 * DAY, End::TooSoon(0), true),
            (1_000 * DAY - 1, End::Past, true),
            (0, End::Past, true),
        ] {
            let end = end(seconds);
            assert_eq!((end, end.fails()), (expected, fails));
            assert_eq!(end.words("a certificate", "renew it").is_none(), end == End::Far);
        }
    }
}
