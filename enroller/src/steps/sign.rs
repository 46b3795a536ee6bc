//! The certificate: signed only for the key that is on the machine, for the names and extensions of the settings.
//!
//! Anybody who reaches the CA can hand in a request under any name. So the key is read on the machine itself, over ssh
//! whose host keys are known, or the operator says its fingerprint; the request is held against both, and so is the
//! certificate that came of it, whoever signed it.

use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Preset;

use super::{Act, BETWEEN, Enrolling, Look};
use crate::ca::{Ca, Wanted};
use crate::pipeline::{Facts, Looked, Stop, StopKind};
use crate::request::{Asked, key_of};
use crate::shell::CommandLine;
use crate::site::not_run;

/// `$1` is the puppet program: prints the public key that its requests are made with, where there is one.
const KEY: &str = r#"key=$("$1" config print hostpubkey) && if [ -e "$key" ]; then cat "$key"; fi"#;

pub(super) async fn look(at: &Enrolling<'_>) -> Look {
    let (ca, master) = (Ca::of(at.site), at.master());
    if let Some(pem) = ca.certificate(master).await? {
        let certificate = readable(Asked::of_certificate(&pem), "certificate", master)?;
        let key = key(at).await?;
        let differences = certificate.differences(
            master,
            &key.ok_or_else(|| no_key(master))?,
            &at.site.settings.certificate,
        );
        if !differences.is_empty() {
            let reason =
                format!("the certificate of {master} is not what it must be: {}", differences.join("; "));
            let way_out = format!(
                "if nobody here made it, revoke it at once; `puppetserver ca clean --certname {master}` on the CA (`puppet \
                 cert clean` before version 6), remove the agent's ssl folder on the machine, then resume"
            );
            return Err(Stop::new(StopKind::Refused, reason, way_out));
        }
        let serial = certificate.serial.unwrap_or_default();
        return Ok(Looked::There(Facts::none().and("serial", serial).and("key", certificate.key)));
    }
    Ok(Looked::Missing(Facts::none()))
}

pub(super) async fn act(at: &Enrolling<'_>) -> Act {
    let (ca, master) = (Ca::of(at.site), at.master());
    let pem = match ca.request(master).await? {
        Some(pem) => pem,
        None => {
            submit(at).await?;
            loop {
                if let Some(pem) = ca.request(master).await? {
                    break pem;
                }
                if ca.certificate(master).await?.is_some() {
                    // The CA signs by itself: the look after this judges what it signed.
                    return Ok(Facts::none().and("signed_by", "the CA itself"));
                }
                tokio::time::sleep(BETWEEN).await;
            }
        }
    };
    let request = readable(Asked::of_request(&pem), "request", master)?;
    let key = key(at).await?.ok_or_else(|| no_key(master))?;
    let differences = request.differences(master, &key, &at.site.settings.certificate);
    if !differences.is_empty() {
        let reason = format!("the request of {master} is not signed: {}", differences.join("; "));
        let way_out = format!(
            "correct [certificate] in the settings, or puppet.conf and csr_attributes.yaml on {master}; then remove the \
             request (`puppetserver ca clean --certname {master}` on the CA) and the agent's ssl folder there, and resume"
        );
        return Err(Stop::new(StopKind::Refused, reason, way_out));
    }
    let way = ca.have(master, Wanted::Signed).await?;
    Ok(Facts::none().and("signed_by", way.name()).and("key", request.key))
}

/// Has the machine hand in its request.
async fn submit(at: &Enrolling<'_>) -> Result<(), Stop> {
    if !at.site.shell.is_there() {
        // Its daemon does, every two minutes.
        return Ok(());
    }
    let master = at.master();
    let old = matches!(at.site.settings.preset, Preset::Pe3 | Preset::Pe2015);
    let words: &[&str] = match old {
        true => &["agent", "--test", "--no-show_diff", "--color", "false", "--waitforcert", "0"],
        false => &["ssl", "submit_request", "--color", "false"],
    };
    let line = at.site.puppet_line(words)?;
    let ended = at.site.shell.run(master, &line, &[]).await?;
    // An agent that waits for its certificate has failed as far as it can tell: whether the request is there says more.
    if ended.code != 0 && !old {
        let reason = format!("{master} could not hand in its request: {}", ended.last_words());
        return Err(Stop::new(StopKind::Failed, reason, "put right what it says, then resume"));
    }
    Ok(())
}

/// SHA-256 of the public key that is on the machine: as the operator says, else as it is read there.
async fn key(at: &Enrolling<'_>) -> Result<Option<String>, Stop> {
    if let Some(key) = &at.permits.key {
        return Ok(Some(key.clone()));
    }
    if !at.site.shell.is_there() {
        return Ok(None);
    }
    let master = at.master();
    let line =
        CommandLine::script(KEY, [at.site.puppet_program()]).map_err(|error| not_run(&error.into()))?;
    let ended = at.site.shell.look(master, &line).await?;
    if ended.code != 0 || ended.out.trim().is_empty() {
        return Ok(None);
    }
    // Puppet before version 6 kept it in a form of RSA's own; the request's own fingerprint is the way there.
    match key_of(&ended.out) {
        Ok(key) => Ok(Some(key)),
        Err(error) => {
            let reason = format!("the public key on {master} cannot be read: {error}");
            let way_out = "give its fingerprint with `--key-fingerprint`, as `openssl pkey -in PRIVATE_KEY -pubout \
                           -outform DER | sha256sum` prints it there";
            Err(Stop::new(StopKind::Refused, reason, way_out))
        }
    }
}

fn no_key(master: &Certname) -> Stop {
    let reason = format!("nobody says which key is on {master}, so that its request could be anybody's");
    let way_out = "write [ssh], so that it is read there, or give its fingerprint with `--key-fingerprint` (`openssl pkey \
                   -in PRIVATE_KEY -pubout -outform DER | sha256sum`); then resume";
    Stop::new(StopKind::Refused, reason, way_out)
}

fn readable<T>(
    read: Result<T, crate::request::NotReadable>,
    what: &str,
    master: &Certname,
) -> Result<T, Stop> {
    read.map_err(|error| {
        let reason = format!("the CA's {what} of {master}: {error}");
        Stop::new(StopKind::Failed, reason, "see what the CA has under that name, then resume")
    })
}
