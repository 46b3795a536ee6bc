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

/// `$1` is the puppet program: prints the public half of the key that its requests are made with, where there is one.
/// Puppet keeps no file of that half since version 6. Its own folders, of packages and of PE 3, have one of the programs
/// at least.
const KEY: &str = r#"key=$("$1" config print hostprivkey) || exit
[ -e "$key" ] || exit 0
PATH=$PATH:/opt/puppetlabs/puppet/bin:/opt/puppet/bin
openssl pkey -pubout -in "$key" && exit
ruby -ropenssl -e 'puts OpenSSL::PKey.read(File.read(ARGV[0])).public_key.to_pem' "$key""#;

/// How an operator says which key it is.
const FINGERPRINT: &str = "`--key-fingerprint`, as `openssl pkey -in PRIVATE_KEY -pubout -outform DER | sha256sum` prints it \
                           there";

pub(super) async fn look(at: &Enrolling<'_>) -> Look {
    let (ca, master) = (Ca::of(at.site), at.master());
    let Some(pem) = ca.certificate(master).await? else { return Ok(Looked::Missing(Facts::none())) };
    let certificate = readable(Asked::of_certificate(&pem), "certificate", master)?;
    let differences = certificate.differences(master, &key(at).await?, &at.site.settings.certificate);
    if differences.is_empty() {
        let serial = certificate.serial.unwrap_or_default();
        return Ok(Looked::There(Facts::none().and("serial", serial).and("key", certificate.key)));
    }
    Err(wrong_certificate(master, &differences, "if nobody here made it, revoke it at once; "))
}

pub(super) async fn act(at: &Enrolling<'_>) -> Act {
    let (ca, master) = (Ca::of(at.site), at.master());
    if ca.request(master).await?.is_none() {
        submit(at).await?;
        while ca.request(master).await?.is_none() {
            if ca.certificate(master).await?.is_some() {
                // The CA signs by itself: the look after this judges what it signed.
                return Ok(Facts::none().and("signed_by", "the CA itself"));
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }
    let key = key(at).await?;
    let allowed = &at.site.settings.certificate;
    // Read last before it is signed: where the CA lets requests be replaced, anybody may replace it meanwhile.
    let Some(pem) = ca.request(master).await? else {
        let reason = format!("the request of {master} is gone: somebody signed or removed it");
        return Err(Stop::new(StopKind::Failed, reason, "resume, which looks at what is there now"));
    };
    let request = readable(Asked::of_request(&pem), "request", master)?;
    let differences = request.differences(master, &key, allowed);
    if !differences.is_empty() {
        let reason = format!("the request of {master} is not signed: {}", differences.join("; "));
        let way_out = format!(
            "correct [certificate] in the settings, or puppet.conf and csr_attributes.yaml on {master}; then remove the \
             request (`puppetserver ca clean --certname {master}` on the CA) and the agent's ssl folder there, and resume"
        );
        return Err(Stop::new(StopKind::Refused, reason, way_out));
    }
    let way = ca.have(master, Wanted::Signed).await?;
    // Whatever the CA has signed is had by whoever asks. One of another request must not live until somebody reads this.
    if let Some(pem) = ca.certificate(master).await? {
        let certificate = readable(Asked::of_certificate(&pem), "certificate", master)?;
        let differences = certificate.differences(master, &key, allowed);
        if !differences.is_empty() {
            ca.have(master, Wanted::Revoked).await?;
            let done = "it is revoked again; see who replaces requests at the CA (`allow-duplicate-certs`); ";
            return Err(wrong_certificate(master, &differences, done));
        }
    }
    Ok(Facts::none().and("signed_by", way.name()).and("key", request.key))
}

fn wrong_certificate(master: &Certname, differences: &[String], first: &str) -> Stop {
    let reason = format!("the certificate of {master} is not what it must be: {}", differences.join("; "));
    let way_out = format!(
        "{first}`puppetserver ca clean --certname {master}` on the CA (`puppet cert clean` before version 6), remove the \
         agent's ssl folder on the machine, then resume"
    );
    Stop::new(StopKind::Refused, reason, way_out)
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
async fn key(at: &Enrolling<'_>) -> Result<String, Stop> {
    let master = at.master();
    if let Some(key) = &at.permits.key {
        return Ok(key.clone());
    }
    if !at.site.shell.is_there() {
        let reason = format!("nobody says which key is on {master}, so that its request could be anybody's");
        let way_out = format!(
            "write [ssh], so that it is read there, or give its fingerprint: {FINGERPRINT}; then resume"
        );
        return Err(Stop::new(StopKind::Refused, reason, way_out));
    }
    let line =
        CommandLine::script(KEY, [at.site.puppet_program()]).map_err(|error| not_run(&error.into()))?;
    let ended = at.site.shell.look(master, &line).await?;
    if ended.code != 0 {
        let reason = format!(
            "{master}: the key at `puppet config print hostprivkey` cannot be read, code {}: {}",
            ended.code,
            ended.last_words()
        );
        return Err(Stop::new(StopKind::Failed, reason, "see what it says there, then resume"));
    }
    if ended.out.trim().is_empty() {
        let reason = format!(
            "{master} has no key, and the CA has a request or a certificate of its name: not its own"
        );
        let way_out = format!(
            "see who handed it in; `puppetserver ca clean --certname {master}` on the CA removes it, then resume"
        );
        return Err(Stop::new(StopKind::Refused, reason, way_out));
    }
    key_of(&ended.out).map_err(|error| {
        let reason = format!("the public key on {master} cannot be read: {error}");
        Stop::new(StopKind::Refused, reason, format!("give its fingerprint: {FINGERPRINT}; then resume"))
    })
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
