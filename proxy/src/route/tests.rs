//! Tables of requests, real ones and hostile ones.

use http::HeaderValue;

use super::*;

pub(super) fn ask<'a>(method: &Method, target: &'a Uri) -> Result<Route<'a>, Refusal> {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("puppet.example.com:8140"));
    route(method, target, Version::HTTP_11, &headers)
}

fn class(method: &str, target: &str) -> Result<Class, Refusal> {
    ask(&method.parse().unwrap(), &target.parse().unwrap()).map(|route| route.class)
}

fn refused(target: &str) -> Refusal {
    class("GET", target).expect_err(target)
}

#[test]
fn every_request_of_an_agents_run_has_its_class() {
    for (method, target, expected) in [
        ("GET", "/puppet/v3/node/a.example.com?environment=production&transaction_uuid=1", Class::Node),
        ("POST", "/puppet/v3/catalog/a.example.com?environment=production", Class::Catalog),
        ("POST", "/puppet/v3/compile", Class::Catalog),
        ("POST", "/puppet/v4/catalog", Class::Catalog),
        ("GET", "/puppet/v3/file_metadata/modules/motd/motd?links=manage", Class::FileMetadata),
        ("GET", "/puppet/v3/file_metadatas/plugins?recurse=true&ignore=.svn", Class::FileMetadatas),
        ("GET", "/puppet/v3/file_content/plugins/facter/a.rb", Class::FileContent),
        ("GET", "/puppet/v3/static_file_content/modules/m/files/f?code_id=1", Class::StaticFileContent),
        ("HEAD", "/puppet/v3/file_bucket_file/sha256/0a1b//etc/motd", Class::FileBucket),
        ("PUT", "/puppet/v3/file_bucket_file/md5/0a1b//etc/motd", Class::FileBucket),
        ("PUT", "/puppet/v3/report/a.example.com?environment=production", Class::Report),
        ("PUT", "/puppet/v3/facts/a.example.com", Class::Facts),
        ("GET", "/puppet/v3/environments", Class::Environments),
        ("GET", "/puppet/v3/environment_classes?environment=dev", Class::Environments),
        ("GET", "/puppet/v3/tasks/package/init", Class::Tasks),
        ("GET", "/puppet/v3/plans", Class::Plans),
        ("GET", "/puppet/v3/status/me", Class::Other),
        ("GET", "/puppet/experimental/x", Class::Other),
        ("GET", "/puppet-ca/v1/certificate/ca", Class::Ca),
        ("GET", "/puppet-ca/v1/certificate_revocation_list/ca", Class::Ca),
        ("GET", "/puppet-ca/v1/certificate_request/a.example.com", Class::Ca),
        ("PUT", "/puppet-ca/v1/certificate_request/a.example.com", Class::Csr),
        ("GET", "/packages/current/install.bash", Class::Packages),
        ("GET", "/packages/2019.8.12/el-7-x86_64/puppet-agent-6.28.0-1.el7.x86_64.rpm", Class::Packages),
        ("GET", "/status/v1/simple", Class::Status),
        ("HEAD", "/status/v1/simple/server", Class::Status),
        ("GET", "/status/v1/simple/master", Class::Status),
        ("GET", "/production/node/a.example.com", Class::Node),
        ("POST", "/production/catalog/a.example.com", Class::Catalog),
        ("GET", "/production/file_metadata/modules/m/f", Class::FileMetadata),
        ("GET", "/production/file_metadatas/plugins", Class::FileMetadatas),
        ("GET", "/production/file_content/plugins/a.rb", Class::FileContent),
        ("PUT", "/production/file_bucket_file/md5/0a1b//etc/motd", Class::FileBucket),
        ("PUT", "/production/report/a.example.com", Class::Report),
        ("GET", "/production/facts/a.example.com", Class::Facts),
        ("GET", "/production/facts_search/search", Class::Other),
        ("GET", "/production/resource_types/x", Class::Other),
        ("GET", "/production/status/a.example.com", Class::Other),
        ("GET", "/production/certificate/ca", Class::Ca),
        ("PUT", "/production/certificate_request/a.example.com", Class::Csr),
        ("GET", "/production/certificate_revocation_list/ca", Class::Ca),
        ("GET", "/v2.0/environments", Class::Environments),
    ] {
        assert_eq!(class(method, target), Ok(expected), "{method} {target}");
    }
}

#[test]
fn certificate_administration_is_forbidden_in_both_forms_and_every_case() {
    for (method, target) in [
        ("GET", "/puppet-ca/v1/certificate_status/a"),
        ("PUT", "/puppet-ca/v1/certificate_status/a"),
        ("DELETE", "/puppet-ca/v1/certificate_status/a"),
        ("GET", "/puppet-ca/v1/certificate_statuses/all?state=requested"),
        ("POST", "/puppet-ca/v1/sign"),
        ("POST", "/puppet-ca/v1/sign/all"),
        ("PUT", "/puppet-ca/v1/clean"),
        ("PUT", "/puppet-ca/v1/CLEAN"),
        ("GET", "/puppet-ca/v1/expirations"),
        ("PUT", "/puppet-ca/v1/certificate_revocation_list"),
        ("PUT", "/puppet-ca/v1/certificate_revocation_list/ca"),
        ("DELETE", "/puppet-ca/v1/certificate_request/a"),
        ("GET", "/puppet-ca/v2/certificate_status/a"),
        ("GET", "/production/certificate_status/a"),
        ("DELETE", "/production/certificate_status/a"),
        ("GET", "/production/certificate_statuses/all"),
        ("DELETE", "/production/certificate_request/a"),
        ("GET", "/production/Certificate_Status/a"),
        ("GET", "/production/CERTIFICATE/ca"),
        ("GET", "/puppet/certificate_status/a"),
        ("GET", "/puppet/v3/certificate_status/a"),
        ("GET", "/packages/certificate_status/a"),
    ] {
        let expected = Err(Refusal::Forbidden(Forbidden::CaAdministration));
        assert_eq!(class(method, target), expected, "{method} {target}");
    }
}

#[test]
fn what_belongs_to_one_server_is_not_passed_on() {
    for (target, expected) in [
        ("/puppet-admin-api/v1/environment-cache", Refusal::Forbidden(Forbidden::AdminApi)),
        ("/metrics/v1/mbeans", Refusal::Forbidden(Forbidden::Metrics)),
        ("/metrics", Refusal::Forbidden(Forbidden::Metrics)),
        ("/file-sync/v1/latest-commits", Refusal::Forbidden(Forbidden::FileSync)),
        ("/file-sync-git/puppet-code", Refusal::Forbidden(Forbidden::FileSync)),
        ("/status/v1/services", Refusal::OneServersStatus),
        ("/status/v1/services/jruby-metrics?level=debug", Refusal::OneServersStatus),
        ("/status/v1/simple/ca", Refusal::OneServersStatus),
    ] {
        assert_eq!(refused(target), expected, "{target}");
    }
}

#[test]
fn a_certificate_is_renewed_at_one_path_by_one_method() {
    let path = "/puppet-ca/v1/certificate_renewal";
    assert_eq!(class("POST", path), Ok(Class::Renewal));
    assert_eq!(class("POST", &format!("{path}?environment=production")), Ok(Class::Renewal));
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        assert_eq!(class(method, path), Err(Refusal::Method("POST")), "{method}");
    }
    let administers = Refusal::Forbidden(Forbidden::CaAdministration);
    for (target, expected) in [
        ("/puppet-ca/v1/certificate_renewal/", Refusal::Path),
        ("/puppet-ca/v1/certificate_renewal//", Refusal::Path),
        ("/puppet-ca/v1//certificate_renewal", Refusal::Path),
        ("//puppet-ca/v1/certificate_renewal", Refusal::Path),
        ("/puppet-ca/v1/certificate_renewal/a", Refusal::NotFound),
        ("/puppet-ca/v1/certificate_renewal/%2e%2e/sign", Refusal::Path),
        ("/puppet-ca/v1/certificate_renewal/../sign", Refusal::Path),
        ("/puppet-ca/v1/certificate_renewal;x", Refusal::Path),
        ("/puppet-ca/v1/certificate_renewal%2fsign", Refusal::Path),
        ("/puppet-ca/v1/certificate_renewal%00", Refusal::Path),
        ("/puppet-ca/v1/certificate%5frenewal", Refusal::Path),
        ("/puppet-ca/%761/certificate_renewal", Refusal::Path),
        ("/puppet-ca/v1/Certificate_Renewal", administers),
        ("/puppet-ca/v1/certificate_renewals", administers),
        ("/puppet-ca/v2/certificate_renewal", administers),
        ("/production/certificate_renewal", administers),
        ("/production/certificate_renewal/a", administers),
        ("/packages/certificate_renewal", administers),
        ("/puppet/v3/certificate_renewal", administers),
        ("http://mom.example.com/puppet-ca/v1/certificate_renewal", Refusal::Target),
    ] {
        assert_eq!(class("POST", target), Err(expected), "{target}");
    }
}

#[test]
fn what_nobody_has_is_not_found() {
    for target in [
        "/",
        "/production",
        "/production/unknown/a",
        "/pro-duction/catalog/a",
        "/v2.0/certificate_request/a",
        "/v2.0/environments/x",
        "/puppet",
        "/puppet-ca",
        "/puppet-ca/v1",
        "/puppet-ca/v1/unknown/a",
        "/puppet-ca/V1/certificates",
        "/Puppet-CA/v1/certificate/ca",
        "/puppet-ca/v1/certificate/a/b",
        "/puppet-ca/v1/certificate",
        "/packages",
        "/packages/catalog/a",
        "/Packages/catalog/a",
        "/PUPPET/catalog/a",
        "/staTus/catalog/a",
        "/Metrics/node/a",
        "/status",
        "/favicon.ico",
    ] {
        let refusal = refused(target);
        assert!(
            matches!(refusal, Refusal::NotFound | Refusal::Forbidden(Forbidden::CaAdministration)),
            "{target}: {refusal:?}"
        );
    }
}

#[test]
fn an_ambiguous_path_is_refused_whatever_it_would_mean() {
    for target in [
        "//puppet-ca/v1/certificate/ca",
        "/puppet-ca//v1/certificate/ca",
        "/puppet-ca/v1//certificate/ca",
        "/puppet-ca/v1/certificate//ca",
        "/puppet-ca/v1/certificate/ca/",
        "/%70uppet-ca/v1/certificate/ca",
        "/puppet-ca/v1/%73ign",
        "/puppet-ca/v1/certificate/%2e%2e%2fsign",
        "/puppet-ca/v1/certificate/a%2Fb",
        "/puppet-ca/v1/certificate/a%5cb",
        "/puppet-ca/v1/certificate/a%00b",
        "/puppet-ca/v1/certificate/a%0ab",
        "/puppet-ca/v1/certificate/a%3bb",
        "/puppet-ca/v1/certificate/a%252fb",
        "/puppet-ca/v1/certificate/a%3fb",
        "/puppet-ca/v1/certificate/a%23b",
        "/puppet-ca/v1/certificate/ca;x",
        "/puppet-ca;x/v1/certificate/ca",
        "/puppet-ca/v1/certificate/../sign",
        "/puppet-ca/v1/certificate/.%2E/sign",
        "/puppet/v3/../../puppet-ca/v1/sign",
        "/puppet/v3/file_content/modules/./x",
        "/puppet/v3/file_content/modules/x/..",
        "/puppet/v3/file_content/modules/%2e/x",
        "/puppet/v3/file_content/modules/a%5Cb",
        "/puppet/v3/file_content/modules/a\\b",
        "/puppet/v3/file_content/modules/%c0%ae%c0%ae/x",
        "/puppet/v3/file_content/modules/%ff",
        "/puppet/v3/file_content/modules/%u002e",
        "/puppet/v3/file_content/modules/%",
        "/puppet/v3/file_content/modules/%4",
        "/puppet/v3/file_content/modules/%zz",
        "/puppet/v3//catalog/a",
        "/puppet/v3/catalog//a",
        "/puppet/v3/catalog/",
        "/puppet/v3/c%61talog/a",
        "/production//catalog/a",
        "/prod%75ction/catalog/a",
        "/production/c%61talog/a",
        "/packages/%63ertificate_status/a",
        "/packages//current/install.bash",
        "/status/v1/simple/",
        "/status/v1/s%69mple",
    ] {
        assert_eq!(refused(target), Refusal::Path, "{target}");
    }
}

#[test]
fn names_of_files_pass_as_agents_encode_them() {
    for target in [
        "/puppet/v3/file_content/modules/m/a%20b%25%23%3f.txt",
        "/puppet/v3/file_content/modules/m/%C3%A9t%C3%A9",
        "/puppet/v3/file_content/modules/m/\u{e9}",
        "/puppet/v3/file_content/modules/m//twice",
        "/puppet/v3/file_content/modules/m/.hidden",
        "/puppet/v3/file_content/modules/m/...",
        "/puppet/v3/file_bucket_file/md5/0a1b//srv/a%20b",
        "/puppet/v3/file_bucket_file/md5/?list_all=true",
        "/production/file_content/modules/m/a%20b",
    ] {
        assert!(class("GET", target).is_ok(), "{target}");
    }
}

#[test]
fn the_key_is_the_name_or_the_checksum() {
    for (target, expected) in [
        ("/puppet/v3/catalog/a.example.com", Some("a.example.com")),
        ("/production/report/a.example.com", Some("a.example.com")),
        ("/puppet-ca/v1/certificate_request/a.example.com", Some("a.example.com")),
        ("/puppet-ca/v1/certificate_request/a%20b", Some("a%20b")),
        ("/puppet/v3/file_bucket_file/md5/0a1b//etc/motd", Some("0a1b")),
        ("/puppet/v3/file_bucket_file/md5/0a1b", Some("0a1b")),
        ("/production/file_bucket_file/md5/0a1b", Some("0a1b")),
        ("/puppet/v3/file_bucket_file/md5", None),
        ("/puppet/v3/environments", None),
    ] {
        let target: Uri = target.parse().unwrap();
        assert_eq!(ask(&Method::GET, &target).unwrap().key, expected, "{target}");
    }
}

#[test]
fn only_the_sending_of_a_request_is_a_csr() {
    for (method, target, expected) in [
        (Method::PUT, "/puppet-ca/v1/certificate_request/a", true),
        (Method::PUT, "/production/certificate_request/a", true),
        (Method::GET, "/puppet-ca/v1/certificate_request/a", false),
        (Method::PUT, "/puppet/v3/report/a", false),
    ] {
        assert_eq!(
            ask(&method, &target.parse().unwrap()).unwrap().class == Class::Csr,
            expected,
            "{method} {target}"
        );
    }
}

#[test]
fn the_environment_is_read_where_it_is_stated_plainly() {
    let long = format!("/puppet/v3/node/a?environment={}", "e".repeat(256));
    for (target, expected) in [
        ("/puppet/v3/node/a?environment=production&x=1", Some("production")),
        ("/puppet/v3/node/a?x=1&environment=a_B9", Some("a_B9")),
        ("/puppet/v3/node/a?environment=a-b", None),
        ("/puppet/v3/node/a?environment=", None),
        ("/puppet/v3/node/a?environment=%70", None),
        ("/puppet/v3/node/a?xenvironment=a", None),
        ("/puppet/v3/node/a", None),
        (&*long, None),
        ("/dev/node/a?environment=production", Some("dev")),
        ("/v2.0/environments", None),
        ("/puppet-ca/v1/certificate/ca?environment=production", None),
    ] {
        let target: Uri = target.parse().unwrap();
        assert_eq!(ask(&Method::GET, &target).unwrap().environment, expected, "{target}");
    }
}

#[test]
fn a_method_that_a_route_lacks_is_refused_with_those_it_has() {
    for (method, target, allowed) in [
        ("CONNECT", "/puppet/v3/node/a", METHODS),
        ("TRACE", "/puppet/v3/node/a", METHODS),
        ("OPTIONS", "/", METHODS),
        ("BREW", "/puppet/v3/node/a", METHODS),
        ("get", "/puppet/v3/node/a", METHODS),
        ("POST", "/puppet-ca/v1/certificate_request/a", "GET, HEAD, PUT"),
        ("POST", "/puppet-ca/v1/certificate/a", "GET, HEAD"),
        ("PUT", "/production/certificate/a", "GET, HEAD"),
        ("POST", "/packages/current/install.bash", "GET, HEAD"),
        ("POST", "/status/v1/simple", "GET, HEAD"),
    ] {
        assert_eq!(class(method, target), Err(Refusal::Method(allowed)), "{method} {target}");
    }
}

#[test]
fn only_a_path_is_a_target() {
    for target in ["*", "http://mom.example.com/puppet/v3/node/a", "https://x/", "mom.example.com:8140", "a"]
    {
        assert_eq!(refused(target), Refusal::Target, "{target}");
    }
}

#[test]
fn nobody_leaves_http() {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("puppet"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let target = Uri::from_static("/puppet/v3/node/a");
    assert_eq!(route(&Method::GET, &target, Version::HTTP_11, &headers), Err(Refusal::Upgrade));
}

#[test]
fn a_request_names_one_host() {
    let hosts = |hosts: &[&[u8]], target: &'static str, version| {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_bytes(host).unwrap());
        }
        route(&Method::GET, &Uri::from_static(target), version, &headers).map(|r| r.class)
    };
    let node = "/puppet/v3/node/a";
    for good in [&b"puppet"[..], b"puppet:8140", b"10.0.0.1:8140", b"[::1]", b"[fe80::1]:8140", b"a_b.c-d"] {
        assert!(hosts(&[good], node, Version::HTTP_11).is_ok(), "{}", good.escape_ascii());
    }
    for bad in [
        &b""[..],
        b":8140",
        b"user@puppet",
        b"a b",
        b"a/b",
        b"a,b",
        b"a:b:1",
        b"a:123456",
        b"a:x",
        b"[::1",
        b"[]",
        b"[::1]x",
        b"\xc3\xa9",
    ] {
        let answer = hosts(&[bad], node, Version::HTTP_11);
        assert_eq!(answer, Err(Refusal::Host), "{}", bad.escape_ascii());
    }
    assert_eq!(hosts(&[], node, Version::HTTP_11), Err(Refusal::Host));
    assert_eq!(hosts(&[], node, Version::HTTP_10), Err(Refusal::Host));
    assert_eq!(hosts(&[b"puppet", b"puppet"], node, Version::HTTP_11), Err(Refusal::Host));
    let simple = "/status/v1/simple";
    assert_eq!(hosts(&[], simple, Version::HTTP_11), Err(Refusal::Host));
    assert_eq!(hosts(&[], simple, Version::HTTP_10), Ok(Class::Status));
}
