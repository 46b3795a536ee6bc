//! What a request is, from its method and its raw path alone.
//!
//! The path is forwarded as it came, and the server behind decodes, cuts and collapses it in its own way. So the
//! door does not normalise: it refuses (400) every path whose deciding segments could be read in two ways, and what
//! is left means the same to both. Paths below a file mount are freer, since nothing there decides: an empty
//! segment passes, because every agent's backup sends one (`file_bucket_file/md5/SUM//etc/motd`).
//!
//! Only what is named here reaches the Master of Masters: fetching certificates and the CRL, sending a request,
//! renewing a certificate, and packages. It cannot be widened by a setting: a proxy that passes on certificate
//! administration lends its own rights to whoever asks. Anything that begins like an administrative name is refused in
//! any case and under any prefix, because a compile master may forward CA paths as well.
//!
//! The query is read for `environment` only, which serves counting and affinity, never a permission.
#![deny(clippy::disallowed_methods)]

use http::uri::Uri;
use http::{HeaderMap, Method, Version, header};
use stagedoor_config::class::Class;
use stagedoor_config::environment::is_legal as is_environment;

use crate::answer::{Forbidden, METHODS, Refusal};
use crate::headers;

#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

/// Where a request goes and what may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route<'a> {
    /// Decides destination, identity, seat and replay.
    pub class: Class,
    /// The environment, where the request states a legal one plainly; for counting and affinity only.
    pub environment: Option<&'a str>,
    /// What the request is about, as it stands in the path: the certname of a CA request, catalog, report, node or
    /// facts; the checksum of a file bucket's file. May hold percent-encodings.
    pub key: Option<&'a str>,
}

/// Finds the route of a request, or why it has none.
///
/// # Errors
/// The answer to give, before any byte of the body is read.
pub fn route<'a>(
    method: &Method,
    target: &'a Uri,
    version: Version,
    headers: &HeaderMap,
) -> Result<Route<'a>, Refusal> {
    if !matches!(*method, Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::DELETE) {
        return Err(Refusal::Method(METHODS));
    }
    // `*`, an absolute form and a bare authority all lack the slash or have an authority.
    let path = target.path();
    if target.scheme().is_some() || target.authority().is_some() || !path.starts_with('/') {
        return Err(Refusal::Target);
    }
    if headers.contains_key(header::UPGRADE) {
        return Err(Refusal::Upgrade);
    }
    let route = by_path(method, path, target.query())?;
    headers::host(headers, version, route.class)?;
    Ok(route)
}

fn by_path<'a>(method: &Method, path: &'a str, query: Option<&'a str>) -> Result<Route<'a>, Refusal> {
    if path == "/" {
        return Err(Refusal::NotFound);
    }
    plain(path)?;
    let (first, rest) = segment(path)?;
    match first {
        "puppet" => puppet(rest, query),
        "puppet-ca" => puppet_ca(method, rest),
        "packages" => packages(method, rest),
        "status" => status(method, rest),
        "puppet-admin-api" => Err(Refusal::Forbidden(Forbidden::AdminApi)),
        "metrics" => Err(Refusal::Forbidden(Forbidden::Metrics)),
        "file-sync" | "file-sync-git" => Err(Refusal::Forbidden(Forbidden::FileSync)),
        "v2.0" if rest == "/environments" => {
            Ok(Route { class: Class::Environments, environment: None, key: None })
        }
        environment if is_environment(environment) && !is_mount(environment) => {
            legacy(method, environment, rest)
        }
        _ => Err(Refusal::NotFound),
    }
}

/// Whether it is the name of a mount in another case, which is no environment either: a server that takes case for nothing
/// would read it as that mount.
fn is_mount(name: &str) -> bool {
    let mounts = ["puppet", "packages", "status", "metrics"];
    mounts.iter().any(|mount| name.eq_ignore_ascii_case(mount))
}

/// `/puppet/v3/…`, `/puppet/v4/…` and whatever else a master may know below `/puppet/`.
fn puppet<'a>(rest: &'a str, query: Option<&'a str>) -> Result<Route<'a>, Refusal> {
    let environment = query.and_then(environment_of);
    let other = Route { class: Class::Other, environment, key: None };
    if rest.is_empty() {
        return Err(Refusal::NotFound);
    }
    let (api, rest) = segment(rest)?;
    not_the_ca(api)?;
    if rest.is_empty() {
        return Ok(other);
    }
    let (indirection, rest) = segment(rest)?;
    not_the_ca(indirection)?;
    let class = match (api, indirection) {
        ("v3", "catalog" | "compile") | ("v4", "catalog") => Class::Catalog,
        ("v3", "node") => Class::Node,
        ("v3", "file_metadata") => Class::FileMetadata,
        ("v3", "file_metadatas") => Class::FileMetadatas,
        ("v3", "file_content") => Class::FileContent,
        ("v3", "static_file_content") => Class::StaticFileContent,
        ("v3", "file_bucket_file") => Class::FileBucket,
        ("v3", "report") => Class::Report,
        ("v3", "facts") => Class::Facts,
        ("v3", "environments" | "environment_classes" | "environment_modules" | "environment_transports") => {
            Class::Environments
        }
        ("v3", "tasks") => Class::Tasks,
        ("v3", "plans") => Class::Plans,
        _ => Class::Other,
    };
    let key = key(class, rest)?;
    Ok(Route { class, environment, key })
}

/// `/puppet-ca/v1/…`: what a new agent needs, and nothing that administers.
fn puppet_ca<'a>(method: &Method, rest: &'a str) -> Result<Route<'a>, Refusal> {
    if rest.is_empty() {
        return Err(Refusal::NotFound);
    }
    let (api, rest) = segment(rest)?;
    if rest.is_empty() {
        return Err(Refusal::NotFound);
    }
    let (name, rest) = segment(rest)?;
    if api != "v1" {
        not_the_ca(name)?;
        return Err(Refusal::NotFound);
    }
    if name == "certificate_renewal" {
        return renewal(method, rest);
    }
    let administers = ["sign", "clean", "expirations"].iter().any(|word| name.eq_ignore_ascii_case(word));
    if administers {
        return Err(Refusal::Forbidden(Forbidden::CaAdministration));
    }
    bootstrap(method, None, name, rest)
}

/// `/puppet-ca/v1/certificate_renewal`, and nothing below it: what is renewed is the certificate that was shown.
fn renewal<'a>(method: &Method, rest: &'a str) -> Result<Route<'a>, Refusal> {
    no_empty_segment(rest)?;
    if !rest.is_empty() {
        return Err(Refusal::NotFound);
    }
    if *method != Method::POST {
        return Err(Refusal::Method("POST"));
    }
    Ok(Route { class: Class::Renewal, environment: None, key: None })
}

/// The CA's three names that anybody may ask for, in either form; anything else that begins like one of them
/// administers certificates.
fn bootstrap<'a>(
    method: &Method,
    environment: Option<&'a str>,
    name: &str,
    rest: &'a str,
) -> Result<Route<'a>, Refusal> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let mut class = Class::Ca;
    match name {
        "certificate" if reads => {}
        "certificate" => return Err(Refusal::Method("GET, HEAD")),
        "certificate_revocation_list" if reads => {}
        "certificate_revocation_list" if *method == Method::PUT => {
            return Err(Refusal::Forbidden(Forbidden::CaAdministration));
        }
        "certificate_revocation_list" => return Err(Refusal::Method("GET, HEAD")),
        "certificate_request" if reads => {}
        "certificate_request" if *method == Method::PUT => class = Class::Csr,
        "certificate_request" if *method == Method::DELETE => {
            return Err(Refusal::Forbidden(Forbidden::CaAdministration));
        }
        "certificate_request" => return Err(Refusal::Method("GET, HEAD, PUT")),
        _ => {
            not_the_ca(name)?;
            return Err(Refusal::NotFound);
        }
    }
    // Exactly one segment follows: who it is about.
    let Some(key) = rest.strip_prefix('/') else { return Err(Refusal::NotFound) };
    if key.is_empty() || key.contains("//") || key.ends_with('/') || key.starts_with('/') {
        return Err(Refusal::Path);
    }
    if key.contains('/') {
        return Err(Refusal::NotFound);
    }
    if !is_certname(key) {
        return Err(Refusal::Path);
    }
    Ok(Route { class, environment, key: Some(key) })
}

/// `/packages/…`: installers, which a client without a certificate fetches.
///
/// A Master of Masters without that mount reads `packages` as an environment of the legacy form, so the names of
/// that form are refused below it.
fn packages<'a>(method: &Method, rest: &'a str) -> Result<Route<'a>, Refusal> {
    if rest.is_empty() {
        return Err(Refusal::NotFound);
    }
    let (below, rest) = segment(rest)?;
    not_the_ca(below)?;
    if LEGACY.iter().any(|(name, _)| below.eq_ignore_ascii_case(name)) {
        return Err(Refusal::NotFound);
    }
    no_empty_segment(rest)?;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Refusal::Method("GET, HEAD"));
    }
    Ok(Route { class: Class::Packages, environment: None, key: None })
}

/// `/status/v1/simple`, with or without the name of the service that compiles. The rest of `/status/` tells of one
/// server, and an answer from whichever master was picked would mislead: it does not exist here.
fn status<'a>(method: &Method, rest: &'a str) -> Result<Route<'a>, Refusal> {
    no_empty_segment(rest)?;
    match rest {
        "/v1/simple" | "/v1/simple/server" | "/v1/simple/master" => {
            if !matches!(*method, Method::GET | Method::HEAD) {
                return Err(Refusal::Method("GET, HEAD"));
            }
            Ok(Route { class: Class::Status, environment: None, key: None })
        }
        _ if rest.contains('%') => Err(Refusal::Path),
        _ if rest.starts_with("/v1/") => Err(Refusal::OneServersStatus),
        _ => Err(Refusal::NotFound),
    }
}

/// The names of the legacy form that masters answer.
const LEGACY: [(&str, Class); 12] = [
    ("node", Class::Node),
    ("file_metadata", Class::FileMetadata),
    ("file_metadatas", Class::FileMetadatas),
    ("file_content", Class::FileContent),
    ("file_bucket_file", Class::FileBucket),
    ("catalog", Class::Catalog),
    ("report", Class::Report),
    ("facts", Class::Facts),
    ("facts_search", Class::Other),
    ("resource_type", Class::Other),
    ("resource_types", Class::Other),
    ("status", Class::Other),
];

/// `/:environment/:indirection/:key`, as Puppet 3 speaks.
fn legacy<'a>(method: &Method, environment: &'a str, rest: &'a str) -> Result<Route<'a>, Refusal> {
    if rest.is_empty() {
        return Err(Refusal::NotFound);
    }
    let (indirection, rest) = segment(rest)?;
    if let Some((_, class)) = LEGACY.iter().find(|(name, _)| *name == indirection) {
        let key = key(*class, rest)?;
        return Ok(Route { class: *class, environment: Some(environment), key });
    }
    bootstrap(method, Some(environment), indirection, rest)
}

/// What follows the segments that decide: its key where one means something, and no empty segment outside files.
fn key(class: Class, rest: &str) -> Result<Option<&str>, Refusal> {
    let mut segments = rest.split('/').skip(1);
    match class {
        Class::FileMetadata | Class::FileMetadatas | Class::FileContent | Class::StaticFileContent => {
            Ok(None)
        }
        // `md5/SUM`, `sha256/SUM`, then perhaps where the file was.
        Class::FileBucket => Ok(segments.filter(|s| !s.is_empty()).nth(1)),
        Class::Catalog | Class::Node | Class::Report | Class::Facts => {
            no_empty_segment(rest)?;
            Ok(segments.next())
        }
        _ => {
            no_empty_segment(rest)?;
            Ok(None)
        }
    }
}

/// Splits `/first/rest…` into `first` and `/rest…`. A segment that decides is neither empty nor encoded: the server
/// would read `%70uppet-ca` and `//puppet-ca` as `puppet-ca`.
fn segment(path: &str) -> Result<(&str, &str), Refusal> {
    let after = path.strip_prefix('/').ok_or(Refusal::Path)?;
    let end = after.find('/').unwrap_or(after.len());
    let (first, rest) = after.split_at(end);
    if first.is_empty() || first.contains('%') { Err(Refusal::Path) } else { Ok((first, rest)) }
}

fn no_empty_segment(rest: &str) -> Result<(), Refusal> {
    if rest.contains("//") || rest.ends_with('/') { Err(Refusal::Path) } else { Ok(()) }
}

/// Refuses every spelling of the CA's names where they do not belong.
fn not_the_ca(segment: &str) -> Result<(), Refusal> {
    const STEM: &str = "certificate";
    if segment.get(..STEM.len()).is_some_and(|s| s.eq_ignore_ascii_case(STEM)) {
        return Err(Refusal::Forbidden(Forbidden::CaAdministration));
    }
    Ok(())
}

/// Refuses a path that a server's decoding could turn into another one, wherever in the path that is.
fn plain(path: &str) -> Result<(), Refusal> {
    let mut bytes = path.bytes();
    // Of the segment so far: how many dots, and whether there is anything else.
    let (mut dots, mut other) = (0_usize, false);
    let mut beyond_ascii = false;
    while let Some(byte) = bytes.next() {
        let meant = match byte {
            b'/' => {
                if !other && matches!(dots, 1 | 2) {
                    return Err(Refusal::Path);
                }
                (dots, other) = (0, false);
                continue;
            }
            b'%' => {
                let decoded = hex(bytes.next()).zip(hex(bytes.next())).map(|(high, low)| high << 4 | low);
                let Some(decoded) = decoded.filter(|b| *b != b'/') else { return Err(Refusal::Path) };
                beyond_ascii |= !decoded.is_ascii();
                decoded
            }
            plain => plain,
        };
        match meant {
            0..=0x1f | 0x7f | b'\\' | b';' => return Err(Refusal::Path),
            b'.' => dots += 1,
            _ => other = true,
        }
    }
    if !other && matches!(dots, 1 | 2) {
        return Err(Refusal::Path);
    }
    // Bytes beyond ASCII must be UTF-8: a lax decoder reads an overlong form as the character it hides.
    if beyond_ascii && String::from_utf8(decode(path)).is_err() {
        return Err(Refusal::Path);
    }
    Ok(())
}

/// The bytes of a path whose encodings are known to be well-formed.
fn decode(path: &str) -> Vec<u8> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                decoded.extend(hex(bytes.next()).zip(hex(bytes.next())).map(|(high, low)| high << 4 | low))
            }
            plain => decoded.push(plain),
        }
    }
    decoded
}

fn hex(digit: Option<u8>) -> Option<u8> {
    match digit? {
        d @ b'0'..=b'9' => Some(d - b'0'),
        d @ b'a'..=b'f' => Some(d - b'a' + 10),
        d @ b'A'..=b'F' => Some(d - b'A' + 10),
        _ => None,
    }
}

/// Whether the key of a CA request can be a name: ASCII that no second decoding would change and no second parser
/// would take for the end of the path.
fn is_certname(key: &str) -> bool {
    key.len() <= 3 * 255
        && decode(key).iter().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'%' | b'?' | b'#'))
}

/// The first `environment` of a query. No client encodes the letters of a legal name, so an encoded one is nobody's
/// and counts as none.
fn environment_of(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("environment=")).filter(|name| is_environment(name))
}
