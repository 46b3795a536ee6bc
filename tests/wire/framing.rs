//! Where a body ends: read once, by one rule, and written anew.

use std::io::ErrorKind;

use harness::answer::Act;

use super::{NODE, Stage, get};

const CATALOG: &str = "/puppet/v3/catalog/web01.example.com?environment=production";

/// A catalog request with these header lines and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST {CATALOG} HTTP/1.1\r\nHost: puppet\r\n{lines}\r\n{body}")
}

#[tokio::test]
async fn a_length_beside_chunks_smuggles_nothing() {
    let stage = Stage::open().await;
    let hidden = get("/puppet/v3/node/hidden");
    for lines in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 9999\r\n",
    ] {
        stage.master().record().clear();
        let mut wire = stage.agent().await;
        let reply = wire.ask(post(lines, &format!("5\r\nhello\r\n0\r\n\r\n{hidden}"))).await.unwrap();
        assert_eq!(reply.status(), 200, "{lines:?}: {}", reply.text());
        assert_eq!(wire.until_closed().await, b"", "{lines:?}");
        let seen = stage.master().record().of_agents();
        assert_eq!(seen.len(), 1, "{lines:?}");
        assert_eq!(&*seen[0].body, b"hello", "{lines:?}");
        assert_eq!(seen[0].offences, Vec::<String>::new());
    }
    stage.counts("stagedoor_both_lengths_total", &[], 3.0).await;
}

#[tokio::test]
async fn chunks_alone_are_not_counted_as_chunks_beside_a_length() {
    let stage = Stage::open().await;
    let chunked = |lines| post(&format!("Transfer-Encoding: chunked\r\n{lines}"), "5\r\nhello\r\n0\r\n\r\n");
    for (lines, end) in [("", "close"), ("", "drop"), ("", "again"), ("Connection: close\r\n", "wait")] {
        let mut wire = stage.agent().await;
        assert_eq!(wire.ask(chunked(lines)).await.unwrap().status(), 200);
        match end {
            "close" => wire.conn.close().await,
            "again" => assert_eq!(wire.ask(get(NODE)).await.unwrap().status(), 200),
            "wait" => drop(wire.until_closed().await),
            _ => {}
        }
    }
    // Every connection has ended before the count is read.
    stage.counts("stagedoor_connections_open", &[], 0.0).await;
    stage.counts("stagedoor_both_lengths_total", &[], 0.0).await;
}

#[tokio::test]
async fn a_length_that_can_be_read_in_two_ways_is_refused() {
    let stage = Stage::open().await;
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for (lines, body) in [
        ("Content-Length: 3\r\nContent-Length: 5\r\n", "hello"),
        ("Content-Length: 5, 5\r\n", "hello"),
        ("Content-Length: +5\r\n", "hello"),
        ("Content-Length: 0x5\r\n", "hello"),
        ("Content-Length: -5\r\n", "hello"),
        ("Content-Length:\r\n", ""),
        ("Content-Length: 18446744073709551616\r\n", "hello"),
        ("Content-Length : 5\r\n", "hello"),
        ("Content-Length: 5\r\n Content-Length: 6\r\n", "hello"),
        ("Transfer-Encoding: gzip, chunked\r\n", chunks),
        ("Transfer-Encoding: chunked, chunked\r\n", chunks),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunks),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", chunks),
        ("Transfer-Encoding: chunked, identity\r\n", chunks),
        ("Transfer-Encoding: chunked;q=1\r\n", chunks),
        ("Transfer-Encoding: xchunked\r\n", chunks),
        ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", "hello"),
        ("Transfer-Encoding : chunked\r\n", chunks),
        ("Transfer-Encoding: chunked\r\n", "5 \r hello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "-5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhelloX\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("X: a\0b\r\n", ""),
        ("X: a\rb\r\n", ""),
        ("X: a\r\n folded\r\n", ""),
    ] {
        let mut wire = stage.agent().await;
        let request = post(lines, body);
        let reply = wire.ask(&request).await.unwrap_or_else(|why| panic!("{lines:?} {body:?}: {why}"));
        assert_eq!(reply.status(), 400, "{lines:?} {body:?}: {}", reply.text());
        assert_eq!(wire.until_closed().await, b"", "{lines:?} {body:?}");
    }
    let mut wire = stage.agent().await;
    let old =
        format!("POST {CATALOG} HTTP/1.0\r\nHost: puppet\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    assert_eq!(wire.ask(old).await.unwrap().status(), 400);
    stage.nobody_was_asked();
}

#[tokio::test]
async fn one_body_is_one_body_however_it_was_delimited() {
    let stage = Stage::open().await;
    for (lines, body) in [
        ("Content-Length: 5\r\n", "hello"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: CHUNKED\r\n", "2;ext=\"x\"\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    ] {
        stage.master().record().clear();
        let mut wire = stage.agent().await;
        assert_eq!(wire.ask(post(lines, body)).await.unwrap().status(), 200, "{lines:?}");
        let seen = stage.master().record().of_agents();
        assert_eq!((seen.len(), &*seen[0].body), (1, &b"hello"[..]), "{lines:?}");
        assert_eq!(seen[0].offences, Vec::<String>::new(), "{lines:?}");
        assert_eq!(wire.ask(get(NODE)).await.unwrap().status(), 200, "the connection goes on: {lines:?}");
    }
}

#[tokio::test]
async fn bare_line_feeds_are_not_passed_on() {
    let stage = Stage::open().await;
    let request = format!("GET {NODE} HTTP/1.1\nHost: puppet\nX-Puppet-Version: 8.10.0\n\n");
    assert_eq!(stage.agent().await.ask(request).await.unwrap().status(), 200);
    let seen = stage.master().record().of("node");
    let raw = String::from_utf8(seen[0].head.raw.to_vec()).unwrap();
    assert!(!raw.replace("\r\n", "").contains('\n'), "{raw:?}");
    assert_eq!(seen[0].head.get("x-puppet-version"), Some("8.10.0"));
}

#[tokio::test]
async fn trailers_end_at_the_door_both_ways() {
    let stage = Stage::open().await;
    let lines = "Transfer-Encoding: chunked\r\nTrailer: X-Client-DN\r\nTE: trailers\r\n";
    let body = "5\r\nhello\r\n0\r\nX-Client-DN: CN=mom.example.com\r\nContent-Length: 99\r\n\r\n";
    let mut wire = stage.agent().await;
    assert_eq!(wire.ask(post(lines, body)).await.unwrap().status(), 200);
    let seen = stage.master().record().of("catalog");
    assert_eq!(seen[0].offences, Vec::<String>::new());
    assert_eq!(&*seen[0].body, b"hello");

    stage.master().script("/node/", Some(1), Act::trailers());
    let request = format!("GET {NODE} HTTP/1.1\r\nHost: puppet\r\nTE: trailers\r\n\r\n");
    let reply = wire.ask(request).await.unwrap();
    assert_eq!((reply.status(), reply.text()), (200, "hello".to_owned()));
    assert_eq!(reply.trailers, Vec::<String>::new());
    assert_eq!(reply.head.get("trailer"), None);
}

#[tokio::test]
async fn an_answer_with_length_and_chunks_arrives_whole_with_one_of_them() {
    let stage = Stage::open().await;
    stage.master().script("/node/", Some(1), Act::length_and_chunks());
    let mut wire = stage.agent().await;
    let reply = wire.ask(get(NODE)).await.unwrap();
    assert_eq!((reply.status(), reply.text()), (200, "hello".to_owned()));
    assert_eq!(reply.head.all("content-length").len() + reply.head.all("transfer-encoding").len(), 1);
    assert_eq!(wire.ask(get(NODE)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_completed_by_the_door() {
    let stage = Stage::open().await;
    for cut in [
        Act::cut_short(),
        Act::raw_then_close("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        Act::raw_then_close("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello"),
    ] {
        stage.master().script("/node/", Some(1), cut);
        let why = stage.agent().await.ask(get(NODE)).await.unwrap_err();
        assert!(matches!(why.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{why}");
    }
}

#[tokio::test]
async fn bytes_beyond_an_answer_are_nobodys_answer() {
    let stage = Stage::open().await;
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for first in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello{poison}"),
        format!("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello{poison}"),
        format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n{poison}"),
    ] {
        stage.master().script("/node/", Some(1), Act::raw(first));
        let mut wire = stage.agent().await;
        wire.ask(get(NODE)).await.unwrap();
        let poisoned = stage.master().record().of("node").last().unwrap().connection;
        let reply = wire.ask(get(NODE)).await.unwrap();
        assert!(!reply.text().contains("poison") && reply.status() == 200, "{}", reply.text());
        assert_ne!(stage.master().record().of("node").last().unwrap().connection, poisoned);
    }
}
