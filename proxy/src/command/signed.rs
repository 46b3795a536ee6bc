//! `stagedoor check --signed DIR`: every certificate in the CA's folder of signed ones, judged as at a handshake.
//!
//! Puppet's own CA believes some that a modern TLS library does not (SHA-1, short keys, version 1). Their agents would
//! be turned away on the day the door is put in front, so they are listed before.

use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Serialize;
use stagedoor_config::read;
use stagedoor_config::trust::{Side, Trust};

use super::settings::chain;

/// What became of them.
#[derive(Debug, Serialize)]
pub(super) struct Signed {
    /// How many were judged.
    pub(super) judged: usize,
    /// Those that would be refused, by name.
    pub(super) refused: Vec<Refused>,
}

/// One certificate that would be refused.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    /// The file's name, which is the certname and `.pem`.
    pub(super) file: String,
    /// Why, in words.
    pub(super) why: String,
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
    let mut refused = Vec::new();
    for path in &paths {
        if let Err(why) = judge_one(path, trust, now) {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            refused.push(Refused { file: file.escape_default().to_string(), why });
        }
    }
    Ok(Signed { judged: paths.len(), refused })
}

fn judge_one(path: &Path, trust: &Trust, now: UnixTime) -> Result<(), String> {
    let bytes = read::bytes(path).map_err(|error| chain(&error))?;
    let leaf =
        CertificateDer::from_pem_slice(&bytes).map_err(|_| "expected one certificate in PEM".to_owned())?;
    trust.judge(&leaf, &[], now, Side::Agent).map(drop).map_err(|error| chain(&error))
}
