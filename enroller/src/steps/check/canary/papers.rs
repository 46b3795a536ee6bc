//! A canary's certificate and key: made once for each master, signed by the same judgement as the master's, without any name
//! or extension more, and kept beside the journals until the master is retired.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls_pki_types::UnixTime;
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::{Preset, Request as Allowed};
use stagedoor_config::proxy::KeyPair as Files;
use stagedoor_config::read;
use stagedoor_config::trust::Side;
use tokio::time::{Instant, sleep};

use crate::ca::{Ca, Wanted};
use crate::identity::Identity;
use crate::pipeline::{Stop, StopKind};
use crate::request::{Asked, key_of};
use crate::steps::check::here;
use crate::steps::{BETWEEN, Enrolling};
use crate::words::chain;

/// For a request that was signed to be had as a certificate.
const SIGNED: Duration = Duration::from_secs(60);

/// Where they are, and whom they make it; signed where there are none that are good.
pub(super) async fn of(at: &Enrolling<'_>, name: &Certname) -> Result<(Files, Identity), Stop> {
    let files = files(at, name)?;
    let identity = match read_good(at, &files)? {
        Some(identity) => identity,
        None => signed(at, name, &files).await?,
    };
    Ok((files, identity))
}

/// Where its certificate and key are kept.
fn files(at: &Enrolling<'_>, name: &Certname) -> Result<Files, Stop> {
    let folder = at.site.settings.journal.join("canary");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|error| here(&folder.display().to_string(), &error))?;
    let file = |end: &str| -> PathBuf { folder.join(format!("{name}.{end}")) };
    Ok(Files { certificate: file("pem"), key: file("key") })
}

/// The canary's certificate and key, which nobody needs any more, are taken off the disk.
pub(in crate::steps) fn forget(at: &Enrolling<'_>, name: &Certname) -> Result<(), Stop> {
    let files = files(at, name)?;
    for path in [&files.certificate, &files.key] {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(here(&path.display().to_string(), &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The way out where the CA has a certificate of the canary's that nobody believes any more, as after a retirement.
fn cleaned(at: &Enrolling<'_>, name: &Certname, files: &Files) -> Stop {
    let why = read::bytes(&files.certificate)
        .ok()
        .and_then(|_| Identity::read(files).ok())
        .and_then(|identity| {
            let (leaf, above) = identity.chain().split_first()?;
            at.site.trust.judge(leaf, above, UnixTime::now(), Side::Agent).err()
        })
        .map(|refused| format!(": {}", chain(&refused)))
        .unwrap_or_default();
    let reason = format!("the CA's certificate of {name} is believed by nobody{why}");
    let way_out = format!(
        "`puppetserver ca clean --certname {name}` on the CA (`puppet cert clean` before version 6), then resume"
    );
    Stop::new(StopKind::Refused, reason, way_out)
}

/// What was kept of it, where that is still good.
fn read_good(at: &Enrolling<'_>, files: &Files) -> Result<Option<Identity>, Stop> {
    if !files.certificate.exists() || !files.key.exists() {
        return Ok(None);
    }
    let identity = Identity::read(files).map_err(|error| here("the canary's certificate", &error))?;
    let Some((leaf, above)) = identity.chain().split_first() else { return Ok(None) };
    let good = at.site.trust.judge(leaf, above, UnixTime::now(), Side::Agent).is_ok();
    Ok(good.then_some(identity))
}

/// A certificate for the canary, whose key was on the disk before anybody heard of it.
async fn signed(at: &Enrolling<'_>, name: &Certname, files: &Files) -> Result<Identity, Stop> {
    let ca = Ca::of(at.site);
    let key = match read::text(&files.key) {
        Ok(pem) => KeyPair::from_pem(&pem).map_err(|error| here("the canary's key", &error))?,
        Err(_) => {
            let key = new_key(at).map_err(|error| here("the canary's key", &error))?;
            let written = read::replace(&files.key, key.serialize_pem().as_bytes(), 0o600);
            written.map_err(|error| here("the canary's key", &error))?;
            key
        }
    };
    let own = key_of(&key.public_key_pem()).map_err(|error| here("the canary's key", &error))?;
    let nothing = Allowed { dns_alt_names: Vec::new(), extensions: Vec::new() };
    let judge = |asked: &Asked, what: &str| {
        let differences = asked.differences(name, &own, &nothing);
        if differences.is_empty() {
            return Ok(());
        }
        let reason = format!("the CA has another {what} of {name}: {}", differences.join("; "));
        let way_out = format!(
            "if nobody here made it, somebody else did; `puppetserver ca clean --certname {name}`, then resume"
        );
        Err(Stop::new(StopKind::Refused, reason, way_out))
    };
    let mut signed = false;
    if ca.certificate(name).await?.is_none() {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        let pem = params.serialize_request(&key).and_then(|request| request.pem());
        ca.hand_in(name, &pem.map_err(|error| here("the canary's request", &error))?).await?;
        if let Some(pem) = ca.request(name).await? {
            judge(
                &Asked::of_request(&pem).map_err(|error| here("the canary's request", &error))?,
                "request",
            )?;
            ca.have(name, Wanted::Signed).await?;
            signed = true;
        }
    }
    let began = Instant::now();
    loop {
        if let Some(pem) = ca.certificate(name).await? {
            let certificate =
                Asked::of_certificate(&pem).map_err(|error| here("the canary's certificate", &error))?;
            if let Err(stop) = judge(&certificate, "certificate") {
                // Somebody replaced the request just before it was signed: the node of that name would be his.
                if signed {
                    ca.have(name, Wanted::Revoked).await?;
                }
                return Err(stop);
            }
            let written = read::replace(&files.certificate, pem.as_bytes(), 0o600);
            written.map_err(|error| here("the canary's certificate", &error))?;
            return read_good(at, files)?.ok_or_else(|| cleaned(at, name, files));
        }
        if began.elapsed() > SIGNED {
            let reason = format!("the CA signed {name} and has no certificate of it");
            return Err(Stop::new(StopKind::Failed, reason, "see the CA's log, then resume"));
        }
        sleep(BETWEEN).await;
    }
}

/// Of the kind that the CA knows: Puppet before version 6 made none but RSA keys.
fn new_key(at: &Enrolling<'_>) -> Result<KeyPair, rcgen::Error> {
    match at.site.settings.preset {
        Preset::Pe3 | Preset::Pe2015 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        Preset::Pe2019 | Preset::OpenSource => KeyPair::generate(),
    }
}
