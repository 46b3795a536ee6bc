//! Whether a request on the read-only admin door was meant for it.
//!
//! A page in somebody's browser can point a name of its own at 127.0.0.1 and read what answers there (DNS rebinding).
//! Such a request carries that name as its Host, so a name is believed only where nobody else can hold it. Addresses
//! are believed more readily: an address in Host means that no name was looked up.
//!
//! A page from elsewhere may also ask openly, by this door's own name, on behalf of whoever looks at it: it is told so by its
//! Origin, on every admin door.
#![deny(clippy::disallowed_methods)]

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri, Version};

/// Whether Host, and the authority of an absolute target, name the door that listens on `on`.
#[must_use]
pub(super) fn names_this_door(version: Version, target: &Uri, headers: &HeaderMap, on: IpAddr) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(|host| ours(host, on)),
        // Health checkers of old speak HTTP/1.0 without a Host; no browser does.
        (None, _) => version == Version::HTTP_10,
        (Some(_), Some(_)) => false,
    };
    host && target.authority().is_none_or(|authority| ours(authority.as_str(), on))
}

/// Whether a page that is no page of this door's asks: a browser names it as Origin wherever one page asks another's server,
/// and whenever something may be changed. Programs name none.
#[must_use]
pub(super) fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (origin, more) = (origins.next(), origins.next());
    let Some(origin) = origin else { return false };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    more.is_some()
        || !matches!((authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host))
}

/// The port is not looked at: it differs behind `ssh -L`.
fn ours(host: &str, on: IpAddr) -> bool {
    let name = without_port(host);
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || address == on || on.is_unspecified(),
        Err(_) => false,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            if name.contains(':') && !name.ends_with(']') { host } else { name }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use http::HeaderValue;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn asked(hosts: &[&str], on: IpAddr) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).unwrap());
        }
        names_this_door(Version::HTTP_11, &Uri::from_static("/metrics"), &headers, on)
    }

    #[test]
    fn loopback_by_name_or_address_is_this_door() {
        for host in
            ["localhost", "LocalHost:9140", "127.0.0.1:9140", "127.8.9.1", "[::1]:9140", "[::1]", "::1"]
        {
            assert!(asked(&[host], LOOPBACK), "{host}");
        }
    }

    #[test]
    fn a_name_that_anybody_may_point_here_is_refused() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:9140",
            "",
            ":",
            ":9140",
            "192.0.2.1",
            "[::2]:9140",
            "localhost@evil.example",
            "localhost:9140:1",
            "[127.0.0.1",
            "127.0.0.1]",
            "127.1",
            "localhost ",
            "localhost, evil.example",
        ] {
            assert!(!asked(&[host], LOOPBACK), "{host:?}");
        }
        assert!(!asked(&["localhost", "localhost"], LOOPBACK), "two hosts");
        assert!(!asked(&[], LOOPBACK), "none, in HTTP/1.1");
    }

    #[test]
    fn a_page_of_another_place_is_told_by_its_origin() {
        let from = |origins: &[&str]| {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost:9140"))]);
            for origin in origins {
                headers.append(ORIGIN, HeaderValue::from_str(origin).unwrap());
            }
            comes_from_elsewhere(&headers)
        };
        assert!(!from(&[]) && !from(&["http://localhost:9140"]) && !from(&["http://LOCALHOST:9140"]));
        for origins in [
            &["http://evil.example"][..],
            &["null"],
            &[""],
            &["http://localhost:9999"],
            &["http://localhost"],
            &["localhost:9140"],
            &["http://localhost:9140", "http://evil.example"],
        ] {
            assert!(from(origins), "{origins:?}");
        }
        let nowhere = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("http://localhost:9140"))]);
        assert!(comes_from_elsewhere(&nowhere));
    }

    #[test]
    fn a_door_elsewhere_is_reached_by_its_own_address() {
        let here = "192.0.2.7".parse().unwrap();
        assert!(
            asked(&["192.0.2.7:9140"], here) && asked(&["127.0.0.1"], here) && !asked(&["192.0.2.8"], here)
        );
        for all in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            assert!(
                asked(&["192.0.2.8:9140"], all)
                    && asked(&["[2001:db8::1]"], all)
                    && !asked(&["evil.example"], all)
            );
        }
    }

    #[test]
    fn an_absolute_target_must_name_it_as_well_and_http_1_0_needs_no_host() {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
        for (target, allowed) in [("http://127.0.0.1:9140/live", true), ("http://evil.example/live", false)] {
            assert_eq!(
                names_this_door(Version::HTTP_11, &target.parse().unwrap(), &headers, LOOPBACK),
                allowed
            );
        }
        let plain = Uri::from_static("/live");
        assert!(names_this_door(Version::HTTP_10, &plain, &HeaderMap::new(), LOOPBACK));
    }
}
