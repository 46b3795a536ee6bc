//! `stagedoor check --signed DIR`: every certificate in the CA's folder of signed ones, judged as at a handshake.
//!
//! Puppet's own CA believes some that a modern TLS library does not (SHA-1, short keys, version 1, critical extensions)
//! and some whose subject its readers read differently. Their agents would be turned away on the day the door is put
//! in front, so they are listed before. Expired and revoked ones are listed too, apart: Puppet turns those away today.

use std::collections::BTreeMap;
use std::path::Path;

use rustls_pki_types::pem::{PemObject as _, SectionKind};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Serialize;
use stagedoor_config::master::JETTY_HEADER_LIMIT;
use stagedoor_config::read;
use stagedoor_config::trust::{Side, Trust};

use super::settings::chain;
use crate::identity::Identity;

/// What an agent's head holds beside its identity: request line with a long path and query, and a dozen headers.
const HEAD_BESIDE: usize = 1024;

/// What became of them.
#[derive(Debug, Default, Serialize)]
pub(super) struct Signed {
    /// How many were judged.
    pub(super) judged: usize,
    /// How many of them would be refused, by reason: the words that `stagedoor_handshakes_total` counts by.
    pub(super) reasons: BTreeMap<&'static str, usize>,
    /// Those that would be refused though Puppet takes them today, by name.
    pub(super) refused: Vec<Refused>,
    /// Those that Puppet refuses today as well: expired, not valid yet, revoked.
    pub(super) lapsed: Vec<Refused>,
    /// Those that would pass and whose identity may not fit a master's limit.
    pub(super) large: Vec<Large>,
}

/// One certificate that would be refused.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    /// The file's name, which is the certname and `.pem`.
    pub(super) file: String,
    /// Why, in one stable word.
    pub(super) reason: &'static str,
    /// Why, in words, and what to do.
    pub(super) why: String,
}

/// One certificate whose headers are large.
#[derive(Debug, Serialize)]
pub(super) struct Large {
    /// The file's name.
    pub(super) file: String,
    /// What stating it adds to a request's head, in bytes.
    pub(super) header_bytes: usize,
}

impl Large {
    /// What is wrong with it and what to do.
    pub(super) fn words(&self) -> String {
        format!(
            "{}: stating it takes {} bytes of a request's head, of which a master reads {JETTY_HEADER_LIMIT} unless \
             `request-header-max-size` in its webserver.conf is raised, and the roster's header limit with it",
            self.file, self.header_bytes
        )
    }
}

/// Judges every `.pem` file in the folder, in the order of their names.
///
/// # Errors
/// The folder cannot be listed.
pub(super) fn judge(folder: &Path, trust: &Trust, now: UnixTime) -> std::io::Result<Signed> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut signed = Signed { judged: paths.len(), ..Signed::default() };
    for path in &paths {
        let file = path.file_name().unwrap_or_default().to_string_lossy().escape_default().to_string();
        match judge_one(path, trust, now) {
            Ok(header_bytes) if header_bytes + HEAD_BESIDE > JETTY_HEADER_LIMIT => {
                signed.large.push(Large { file, header_bytes });
            }
            Ok(_) => {}
            Err((reason, why)) => {
                *signed.reasons.entry(reason).or_default() += 1;
                let lapsed = matches!(reason, "expired" | "not_yet_valid" | "revoked");
                let list = if lapsed { &mut signed.lapsed } else { &mut signed.refused };
                list.push(Refused { file, reason, why });
            }
        }
    }
    Ok(signed)
}

/// The bytes that stating it adds to a head, or the reason and the words.
fn judge_one(path: &Path, trust: &Trust, now: UnixTime) -> Result<usize, (&'static str, String)> {
    let bytes = read::bytes(path).map_err(|error| ("unreadable", chain(&error)))?;
    let leaf = one_certificate(&bytes)
        .ok_or_else(|| ("unreadable", "expected one certificate in PEM and nothing else".to_owned()))?;
    trust.judge(&leaf, &[], now, Side::Agent).map_err(|error| (error.label(), chain(&error)))?;
    let identity = Identity::from_certificate(&leaf).map_err(|error| (error.label(), chain(&error)))?;
    Ok(identity.header_bytes())
}

fn one_certificate(pem: &[u8]) -> Option<CertificateDer<'static>> {
    let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    match (sections.next(), sections.next()) {
        (Some(Ok((SectionKind::Certificate, der))), None) => Some(CertificateDer::from(der)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    macro_rules! odd {
        ($name:literal) => {
            include_bytes!(concat!("../../../config/tests/data/odd/", $name, ".pem"))
        };
    }

    /// 2027-06-01.
    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_811_808_000));
    const CENTURY: Duration = Duration::from_secs(101 * 366 * 24 * 3600);

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, pem) in [
            ("good.pem", &odd!("good")[..]),
            ("sha1.pem", odd!("sha1")),
            ("rsa1024.pem", odd!("rsa1024")),
            ("version1.pem", odd!("version1")),
            ("critical.pem", odd!("critical")),
            ("list.pem", odd!("crl")),
            ("empty.pem", b""),
            ("two.pem", &[&odd!("good")[..], odd!("sha1")].concat()),
            ("ignored.txt", b"no certificate"),
        ] {
            std::fs::write(folder.path().join(name), pem).unwrap();
        }
        folder
    }

    #[test]
    fn agents_that_would_be_turned_away_are_listed_with_reasons() {
        let folder = folder();
        let trust = Trust::from_pem(odd!("ca"), odd!("crl"), NOW).unwrap();
        let signed = judge(folder.path(), &trust, NOW).unwrap();
        assert_eq!(signed.judged, 8);
        let refused: Vec<_> = signed.refused.iter().map(|one| (one.file.as_str(), one.reason)).collect();
        assert_eq!(
            refused,
            [
                ("critical.pem", "unsupported_extension"),
                ("empty.pem", "unreadable"),
                ("list.pem", "unreadable"),
                ("rsa1024.pem", "weak_key"),
                ("sha1.pem", "unsupported_algorithm"),
                ("two.pem", "unreadable"),
                ("version1.pem", "unsupported_version"),
            ]
        );
        assert_eq!(signed.reasons["unreadable"], 3);
        assert!(signed.lapsed.is_empty() && signed.large.is_empty());
        let words = &signed.refused[3].why;
        assert!(words.contains("1024 bits") && words.contains("at least 2048"), "{words}");
    }

    #[test]
    fn what_puppet_refuses_as_well_is_listed_apart() {
        let folder = folder();
        let trust = Trust::from_pem(odd!("ca"), odd!("crl"), NOW).unwrap();
        let later = UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs()) + CENTURY);
        let signed = judge(folder.path(), &trust, later).unwrap();
        let lapsed: Vec<_> = signed.lapsed.iter().map(|one| (one.file.as_str(), one.reason)).collect();
        assert!(lapsed.contains(&("good.pem", "expired")), "{lapsed:?}");
        assert!(signed.refused.iter().all(|one| one.reason != "expired"));
    }
}
