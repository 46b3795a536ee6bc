//! Renewal of an agent's certificate: the one thing that the door asks under its own name.
//!
//! The CA renews whatever certificate stands in `X-Client-Cert`, if whoever asks shows it one of those it lists in
//! `infra_inventory.txt`. Who could say a word over such a connection would have any agent's certificate renewed, and
//! ask the Master of Masters for more than that in the door's name. So nothing that an agent sent travels on it: the
//! request is written here, whole, and takes from the agent only the certificate that its handshake proved. Server and
//! certificate shown are private to this module, and [`Renewals::ask`], which takes a [`Verified`], is the only way to
//! them.
//!
//! `X-Client-Cert` stands alone: the CA's server believes no identity headers (they would make anybody anyone there),
//! and `X-Client-Verify` or `X-Client-DN` would only have it warn about each request.
//!
//! Each renewal has a connection of its own: they are seldom, so a handshake costs nobody anything, and an answer can
//! be nobody else's. It is asked once, whatever becomes of it: each asking makes a certificate.

mod fit;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Uri, header};
use rustls::ClientConfig;
use stagedoor_config::trust::Trust;

use crate::answer::Refusal;
use crate::attempt::{Landed, Outbound, attempt};
use crate::body::Kept;
use crate::headers::{X_CLIENT_CERT, X_FORWARDED_FOR, X_REQUEST_ID};
use crate::identity::Verified;
use crate::link::{Links, Peer, PeerId, Terms};
use crate::observe::record::Phases;
use crate::places::{Place, RENEWALS};
use crate::tls::{self, NoTls, Pair};

pub use fit::{Unfit, fit};

const PATH: &str = "/puppet-ca/v1/certificate_renewal";

/// How long the CA may take: it signs in milliseconds, and behind whatever else it does in seconds. Less than its other
/// answers get, since an agent whose certificate is not renewed goes on with the one it has and asks again tomorrow.
const FOR_A_CERTIFICATE: Duration = Duration::from_secs(60);

/// The way to the CA.
#[derive(Debug)]
pub(crate) struct Renewals {
    peer: Arc<Peer>,
    host: HeaderValue,
}

/// What the CA is shown, and how it is judged.
#[derive(Debug, Clone)]
pub(crate) struct Shown(Arc<ClientConfig>);

/// What a request says of where it comes from.
pub(crate) struct Origin<'a> {
    /// The agent's address.
    pub peer: &'a HeaderValue,
    /// The request's id.
    pub id: HeaderValue,
}

impl Shown {
    /// A certificate that is [`fit`] for it.
    ///
    /// # Errors
    /// The TLS library's own.
    pub(crate) fn new(pair: &Pair, trust: Arc<Trust>) -> Result<Self, NoTls> {
        tls::renewal(pair, trust).map(Self)
    }
}

impl Renewals {
    /// At this Master of Masters, over connections that are its own.
    pub(crate) fn at(mom: &Peer) -> Self {
        // A certname that is a host name is a header's value as well.
        let host = HeaderValue::try_from(mom.certname.as_str());
        Self {
            peer: Arc::new(mom.beside(PeerId::Renewal, RENEWALS)),
            host: host.unwrap_or(HeaderValue::from_static("puppet")),
        }
    }

    /// Has one agent's certificate renewed. The place is given back when the CA has answered, or has not in time.
    pub(crate) async fn ask(
        &self,
        links: &Links,
        (shown, generation): (&Shown, u64),
        patience: Duration,
        (agent, from): (&Verified, Origin<'_>),
        place: Place,
        phases: &mut Phases,
    ) -> Result<(Landed, Option<Place>), Refusal> {
        let terms = Terms { tls: &shown.0, generation, lately: true, fresh: true, patience };
        let mut out = self.request(agent, from);
        let (landed, place) =
            attempt(links, &self.peer, terms, FOR_A_CERTIFICATE, &mut out, Some(place), phases).await;
        landed.map(|landed| (landed, place)).map_err(|missed| missed.refusal)
    }

    /// What an agent sends to a CA that it reaches itself, and the certificate that it would show there.
    fn request(&self, agent: &Verified, from: Origin<'_>) -> Outbound {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = Method::POST;
        head.uri = Uri::from_static(PATH);
        let plain = const { HeaderValue::from_static("text/plain") };
        head.headers.extend([
            (header::HOST, self.host.clone()),
            (header::ACCEPT, plain.clone()),
            (header::CONTENT_TYPE, plain),
            (header::CONTENT_LENGTH, const { HeaderValue::from_static("0") }),
            (X_CLIENT_CERT, agent.certificate().clone()),
            (X_FORWARDED_FOR, from.peer.clone()),
            (X_REQUEST_ID, from.id),
        ]);
        Outbound::new(head, Kept::empty(), None)
    }
}
