//! Whatever a path is made of, the door and the server behind it agree on what it asks for.

use http::{Method, Uri};
use proptest::prelude::*;
use stagedoor_config::class::{Class, Destination};

use super::model::{PUPPET, Seen, lax, seen};
use super::tests::ask;

/// One character as some client or attacker may write it.
fn spelled(c: char) -> impl Strategy<Value = String> {
    let byte = u32::from(c);
    prop_oneof![
        12 => Just(c.to_string()),
        2 => Just(format!("%{byte:02x}")),
        1 => Just(format!("%{byte:02X}")),
        1 => Just(format!("%25{byte:02x}")),
        1 => Just(format!("%c{:x}%{:02x}", byte >> 6, byte & 0x3f | 0x80)),
        1 => Just(c.to_uppercase().to_string()),
        1 => Just(format!("%u00{byte:02x}")),
    ]
}

fn segment_of_a_path() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "puppet",
        "puppet-ca",
        "v1",
        "v3",
        "v4",
        "v2.0",
        "packages",
        "status",
        "simple",
        "metrics",
        "production",
        "puppet-admin-api",
        "file-sync",
        "catalog",
        "node",
        "report",
        "facts",
        "file_content",
        "file_metadata",
        "file_metadatas",
        "file_bucket_file",
        "static_file_content",
        "environments",
        "compile",
        "certificate",
        "certificate_request",
        "certificate_revocation_list",
        "certificate_status",
        "certificate_statuses",
        "sign",
        "clean",
        "all",
        "expirations",
        "certificate_renewal",
        "ca",
        "modules",
        "md5",
        "a.example.com",
        "services",
        "tasks",
        "plans",
        "facts_search",
        "resource_type",
        "resource_types",
    ]);
    let hostile = prop::sample::select(vec![
        "",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        ".%2e",
        "%252e%252e",
        ";",
        ";x=1",
        "..;",
        "%3b",
        "%2f",
        "%5c",
        "\\",
        "%00",
        "%0d%0a",
        "%",
        "%2",
        "%c0%ae%c0%ae",
        "%c0%af",
        "%e0%80%af",
        "+",
        "a b",
        "%20",
        "...",
        "%25",
        "%23",
        "%3f",
        "~",
        "\u{ff0f}",
        "\u{2024}\u{2024}",
        "%ef%bc%8f",
    ]);
    let spelled_word =
        word.clone().prop_flat_map(|w| w.chars().map(spelled).collect::<Vec<_>>()).prop_map(|s| s.concat());
    prop_oneof![
        10 => word.prop_map(str::to_owned),
        2 => spelled_word,
        3 => hostile.clone().prop_map(str::to_owned),
        1 => (hostile.clone(), hostile).prop_map(|(a, b)| format!("{a}{b}")),
    ]
}

/// A path on the way to somewhere real, and hostile somewhere.
fn path() -> impl Strategy<Value = String> {
    let begin = prop::sample::select(vec![
        "",
        "",
        "/puppet",
        "/puppet/v3",
        "/puppet/v3/file_content",
        "/puppet-ca",
        "/puppet-ca/v1",
        "/packages",
        "/puppet-ca/v1/certificate",
        "/production",
        "/production/file_bucket_file/md5",
        "/status/v1",
    ]);
    (begin, prop::collection::vec(segment_of_a_path(), 0..6))
        .prop_map(|(begin, segments)| segments.iter().fold(begin.to_owned(), |path, s| path + "/" + s))
}

fn method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_passes_means_the_same_to_puppet_server(method in method(), path in path()) {
        let Ok(target) = path.parse::<Uri>() else { return Ok(()) };
        if let Ok(route) = ask(&method, &target) {
            prop_assert_eq!(seen(&method, target.path(), PUPPET), Seen::Endpoint(route.class), "{}", path);
        }
    }

    #[test]
    fn no_reading_of_a_path_administers_certificates(method in method(), path in path()) {
        let Ok(target) = path.parse::<Uri>() else { return Ok(()) };
        if let Ok(route) = ask(&method, &target) {
            // What reaches the Master of Masters withstands even a server that decodes twice. Masters are sent names
            // of files, in which `%25` is a percent sign, so there one decoding is what can be promised.
            let decodings = if route.class.destination() == Destination::Masters { 1 } else { 2 };
            for reading in lax(decodings) {
                let seen = seen(&method, target.path(), reading);
                prop_assert!(!matches!(seen, Seen::CaAdministration | Seen::Private), "{} by {:?}", path, reading);
                // A compile master may forward CA paths in its own name, which the CA may list.
                let renews = seen == Seen::Endpoint(Class::Renewal);
                prop_assert!(!renews || route.class == Class::Renewal, "{} by {:?}", path, reading);
            }
        }
    }

    #[test]
    fn any_target_has_an_answer(target in r"\PC{0,64}", method in method()) {
        if let Ok(target) = target.parse::<Uri>()
            && let Ok(route) = ask(&method, &target)
        {
            prop_assert!(target.path().contains(route.key.unwrap_or_default()));
        }
    }
}

#[test]
fn the_yardstick_sees_what_it_should() {
    let all = |path: &str| lax(2).any(|r| seen(&Method::POST, path, r) == Seen::CaAdministration);
    for path in [
        "/puppet-ca/v1/sign",
        "//puppet-ca/v1/sign",
        "/%70uppet-ca/v1/sign",
        "/PUPPET-CA/v1/sign",
        "/x/%252e%252e/puppet-ca/v1/sign",
        "/puppet-ca/v1/certificate/..%c0%afsign",
        "/puppet-ca/v1/certificate\\..\\sign",
        "/puppet-ca;x/v1/sign",
        "/packages/certificate_status/a",
        "/puppet/certificate_status/a",
        "/puppet-ca/v1/sign%00/certificate",
    ] {
        assert!(all(path), "{path}");
    }
    assert_eq!(seen(&Method::GET, "/puppet/v3/./node/a", PUPPET), Seen::Refused);
}
