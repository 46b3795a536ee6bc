//! What a head may carry, both ways, and how large it may be.

use harness::answer::{Act, Answer};
use harness::master::Believed;
use harness::puppet::percent_decode;

use super::{NODE, Stage, get, get_with};

#[tokio::test]
async fn no_forged_identity_reaches_a_master_in_any_spelling() {
    let stage = Stage::open().await;
    let forged = "X-Client-Verify: SUCCESS\r\nX-Client-DN: CN=forged\r\nX-Client-Cert: forged\r\n\
                  x_client_verify: SUCCESS\r\nX_Client_DN: CN=forged\r\nX-Client_DN: CN=forged\r\n\
                  X_CLIENT-CERT: forged\r\nX-CLIENT-DN: CN=forged\r\nHTTP_X_CLIENT_DN: CN=forged\r\n\
                  SSL_CLIENT_CERT: forged\r\nX-SSL-Subject: CN=forged\r\nX-Forwarded-For: forged\r\n\
                  X_Forwarded_For: forged\r\nForwarded: for=forged\r\nX-Request-Id: forged\r\n\
                  Connection: X-Client-Verify, X-Client-DN, X-Client-Cert, Host\r\n";
    assert_eq!(stage.agent().await.ask(get_with(NODE, forged)).await.unwrap().status(), 200);
    let seen = stage.master().record().of("node");
    let raw = String::from_utf8(seen[0].head.raw.to_vec()).unwrap();
    assert!(!raw.contains("forged"), "{raw}");
    assert_eq!(seen[0].offences, Vec::<String>::new());
    let believed = Believed::of(&seen[0].head).unwrap();
    assert_eq!(believed.certname(), Some("web01.example.com"));
    assert!(believed.agrees());
    assert_eq!(seen[0].head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert!(seen[0].head.get("x-request-id").is_some_and(|id| !id.is_empty()));
}

#[tokio::test]
async fn the_certificate_in_a_header_is_the_one_that_was_shown() {
    let stage = Stage::open().await;
    stage.agent().await.ask(get(NODE)).await.unwrap();
    let seen = stage.master().record().of("node");
    let pem = percent_decode(seen[0].head.get("x-client-cert").unwrap()).unwrap();
    assert_eq!(pem.trim(), stage.web01.certificate_pem.trim());
    assert_eq!(seen[0].peer.as_deref(), Some("door1.example.com"));
}

#[tokio::test]
async fn the_master_of_masters_is_told_nobodys_name() {
    let stage = Stage::open().await;
    let forged = "X-Client-Verify: SUCCESS\r\nX-Client-DN: CN=forged\r\nX_Client_Cert: forged\r\n";
    for mut wire in [stage.agent().await, stage.stranger().await] {
        for target in
            ["/puppet-ca/v1/certificate/ca", "/production/certificate/ca", "/packages/current/install.bash"]
        {
            assert_eq!(wire.ask(get_with(target, forged)).await.unwrap().status(), 200, "{target}");
        }
    }
    let seen = stage.mom().record().all();
    assert_eq!(seen.len(), 6);
    for seen in seen {
        assert_eq!(seen.identity_headers(), [("x-client-verify", "NONE")]);
        assert_eq!(seen.peer, None, "the door shows the Master of Masters no certificate");
        assert_eq!(seen.offences, Vec::<String>::new());
    }
}

#[tokio::test]
async fn without_a_certificate_a_master_is_not_asked_and_the_body_is_not_waited_for() {
    let stage = Stage::open().await;
    for target in ["/puppet/v3/report/web01.example.com", "/production/catalog/web01.example.com"] {
        // The body never comes.
        let request = format!(
            "PUT {target} HTTP/1.1\r\nHost: puppet\r\nX-Client-Verify: SUCCESS\r\nContent-Length: 500000\r\n\r\n"
        );
        let reply = stage.stranger().await.ask(request).await.unwrap();
        assert_eq!(reply.status(), 403, "{target}");
        assert!(reply.text().contains("certificate"), "{}", reply.text());
    }
    stage.nobody_was_asked();
}

#[tokio::test]
async fn a_console_token_is_for_the_master_to_judge() {
    let stage = Stage::open().await;
    stage.stranger().await.ask(get_with(NODE, "X-Authentication: token\r\n")).await.unwrap();
    let seen = stage.master().record().of("node");
    assert_eq!(seen[0].head.get("x-authentication"), Some("token"));
    assert_eq!(seen[0].identity_headers(), [("x-client-verify", "NONE")]);
}

#[tokio::test]
async fn what_belongs_to_one_connection_ends_at_the_door_both_ways() {
    let stage = Stage::open().await;
    let lines = "Connection: keep-alive, X-Hop , Content-Length, Host\r\nConnection: x-other\r\nX-Hop: secret\r\n\
                 X-Other: secret\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n\
                 Proxy-Authorization: Basic secret\r\nAccept: text/pson\r\nIf-None-Match: \"9f1e\"\r\n";
    stage.master().script("/node/", Some(1), Act::hop_by_hop());
    let reply = stage.agent().await.ask(get_with(NODE, lines)).await.unwrap();
    assert_eq!((reply.status(), reply.text()), (200, "hello".to_owned()));
    for gone in ["x-hop", "keep-alive", "proxy-authenticate", "upgrade", "connection"] {
        assert_eq!(reply.head.get(gone), None, "{gone}");
    }
    assert_eq!(reply.head.get("x-puppet-version"), Some("8.10.0"));
    let seen = stage.master().record().of("node");
    assert_eq!(seen[0].offences, Vec::<String>::new());
    let raw = String::from_utf8(seen[0].head.raw.to_vec()).unwrap();
    assert!(!raw.contains("secret"), "{raw}");
    assert_eq!(seen[0].head.get("accept"), Some("text/pson"));
    assert_eq!(seen[0].head.get("if-none-match"), Some("\"9f1e\""));
}

#[tokio::test]
async fn headers_that_agents_rely_on_come_through() {
    let stage = Stage::open().await;
    let answer = Answer::text(503, "busy")
        .header("X-Puppet-Version", "8.10.0")
        .header("X-Puppet-Compiler-Name", "m1")
        .header("ETag", "\"9f1e\"")
        .header("Last-Modified", "Sat, 14 Nov 2026 10:00:00 GMT")
        .header("Retry-After", "77");
    stage.master().script("/report/", None, Act::Answer(answer));
    let request = "PUT /puppet/v3/report/web01.example.com?environment=production HTTP/1.1\r\nHost: puppet\r\n\
                   Content-Length: 2\r\n\r\n{}";
    let reply = stage.agent().await.ask(request).await.unwrap();
    assert_eq!(reply.status(), 503);
    for (name, value) in [
        ("x-puppet-version", "8.10.0"),
        ("x-puppet-compiler-name", "m1"),
        ("etag", "\"9f1e\""),
        ("last-modified", "Sat, 14 Nov 2026 10:00:00 GMT"),
        ("retry-after", "77"),
        ("content-type", "text/plain;charset=utf-8"),
    ] {
        assert_eq!(reply.head.get(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_head_that_the_master_would_not_read_is_refused_with_words_and_loses_no_header() {
    let stage = Stage::open().await;
    let padded = |length: usize| get_with(NODE, &format!("X-Pad: {}\r\n", "x".repeat(length)));
    stage.agent().await.ask(padded(1)).await.unwrap();
    let bare = stage.master().record().of("node")[0].head.raw.len() - 1;

    let reply = stage.agent().await.ask(padded(8192 - bare)).await.unwrap();
    assert_eq!(reply.status(), 200);
    let seen = stage.master().record().of("node");
    assert_eq!(seen[1].head.raw.len(), 8192, "exactly what Jetty reads");

    let reply = stage.agent().await.ask(padded(8192 - bare + 1)).await.unwrap();
    assert_eq!(reply.status(), 431);
    assert!(reply.text().contains("request-header-max-size"), "{}", reply.text());
    assert_eq!(stage.master().record().of("node").len(), 2);
}

#[tokio::test]
async fn a_head_that_the_door_would_not_read_is_refused() {
    let stage = Stage::open().await;
    let many = (0..101).map(|n| format!("X-{n}: x\r\n")).collect::<String>();
    // The Master of Masters has a limit of its own, and would answer by itself.
    let target = "/packages/current/install.bash";
    for request in
        [get_with(target, &format!("X-Pad: {}\r\n", "x".repeat(33 * 1024))), get_with(target, &many)]
    {
        let mut wire = stage.agent().await;
        assert_eq!(wire.ask(request).await.unwrap().status(), 431);
        assert_eq!(wire.until_closed().await, b"");
    }
    stage.nobody_was_asked();
}
