//! What a request may ask for, and what never leaves the door.

use super::{Stage, get};

#[tokio::test]
async fn an_ambiguous_path_reaches_nobody() {
    let stage = Stage::open().await;
    for target in [
        "//puppet-ca/v1/certificate/ca",
        "/puppet-ca//v1/certificate/ca",
        "/puppet-ca/v1/certificate/ca/",
        "/%70uppet-ca/v1/certificate/ca",
        "/puppet-ca/v1/%73ign",
        "/puppet-ca/v1/certificate/../sign",
        "/puppet-ca/v1/certificate/%2E%2e/sign",
        "/puppet-ca/v1/certificate/a%2fb",
        "/puppet-ca/v1/certificate/ca;x",
        "/puppet/v3/../../puppet-ca/v1/sign",
        "/puppet/v3/./node/web01.example.com",
        "/puppet/v3//node/web01.example.com",
        "/puppet/v3/n%6fde/web01.example.com",
        "/puppet/v3/file_content/modules/a%5cb",
        "/puppet/v3/file_content/modules/a%00b",
        "/puppet/v3/file_content/modules/%c0%ae%c0%ae/b",
        "/puppet/v3/file_content/modules/%zz",
        "/production//node/web01.example.com",
        "/%70roduction/node/web01.example.com",
        "/packages/../puppet-ca/v1/sign",
    ] {
        let reply = stage.agent().await.ask(get(target)).await.unwrap();
        assert_eq!(reply.status(), 400, "{target}");
        assert!(reply.text().contains("ambiguous"), "{target}: {}", reply.text());
    }
    stage.nobody_was_asked();
}

#[tokio::test]
async fn certificate_administration_reaches_nobody_even_for_a_verified_agent() {
    let stage = Stage::open().await;
    for (method, target) in [
        ("GET", "/puppet-ca/v1/certificate_statuses/all"),
        ("PUT", "/puppet-ca/v1/certificate_status/web01.example.com"),
        ("DELETE", "/puppet-ca/v1/certificate_status/web01.example.com"),
        ("POST", "/puppet-ca/v1/sign"),
        ("POST", "/puppet-ca/v1/sign/all"),
        ("PUT", "/puppet-ca/v1/clean"),
        ("PUT", "/puppet-ca/v1/certificate_revocation_list"),
        ("DELETE", "/puppet-ca/v1/certificate_request/web01.example.com"),
        ("GET", "/puppet-ca/v1/expirations"),
        ("GET", "/production/certificate_status/web01.example.com"),
        ("GET", "/production/CERTIFICATE_STATUS/web01.example.com"),
        ("GET", "/packages/certificate_status/web01.example.com"),
        ("GET", "/puppet/certificate_status/web01.example.com"),
        ("DELETE", "/puppet-admin-api/v1/environment-cache"),
        ("GET", "/metrics/v1/mbeans"),
        ("POST", "/file-sync/v1/commit"),
    ] {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: puppet\r\nContent-Length: 0\r\n\r\n");
        for mut wire in [stage.agent().await, stage.stranger().await] {
            let reply = wire.ask(&request).await.unwrap();
            assert_eq!(reply.status(), 403, "{method} {target}");
            assert!(reply.text().contains("never passed on"), "{}", reply.text());
        }
    }
    stage.nobody_was_asked();
}

#[tokio::test]
async fn only_a_path_with_one_host_is_a_request() {
    let stage = Stage::open().await;
    let node = "/puppet/v3/node/web01.example.com?environment=production";
    for request in [
        format!("GET {node} HTTP/1.1\r\n\r\n"),
        format!("GET {node} HTTP/1.1\r\nHost: puppet\r\nHost: puppet\r\n\r\n"),
        format!("GET {node} HTTP/1.1\r\nHost: puppet\r\nHost: other\r\n\r\n"),
        format!("GET {node} HTTP/1.1\r\nHost:\r\n\r\n"),
        format!("GET {node} HTTP/1.1\r\nHost: root@puppet\r\n\r\n"),
        format!("GET {node} HTTP/1.1\r\nHost: puppet/x\r\n\r\n"),
        format!("GET https://other.example.com{node} HTTP/1.1\r\nHost: puppet\r\n\r\n"),
        format!("GET http://puppet{node} HTTP/1.1\r\nHost: puppet\r\n\r\n"),
        "GET puppet:8140 HTTP/1.1\r\nHost: puppet\r\n\r\n".to_owned(),
        "GET node HTTP/1.1\r\nHost: puppet\r\n\r\n".to_owned(),
        "GET * HTTP/1.1\r\nHost: puppet\r\n\r\n".to_owned(),
        format!("GET {node}&x=\"y\" HTTP/1.1\r\nHost: puppet\r\n\r\n"),
    ] {
        let mut wire = stage.agent().await;
        let reply = wire.ask(&request).await.unwrap_or_else(|why| panic!("{request:?}: {why}"));
        assert_eq!(reply.status(), 400, "{request:?}");
        assert_eq!(wire.until_closed().await, b"", "{request:?}");
    }
    stage.nobody_was_asked();
    // The quotes alone are what hyper refuses before the door has a request to speak of.
    stage.counts("stagedoor_request_failures_total", &[("reason", "malformed")], 1.0).await;
}

#[tokio::test]
async fn methods_that_no_route_has_are_refused() {
    let stage = Stage::open().await;
    for (method, target) in [
        ("CONNECT", "puppet:8140"),
        ("TRACE", "/puppet/v3/node/web01.example.com"),
        ("OPTIONS", "/puppet/v3/node/web01.example.com"),
        ("BREW", "/puppet/v3/node/web01.example.com"),
        ("POST", "/puppet-ca/v1/certificate_request/web01.example.com"),
        ("POST", "/packages/current/install.bash"),
    ] {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: puppet\r\nContent-Length: 0\r\n\r\n");
        let reply = stage.agent().await.ask(request).await.unwrap();
        assert_eq!(reply.status(), 405, "{method}");
        assert!(reply.head.get("allow").is_some_and(|allow| allow.contains("GET")), "{method}");
    }
    stage.nobody_was_asked();
}

#[tokio::test]
async fn nothing_after_an_upgrade_is_taken_for_a_request_or_a_tunnel() {
    let stage = Stage::open().await;
    let mut wire = stage.agent().await;
    let pipelined = get("/puppet/v3/node/web01.example.com?environment=second");
    let first = "GET /puppet/v3/node/web01.example.com?environment=first HTTP/1.1\r\nHost: puppet\r\n\
                 Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let reply = wire.ask(format!("{first}{pipelined}")).await.unwrap();
    assert_eq!(reply.status(), 400);
    assert_eq!(wire.until_closed().await, b"");
    stage.nobody_was_asked();
}

#[tokio::test]
async fn a_target_travels_as_it_came() {
    let stage = Stage::open().await;
    for target in [
        "/puppet/v3/file_content/modules/m/a%20b%C3%A9%25?environment=production&x=%2F..%2f;y&z",
        "/puppet/v3/file_metadatas/plugins?ignore=.svn&ignore=CVS&links=manage&recurse=true",
        "/puppet/v3/file_bucket_file/sha256/0a1b//etc/motd?environment=production",
        "/production/file_metadata/modules/m/{a}[b]|c^d~e!$&'()*+,=:@",
    ] {
        let before = stage.master().record().of_agents().len();
        stage.agent().await.ask(get(target)).await.unwrap();
        let seen = stage.master().record().of_agents();
        assert_eq!(seen.len(), before + 1, "{target}");
        assert_eq!(seen[before].head.target(), target);
    }
    assert_eq!(stage.master().record().offences(), Vec::<String>::new());
}
