//! `curl` on the machine of a server on Java 7: the one client here that speaks to it.
//!
//! Its settings, its body and its certificate are files, as the shell made them; what it prints is head and body.

use std::fs;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::answer::{Answer, Body};
use crate::http1::{Head, status_line};

/// What it was asked to ask.
pub(in super::super) struct Asked {
    /// The host in the URL.
    pub(in super::super) host: String,
    /// The port in the URL.
    pub(in super::super) port: String,
    pub(in super::super) head: Head,
    pub(in super::super) body: Vec<u8>,
    /// The certificate that is shown.
    pub(in super::super) peer: Option<CertificateDer<'static>>,
    /// What is in the file of the CA that is believed.
    pub(in super::super) believes: String,
}

/// Reads the words of a command line; none where they are of another shape.
pub(in super::super) fn read(words: &[&str]) -> Option<Asked> {
    let after =
        |name: &str| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1)).copied();
    let settings = fs::read_to_string(after("--config")?).ok()?;
    let (method, url) = (after("--request")?, words.last()?);
    after("--max-time")?;
    if !words.contains(&"--include") {
        return None;
    }
    let (authority, target) = url.strip_prefix("https://")?.split_once('/')?;
    let (host, port) = authority.split_once(':')?;
    let mut headers = vec![("Host".to_owned(), authority.to_owned())];
    for line in settings.lines() {
        let header = line.strip_prefix("header = \"")?.strip_suffix('"')?;
        let (name, value) = header.split_once(':')?;
        // A header without a value is one that is not sent.
        if !value.is_empty() {
            headers.push((name.to_owned(), value.trim().replace("\\\"", "\"").replace(r"\\", r"\")));
        }
    }
    let body = match after("--data-binary") {
        Some(file) => fs::read(file.strip_prefix('@')?).ok()?,
        None => Vec::new(),
    };
    let peer = match (after("--cert"), after("--key")) {
        (Some(file), Some(key)) => {
            // Whoever has no key cannot show the certificate.
            fs::read_to_string(key).ok().filter(|text| text.contains("PRIVATE KEY"))?;
            Some(CertificateDer::from_pem_slice(&fs::read(file).ok()?).ok()?)
        }
        _ => None,
    };
    let believes = fs::read_to_string(after("--cacert")?).unwrap_or_default();
    let head = Head { first: format!("{method} /{target} HTTP/1.1"), headers, ..Head::default() };
    Some(Asked { host: host.to_owned(), port: port.to_owned(), head, body, peer, believes })
}

/// Head and body, as `--include` prints them.
pub(in super::super) fn printed(answer: &Answer) -> String {
    let mut out = status_line(answer.status);
    for (name, value) in &answer.headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("\r\n");
    if let Body::Bytes(bytes) = &answer.body {
        out.push_str(&String::from_utf8_lossy(bytes));
    }
    out
}
