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

/// Whether a CA whose end is near has a successor in the bundle: one of the same name whose end is far. One that has
/// ended is history where any other goes on, since no certificate of it counts any more.
pub(super) fn succeeded(trust: &Trust, authority: &Authority, now: UnixTime) -> bool {
    let past = End::of(authority.not_after, now) == End::Past;
    trust.authorities().iter().any(|other| {
        End::of(other.not_after, now) == End::Far && (past || other.subject == authority.subject)
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
        KeyIdMethod, KeyPair, SerialNumber, date_time_ymd,
    };

    use super::*;

    /// A bundle of CAs with these names and ends, in days after 1970.
    fn trust(authorities: &[(&str, u64)]) -> Trust {
        let day = |days: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(days * DAY);
        let (mut bundle, mut lists) = (String::new(), String::new());
        for (name, ends) in authorities {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, *name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            (params.not_before, params.not_after) = (day(1), day(*ends));
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            let list = CertificateRevocationListParams {
                this_update: day(1),
                next_update: day(9_000),
                crl_number: SerialNumber::from(1_u64),
                issuing_distribution_point: None,
                revoked_certs: Vec::new(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            bundle.push_str(&issuer.pem());
            lists.push_str(&list.signed_by(&issuer).unwrap().pem().unwrap());
        }
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_000 * DAY));
        Trust::from_pem(bundle.as_bytes(), lists.as_bytes(), now).unwrap()
    }

    #[test]
    fn a_ca_that_ends_counts_unless_another_goes_on_in_its_place() {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_000 * DAY));
        for (authorities, expected) in [
            (&[("root", 5_000), ("Puppet CA", 1_003)][..], false),
            (&[("Puppet CA", 5_000), ("Puppet CA", 1_003)], true),
            (&[("Puppet CA", 1_020), ("Puppet CA", 1_003)], false),
            (&[("Puppet CA", 5_000), ("Puppet CA of old", 900)], true),
            (&[("Puppet CA", 1_020), ("Puppet CA of old", 900)], false),
            (&[("Puppet CA", 1_003)], false),
        ] {
            let trust = trust(authorities);
            let last = trust.authorities().last().unwrap();
            assert_eq!(succeeded(&trust, last, now), expected, "{authorities:?}");
        }
    }

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
