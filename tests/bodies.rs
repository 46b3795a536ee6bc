//! Large bodies and long silences.

use std::time::Duration;

use harness::agent::Shape;
use harness::fleet::Site;
use harness::master::Work;
use http::{Method, StatusCode};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn facts_of_500_kb_and_a_report_of_3_mb_pass() {
    let fleet = Site::with_masters(1).open().await;
    let shape = Shape { facts: 500_000, report: 3_000_000, ..Shape::default() };
    fleet.agent("web01.example.com").run(shape).await.unwrap();
    let record = fleet.masters[0].record();
    assert!(record.of("catalog")[0].body_length > 500_000);
    assert!(record.of("report")[0].body_length > 3_000_000);
    assert_eq!(fleet.offences(), Vec::<String>::new());
}

#[tokio::test]
async fn a_body_larger_than_is_kept_streams_through() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("web01.example.com");
    for length in [8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 40 * MIB] {
        let body = harness::answer::pattern(length);
        let path = format!("/puppet/v3/file_bucket_file/sha256/{length:064x}");
        let put = agent.ask(Method::PUT, &path, body.clone()).await.unwrap();
        assert_eq!(put.status(), StatusCode::OK, "{length}");
        let got = agent.get(&path).await.unwrap();
        assert!(got.body()[..] == body[..], "{length} bytes come back as they went");
    }
    assert_eq!(fleet.offences(), Vec::<String>::new());
}

/// Release builds move it in seconds; the door's memory must not grow with it in either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_2_gb_passes_and_the_doors_memory_stays_small() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("web01.example.com");
    let mut session = agent.connect().await.unwrap();
    session.download("/puppet/v3/file_content/modules/base/bytes-20000000").await.unwrap();
    let before = fleet.door.most_memory();
    let length = 2_000_000_000_u64;
    let target = format!("/puppet/v3/file_content/modules/base/bytes-{length}");
    assert_eq!(session.download(&target).await.unwrap(), length);
    // The kernel adds up what each processor counted and may be some pages off in either direction.
    let grown = fleet.door.most_memory().saturating_sub(before);
    assert!(grown < 32 * MIB as u64, "the door grew by {} MiB", grown / MIB as u64);
}

#[tokio::test]
async fn a_compile_that_is_silent_for_longer_than_every_timer_of_idleness_passes() {
    let site = Site::with_masters(1).change(|papers| {
        papers.bound("head_time", "\"1s\"");
        papers.bound("handshake_time", "\"1s\"");
        papers.bound("connect_time", "\"1s\"");
        papers.bound("rate_window", "\"5s\"");
    });
    let fleet = site.open().await;
    fleet.master(0).compile(Work::always(Duration::from_secs(7)));
    let run =
        fleet.agent("web01.example.com").run(Shape { reconnects: true, ..Shape::default() }).await.unwrap();
    assert!(run.catalog_time >= Duration::from_secs(7));
    assert_eq!(fleet.seen_by_masters("catalog"), 1);
}

/// Costs a minute and a half beside the others and no CPU.
#[tokio::test]
async fn a_compile_of_ninety_seconds_passes_under_the_shipped_bounds() {
    let fleet = Site::with_masters(1).open().await;
    fleet.master(0).compile(Work::always(Duration::from_secs(90)));
    let mut agent = fleet.agent("web01.example.com");
    agent.patience = Duration::from_secs(600);
    let run = agent.run(Shape { reconnects: true, ..Shape::default() }).await.unwrap();
    assert!(run.catalog_time >= Duration::from_secs(90));
    assert_eq!(fleet.seen_by_masters("catalog"), 1);
}

#[tokio::test]
async fn kept_bodies_together_never_hold_more_than_their_bound_and_everybody_is_served() {
    let bound = 3 * MIB;
    let site = Site::with_masters(1).change(|papers| {
        papers.bound("body", "\"1 MiB\"");
        papers.bound("bodies", "\"3 MiB\"");
    });
    let fleet = site.open().await;
    fleet.master(0).compile(Work::always(Duration::from_millis(300)));
    let asked: Vec<_> = (0..16)
        .map(|n| {
            let certname = format!("web{n:02}.example.com");
            let agent = fleet.agent(&certname);
            tokio::spawn(async move {
                let target = format!("/puppet/v3/catalog/{certname}?environment=production");
                agent.ask(Method::POST, &target, vec![b'x'; MIB - 1000]).await
            })
        })
        .collect();
    let mut most = 0.0_f64;
    while !asked.iter().all(tokio::task::JoinHandle::is_finished) {
        most = most.max(fleet.door.metrics().await.sum("stagedoor_bodies_held_bytes", &[]));
    }
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK, "what is not kept streams");
    }
    assert!(most > 0.0 && most <= bound as f64, "{most} bytes were held");
    let record = fleet.masters[0].record().of("catalog");
    assert!(record.iter().all(|seen| seen.body_length == (MIB - 1000) as u64));
}

#[tokio::test]
async fn a_certificate_request_larger_than_any_real_one_is_refused() {
    let fleet = Site::with_masters(1).open().await;
    let stranger = fleet.stranger("new01.example.com");
    let target = "/puppet-ca/v1/certificate_request/new01.example.com";
    let answer = stranger.ask(Method::PUT, target, vec![b'x'; 70_000]).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(fleet.mom.record().total(), 0);
}
