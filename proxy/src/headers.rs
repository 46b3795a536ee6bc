//! Hygiene of headers, both ways.
//!
//! A compile master believes `X-Client-*` without question, so what a client claims there is removed in every
//! spelling that any server folds into those names, on every route, before the door states what its handshake
//! proved. There is no third branch: identity is stated as verified or as `NONE`, never left as it came.
//!
//! Headers that belong to one connection end at the door in both directions (RFC 9110 §7.6.1); framing is read by
//! hyper and written anew by hyper, so no length that a peer stated is ever repeated beside another.
//!
//! Nothing is trimmed to fit: a head that a master would not read is refused by whoever compares [`head_size`].
#![deny(clippy::disallowed_methods)]

use http::header::{
    self, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, StatusCode, Uri, Version, request, response};

use stagedoor_config::class::Class;

use crate::answer::{Backend, Refusal};

#[cfg(test)]
mod tests;

/// An agent's version; from Puppet 4 on.
pub const X_PUPPET_VERSION: HeaderName = HeaderName::from_static("x-puppet-version");
/// `SUCCESS` or `NONE`.
pub const X_CLIENT_VERIFY: HeaderName = HeaderName::from_static("x-client-verify");
/// The certificate's subject, RFC 2253.
pub const X_CLIENT_DN: HeaderName = HeaderName::from_static("x-client-dn");
/// The certificate itself, PEM, percent-encoded.
pub const X_CLIENT_CERT: HeaderName = HeaderName::from_static("x-client-cert");
/// The address the door saw.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// One name for a request in the logs of door and master.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A console token; PE's own rules judge it, and the door passes it untouched.
pub const X_AUTHENTICATION: HeaderName = HeaderName::from_static("x-authentication");

/// What a server is told about who asks.
#[derive(Debug, Clone, Copy)]
pub enum Stated<'a> {
    /// The handshake proved it: subject and certificate, made once for the connection.
    Verified {
        /// RFC 2253.
        dn: &'a HeaderValue,
        /// PEM, percent-encoded.
        cert: &'a HeaderValue,
    },
    /// No certificate was shown, or the server must not be told: the Master of Masters never is.
    Nobody,
}

/// How a request's body is delimited, as the client stated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, until one is empty.
    Chunked,
}

/// Reads how the body is delimited and refuses what two parsers may read in two ways.
///
/// hyper has already refused lengths that differ or are no numbers, and a `Transfer-Encoding` that does not end in
/// `chunked`. Where a length stood beside `chunked` it has taken the length away, read chunks as RFC 9112 §6.3 asks,
/// and will close after the answer; it leaves no sign of that in the head, so it can be neither refused nor counted
/// here. The request is written anew with one framing, so the two never travel on.
///
/// # Errors
/// [`Refusal::Framing`] on anything but one plain `chunked`, on `chunked` before HTTP/1.1, and on both together.
pub fn framing(headers: &HeaderMap, version: Version) -> Result<Framing, Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(Framing::None),
        (None, Some(length)) => {
            // A second header of the same value is merged by hyper; here one is left.
            if lengths.next().is_some() {
                return Err(Refusal::Framing);
            }
            decimal(length.as_bytes()).map(Framing::Length).ok_or(Refusal::Framing)
        }
        (Some(coding), None)
            if codings.next().is_none()
                && version == Version::HTTP_11
                && coding.as_bytes().eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(Framing::Chunked)
        }
        (Some(_), _) => Err(Refusal::Framing),
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// Exactly one `Host`, and a host name in it.
///
/// Only a status request by HTTP/1.0 may go without, since load balancers ask that way by default and the door
/// answers it itself; nothing without a `Host` is passed on.
///
/// # Errors
/// [`Refusal::Host`].
pub fn host(headers: &HeaderMap, version: Version, class: Class) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (None, None) if class == Class::Status && version == Version::HTTP_10 => Ok(()),
        _ => Err(Refusal::Host),
    }
}

/// `name`, `name:port`, `[v6]` or `[v6]:port`.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.iter().rposition(|b| matches!(b, b':' | b']')) {
        Some(at) if host.get(at) == Some(&b':') => {
            let (name, port) = host.split_at(at);
            (name, port.get(1..).unwrap_or_default())
        }
        _ => (host, &b""[..]),
    };
    let named = match name {
        [b'[', v6 @ .., b']'] => {
            !v6.is_empty() && v6.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
        }
        name => {
            !name.is_empty()
                && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        }
    };
    named && port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}

/// Makes a client's head fit to be sent to a server: claims and connection headers out, the door's own in.
///
/// `peer` is the address of the client, `id` the name of the request. Where a client sends nothing that is removed,
/// this allocates only if the map must grow. Answers whether the client claimed an identity, which no agent does.
pub fn request(head: &mut request::Parts, stated: Stated<'_>, peer: &HeaderValue, id: HeaderValue) -> bool {
    head.version = Version::HTTP_11;
    let headers = &mut head.headers;
    let forged = headers.keys().any(|name| is_of(name, &IDENTITY));
    drop_named_by_connection(headers);
    drop_where(headers, |name| {
        belongs_to_the_connection(name) || is_of(name, &IDENTITY) || is_of(name, &ORIGIN)
    });
    state(headers, stated);
    headers.insert(X_FORWARDED_FOR, peer.clone());
    headers.insert(X_REQUEST_ID, id);
    forged
}

/// States who asks, in headers that hold no such statement yet.
pub fn state(headers: &mut HeaderMap, stated: Stated<'_>) {
    let verify = match stated {
        Stated::Verified { dn, cert } => {
            headers.insert(X_CLIENT_DN, dn.clone());
            headers.insert(X_CLIENT_CERT, cert.clone());
            const { HeaderValue::from_static("SUCCESS") }
        }
        Stated::Nobody => const { HeaderValue::from_static("NONE") },
    };
    headers.insert(X_CLIENT_VERIFY, verify);
}

/// Makes a server's head fit to be sent to a client.
///
/// # Errors
/// [`Refusal::Unasked101`]: the door never asks a server to change the protocol.
pub fn response(head: &mut response::Parts, from: Backend) -> Result<(), Refusal> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refusal::Unasked101(from));
    }
    // hyper's server writes the version it is handed, and a 1.0 answer cannot be chunked.
    head.version = Version::HTTP_11;
    let headers = &mut head.headers;
    drop_named_by_connection(headers);
    // hyper's client reads by Transfer-Encoding and leaves the length in place; its server would refuse both.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    } else if headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some()
        && let Some(length) = headers.get(CONTENT_LENGTH).cloned()
    {
        // Equal ones, or hyper would not have read the answer.
        headers.insert(CONTENT_LENGTH, length);
    }
    drop_where(headers, belongs_to_the_connection);
    Ok(())
}

/// The bytes of a request's head as a server reads them: request line, headers, line ends, and the one header that
/// hyper adds to state the framing.
#[must_use]
pub fn head_size(method: &Method, target: &Uri, headers: &HeaderMap, framing: Framing) -> usize {
    const LINE: usize = "  HTTP/1.1\r\n".len();
    const HEADER: usize = ": \r\n".len();
    const CHUNKED: usize = "transfer-encoding: chunked\r\n".len();
    let target = target.path_and_query().map_or(1, |t| t.as_str().len());
    let lines: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER).sum();
    // A body that was kept is sent with its length instead, which is shorter up to a hundred megabytes.
    let added = if framing == Framing::Chunked { CHUNKED } else { 0 };
    method.as_str().len() + target + LINE + lines + added + "\r\n".len()
}

/// Whether the client asks for the connection to end with this request.
#[must_use]
pub fn asks_to_close(headers: &HeaderMap) -> bool {
    let tokens = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    tokens.into_iter().any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Removes what `Connection` names. A client may ask so for any header of its own to end here; it cannot ask for
/// those that say where the request goes and how long it is.
fn drop_named_by_connection(headers: &mut HeaderMap) {
    // `close` and `keep-alive` are what agents send, and name nothing else.
    let plain = |value: &HeaderValue| {
        let value = value.as_bytes();
        value.eq_ignore_ascii_case(b"close") || value.eq_ignore_ascii_case(b"keep-alive")
    };
    if headers.get_all(CONNECTION).iter().all(plain) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

fn drop_where(headers: &mut HeaderMap, doomed: impl Fn(&HeaderName) -> bool) {
    // A vector that nothing is put into does not allocate; a cloned name shares its bytes.
    let names: Vec<HeaderName> = headers.keys().filter(|name| doomed(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Headers that end with the connection they came on, `Expect`, which the door answers, and `Proxy`, which old CGI
/// ways of running Ruby take for a setting.
fn belongs_to_the_connection(name: &HeaderName) -> bool {
    match *name {
        CONNECTION
        | TRANSFER_ENCODING
        | header::UPGRADE
        | header::TE
        | header::TRAILER
        | header::EXPECT
        | header::PROXY_AUTHENTICATE
        | header::PROXY_AUTHORIZATION => true,
        _ => matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "proxy-authentication-info" | "http2-settings" | "proxy"
        ),
    }
}

/// How headers begin that say who asks. `X-SSL-*` and `SSL-Client-*` are what masters behind older web servers were
/// told to believe.
const IDENTITY: [&[u8]; 3] = [b"x-client-", b"ssl-client-", b"x-ssl-"];

/// How headers begin that say where a request came from. No proxy stands before the door whose word it could take:
/// that proxy would have ended the agents' TLS.
const ORIGIN: [&[u8]; 4] = [b"x-forwarded-", b"forwarded", b"x-real-ip", b"x-request-id"];

/// Whether some server would take a header for one that begins with a stem.
///
/// Servers fold names: Rack and CGI read `X_Client_DN` as `X-Client-DN`, and write both as `HTTP_X_CLIENT_DN`, which
/// is also how Puppet's own settings name them. So everything but letters and digits counts as a hyphen, and a
/// leading `http-` counts for nothing.
fn is_of(name: &HeaderName, stems: &[&[u8]]) -> bool {
    let name = name.as_str().as_bytes();
    let name = match name.split_at_checked(5) {
        Some((first, rest)) if begins(first, b"http-") => rest,
        _ => name,
    };
    stems.iter().any(|stem| begins(name, stem))
}

/// `HeaderName` is in lower case already.
fn begins(name: &[u8], stem: &[u8]) -> bool {
    name.len() >= stem.len()
        && name.iter().zip(stem).all(|(n, s)| n == s || (*s == b'-' && !n.is_ascii_alphanumeric()))
}
