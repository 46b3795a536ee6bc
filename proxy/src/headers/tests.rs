//! What passes, what is removed and what is stated, over plain and hostile heads.

use http::{Request, Response};
use proptest::prelude::*;

use super::*;

fn head(lines: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::new(());
    for (name, value) in lines {
        request.headers_mut().append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    request.into_parts().0
}

fn sent(lines: &[(&str, &str)], stated: Stated<'_>) -> HeaderMap {
    let mut head = head(lines);
    request(&mut head, stated, &HeaderValue::from_static("192.0.2.7"), HeaderValue::from_static("our-id"));
    head.headers
}

fn answered(lines: &[(&str, &str)]) -> HeaderMap {
    let mut head = Response::new(()).into_parts().0;
    head.headers = self::head(lines).headers;
    response(&mut head, Backend::Master).unwrap();
    head.headers
}

static DN: HeaderValue = HeaderValue::from_static("CN=a.example.com");
static CERT: HeaderValue = HeaderValue::from_static("-----BEGIN%20CERTIFICATE-----");
static VERIFIED: Stated<'static> = Stated::Verified { dn: &DN, cert: &CERT };

#[test]
fn a_master_is_told_what_the_handshake_proved() {
    let headers = sent(&[("host", "puppet")], VERIFIED);
    assert_eq!(headers["x-client-verify"], "SUCCESS");
    assert_eq!(headers["x-client-dn"], DN);
    assert_eq!(headers["x-client-cert"], CERT);
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!(headers["x-request-id"], "our-id");
    assert_eq!(headers["host"], "puppet");
}

#[test]
fn without_a_certificate_nothing_but_none_is_stated() {
    let headers = sent(
        &[("X-Client-Verify", "SUCCESS"), ("X-Client-DN", "CN=mom"), ("X-Client-Cert", "x")],
        Stated::Nobody,
    );
    assert_eq!(headers["x-client-verify"], "NONE");
    assert!(!headers.contains_key("x-client-dn"));
    assert!(!headers.contains_key("x-client-cert"));
}

#[test]
fn no_spelling_of_a_claim_passes() {
    for claim in [
        "X-Client-DN",
        "X_Client_DN",
        "x-client_dn",
        "X_CLIENT-Cert",
        "X-Client-Verify",
        "X-Client-Anything",
        "HTTP_X_CLIENT_DN",
        "HTTP-X-Client-Verify",
        "SSL_CLIENT_CERT",
        "SSL-Client-S-DN",
        "HTTP_SSL_CLIENT_VERIFY",
        "X-SSL-Subject",
        "X.Client.DN",
        "X~Client~DN",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
        "X-Real-IP",
        "X_Request_Id",
        "Proxy",
    ] {
        let headers = sent(&[(claim, "forged"), (claim, "twice"), ("accept", "json")], VERIFIED);
        assert!(headers.values().all(|v| v != "forged" && v != "twice"), "{claim}: {headers:?}");
        assert_eq!(headers["accept"], "json");
        for ours in ["x-client-verify", "x-client-dn", "x-client-cert", "x-forwarded-for", "x-request-id"] {
            assert_eq!(headers.get_all(ours).iter().count(), 1, "{claim}: {ours}");
        }
    }
}

#[test]
fn a_claimed_identity_is_told_apart_from_other_claims() {
    let forged = |name| {
        let mut head = head(&[("host", "puppet"), (name, "x")]);
        request(&mut head, VERIFIED, &DN, DN.clone())
    };
    for name in ["X-Client-DN", "x_client_verify", "HTTP_X_CLIENT_CERT", "SSL_CLIENT_S_DN", "X-SSL-Subject"] {
        assert!(forged(name), "{name}");
    }
    for name in ["X-Forwarded-For", "X-Request-Id", "X-Puppet-Version", "X-Clients"] {
        assert!(!forged(name), "{name}");
    }
}

#[test]
fn headers_that_agents_send_pass() {
    let lines = [
        ("host", "puppet:8140"),
        ("accept", "application/vnd.puppet.rich+json"),
        ("x-puppet-version", "7.23.0"),
        ("user-agent", "Puppet/7.23.0 Ruby/3.1.2"),
        ("content-type", "application/json"),
        ("content-length", "3"),
        ("x-authentication", "token"),
        ("if-modified-since", "x"),
        ("if-none-match", "y"),
        ("range", "bytes=0-"),
        ("accept-encoding", "gzip"),
        ("x-clients", "3"),
    ];
    let headers = sent(&lines, Stated::Nobody);
    for (name, value) in lines {
        assert_eq!(headers[name], value, "{name}");
    }
    assert_eq!(headers.len(), lines.len() + 3);
}

#[test]
fn headers_of_one_connection_end_at_the_door_on_the_way_in() {
    let headers = sent(
        &[
            ("host", "puppet"),
            ("connection", "keep-alive, X-Foo ,Host, content-length,, \"bad name\""),
            ("connection", "x-bar, X-Client-Verify, transfer-encoding"),
            ("x-foo", "1"),
            ("x-bar", "1"),
            ("content-length", "3"),
            ("keep-alive", "300"),
            ("proxy-connection", "close"),
            ("te", "trailers"),
            ("proxy-authorization", "x"),
            ("proxy-authenticate", "x"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ],
        VERIFIED,
    );
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let expected = [
        "accept",
        "content-length",
        "host",
        "x-client-cert",
        "x-client-dn",
        "x-client-verify",
        "x-forwarded-for",
        "x-request-id",
    ];
    assert_eq!(names, expected);
}

#[test]
fn headers_of_one_connection_end_at_the_door_on_the_way_out() {
    let headers = answered(&[
        ("connection", "close, X-Foo"),
        ("x-foo", "1"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "h2c"),
        ("trailer", "x"),
        ("proxy-authenticate", "x"),
        ("transfer-encoding", "chunked"),
        ("content-length", "3"),
        ("x-puppet-version", "7.9.5"),
        ("x-puppet-compiler-name", "m1"),
        ("etag", "e"),
        ("last-modified", "l"),
        ("retry-after", "30"),
        ("content-type", "text/pson"),
        ("server", "Jetty"),
    ]);
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let expected = [
        "content-type",
        "etag",
        "last-modified",
        "retry-after",
        "server",
        "x-puppet-compiler-name",
        "x-puppet-version",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_client_asks_to_close_in_any_case_and_any_place() {
    let asks = |value| asks_to_close(&head(&[("connection", "x"), ("connection", value)]).headers);
    assert!(asks("close") && asks("Close") && asks("keep-alive , CLOSE"));
    assert!(!asks("keep-alive") && !asks("closed") && !asks(""));
}

#[test]
fn an_answer_states_one_length_at_most() {
    assert_eq!(answered(&[("content-length", "3")])["content-length"], "3");
    let twice = answered(&[("content-length", "3"), ("content-length", "3")]);
    assert_eq!(twice.get_all("content-length").iter().count(), 1);
    let named = answered(&[("content-length", "3"), ("connection", "content-length")]);
    assert_eq!(named["content-length"], "3");
}

#[test]
fn a_protocol_change_that_nobody_asked_for_is_the_masters_fault() {
    for from in [Backend::Master, Backend::Mom] {
        let mut head = Response::builder().status(101).body(()).unwrap().into_parts().0;
        assert_eq!(response(&mut head, from), Err(Refusal::Unasked101(from)));
    }
}

#[test]
fn old_versions_are_not_repeated() {
    let mut asked = head(&[]);
    asked.version = Version::HTTP_10;
    request(&mut asked, Stated::Nobody, &DN, DN.clone());
    assert_eq!(asked.version, Version::HTTP_11);
    let mut head = Response::builder().version(Version::HTTP_10).body(()).unwrap().into_parts().0;
    response(&mut head, Backend::Mom).unwrap();
    assert_eq!(head.version, Version::HTTP_11);
}

#[test]
fn a_body_has_one_length_or_is_one_chunked() {
    let of = |lines: &[(&str, &str)], version| framing(&head(lines).headers, version);
    let te = "transfer-encoding";
    let cl = "content-length";
    assert_eq!(of(&[], Version::HTTP_11), Ok(Framing::None));
    assert_eq!(of(&[(cl, "10")], Version::HTTP_11), Ok(Framing::Length(10)));
    assert_eq!(of(&[(te, "Chunked")], Version::HTTP_11), Ok(Framing::Chunked));
    assert_eq!(of(&[(te, "chunked")], Version::HTTP_10), Err(Refusal::Framing));
    for bad in ["", "+3", "-1", "3, 3", "0x3", "3 ", "18446744073709551616"] {
        assert_eq!(of(&[(cl, bad)], Version::HTTP_11), Err(Refusal::Framing), "{bad:?}");
    }
    for bad in ["gzip, chunked", "chunked, chunked", "chunked,", "identity", "", "xchunked", "chunked;q=1"] {
        assert_eq!(of(&[(te, bad)], Version::HTTP_11), Err(Refusal::Framing), "{bad:?}");
    }
    assert_eq!(of(&[(te, "chunked"), (te, "chunked")], Version::HTTP_11), Err(Refusal::Framing));
    assert_eq!(of(&[(te, "chunked"), (cl, "3")], Version::HTTP_11), Err(Refusal::Framing));
}

#[test]
fn the_size_of_a_head_is_that_of_its_bytes() {
    let head = head(&[("host", "puppet"), ("accept", "a"), ("accept", "b")]);
    let target = Uri::from_static("/puppet/v3/node/a?environment=b");
    let written =
        "PUT /puppet/v3/node/a?environment=b HTTP/1.1\r\nhost: puppet\r\naccept: a\r\naccept: b\r\n";
    let size = |framing| head_size(&Method::PUT, &target, &head.headers, framing);
    assert_eq!(size(Framing::None), written.len() + 2);
    assert_eq!(size(Framing::Length(3)), written.len() + 2);
    assert_eq!(size(Framing::Chunked), written.len() + "transfer-encoding: chunked\r\n".len() + 2);
}

/// A name that a server which folds names would take for one of ours.
fn folded_claim() -> impl Strategy<Value = String> {
    let stem = prop::sample::select(vec![
        "x-client-dn",
        "x-client-verify",
        "x-client-cert",
        "x-client-",
        "x-forwarded-for",
    ]);
    let prefix = prop::sample::select(vec!["", "HTTP_", "http-", "Http_"]);
    (prefix, stem, any::<u32>()).prop_map(|(prefix, stem, bits)| {
        let spell = |(at, c): (usize, char)| match (c, bits >> at & 1) {
            ('-', 1) => '_',
            (c, 1) => c.to_ascii_uppercase(),
            (c, _) => c,
        };
        stem.chars().enumerate().map(spell).fold(prefix.to_owned(), |name, c| name + &c.to_string())
    })
}

proptest! {
    #[test]
    fn whatever_is_claimed_only_the_handshake_is_stated(
        claims in prop::collection::vec((folded_claim(), "[ -~]{0,8}"), 0..12),
        named in prop::collection::vec(prop_oneof![folded_claim(), "[a-zA-Z_-]{1,12}"], 0..6),
        verified: bool,
    ) {
        let connection = named.join(", ");
        let mut lines: Vec<(&str, &str)> = claims.iter().map(|(name, value)| (&**name, &**value)).collect();
        lines.extend([("host", "puppet"), ("content-length", "3"), ("connection", &connection)]);
        let headers = sent(&lines, if verified { VERIFIED } else { Stated::Nobody });
        let identity: Vec<(String, HeaderValue)> = headers
            .iter()
            .map(|(name, value)| (name.as_str().replace('_', "-"), value.clone()))
            .filter(|(name, _)| name.contains("x-client"))
            .collect();
        let stated = |name: &str| identity.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect::<Vec<_>>();
        if verified {
            prop_assert_eq!(identity.len(), 3);
            prop_assert_eq!(stated("x-client-verify"), [HeaderValue::from_static("SUCCESS")]);
            prop_assert_eq!(stated("x-client-dn"), [DN.clone()]);
            prop_assert_eq!(stated("x-client-cert"), [CERT.clone()]);
        } else {
            prop_assert_eq!(identity.len(), 1);
            prop_assert_eq!(stated("x-client-verify"), [HeaderValue::from_static("NONE")]);
        }
        prop_assert_eq!(&headers["host"], "puppet");
        prop_assert_eq!(&headers["content-length"], "3");
        prop_assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
    }
}
