pub(super) mod doors;

use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::Ordering::SeqCst;

use serde_json::json;
use stagedoor_config::certname::Certname;
use stagedoor_config::master::{JETTY_HEADER_LIMIT, Kind, Master, Standing};
use stagedoor_config::proxy::AdminTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::*;

use doors::*;

#[tokio::test]
async fn both_doors_answer_the_same_questions() {
    let doors = doors().await;
    doors.observe.metrics().connections.inc();
    doors.change("admit", admission("compile1.example.com")).await;
    for path in ["/live", "/ready", "/metrics", "/v1/roster", "/v1/masters"] {
        let http = ask(doors.http().await, "GET", path, "localhost", None).await;
        let unix = ask(doors.unix().await, "GET", path, "stagedoor", None).await;
        assert_eq!((http.status, &http.body), (200, &unix.body), "{path}");
        assert!(!http.body.is_empty());
    }
    let metrics = ask(doors.http().await, "GET", "/metrics", "localhost", None).await;
    assert!(
        metrics.head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(metrics.body.contains("stagedoor_connections_total 1\n") && metrics.body.ends_with("# EOF\n"));
    let roster = ask(doors.http().await, "GET", "/v1/roster", "localhost", None).await.json();
    assert_eq!(
        (&roster["generation"], &roster["masters"][0]["certname"]),
        (&json!(1), &json!("compile1.example.com"))
    );
}

#[tokio::test]
async fn a_door_that_is_not_ready_says_why() {
    let doors = doors().await;
    doors.inside.why.lock().unwrap().push("the roster is empty: admit a master".to_owned());
    let answer = ask(doors.http().await, "GET", "/ready", "localhost", None).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json(), json!({ "ready": false, "why": ["the roster is empty: admit a master"] }));
    assert_eq!(ask(doors.http().await, "GET", "/live", "localhost", None).await.status, 200);
}

#[tokio::test]
async fn nothing_can_be_changed_through_the_http_door() {
    let doors = doors().await;
    for what in [
        "roster/admit",
        "roster/warm",
        "roster/drain",
        "roster/undrain",
        "roster/retire",
        "flush",
        "judge",
        "hold",
        "enrollments",
    ] {
        for method in ["POST", "GET"] {
            let (path, body) = (format!("/v1/{what}"), admission("compile1.example.com"));
            let answer = ask(doors.http().await, method, &path, "localhost", Some(&body)).await;
            assert_eq!(answer.status, 403, "{answer:?}");
            assert!(answer.json()["hint"].as_str().unwrap().contains("admin.unix"), "{answer:?}");
        }
        let answer = ask(doors.unix().await, "GET", &format!("/v1/{what}"), "localhost", None).await;
        assert_eq!(answer.status, 405, "{answer:?}");
        assert!(answer.json()["error"].as_str().unwrap().contains("takes no GET"), "{answer:?}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/v1/roster", "/v1/masters", "/live", "/metrics"] {
            let answer = ask(doors.http().await, method, path, "localhost", Some(&json!({}))).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.head.contains("\nallow: get,head"), "{answer:?}");
        }
    }
    assert_eq!(doors.inside.changes.load(SeqCst), 0);
    assert_eq!(doors.inside.roster().generation, 0);
}

#[tokio::test]
async fn a_page_of_another_place_gets_nothing_from_any_door_and_the_doors_own_page_does() {
    let doors = doors().await;
    let asked = |origin: &str| {
        format!(
            "GET /v1/overview HTTP/1.1\r\nHost: localhost:9140\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
        )
    };
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        for answer in
            [raw(doors.http().await, &asked(origin)).await, raw(doors.unix().await, &asked(origin)).await]
        {
            assert_eq!(answer.status, 403, "{origin}: {answer:?}");
            assert!(answer.json()["error"].as_str().unwrap().contains("Origin"), "{answer:?}");
        }
    }
    let own = raw(doors.http().await, &asked("http://localhost:9140")).await;
    assert_eq!((own.status, own.json()["version"].as_str()), (200, Some(env!("CARGO_PKG_VERSION"))));
    assert!(!own.head.contains("access-control") && !own.head.contains("set-cookie"), "{own:?}");
}

#[tokio::test]
async fn the_page_is_on_every_door_and_may_load_nothing_from_elsewhere() {
    let doors = doors().await;
    for path in
        ["/", "/page/page.js", "/page/page.css", "/page/uplot.js", "/page/uplot.css", "/page/icon.svg"]
    {
        let http = ask(doors.http().await, "GET", path, "localhost", None).await;
        let unix = ask(doors.unix().await, "GET", path, "localhost", None).await;
        assert_eq!((http.status, &http.body), (200, &unix.body), "{path}");
        assert!(
            http.head.contains("content-security-policy: default-src 'none'; script-src 'self'"),
            "{http:?}"
        );
        assert!(!http.head.contains("unsafe"), "{path}");
    }
}

#[tokio::test]
async fn prometheus_gets_the_format_that_it_asks_for() {
    let doors = doors().await;
    let asked = |accept: &str| {
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")
    };
    let text = raw(doors.http().await, &asked("*/*")).await;
    assert!(
        text.head.contains("content-type: application/openmetrics-text") && text.body.ends_with("# EOF\n")
    );
    let protobuf =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let mut stream = doors.http().await;
    stream.write_all(asked(protobuf).as_bytes()).await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap().unwrap();
    let all = String::from_utf8_lossy(&all);
    assert!(all.contains("content-type: application/vnd.google.protobuf; proto="), "{all:.300}");
    assert!(all.contains("stagedoor_connections_open"), "{all:.300}");
}

#[tokio::test]
async fn enrollments_are_remembered_where_changes_are_taken_and_shown_everywhere() {
    let doors = doors().await;
    let told = json!({ "certname": "c3.example.com", "procedure": "enroll", "steps": [{ "name": "sign", "state": "begun" }] });
    let refused = ask(doors.http().await, "POST", "/v1/enrollments", "localhost", Some(&told)).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let taken = ask(doors.unix().await, "POST", "/v1/enrollments", "localhost", Some(&told)).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    let seen = ask(doors.http().await, "GET", "/v1/overview", "localhost", None).await.json();
    assert_eq!(seen["enrollments"][0]["steps"], told["steps"]);
    assert!(seen["enrollments"][0]["at"].as_u64().unwrap() > 1_700_000_000, "the door's own clock");
    let long = json!({ "certname": "c3", "procedure": "x".repeat(600), "steps": [] });
    let refused = ask(doors.unix().await, "POST", "/v1/enrollments", "localhost", Some(&long)).await;
    assert_eq!(refused.status, 422, "{refused:?}");
}

#[tokio::test]
async fn a_name_that_somebody_pointed_at_the_http_door_gets_nothing() {
    let doors = doors().await;
    for path in ["/metrics", "/v1/roster", "/nothing", "/v1/roster/admit"] {
        for host in ["evil.example", "127.0.0.1.evil.example:9140"] {
            let answer = ask(doors.http().await, "GET", path, host, None).await;
            assert_eq!(answer.status, 421, "{path}");
            assert!(!answer.body.contains("stagedoor_"));
        }
    }
    let twice = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(doors.http().await, twice).await.status, 421);
    let none = "GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(doors.http().await, none).await.status, 421);
    let bound = doors.open.http.unwrap().to_string();
    assert_eq!(ask(doors.http().await, "GET", "/metrics", &bound, None).await.status, 200);
}

#[tokio::test]
async fn a_master_is_admitted_drained_undrained_and_retired_through_the_unix_door() {
    let doors = doors().await;
    let name = json!({ "certname": "compile1.example.com" });
    let (status, roster) = doors.change("admit", admission("compile1.example.com")).await;
    assert_eq!((status, &roster["generation"]), (200, &json!(1)), "{roster}");
    let expected = Master {
        certname: Certname::parse("compile1.example.com").unwrap(),
        address: "compile1.example.com:8140".to_owned(),
        kind: Kind::SEALED,
        standing: Standing::Admitted,
        header_limit: JETTY_HEADER_LIMIT,
        jrubies: None,
    };
    assert_eq!(doors.inside.roster().masters, [expected]);
    assert_eq!(doors.change("drain", name.clone()).await.1["masters"][0]["standing"], "draining");
    assert_eq!(doors.change("undrain", name.clone()).await.1["masters"][0]["standing"], "admitted");
    let (status, refusal) = doors.change("retire", name.clone()).await;
    assert_eq!(status, 409, "{refusal}");
    doors.change("drain", name.clone()).await;
    let (status, roster) = doors.change("retire", name).await;
    assert_eq!((status, roster), (200, json!({ "generation": 5, "masters": [] })));
}

#[tokio::test]
async fn a_master_is_warmed_and_admitted_through_the_unix_door() {
    let doors = doors().await;
    let name = json!({ "certname": "compile1.example.com" });
    let (status, roster) = doors.change("warm", admission("compile1.example.com")).await;
    assert_eq!((status, &roster["masters"][0]["standing"]), (200, &json!("warm")), "{roster}");
    for (what, body, words) in [
        ("drain", name.clone(), "is warm"),
        ("undrain", name.clone(), "is warm"),
        ("admit", json!({ "certname": "compile1.example.com", "address": "10.0.0.9:8140" }), "otherwise"),
        ("admit", json!({ "certname": "compile1.example.com", "generation": 0 }), "generation 1"),
    ] {
        let (status, refusal) = doors.change(what, body).await;
        assert_eq!(status, 409, "{what}: {refusal}");
        assert!(refusal["error"].as_str().unwrap().contains(words), "{refusal}");
    }
    let (status, roster) = doors.change("admit", admission("compile1.example.com")).await;
    assert_eq!((status, &roster["masters"][0]["standing"]), (200, &json!("admitted")), "{roster}");
    let (status, refusal) = doors.change("warm", admission("compile1.example.com")).await;
    assert_eq!(status, 409, "{refusal}");
    assert!(refusal["hint"].as_str().unwrap().contains("retire"), "{refusal}");
}

#[tokio::test]
async fn a_refused_change_says_why_and_what_to_do() {
    let doors = doors().await;
    doors.change("admit", admission("compile1.example.com")).await;
    for (what, body, expected, words) in [
        ("drain", json!({ "certname": "compile2.example.com" }), 404, "not on the roster"),
        ("drain", json!({ "certname": "compile1.example.com", "generation": 7 }), 409, "generation"),
        ("admit", json!({ "certname": "compile2.example.com", "address": "nowhere" }), 422, "no address"),
        ("admit", json!({ "certname": "Compile2", "address": "a:1" }), 422, "certname"),
        ("drain", json!({ "certname": "compile1.example.com", "forse": true }), 422, "forse"),
        ("drain", json!({}), 422, "certname"),
    ] {
        let (status, refusal) = doors.change(what, body.clone()).await;
        assert_eq!(status, expected, "{what} {body}: {refusal}");
        assert!(refusal["error"].as_str().unwrap().contains(words), "{refusal}");
        assert!(!refusal["hint"].as_str().unwrap().is_empty(), "{refusal}");
    }
    doors.inside.unwritable.store(true, SeqCst);
    let (status, refusal) = doors.change("drain", json!({ "certname": "compile1.example.com" })).await;
    assert_eq!(status, 500);
    assert!(refusal["hint"].as_str().unwrap().contains("roster.toml"), "{refusal}");
    assert_eq!(doors.inside.roster().generation, 1, "nothing was changed");
}

#[tokio::test]
async fn a_body_beyond_the_bound_or_not_json_is_refused() {
    let doors = doors().await;
    let (status, refusal) = doors.change("drain", json!({ "certname": "a".repeat(BODY) })).await;
    assert_eq!(status, 413, "{refusal}");
    let text = "POST /v1/roster/drain HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 25\r\n\r\n{\"certname\":\"compile1.x\"}";
    assert_eq!(raw(doors.unix().await, text).await.status, 415, "a form in a page sends no application/json");
}

#[tokio::test]
async fn a_flood_is_told_to_wait_and_does_not_stop_the_other_door() {
    let doors = doors().await;
    let held = doors.inside.slow.lock().await;
    let body = json!({ "certname": "compile1.example.com" });
    let asked: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let path = doors.open.unix.clone().unwrap();
            let body = body.clone();
            tokio::spawn(async move {
                loop {
                    let stream = UnixStream::connect(&path).await.unwrap();
                    let answer = ask(stream, "POST", "/v1/roster/drain", "x", Some(&body)).await;
                    // The question below takes a place as well, for as long as its answer takes.
                    if answer.status != 503 {
                        return answer.status;
                    }
                }
            })
        })
        .collect();
    let flooded = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = ask(doors.unix().await, "GET", "/ready", "x", None).await;
            if answer.status != 200 {
                return answer;
            }
        }
    });
    let answer = flooded.await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: 1") && answer.body.contains("already"), "{answer:?}");
    assert!(doors.inside.changes.load(SeqCst) <= 1, "one change at a time, however many are asked for");
    assert_eq!(ask(doors.http().await, "GET", "/ready", "localhost", None).await.status, 200);
    drop(held);
    for one in asked {
        assert_eq!(one.await.unwrap(), 404);
    }
    assert_eq!(doors.inside.changes.load(SeqCst), AT_ONCE);
}

#[tokio::test]
async fn a_socket_that_nobody_answers_on_is_replaced_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let first = listen::unix(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().mode();
    assert_eq!(mode & 0o777, 0o660, "{mode:o}");
    let taken = listen::unix(&path).unwrap_err();
    assert!(matches!(taken, NotOpened::Answered(_)) && taken.to_string().contains("admin.sock"), "{taken}");
    drop(first);
    drop(listen::unix(&path).unwrap());

    let file = folder.path().join("precious");
    std::fs::write(&file, "kept").unwrap();
    assert!(matches!(listen::unix(&file).unwrap_err(), NotOpened::NoSocket(_)));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    let absent = listen::unix(&folder.path().join("absent/admin.sock")).unwrap_err();
    assert!(matches!(absent, NotOpened::Unix(..)) && absent.to_string().contains("absent"), "{absent}");
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let doors = doors().await;
    let taken = doors.open.http.unwrap();
    let allow = vec![Certname::parse("enroller.example.com").unwrap()];
    for (settings, key) in [
        (Admin { http: Some(taken), unix: None, tls: None }, "admin.http"),
        (Admin { http: None, unix: None, tls: Some(AdminTls { address: taken, allow }) }, "admin.tls"),
    ] {
        let inside = Arc::clone(&doors.inside) as Arc<dyn Inside>;
        let error = serve(&settings, inside, Observe::new(1), CancellationToken::new()).await.unwrap_err();
        assert!(error.to_string().contains(&format!("{key} {taken}")), "{error}");
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_until_idle_ones_have_ended() {
    let limits = Limits { connections: 2, head: Duration::from_millis(300), ..Limits::ADMIN };
    let doors = doors_within(limits).await;
    let idle = [doors.idle().await, doors.idle().await];
    let mut late = doors.http().await;
    late.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    // Both doors run on this thread: when the unix door has answered, the http door has had its turn as well.
    for _ in 0..5 {
        ask(doors.unix().await, "GET", "/live", "x", None).await;
    }
    assert_eq!(doors.inside.asked.load(SeqCst), 0, "no place yet");
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, late.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(idle);
}

#[tokio::test]
async fn nobody_keeps_a_place_longer_than_a_connection_may_live() {
    let limits = Limits { life: Duration::from_millis(200), ..Limits::ADMIN };
    let mut idle = doors_within(limits).await.idle().await;
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, idle.read_to_end(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_waits_for_nobody_who_idles_or_dawdles() {
    let limits = Limits { grace: Duration::from_millis(200), ..Limits::ADMIN };
    let doors = doors_within(limits).await;
    let idle = doors.idle().await;
    let mut dawdling = doors.unix().await;
    dawdling.write_all(b"POST /v1/roster/drain HTTP/1.1\r\nHost: x\r\nContent-Le").await.unwrap();
    doors.shutdown.cancel();
    let (address, path) = (doors.open.http.unwrap(), doors.open.unix.clone().unwrap());
    tokio::time::timeout(PATIENCE, doors.open.closed()).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err() && UnixStream::connect(path).await.is_err());
    drop((idle, dawdling, doors.folder));
}

#[tokio::test]
async fn a_door_without_settings_for_them_opens_no_admin_door() {
    let (settings, shutdown) = (Admin { http: None, unix: None, tls: None }, CancellationToken::new());
    let open = serve(&settings, Arc::new(Paper::default()), Observe::new(1), shutdown).await.unwrap();
    assert!(open.http.is_none() && open.unix.is_none() && open.tls.is_none());
    open.closed().await;
}
