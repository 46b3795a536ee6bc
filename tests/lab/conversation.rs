//! One TLS connection with whatever is said on it, as bytes: for what real programs cannot be made to do, such as
//! holding a connection open across a revocation or sending forty agents' requests without forty agents' processors.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::machine::{Host, PORT};
use crate::mom::Credentials;

/// The longest silence before an answer: a cold JRuby on a busy machine.
const SILENCE: Duration = Duration::from_secs(120);

pub(crate) struct Conversation {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// Read and not yet used.
    ahead: Vec<u8>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// What a client trusts and shows, read once for many connections.
pub(crate) fn client(ca: &Path, own: Option<&Credentials>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let settings = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(Arc::new(match own {
        None => settings.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_file(&own.key)
                .with_context(|| format!("{}: no key", own.key.display()))?;
            settings.with_client_auth_cert(certificates(&own.certificate)?, key)?
        }
    }))
}

impl Conversation {
    pub(crate) fn open(host: &Host, client: &Arc<ClientConfig>) -> Result<Self> {
        let socket = TcpStream::connect((host.address, PORT))
            .with_context(|| format!("{} refuses connections", host.name))?;
        Self::over(socket, host, client)
    }

    /// From an address of this machine's, to wherever the name leads now.
    pub(crate) fn open_from(
        source: Option<Ipv4Addr>,
        host: &Host,
        client: &Arc<ClientConfig>,
    ) -> Result<Self> {
        let mut found = (host.name, PORT).to_socket_addrs()?;
        let there = found.next().with_context(|| format!("{} has no address", host.name))?;
        let socket = Socket::new(Domain::for_address(there), Type::STREAM, None)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        socket.connect(&there.into()).with_context(|| format!("{} refuses connections", host.name))?;
        Self::over(socket.into(), host, client)
    }

    fn over(socket: TcpStream, host: &Host, client: &Arc<ClientConfig>) -> Result<Self> {
        socket.set_read_timeout(Some(SILENCE))?;
        socket.set_write_timeout(Some(SILENCE))?;
        socket.set_nodelay(true)?;
        let connection = ClientConnection::new(Arc::clone(client), ServerName::try_from(host.name)?)?;
        Ok(Self { stream: StreamOwned::new(connection, socket), ahead: Vec::new() })
    }

    /// A GET without a body.
    pub(crate) fn get(&mut self, host: &Host, target: &str, headers: &str) -> Result<Answer> {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {}:{PORT}\r\nAccept: application/json, text/pson\r\n{headers}\r\n",
            host.name
        );
        self.ask(request.as_bytes())
    }

    /// Sends a request as it stands.
    pub(crate) fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).context("while it was sent")?;
        self.stream.flush().context("while it was sent")
    }

    /// Sends a request as it stands and reads the answer to its end.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.send(request)?;
        let head = String::from_utf8_lossy(&self.read_until(b"\r\n\r\n")?).into_owned();
        let mut lines = head.split("\r\n");
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)).context("an answer without a status")?;
        let mut answer = Answer { status: status.parse()?, headers: Vec::new(), body: Vec::new() };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        answer.body = self.read_body(&answer)?;
        Ok(answer)
    }

    fn read_body(&mut self, answer: &Answer) -> Result<Vec<u8>> {
        if answer.status == 204 || answer.status == 304 {
            return Ok(Vec::new());
        }
        if let Some(length) = answer.header("content-length") {
            return self.read_exactly(length.parse()?);
        }
        if answer.header("transfer-encoding") != Some("chunked") {
            bail!("an answer of unknown length: {:?}", answer.headers);
        }
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8_lossy(&self.read_until(b"\r\n")?).into_owned();
            let size = usize::from_str_radix(line.trim(), 16)
                .with_context(|| format!("{line:?} is no chunk's size"))?;
            let chunk = self.read_exactly(size)?;
            self.read_until(b"\r\n")?;
            if size == 0 {
                return Ok(body);
            }
            body.extend(chunk);
        }
    }

    fn read_until(&mut self, end: &[u8]) -> Result<Vec<u8>> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                return Ok(self.ahead.drain(..at + end.len()).collect());
            }
            self.read_more()?;
        }
    }

    fn read_exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.ahead.len() < length {
            self.read_more()?;
        }
        Ok(self.ahead.drain(..length).collect())
    }

    fn read_more(&mut self) -> Result<()> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => bail!("closed before the whole answer was here"),
            Ok(count) => self.ahead.extend(bytes.iter().take(count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("before the whole answer was here"),
        }
        Ok(())
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .with_context(|| format!("{}: no certificates", file.display()))
}
