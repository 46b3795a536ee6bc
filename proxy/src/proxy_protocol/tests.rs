use proptest::prelude::*;

use super::*;

fn header(addresses: Option<(&str, &str)>, length: usize) -> Parsed {
    let addresses = addresses.map(|(source, destination)| Addresses {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    });
    Parsed::Header { addresses, length }
}

fn v2_of(versioned: u8, families: u8, said: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a".to_vec();
    bytes.extend([versioned, families]);
    bytes.extend(u16::try_from(said.len()).unwrap().to_be_bytes());
    bytes.extend(said);
    bytes
}

const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x1f, 0xcc];

#[test]
fn the_line_of_version_1_is_read() {
    for (line, ends) in [
        ("PROXY TCP4 192.0.2.7 10.0.0.1 40000 8140\r\n", Some(("192.0.2.7:40000", "10.0.0.1:8140"))),
        ("PROXY TCP6 2001:db8::7 ::1 0 65535\r\n", Some(("[2001:db8::7]:0", "[::1]:65535"))),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN whatever 1 2 3\r\n", None),
    ] {
        assert_eq!(parse(line.as_bytes()), header(ends, line.len()), "{line:?}");
        let with_more = [line.as_bytes(), &[22, 3, 1]].concat();
        assert_eq!(parse(&with_more), header(ends, line.len()), "{line:?}");
    }
}

#[test]
fn a_line_that_says_nothing_clear_is_broken() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107));
    for line in [
        "PROXY TCP4 192.0.2.7 10.0.0.1 40000 8140\n",
        "PROXY  TCP4 192.0.2.7 10.0.0.1 40000 8140\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 40000 8140 \r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n",
        "PROXY TCP4 192.0.2.07 10.0.0.1 40000 8140\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 +4000 8140\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 04000 8140\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 65536 8140\r\n",
        "PROXY TCP4 2001:db8::7 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
        "PROXY unknown\r\n",
        "PROXY \r\n",
        "proxy UNKNOWN\r\n",
        "GET / HTTP/1.1\r\n",
        long.as_str(),
    ] {
        assert_eq!(parse(line.as_bytes()), Parsed::Broken, "{line:?}");
    }
}

#[test]
fn version_2_is_read_and_what_follows_its_addresses_is_skipped() {
    let ends = Some(("192.0.2.7:40000", "10.0.0.1:8140"));
    assert_eq!(parse(&v2_of(0x21, 0x11, &V4)), header(ends, 28));
    let with_tlvs = v2_of(0x21, 0x11, &[&V4[..], &[4, 0, 3, 1, 2, 3]].concat());
    assert_eq!(parse(&with_tlvs), header(ends, 34));
    let mut wide = [0; 36];
    wide[15] = 7;
    wide[31] = 1;
    wide[33] = 9;
    wide[35] = 8;
    assert_eq!(parse(&v2_of(0x21, 0x21, &wide)), header(Some(("[::7]:9", "[::1]:8")), 52));
}

#[test]
fn a_balancers_own_connection_keeps_its_own_addresses() {
    for (versioned, families, said) in [
        (0x20, 0x00, &[][..]),
        (0x20, 0x11, &V4[..]),
        (0x20, 0xff, &[][..]),
        (0x21, 0x00, &[1, 2][..]),
        (0x21, 0x31, &[0; 216][..]),
        (0x21, 0x12, &V4[..]),
    ] {
        let bytes = v2_of(versioned, families, said);
        assert_eq!(parse(&bytes), header(None, bytes.len()), "{versioned:x} {families:x}");
    }
}

#[test]
fn version_2_that_says_nothing_clear_is_broken() {
    let long = v2_of(0x21, 0x11, &vec![0; MOST]);
    for bytes in [
        v2_of(0x31, 0x11, &V4),
        v2_of(0x22, 0x11, &V4),
        v2_of(0x21, 0x41, &V4),
        v2_of(0x21, 0x13, &V4),
        v2_of(0x21, 0x11, &V4[..11]),
        v2_of(0x21, 0x21, &V4),
        long,
    ] {
        assert_eq!(parse(&bytes), Parsed::Broken, "{bytes:?}");
    }
}

#[test]
fn addresses_of_two_families_are_said_in_the_wider_one() {
    let mut line = Vec::new();
    let addresses =
        Addresses { source: "192.0.2.7:1".parse().unwrap(), destination: "[2001:db8::1]:2".parse().unwrap() };
    append(&mut line, ProxyVersion::V1, addresses);
    assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n");
    let mapped = Addresses {
        source: "[::ffff:192.0.2.7]:1".parse().unwrap(),
        destination: "10.0.0.1:2".parse().unwrap(),
    };
    line.clear();
    append(&mut line, ProxyVersion::V1, mapped);
    assert_eq!(line, b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n");
}

fn any_version() -> impl Strategy<Value = ProxyVersion> {
    prop_oneof![Just(ProxyVersion::V1), Just(ProxyVersion::V2)]
}

/// As parsed again: IPv4 where both are, else both IPv6.
fn in_one_family(addresses: Addresses) -> Addresses {
    let Addresses { mut source, mut destination } = addresses;
    match one_family(source.ip(), destination.ip()) {
        Ips::V4(from, at) => {
            (source, destination) = ((from, source.port()).into(), (at, destination.port()).into())
        }
        Ips::V6(from, at) => {
            (source, destination) = ((from, source.port()).into(), (at, destination.port()).into())
        }
    }
    Addresses { source, destination }
}

proptest! {
    #[test]
    fn what_is_sent_is_read_again_however_it_is_cut(
        version in any_version(),
        source: (IpAddr, u16),
        destination: (IpAddr, u16),
        rest in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let addresses = Addresses { source: source.into(), destination: destination.into() };
        let mut bytes = Vec::new();
        append(&mut bytes, version, addresses);
        let length = bytes.len();
        prop_assert!(version == ProxyVersion::V2 || length <= V1_MOST);
        bytes.extend(rest);
        for cut in 0..length {
            prop_assert_eq!(parse(&bytes[..cut]), Parsed::NeedMore, "{} of {} bytes", cut, length);
        }
        let whole = Parsed::Header { addresses: Some(in_one_family(addresses)), length };
        prop_assert_eq!(parse(&bytes[..length]), whole);
        prop_assert_eq!(parse(&bytes), whole);
    }

    #[test]
    fn any_bytes_are_decided_once_and_within_the_bound(
        begins in prop_oneof![Just(&b""[..]), Just(V1_BEGINS), Just(V2_BEGINS), Just(&b"PROXY TCP4 1.2.3.4 "[..])],
        rest in proptest::collection::vec(any::<u8>(), 0..200),
        more in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut bytes = [begins, &rest].concat();
        let before = parse(&bytes);
        let read = bytes.len();
        bytes.extend(more);
        if before != Parsed::NeedMore {
            prop_assert_eq!(parse(&bytes), before);
        }
        if let Parsed::Header { length, .. } = before {
            prop_assert!(length <= read);
        }
        bytes.resize(MOST, b'x');
        prop_assert!(parse(&bytes) != Parsed::NeedMore);
    }
}
