//! What servers make of a path, written without a look at the door's own code: the yardstick of its properties.
//!
//! A server decodes, cuts and collapses a path, then matches it. [`Reading`] is one way of doing so; [`PUPPET`] is
//! what Puppet Server does, and [`LAX`] are readings that a careless server or a proxy before it might have.

use http::Method;
use stagedoor_config::class::Class;

/// What a server would do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// An endpoint of this class.
    Endpoint(Class),
    /// Certificates signed, revoked, listed, a CRL replaced, a request withdrawn.
    CaAdministration,
    /// Caches, pools, figures, file sync.
    Private,
    /// No route.
    Nothing,
    /// 400 before any routing.
    Refused,
}

/// One way to read a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// How often percent-encodings are decoded.
    pub(super) decodings: usize,
    /// `..` takes the segment before it away, instead of being refused.
    pub(super) resolves_dots: bool,
    /// A backslash is a slash.
    pub(super) backslash: bool,
    /// `\xc0\xae` is a full stop.
    pub(super) overlong: bool,
    /// A NUL ends the path.
    pub(super) nul_ends: bool,
    /// Case does not matter.
    pub(super) any_case: bool,
    /// `/packages` is mounted; where it is not, `packages` is an environment.
    pub(super) packages: bool,
    /// `/puppet`, `/puppet-ca` and so on are mounted, as from Puppet Server 2; before, they were environments.
    pub(super) modern: bool,
}

/// Puppet Server's own.
pub(super) const PUPPET: Reading = Reading {
    decodings: 1,
    resolves_dots: false,
    backslash: false,
    overlong: false,
    nul_ends: false,
    any_case: false,
    packages: true,
    modern: true,
};

/// Every combination of the lax readings, with `decodings` at most so many.
pub(super) fn lax(decodings: usize) -> impl Iterator<Item = Reading> {
    (0..=decodings).flat_map(|decodings| {
        (0..128_u32).map(move |bits| {
            let bit = |n: u32| bits >> n & 1 == 1;
            Reading {
                decodings,
                resolves_dots: bit(0),
                backslash: bit(1),
                overlong: bit(2),
                nul_ends: bit(3),
                any_case: bit(4),
                packages: bit(5),
                modern: bit(6),
            }
        })
    })
}

/// What a server that reads so would do.
pub(super) fn seen(method: &Method, path: &str, reading: Reading) -> Seen {
    match normalise(path, reading) {
        Some(segments) => {
            let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
            endpoint(method, &segments, reading)
        }
        None => Seen::Refused,
    }
}

fn normalise(path: &str, reading: Reading) -> Option<Vec<String>> {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..reading.decodings {
        bytes = percent_decode(&bytes)?;
    }
    if reading.overlong {
        bytes = widen(&bytes);
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if reading.nul_ends {
        text.truncate(text.find('\0').unwrap_or(text.len()));
    }
    if reading.backslash {
        text = text.replace('\\', "/");
    }
    if reading.any_case {
        text.make_ascii_lowercase();
    }
    let mut segments: Vec<String> = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" => {}
            "." | ".." if !reading.resolves_dots => return None,
            "." => {}
            ".." => drop(segments.pop()),
            plain => segments.push(plain.to_owned()),
        }
    }
    Some(segments)
}

fn percent_decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
                decoded.push(u8::from_str_radix(digits, 16).ok()?);
                at += 3;
            }
            b'+' => {
                decoded.push(b' ');
                at += 1;
            }
            byte => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Some(decoded)
}

/// Two bytes that a decoder without the rule of shortest form takes for an ASCII character.
fn widen(bytes: &[u8]) -> Vec<u8> {
    let mut wide = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if let (first @ (0xc0 | 0xc1), Some(second)) = (bytes[at], bytes.get(at + 1)) {
            wide.push((first & 1) << 6 | second & 0x3f);
            at += 2;
        } else {
            wide.push(bytes[at]);
            at += 1;
        }
    }
    wide
}

fn endpoint(method: &Method, segments: &[&str], reading: Reading) -> Seen {
    use Seen::{CaAdministration, Endpoint, Nothing, Private};
    if reading.modern {
        match segments {
            ["puppet", "v3", "catalog" | "compile", ..] | ["puppet", "v4", "catalog", ..] => {
                return Endpoint(Class::Catalog);
            }
            ["puppet", "v3", name, ..] => {
                let class = Class::ALL.into_iter().find(|class| {
                    class.name() == *name
                        && !matches!(
                            class,
                            Class::Ca | Class::Csr | Class::Renewal | Class::Packages | Class::Status
                        )
                });
                return Endpoint(match *name {
                    "environment_classes" | "environment_modules" | "environment_transports" => {
                        Class::Environments
                    }
                    _ => class.unwrap_or(Class::Other),
                });
            }
            ["puppet", ..] => return Endpoint(Class::Other),
            [
                "puppet-ca",
                _,
                "certificate_status" | "certificate_statuses" | "clean" | "sign" | "expirations",
                ..,
            ] => {
                return CaAdministration;
            }
            ["puppet-ca", "v1", name, rest @ ..] => return ca(method, name, rest),
            ["puppet-ca", ..] => return Nothing,
            ["puppet-admin-api" | "metrics" | "file-sync" | "file-sync-git", ..] => return Private,
            ["status", "v1", "simple"] | ["status", "v1", "simple", "server" | "master"] => {
                return Endpoint(Class::Status);
            }
            ["status", ..] => return Private,
            _ => {}
        }
    }
    if reading.packages && segments.first() == Some(&"packages") {
        return Endpoint(Class::Packages);
    }
    match segments {
        ["v2.0", "environments"] => Endpoint(Class::Environments),
        [_, "certificate_status" | "certificate_statuses", ..] => CaAdministration,
        [_, name, rest @ ..] if name.starts_with("certificate") => ca(method, name, rest),
        [_, "node", ..] => Endpoint(Class::Node),
        [_, "catalog", ..] => Endpoint(Class::Catalog),
        [_, "facts", ..] => Endpoint(Class::Facts),
        [_, "report", ..] => Endpoint(Class::Report),
        [_, "file_metadata", ..] => Endpoint(Class::FileMetadata),
        [_, "file_metadatas", ..] => Endpoint(Class::FileMetadatas),
        [_, "file_content", ..] => Endpoint(Class::FileContent),
        [_, "file_bucket_file", ..] => Endpoint(Class::FileBucket),
        [_, "status" | "facts_search" | "resource_type" | "resource_types", ..] => Endpoint(Class::Other),
        _ => Nothing,
    }
}

fn ca(method: &Method, name: &str, rest: &[&str]) -> Seen {
    match (method.as_str(), name) {
        ("DELETE", "certificate_request") | ("PUT", "certificate_revocation_list") => Seen::CaAdministration,
        ("POST", "certificate_renewal") if rest.is_empty() => Seen::Endpoint(Class::Renewal),
        ("GET" | "HEAD", "certificate" | "certificate_revocation_list" | "certificate_request")
            if rest.len() == 1 =>
        {
            Seen::Endpoint(Class::Ca)
        }
        ("PUT", "certificate_request") if rest.len() == 1 => Seen::Endpoint(Class::Csr),
        _ => Seen::Nothing,
    }
}
