//! What happens to the bytes, and what is not passed at all.

use harness::raw::{Raw, Spoken};
use harness::wait::in_time;

use super::{counted, hello, line, old_hello, passing};

/// A client through the door, and its other end.
async fn connected(address: std::net::SocketAddr, raw: &Raw, first: &[u8]) -> (Spoken, Spoken) {
    let mut client = Spoken::to(address).await;
    client.say(first).await;
    let mut server = raw.next().await;
    assert_eq!(server.hear(first.len()).await, first, "as it was said");
    (client, server)
}

#[tokio::test]
async fn every_byte_arrives_as_it_was_sent_both_ways_and_is_counted() {
    let (fleet, address, raw) = passing(|_| {}).await;
    let first = hello(&fleet.ca);
    let (client, server) = connected(address, &raw, &first).await;
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let talk = |mut end: Spoken, says: Vec<u8>| async move {
        let (mut read, mut write) = end.stream.split();
        let send = async {
            tokio::io::AsyncWriteExt::write_all(&mut write, &says).await.unwrap();
            tokio::io::AsyncWriteExt::shutdown(&mut write).await.unwrap();
        };
        let mut heard = Vec::new();
        let hear = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut heard);
        let (_, heard_to_the_end) = tokio::join!(send, hear);
        heard_to_the_end.unwrap();
        heard
    };
    let reversed: Vec<u8> = big.iter().rev().copied().collect();
    let both = in_time("both ways", async {
        tokio::join!(talk(client, big.clone()), talk(server, reversed.clone()))
    });
    let (at_client, at_server) = both.await;
    assert!(at_server == big && at_client == reversed);
    let line = line(&fleet, "done").await;
    assert_eq!(line["bytes_in"], first.len() + big.len());
    assert_eq!(line["bytes_out"], big.len());
    assert_eq!((&line["why"], &line["tls"]), (&"listener".into(), &"1.3".into()));
    assert_eq!(line["master"], raw.address().to_string());
    let address = raw.address().to_string();
    counted(&fleet, "stagedoor_master_passed_in_bytes_total", &[("master", &address)], 3e6).await;
    counted(&fleet, "stagedoor_passed_out_bytes_total", &[], 3e6).await;
    counted(&fleet, "stagedoor_passed_total", &[("reason", "listener"), ("outcome", "done")], 1.0).await;
}

#[tokio::test]
async fn when_one_side_has_no_more_to_say_the_other_goes_on() {
    let (fleet, address, raw) = passing(|_| {}).await;
    let (mut client, mut server) = connected(address, &raw, &hello(&fleet.ca)).await;
    client.finish().await;
    assert_eq!(server.rest().await, b"", "the end is passed on");
    server.say(b"an answer to the end").await;
    assert_eq!(client.hear(20).await, b"an answer to the end");
    drop(server);
    assert_eq!(client.rest().await, b"");
    line(&fleet, "done").await;

    let (mut client, mut server) = connected(address, &raw, &old_hello()).await;
    server.finish().await;
    assert_eq!(client.rest().await, b"", "the other way round");
    client.say(b"one more thing").await;
    assert_eq!(server.hear(14).await, b"one more thing");
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_ended_and_one_that_pings_is_not() {
    let (fleet, address, raw) = passing(|papers| papers.bound("pass_idle", "\"5s\"")).await;
    let (mut pinging, mut ponging) = connected(address, &raw, &hello(&fleet.ca)).await;
    let (mut silent, mut server) = connected(address, &raw, &hello(&fleet.ca)).await;
    let ended = async { tokio::join!(silent.rest(), server.rest()) };
    let pings = async {
        loop {
            ponging.say(b"ping").await;
            pinging.hear(4).await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        _ = in_time("the silent one ends", ended) => {}
        () = pings => {}
    }
    let line = line(&fleet, "idle").await;
    let seconds = line["total_seconds"].as_f64().unwrap();
    assert!(seconds >= 5.0, "{seconds}");
    ponging.say(b"still there").await;
    assert_eq!(pinging.hear(11).await, b"still there");
}

#[tokio::test]
async fn a_hello_that_comes_byte_by_byte_arrives_whole() {
    let (fleet, address, raw) = passing(|_| {}).await;
    let first = hello(&fleet.ca);
    let mut client = Spoken::to(address).await;
    for byte in &first {
        client.say(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.next().await.hear(first.len()).await, first);
}

/// A ClientHello of 64 KiB, in records of 16.
fn long_hello() -> Vec<u8> {
    let body = vec![0x5a; 64 * 1024 - 4];
    let message = [&[1, 0, 0xff, 0xfc, 3, 3][..], &body[2..]].concat();
    message
        .chunks(16 * 1024)
        .flat_map(|piece| {
            let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
            [&[22, 3, 1][..], &length, piece].concat()
        })
        .collect()
}

#[tokio::test]
async fn a_hello_of_64_kib_is_passed_where_everything_is_and_ends_at_the_door_elsewhere() {
    let (fleet, address, raw) = passing(|papers| papers.listen_keys = "pass_old_tls = true".to_owned()).await;
    let (client, server) = connected(address, &raw, &long_hello()).await;
    drop((client, server));
    assert_eq!(line(&fleet, "done").await["tls"], "unknown");

    let mut client = Spoken::to(fleet.door.address()).await;
    client.stream.set_nodelay(true).unwrap();
    // The library gives up before it has read it all.
    tokio::io::AsyncWriteExt::write_all(&mut client.stream, &long_hello()).await.ok();
    let alert = client.rest().await;
    assert!(alert.is_empty() || alert[0] == 21, "{alert:?}");
    counted(&fleet, "stagedoor_handshakes_total", &[("outcome", "failed")], 1.0).await;
}

#[tokio::test]
async fn what_is_no_hello_reaches_nobody_and_is_counted() {
    let (fleet, address, raw) = passing(|papers| papers.bound("handshake_time", "\"1s\"")).await;
    for (bytes, reason) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "plain_http"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "proxy_protocol"),
        (b"\x00\x01garbage that goes on", "not_tls"),
        (b"\x16\x03\x01\x00\x00", "broken"),
        (b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", "broken"),
        (b"\x16", "late"),
        (b"", "late"),
    ] {
        let labels = [("reason", reason)];
        let before = fleet.door.metrics().await.sum("stagedoor_hello_refused_total", &labels);
        let mut client = Spoken::to(address).await;
        client.say(bytes).await;
        client.rest().await;
        counted(&fleet, "stagedoor_hello_refused_total", &labels, before + 1.0).await;
    }
    let mut scan = Spoken::to(address).await;
    scan.finish().await;
    counted(&fleet, "stagedoor_hello_refused_total", &[("reason", "closed")], 1.0).await;
    assert!(!raw.has_more().await, "none of it reached the backend");
    assert_eq!(fleet.door.metrics().await.sum("stagedoor_passed_total", &[]), 0.0);
}

#[tokio::test]
async fn a_door_that_is_stopped_gives_passed_connections_their_time_and_writes_their_lines() {
    let (fleet, address, raw) = passing(|papers| papers.bound("drain_time", "\"1s\"")).await;
    let (mut client, mut server) = connected(address, &raw, &hello(&fleet.ca)).await;
    let papers = fleet.door.papers().clone();
    fleet.door.signal(rustix::process::Signal::TERM);
    harness::wait::eventually("nobody new is let in", async || {
        match tokio::net::TcpStream::connect(address).await {
            Err(_) => Ok(()),
            Ok(_) => Err("accepted".to_owned()),
        }
    })
    .await;
    server.say(b"the last words").await;
    assert_eq!(client.hear(14).await, b"the last words");
    assert_eq!(client.rest().await, b"");
    let mut door = fleet.door;
    door.ended().await;
    let text = std::fs::read_to_string(papers.file("access.log")).unwrap();
    let stopped = text
        .lines()
        .find(|line| line.contains("\"outcome\":\"stopped\""))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(stopped.contains("\"bytes_out\":14"), "{stopped}");
}
