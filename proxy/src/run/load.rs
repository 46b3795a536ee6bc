//! From the files that the settings name to what is in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::UnixTime;
use stagedoor_config::certname::Certname;
use stagedoor_config::master::Kind;
use stagedoor_config::mistake::Mistake;
use stagedoor_config::proxy::{DoorPapers, KeyPair, PuppetCa, Settings};
use stagedoor_config::read::{self, NotRead};
use stagedoor_config::roster::Roster;
use stagedoor_config::trust::{Source, Trust, Untrusted};

use crate::door::Snapshot;
use crate::identity::Identity;
use crate::observe::log::chain;
use crate::observe::metrics::{Expiry, Metrics};
use crate::renewal::{self, Shown};
use crate::tls::{self, Agents, BadDoorCa, BadPair, NoTls, Pair, Papers, Unfit};

/// Why a file that the settings name does not come into force.
#[derive(Debug, thiserror::Error)]
pub enum NotLoaded {
    /// It cannot be read.
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// The CA's bundle or its lists.
    #[error("{}: expected the Puppet CA's own file", file.display())]
    Untrusted {
        /// Which of the two.
        file: PathBuf,
        /// What is wrong with it.
        source: Box<Untrusted>,
    },
    /// A certificate and its key.
    #[error(transparent)]
    Pair(#[from] BadPair),
    /// A certificate that the CA is not shown.
    #[error(transparent)]
    Renewal(#[from] renewal::Unfit),
    /// Certificates that do not go together.
    #[error(transparent)]
    Tls(#[from] NoTls),
    /// A master that nobody can be sent to.
    #[error(
        "{certname} is sealed by the door CA, and the settings name no certificate of it: expected [masters] with \
         certificate, key, ca and crl; make them with `stagedoor door-ca`"
    )]
    NoDoorCertificate {
        /// The first of them.
        certname: Certname,
    },
    /// A sealed master that anybody is passed to.
    #[error(transparent)]
    SealedAndPassed(#[from] SealedAndPassed),
    /// The door CA's files.
    #[error(transparent)]
    DoorCa(#[from] BadDoorCa),
    /// The door's certificate of the door CA.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The roster, every mistake in it.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Roster(Vec<Mistake>),
}

/// What seals a master keeps others out and lets the door in, and so whoever the door passes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{certname} is sealed, and listen[{listen}].backends passes whoever connects to it at {backend}, where he could be \
     any node: take it out of the backends, or retire it and admit it with --open once it believes no headers"
)]
pub struct SealedAndPassed {
    /// The first of them.
    pub certname: Certname,
    /// The place of the `[[listen]]`.
    pub listen: usize,
    /// As listed there.
    pub backend: String,
}

/// What was read from files, before it becomes TLS.
#[derive(Clone)]
pub(crate) struct Parts {
    /// The Puppet CA.
    pub trust: Arc<Trust>,
    /// Shown to agents, in the order of the settings.
    pub certificates: Vec<Pair>,
    /// Shown to masters that the door CA seals; none where there are no such masters.
    pub papers: Option<Papers>,
    /// Shown to the CA for renewals; none where they are off.
    pub renewal: Option<Pair>,
}

impl Parts {
    /// Reads all of them.
    ///
    /// # Errors
    /// The first file that cannot come into force.
    pub(crate) fn read(settings: &Settings) -> Result<Self, NotLoaded> {
        let files = &settings.puppet_ca;
        let trust = trust(files, &read::bytes(&files.bundle)?, &read::bytes(&files.crl)?)?;
        let certificates = settings.certificates.iter().map(pair).collect::<Result<_, _>>()?;
        let papers = settings.masters.as_ref().map(|files| papers(files, &trust)).transpose()?;
        let renewal = settings.renewal.as_ref().map(pair).transpose()?;
        renewal.as_ref().map_or(Ok(()), renewal::fit)?;
        Ok(Self { trust: Arc::new(trust), certificates, papers, renewal })
    }

    /// The TLS that they make, in a snapshot of its own generation.
    ///
    /// # Errors
    /// Certificates that do not go together.
    pub(crate) fn snapshot(
        &self,
        settings: Arc<Settings>,
        roster: Arc<Roster>,
        generation: u64,
    ) -> Result<Snapshot, NotLoaded> {
        let agents = Agents::new(&self.certificates, Arc::clone(&self.trust))?;
        Ok(Snapshot {
            operators: settings.admin.tls.as_ref().map(|_| agents.operators()).transpose()?,
            settings,
            agents,
            sealed_tls: self
                .papers
                .as_ref()
                .map(|papers| tls::masters(&papers.pair, Arc::clone(&self.trust)))
                .transpose()?,
            bare_tls: tls::showing_nothing(Arc::clone(&self.trust))?,
            renewal: self
                .renewal
                .as_ref()
                .map(|pair| Shown::new(pair, Arc::clone(&self.trust)))
                .transpose()?,
            trust: Arc::clone(&self.trust),
            own: self
                .papers
                .as_ref()
                .map(|papers| &papers.pair)
                .or_else(|| self.certificates.first())
                .and_then(own),
            roster,
            generation,
        })
    }

    /// Publishes when each of them ends, and says which ended already.
    pub(crate) fn publish(&self, metrics: &Metrics) {
        let end = |pair: Option<&Pair>| pair.map(|pair| pair.not_after);
        let rsa = |pair: &&Pair| pair.algorithm() == rustls::SignatureAlgorithm::RSA;
        let ends = [
            (Expiry::PuppetCa, self.trust.authorities_end(), "a CA certificate in the bundle"),
            (Expiry::Crl, self.trust.crl_next_update(), "the next update of a list of revoked certificates"),
            (Expiry::DoorRsa, end(self.certificates.iter().find(rsa)), "the RSA certificate shown to agents"),
            (
                Expiry::DoorEcdsa,
                end(self.certificates.iter().find(|pair| !rsa(pair))),
                "the ECDSA certificate shown to agents",
            ),
            (
                Expiry::MasterClient,
                end(self.papers.as_ref().map(|papers| &papers.pair)),
                "the certificate shown to masters",
            ),
            (
                Expiry::DoorCa,
                self.papers.as_ref().and_then(|papers| papers.ca.authorities_end()),
                "a certificate of the door CA",
            ),
            (
                Expiry::DoorCaCrl,
                self.papers.as_ref().and_then(|papers| papers.ca.crl_next_update()),
                "the next update of the door CA's list of revoked certificates",
            ),
            (Expiry::Renewal, end(self.renewal.as_ref()), "the certificate shown to the CA for renewals"),
        ];
        let now = UnixTime::now();
        for (which, at, what) in ends {
            metrics.expires(which, at.map(|at| at.as_secs()));
            if at.is_some_and(|at| at < now) {
                tracing::error!(what, "past its end: agents or masters refuse it; renew it");
            }
        }
    }
}

/// Whom the door states itself to be: who its certificate for masters says, or the one for agents where there is none.
fn own(shown: &Pair) -> Option<Arc<Identity>> {
    let leaf = shown.chain().first()?;
    match Identity::from_certificate(leaf) {
        Ok(own) => Some(Arc::new(own)),
        Err(why) => {
            let (file, why) = (shown.files.certificate.display(), chain(&why));
            tracing::warn!(%file, why, "the door has no name to state, so masters will not let it flush their caches");
            None
        }
    }
}

/// The Puppet CA from the text of its two files.
///
/// # Errors
/// Names the file that is wrong.
pub(crate) fn trust(files: &PuppetCa, bundle: &[u8], crl: &[u8]) -> Result<Trust, NotLoaded> {
    Trust::from_pem(bundle, crl, UnixTime::now()).map_err(|source| {
        let file = match source.source_file() {
            Source::Bundle => &files.bundle,
            Source::Lists => &files.crl,
        };
        NotLoaded::Untrusted { file: file.clone(), source: Box::new(source) }
    })
}

fn pair(files: &KeyPair) -> Result<Pair, NotLoaded> {
    if let Some(exposed) = read::exposed(&files.key)? {
        tracing::warn!("{exposed}");
    }
    Ok(Pair::from_pem(files, &read::bytes(&files.certificate)?, &read::bytes(&files.key)?)?)
}

/// Whether no sealed master stands behind an address that passes.
///
/// # Errors
/// Names the first that does.
pub(crate) fn sealed_apart(roster: &Roster, settings: &Settings) -> Result<(), SealedAndPassed> {
    let mut sealed = roster.masters.iter().filter(|master| master.kind.is_sealed());
    let passed = sealed.find_map(|master| Some((master, settings.backend_at(master)?)));
    let Some((master, (listen, backend))) = passed else { return Ok(()) };
    Err(SealedAndPassed { certname: master.certname.clone(), listen, backend: backend.to_owned() })
}

/// The first master that is sealed by the door CA while the settings name no certificate of it.
pub(crate) fn sealed_without_certificate<'r>(
    roster: &'r Roster,
    settings: &Settings,
) -> Option<&'r Certname> {
    if settings.masters.is_some() {
        return None;
    }
    roster.masters.iter().find(|master| master.kind == Kind::SEALED).map(|master| &master.certname)
}

/// The door's papers at a start. A door that sealed masters shut out starts all the same, since the Master of Masters
/// and open masters are served by it; one that opens what was to be shut does not.
fn papers(files: &DoorPapers, puppet: &Trust) -> Result<Papers, NotLoaded> {
    let now = UnixTime::now();
    let ca = Papers::door_ca(files, &read::bytes(&files.ca)?, &read::bytes(&files.crl)?, now)?;
    let papers = Papers { files: files.clone(), pair: pair(&files.pair)?, ca: Arc::new(ca) };
    match papers.fit(Some(puppet), now) {
        Err(unfit) if unfit.opens() => Err(unfit.into()),
        Err(unfit) => {
            tracing::error!(
                "{}; until then masters sealed by the door CA let this door in nowhere",
                chain(&unfit)
            );
            Ok(papers)
        }
        Ok(()) => Ok(papers),
    }
}

/// The roster. A file that is not there yet is an empty one: a door starts before anybody is admitted.
///
/// # Errors
/// Every mistake in it: a roster that is half understood could send agents to a master that was retired.
pub(crate) fn roster(file: &Path) -> Result<Roster, NotLoaded> {
    match read::text(file) {
        Ok(text) => Roster::parse(file, &text).map_err(NotLoaded::Roster),
        Err(error) if error.is_missing() => {
            tracing::warn!(file = %file.display(), "no roster yet: admit a compile master with `stagedoor roster admit`");
            Ok(Roster::default())
        }
        Err(error) => Err(error.into()),
    }
}
