//! An agent: its certificate, its connections, its run.
//!
//! It speaks through hyper, as a client that keeps to the rules; what breaks them is written with [`crate::wire`].
//! It asks what Puppet 8's agent asks, in that order, over one connection as long as that lives, and never repeats a
//! request (`max_retries = 0` since Puppet 6.4): an answer that does not come is a failed run.

mod run;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::answer::pattern_from;
use crate::ca::PuppetCa;
use crate::identity::{Identity, KeyKind, Leaf};
use crate::tls::{self, Versions};
use crate::wait::patience;

pub use run::{Run, Shape, catalog_form};

/// The name agents dial.
pub const DIALS: &str = "puppet";

/// One agent.
#[derive(Clone)]
pub struct Agent {
    /// Its certname.
    pub certname: String,
    /// Where it connects to.
    pub door: SocketAddr,
    /// Headers that it adds to every request, as a liar would.
    pub forged: Vec<(String, String)>,
    /// How long it waits for one answer. A real agent waits ten minutes; a test would not.
    pub patience: Duration,
    ca: Arc<PuppetCa>,
    versions: Versions,
    identity: Option<Identity>,
    config: Arc<ClientConfig>,
}

impl Agent {
    /// An agent that has its certificate.
    #[must_use]
    pub fn with(identity: Identity, ca: &Arc<PuppetCa>, door: SocketAddr) -> Self {
        Self::over(Versions::Both, Some(identity), ca, door)
    }

    /// An agent of a certname that has been signed already: shorthand for tests.
    #[must_use]
    pub fn signed(certname: &str, ca: &Arc<PuppetCa>, door: SocketAddr) -> Self {
        Self::with(ca.agent(certname), ca, door)
    }

    /// A brand-new agent: a name, and no certificate.
    #[must_use]
    pub fn new(certname: &str, ca: &Arc<PuppetCa>, door: SocketAddr) -> Self {
        let mut this = Self::over(Versions::Both, None, ca, door);
        certname.clone_into(&mut this.certname);
        this
    }

    /// An agent that offers certain TLS versions.
    #[must_use]
    pub fn over(
        versions: Versions,
        identity: Option<Identity>,
        ca: &Arc<PuppetCa>,
        door: SocketAddr,
    ) -> Self {
        let config = tls::client(ca, identity.as_ref(), versions);
        let certname = identity.as_ref().map_or_else(|| "nobody".to_owned(), |own| own.name.clone());
        Self {
            certname,
            door,
            forged: Vec::new(),
            patience: patience(),
            ca: ca.clone(),
            versions,
            identity,
            config,
        }
    }

    /// The same agent, adding a header to every request.
    #[must_use]
    pub fn forging(mut self, name: &str, value: &str) -> Self {
        self.forged.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its certificate, where it has one.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// What it shows and believes, for connections made by hand.
    #[must_use]
    pub fn tls(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When connection or handshake fails; with TLS 1.3 a refused certificate shows at the first request.
    pub async fn connect(&self) -> anyhow::Result<Session> {
        let tcp =
            TcpStream::connect(self.door).await.with_context(|| format!("connecting to {}", self.door))?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(self.config.clone());
        let stream =
            connector.connect(tls::server_name(DIALS), tcp).await.context("handshake with the door")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let task = tokio::spawn(async move {
            // How it ended shows in the request that was under way.
            connection.await.ok();
        });
        Ok(Session { sender, task, forged: self.forged.clone(), patience: self.patience })
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// When no whole answer came.
    pub async fn ask(
        &self,
        method: Method,
        target: &str,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Response<Bytes>> {
        self.connect().await?.ask(method, target, body).await
    }

    /// [`Agent::ask`] with GET.
    ///
    /// # Errors
    /// As [`Agent::ask`].
    pub async fn get(&self, target: &str) -> anyhow::Result<Response<Bytes>> {
        self.ask(Method::GET, target, Bytes::new()).await
    }

    /// What a new agent does before its first run: CA, CRL, key, certificate request, certificate.
    ///
    /// # Errors
    /// When anything is not as an agent needs it; a request that waits to be signed is an error too.
    pub async fn bootstrap(&mut self, leaf: &Leaf) -> anyhow::Result<()> {
        let name = self.certname.clone();
        let mut session = self.connect().await?;
        let ca = session.get("/puppet-ca/v1/certificate/ca").await?;
        if ca.status() != StatusCode::OK || ca.body() != self.ca.bundle_pem().as_bytes() {
            bail!("the CA bundle came as {}: {:?}", ca.status(), ca.body());
        }
        let crl = session.get("/puppet-ca/v1/certificate_revocation_list/ca").await?;
        if crl.status() != StatusCode::OK || !crl.body().starts_with(b"-----BEGIN X509 CRL-----") {
            bail!("the CRL came as {}: {:?}", crl.status(), crl.body());
        }
        let certificate = format!("/puppet-ca/v1/certificate/{name}");
        let before = session.get(&certificate).await?;
        if before.status() != StatusCode::NOT_FOUND {
            bail!("{name} was known before it asked: {}", before.status());
        }
        let key = KeyKind::P256.generate();
        let request = Leaf { name: name.clone(), ..leaf.clone() }.request_pem(&key);
        let target = format!("/puppet-ca/v1/certificate_request/{name}");
        let taken = session.ask(Method::PUT, &target, request).await?;
        if !taken.status().is_success() {
            bail!("the certificate request was answered {}: {:?}", taken.status(), taken.body());
        }
        let signed = session.get(&certificate).await?;
        if signed.status() != StatusCode::OK {
            bail!("{name} is not signed yet: {}", signed.status());
        }
        let identity = Identity::from_pem(&name, std::str::from_utf8(signed.body())?, &key)?;
        self.config = tls::client(&self.ca, Some(&identity), self.versions);
        self.identity = Some(identity);
        Ok(())
    }
}

/// One connection of an agent.
pub struct Session {
    sender: http1::SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    forged: Vec<(String, String)>,
    patience: Duration,
}

impl Session {
    /// Sends a request and gives back the response as it begins.
    ///
    /// # Errors
    /// When the connection ends before a response's head.
    pub async fn begin(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(&method)
            .uri(target)
            .header("Host", format!("{DIALS}:8140"))
            .header("Accept", "application/vnd.puppet.rich+json, application/json, text/pson")
            .header("X-Puppet-Version", "8.10.0")
            .header("User-Agent", "Puppet/8.10.0 Ruby/3.2.5-p208 (x86_64-linux)");
        for (name, value) in
            headers.iter().copied().chain(self.forged.iter().map(|(n, v)| (n.as_str(), v.as_str())))
        {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.into()))?;
        self.sender.ready().await.with_context(|| format!("before {method} {target}"))?;
        self.sender.send_request(request).await.with_context(|| format!("{method} {target}"))
    }

    /// Sends a request and waits for the whole response.
    ///
    /// # Errors
    /// When no whole answer came.
    pub async fn ask(
        &mut self,
        method: Method,
        target: &str,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Response<Bytes>> {
        self.ask_with(method, target, &[], body).await
    }

    /// [`Session::ask`] with headers.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub async fn ask_with(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Response<Bytes>> {
        let patience = self.patience;
        let asked = async {
            let response = self.begin(method, target, headers, body).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.with_context(|| format!("the body of {target}"))?.to_bytes();
            Ok(Response::from_parts(parts, body))
        };
        tokio::time::timeout(patience, asked).await.with_context(|| format!("no answer to {target}"))?
    }

    /// [`Session::ask`] with GET.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub async fn get(&mut self, target: &str) -> anyhow::Result<Response<Bytes>> {
        self.ask(Method::GET, target, Bytes::new()).await
    }

    /// Reads a file of [`crate::answer::pattern`] without holding it, and says how long it was.
    ///
    /// # Errors
    /// When it is cut short, or a byte is not as it was sent.
    pub async fn download(&mut self, target: &str) -> anyhow::Result<u64> {
        let response = self.begin(Method::GET, target, &[], Bytes::new()).await?;
        if response.status() != StatusCode::OK {
            bail!("{target} was answered {}", response.status());
        }
        let mut body = response.into_body();
        let mut length = 0_u64;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.with_context(|| format!("after {length} bytes of {target}"))?.into_data()
            else {
                bail!("trailers after {target}");
            };
            let pattern = pattern_from(usize::try_from(length % (1 << 20))?);
            for (n, piece) in data.chunks(1 << 20).enumerate() {
                if piece != &pattern[..piece.len()] {
                    bail!("{target} differs in piece {n} after {length} bytes");
                }
            }
            length += data.len() as u64;
        }
        Ok(length)
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}
