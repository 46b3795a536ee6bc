//! Files that change under a running door: the CA's bundle and lists, certificates and keys.
//!
//! Looked at twice a second, taken when two looks agree. Files that belong together are one group; a group that is
//! wrong leaves its old content in force and holds up no other: a broken certificate must not keep a revocation out.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use stagedoor_config::proxy::{DoorPapers, KeyPair, PuppetCa, Settings};
use stagedoor_config::read::{Look, NotRead, Watched};

use crate::door::Door;
use crate::observe::log::chain;
use crate::renewal::fit;
use crate::run::load::{self, NotLoaded, Parts};
use crate::tls::{Pair, Papers};

/// Twice a second: with two looks that must agree, a revoked agent is refused a second after the file changed.
const LOOK: Duration = Duration::from_millis(500);

/// The groups of files of one door, and what they hold.
pub(crate) struct Files {
    parts: Parts,
    groups: Vec<Group>,
}

struct Group {
    what: What,
    watched: Watched,
    /// Whether the last look could not read it: said once, not twice a second.
    unreadable: bool,
}

/// What a group of files is.
#[derive(Debug, Clone)]
enum What {
    Ca(PuppetCa),
    Certificate(usize, KeyPair),
    Papers(DoorPapers),
    Renewal(KeyPair),
}

impl What {
    /// The word in metrics and in the log.
    const fn word(&self) -> &'static str {
        match self {
            Self::Ca(_) => "puppet_ca",
            Self::Certificate(..) => "certificate",
            Self::Papers(_) => "master_client",
            Self::Renewal(_) => "renewal",
        }
    }
}

impl Files {
    /// Begins to watch what the settings name. What was read for `parts` and what is read here may differ by a
    /// change in between, which the first looks then find.
    pub(crate) fn open(settings: &Settings, parts: Parts) -> Result<Self, NotRead> {
        let ca = &settings.puppet_ca;
        let mut groups = vec![Group::open(What::Ca(ca.clone()), vec![ca.bundle.clone(), ca.crl.clone()])?];
        for (at, files) in settings.certificates.iter().enumerate() {
            groups.push(Group::pair(What::Certificate(at, files.clone()), files)?);
        }
        if let Some(papers) = &settings.masters {
            let DoorPapers { pair, ca, crl } = papers.clone();
            // One group: whether the certificate is of the CA can only be said of both, and a CA that follows another
            // may come before or after the certificate that it issued.
            let paths = vec![pair.certificate, pair.key, ca, crl];
            groups.push(Group::open(What::Papers(papers.clone()), paths)?);
        }
        if let Some(renewal) = &settings.renewal {
            groups.push(Group::pair(What::Renewal(renewal.clone()), renewal)?);
        }
        Ok(Self { parts, groups })
    }

    /// Looks for as long as the door has connections: a revocation holds while it is being stopped, too.
    pub(crate) async fn watch(mut self, door: Arc<Door>) {
        loop {
            tokio::time::sleep(LOOK).await;
            // A look may wait for a disk or for NFS; probes must not wait with it.
            let (looked, door) = (self, Arc::clone(&door));
            let Ok(after) = tokio::task::spawn_blocking(move || looked.look(&door)).await else { return };
            self = after;
        }
    }

    fn look(mut self, door: &Arc<Door>) -> Self {
        for group in &mut self.groups {
            let word = group.what.word();
            let contents = match group.watched.look() {
                Look::Nothing => {
                    group.unreadable = false;
                    continue;
                }
                Look::Unreadable(error) => {
                    if !group.unreadable {
                        tracing::warn!(what = word, "{error}; what was read before stays in force");
                        door.observe.metrics().reloads_refused.count(word);
                    }
                    group.unreadable = true;
                    continue;
                }
                Look::Taken(contents) => contents,
            };
            let taken = group.what.read(&self.parts, &contents).and_then(|parts| {
                door.change(|before| {
                    let (settings, roster) = (Arc::clone(&before.settings), Arc::clone(&before.roster));
                    parts.snapshot(settings, roster, before.generation + 1)
                })?;
                Ok(parts)
            });
            match taken {
                Ok(parts) => {
                    if let Some(list) = parts.trust.steps_back(&self.parts.trust) {
                        tracing::warn!(
                            issuer = list.issuer,
                            "the list of revoked certificates is older than the one before it: whoever was revoked \
                             in between is let in again; copy ca_crl.pem from the Master of Masters"
                        );
                    }
                    tracing::info!(
                        what = word,
                        revoked = parts.trust.revoked_count(),
                        "new files are in force"
                    );
                    parts.publish(door.observe.metrics());
                    door.observe.metrics().reloads_taken.count(word);
                    self.parts = parts;
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(what = word, error, "new files refused; the old ones stay in force");
                    door.observe.metrics().reloads_refused.count(word);
                }
            }
        }
        self
    }
}

impl Group {
    fn open(what: What, paths: Vec<std::path::PathBuf>) -> Result<Self, NotRead> {
        let (watched, _) = Watched::open(paths)?;
        Ok(Self { what, watched, unreadable: false })
    }

    fn pair(what: What, files: &KeyPair) -> Result<Self, NotRead> {
        Self::open(what, vec![files.certificate.clone(), files.key.clone()])
    }
}

impl What {
    /// The parts with this group's new content.
    fn read(&self, before: &Parts, contents: &[Vec<u8>]) -> Result<Parts, NotLoaded> {
        let mut parts = before.clone();
        match (self, contents) {
            (Self::Ca(files), [bundle, crl]) => parts.trust = Arc::new(load::trust(files, bundle, crl)?),
            (Self::Certificate(at, files), [certificate, key]) => {
                if let Some(place) = parts.certificates.get_mut(*at) {
                    *place = Pair::from_pem(files, certificate, key)?;
                }
            }
            (Self::Papers(files), [certificate, key, ca, crl]) => {
                let now = UnixTime::now();
                let papers = Papers {
                    files: files.clone(),
                    pair: Pair::from_pem(&files.pair, certificate, key)?,
                    ca: Arc::new(Papers::door_ca(files, ca, crl, now)?),
                };
                // Where masters would shut the door out with the new files, the old ones are no worse.
                papers.fit(Some(&parts.trust), now)?;
                parts.papers = Some(papers);
            }
            (Self::Renewal(files), [certificate, key]) => {
                let pair = Pair::from_pem(files, certificate, key)?;
                fit(&pair)?;
                parts.renewal = Some(pair);
            }
            // As many contents come back as there are paths.
            _ => {}
        }
        Ok(parts)
    }
}
