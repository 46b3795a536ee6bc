//! The first record of a connection: is it TLS, which version does it offer, and for which name.
//!
//! Agents of Puppet Enterprise 3.7 speak TLS 1.0 only, which the TLS library does not know; they must be told apart
//! before it sees them, to be passed through or to get an alert that names the reason. The record is read once by the
//! caller, judged here on each piece that arrives, and then fed to the TLS library as it came.
//!
//! A decision is made once: more bytes never reverse an answer other than [`First::NeedMore`], and by
//! [`RECORD_MOST`] bytes there is one. What it refuses to do: judge a ClientHello's content. Whatever is TLS and not
//! plainly too old goes to the library, broken or not, since its alerts are the right ones.
#![deny(clippy::disallowed_methods)]

#[cfg(test)]
mod tests;

/// A record's header and the most it may carry (RFC 8446 §5.1).
pub const RECORD_MOST: usize = HEADER + 16 * 1024;

const HEADER: usize = 5;
const TLS_1_2: u16 = 0x0303;
const TLS_1_3: u16 = 0x0304;

/// What the bytes read so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First<'a> {
    /// Too few to tell.
    NeedMore,
    /// A ClientHello that the TLS library can answer.
    Hello(Hello<'a>),
    /// A ClientHello below TLS 1.2: pass it through, or send [`protocol_version_alert`] and close.
    TooOld(Hello<'a>),
    /// A ClientHello that spans records: the TLS library joins them.
    Fragmented,
    /// A handshake record that is no ClientHello, or a broken one: the TLS library knows the alert.
    Broken,
    /// Not TLS at all: close.
    NotTls(NotTls),
}

/// What a ClientHello offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The highest version, as on the wire: 0x0301 is TLS 1.0, 0x0304 is TLS 1.3, 0x0002 is SSL 2.
    pub highest: u16,
    /// The host name asked for, where it is one.
    pub sni: Option<&'a str>,
}

/// What came instead of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTls {
    /// A request in clear text.
    #[error("a plain HTTP request; this port speaks TLS (https://)")]
    PlainHttp,
    /// A balancer in front that announces addresses.
    #[error(
        "the PROXY protocol from nobody who may speak it; turn it off at the balancer in front (send-proxy), or name \
         that in accept_proxy_from"
    )]
    ProxyProtocol,
    /// Anything else.
    #[error("bytes that are no TLS")]
    Other,
}

impl NotTls {
    /// One stable word.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::PlainHttp => "plain_http",
            Self::ProxyProtocol => "proxy_protocol",
            Self::Other => "not_tls",
        }
    }
}

/// The fatal alert `protocol_version`, in a record that every version reads.
#[must_use]
pub const fn protocol_version_alert() -> [u8; 7] {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    const PROTOCOL_VERSION: u8 = 70;
    [ALERT, 3, 1, 0, 2, FATAL, PROTOCOL_VERSION]
}

/// Judges what was read so far.
#[must_use]
pub fn first(read: &[u8]) -> First<'_> {
    const HANDSHAKE: u8 = 22;
    match read {
        [] => First::NeedMore,
        [HANDSHAKE, ..] => record(read),
        // The length of an SSL 2 record begins with this bit.
        [length, ..] if *length >= 0x80 => ssl2(read),
        _ => not_tls(read),
    }
}

fn record(read: &[u8]) -> First<'_> {
    const CLIENT_HELLO: u8 = 1;
    match read.get(1) {
        None => return First::NeedMore,
        Some(3) => {}
        Some(_) => return First::NotTls(NotTls::Other),
    }
    let Some((header, rest)) = read.split_at_checked(HEADER) else { return First::NeedMore };
    let length = Reader(header.get(3..).unwrap_or_default()).u16().map_or(0, usize::from);
    if length == 0 || length > RECORD_MOST - HEADER {
        return First::Broken;
    }
    match rest.first() {
        None => return First::NeedMore,
        Some(&CLIENT_HELLO) => {}
        Some(_) => return First::Broken,
    }
    if length < 4 {
        return First::Fragmented;
    }
    let Some(message) = rest.get(1..4).and_then(|octets| Reader(octets).u24()) else {
        return First::NeedMore;
    };
    if message > length - 4 {
        return First::Fragmented;
    }
    let Some(body) = rest.get(4..length).map(|body| body.get(..message).unwrap_or(body)) else {
        return First::NeedMore;
    };
    match hello(body) {
        None => First::Broken,
        Some(hello) if hello.highest < TLS_1_2 => First::TooOld(hello),
        Some(hello) => First::Hello(hello),
    }
}

/// A ClientHello's body; none where it is broken.
fn hello(body: &[u8]) -> Option<Hello<'_>> {
    const RANDOM: usize = 32;
    let mut body = Reader(body);
    let legacy = body.u16()?;
    body.take(RANDOM)?;
    let session_id = usize::from(body.u8()?);
    body.take(session_id)?;
    let suites = usize::from(body.u16()?);
    body.take(suites)?;
    let compressions = usize::from(body.u8()?);
    body.take(compressions)?;

    // Without the extension that TLS 1.3 needs, whatever is above 1.2 means 1.2.
    let mut hello = Hello { highest: legacy.min(TLS_1_2), sni: None };
    if body.0.is_empty() {
        return Some(hello);
    }
    let extensions = usize::from(body.u16()?);
    let mut extensions = Reader(body.take(extensions)?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let length = usize::from(extensions.u16()?);
        let content = Reader(extensions.take(length)?);
        match kind {
            0 => hello.sni = host_name(content),
            43 => hello.highest = highest(content)?,
            _ => {}
        }
    }
    Some(hello)
}

/// The highest of `supported_versions` that is a version and no grease (RFC 8701).
fn highest(mut content: Reader<'_>) -> Option<u16> {
    let length = usize::from(content.u8()?);
    let mut versions = Reader(content.take(length)?);
    let mut highest = 0;
    while let Some(version) = versions.u16() {
        if (0x0300..=TLS_1_3).contains(&version) {
            highest = highest.max(version);
        }
    }
    Some(highest)
}

/// The host name of `server_name`; none where it is none that DNS would take.
fn host_name(mut content: Reader<'_>) -> Option<&str> {
    const HOST_NAME: u8 = 0;
    let length = usize::from(content.u16()?);
    let mut names = Reader(content.take(length)?);
    if names.u8()? != HOST_NAME {
        return None;
    }
    let length = usize::from(names.u16()?);
    let name = std::str::from_utf8(names.take(length)?).ok()?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (!name.is_empty() && name.len() <= 253 && name.bytes().all(allowed)).then_some(name)
}

/// OpenSSL before 1.0 wraps what it offers into a ClientHello of SSL 2, which nothing here can answer.
fn ssl2(read: &[u8]) -> First<'_> {
    const CLIENT_HELLO: u8 = 1;
    match read {
        [_] | [_, _] | [_, _, CLIENT_HELLO] | [_, _, CLIENT_HELLO, 0 | 3] => First::NeedMore,
        [_, _, CLIENT_HELLO, 0, 2, ..] => First::TooOld(Hello { highest: 2, sni: None }),
        [_, _, CLIENT_HELLO, 3, minor, ..] => {
            First::TooOld(Hello { highest: 0x0300 | u16::from(*minor), sni: None })
        }
        _ => First::NotTls(NotTls::Other),
    }
}

fn not_tls(read: &[u8]) -> First<'_> {
    const PROXY: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];
    const METHODS: [&[u8]; 10] = [
        b"GET ",
        b"PUT ",
        b"POST ",
        b"HEAD ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"CONNECT ",
        b"TRACE ",
        b"PRI ",
    ];
    let begins = |word: &&[u8]| read.starts_with(word);
    if METHODS.iter().any(begins) {
        return First::NotTls(NotTls::PlainHttp);
    }
    if PROXY.iter().any(begins) {
        return First::NotTls(NotTls::ProxyProtocol);
    }
    if METHODS.iter().chain(&PROXY).any(|word| word.starts_with(read)) {
        return First::NeedMore;
    }
    First::NotTls(NotTls::Other)
}

/// Big-endian numbers and slices off the front; none past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u24(&mut self) -> Option<usize> {
        let high = usize::from(self.u8()?);
        Some(high << 16 | usize::from(self.u16()?))
    }
}
