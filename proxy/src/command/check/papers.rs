//! The door's certificate of the door CA, and that CA: whether sealed masters let this door in, and only doors.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::UnixTime;
use stagedoor_config::proxy::DoorPapers;
use stagedoor_config::read;
use stagedoor_config::trust::Trust;

use super::super::door_ca;
use super::super::settings::chain;
use super::ends::{End, succeeded};
use super::{Finding, Found};
use crate::tls::{Papers, Unfit};

/// Something that ends.
pub(super) struct Ending<'a> {
    /// With its article.
    pub(super) what: &'a str,
    pub(super) at: UnixTime,
    /// What to do about it.
    pub(super) remedy: &'a str,
    /// Whether a check may fail by it; else it is a warning at most.
    pub(super) counts: bool,
}

const REPLACE: &str = "replace the CA with `stagedoor door-ca renew`";

impl Found {
    pub(super) fn papers(&mut self, files: &DoorPapers, puppet: Option<&Trust>, now: UnixTime) {
        self.key_of_the_ca(files);
        let pair = self.pair("masters", &files.pair, now);
        let ca = self.ok("masters.ca", read::bytes(&files.ca));
        let crl = self.ok("masters.crl", read::bytes(&files.crl));
        let (Some(ca), Some(crl)) = (ca, crl) else { return };
        let ca = match Papers::door_ca(files, &ca, &crl, now) {
            Ok(ca) => Arc::new(ca),
            Err(error) => {
                let key = if error.file == files.ca { "masters.ca" } else { "masters.crl" };
                return self.error(key, &error);
            }
        };
        let papers = pair.map(|pair| Papers { files: files.clone(), pair, ca: Arc::clone(&ca) });
        self.door_ca_ends(files, &ca, papers.as_ref().and_then(Papers::issuer).as_deref(), now);
        let Some(papers) = papers else { return };
        match papers.fit(puppet, now) {
            // Told with its pair.
            Err(Unfit::Expired { .. }) => {}
            Err(unfit) => {
                let of_the_ca = matches!(unfit, Unfit::PuppetCa { .. } | Unfit::AuthorityExpired { .. });
                let key = if of_the_ca { "masters.ca" } else { "masters.certificate" };
                self.errors.push(Finding::new(key, chain(&unfit)));
            }
            Ok(()) => {
                let (path, count) = (files.pair.certificate.display(), ca.authorities().len());
                self.facts.push(format!("to sealed masters: {path}; {count} door CAs"));
            }
        }
    }

    /// Whoever copies the CA's folder to a door copies its key as well.
    fn key_of_the_ca(&mut self, files: &DoorPapers) {
        let Some(folder) = files.ca.parent() else { return };
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let keys = entries.map(|entry| entry.path()).filter(|path| door_ca::is_key(path));
        for key in keys.collect::<BTreeSet<_>>() {
            let error = format!(
                "{}: expected the door CA's key on no door, and it lies here: whoever takes this door over can make \
                 doors; move the folder of `stagedoor door-ca` to another machine",
                key.display()
            );
            self.warn("masters.ca", error);
        }
    }

    /// A CA that this door's certificate is not of, and its list, are on their way out and a warning at most.
    fn door_ca_ends(&mut self, files: &DoorPapers, ca: &Trust, issuer: Option<&str>, now: UnixTime) {
        for authority in ca.authorities() {
            let counts = issuer.is_none_or(|issuer| issuer == authority.subject);
            let what = &format!("a door CA ({})", authority.subject);
            let ending = Ending { what, at: authority.not_after, remedy: REPLACE, counts };
            self.ends("masters.ca", &files.ca, &ending, now);
            for list in ca.lists().iter().filter(|list| list.key == authority.key) {
                let what = &format!("a list of {} (Jetty lets nobody in under an expired one)", list.issuer);
                let ending = Ending { what, at: list.next_update, remedy: REPLACE, counts };
                self.ends("masters.crl", &files.crl, &ending, now);
            }
        }
    }

    pub(super) fn puppet_ca_ends(&mut self, bundle: &Path, trust: &Trust, now: UnixTime) {
        for authority in trust.authorities() {
            let counts = !succeeded(trust, authority, now);
            let what = &format!("a CA certificate ({})", authority.subject);
            let remedy = "renew Puppet's CA and copy ca_crt.pem";
            self.ends(
                "puppet_ca.bundle",
                bundle,
                &Ending { what, at: authority.not_after, remedy, counts },
                now,
            );
        }
    }

    /// Tells how long something lasts, where that is not long.
    pub(super) fn ends(&mut self, key: &str, path: &Path, ending: &Ending<'_>, now: UnixTime) {
        let end = End::of(ending.at, now);
        let Some(words) = end.words(ending.what, ending.remedy) else { return };
        let words = format!("{}: {words}", path.display());
        if end.fails() && ending.counts {
            self.errors.push(Finding::new(key, words));
        } else {
            self.warn(key, words);
        }
    }
}
