use std::time::Duration;

use serde_json::json;
use tautan::events::{EndReason, PairCode, PhoneNumber, Status};
use tautan_test_support::{Event, EventStream, Frame, read_data_url};

use crate::support::{Server, Setup, header, in_time, problem, sign};

const EVENTS: &str = "/api/whatsapp/events";

#[tokio::test]
async fn stream_opens_with_the_headers_that_proxies_need() {
    let server = Server::start().await;
    let stream = server.stream("toko").await;
    for (name, value) in [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-store, no-transform"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(stream.headers[name], value);
    }
    let mut pauses = vec![stream.retry_ms];
    for _ in 0..8 {
        pauses.push(server.stream("toko").await.retry_ms);
    }
    assert!(pauses.iter().all(|pause| (1_000..=5_000).contains(pause)), "{pauses:?}");
    assert!(pauses.windows(2).any(|two| two[0] != two[1]), "each stream has its own: {pauses:?}");
}

#[tokio::test]
async fn unknown_tenant_gets_never_linked_without_an_id() {
    let server = Server::start().await;
    for mut stream in [server.stream("toko").await, server.stream_after("toko", "beef-7").await] {
        let (id, data) = stream.expect("connection-status").await;
        assert_eq!((id, &data["reason"], &data["since"]), (None, &json!("never-linked"), &json!(null)));
    }
}

#[tokio::test]
async fn each_change_is_sent_at_once_with_its_own_id() {
    let server = Server::start().await;
    let mut stream = server.stream("toko").await;
    stream.expect("connection-status").await;

    let owner = server.own("toko").await;
    let (first, data) = stream.expect("connection-status").await;
    assert_eq!((&data["status"], &data["reason"]), (&json!("connecting"), &json!("starting")));

    owner.show_qr("one", 60).await;
    let (id, data) = stream.expect("connection-status").await;
    assert_eq!((id, &data["status"]), (None, &json!("qr_pending")));
    let (second, data) = stream.expect("qr-code").await;
    assert_eq!((&data["qrText"], &data["attempt"], &data["maxAttempts"]), (&json!("one"), &json!(1), &json!(6)));

    owner.show_qr("two", 20).await;
    let (third, data) = stream.expect("qr-code").await;
    assert!((18..=20).contains(&data["expiresIn"].as_i64().unwrap()));

    owner.connected("6281234567890", Some("Toko\nSari\r\n\ndata: forged")).await;
    let (fourth, data) = stream.expect("connection-status").await;
    assert_eq!((&data["status"], &data["stale"]), (&json!("connected"), &json!(false)));
    assert_eq!(data["name"], "Toko\nSari\r\n\ndata: forged");

    let ids = [first, second, third, fourth].map(Option::unwrap);
    let sequences = ids.clone().map(|id| id.rsplit_once('-').unwrap().1.parse::<u64>().unwrap());
    assert!(sequences.is_sorted_by(|a, b| a < b), "{ids:?}");
    assert!(ids.iter().all(|id| id.is_ascii() && id.len() < 60));
}

#[tokio::test]
async fn picture_in_a_stream_decodes_to_its_text() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    owner.show_qr("2@abc,def,ghi,1", 60).await;
    let mut stream = server.stream("toko").await;
    stream.expect("connection-status").await;
    let (_, data) = stream.expect("qr-code").await;
    assert_eq!(read_data_url(data["qrCode"].as_str().unwrap()), data["qrText"].as_str().unwrap());
}

#[tokio::test]
async fn late_reader_receives_the_status_with_its_time_left() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    let phone = PhoneNumber::parse("6281234567890").unwrap();
    let pair = PairCode { code: "ABCD-1234".into(), phone, expires_at: server.clock.after(160), lifetime: None };
    let Status::QrPending { qr, .. } = owner.qr("one", 60) else { unreachable!() };
    owner.publish(Status::QrPending { qr, pair: Some(pair) }).await;
    server.clock.advance(40);

    let mut stream = server.stream("toko").await;
    stream.expect("connection-status").await;
    let (id, data) = stream.expect("qr-code").await;
    assert_eq!(id, None);
    assert!((18..=20).contains(&data["expiresIn"].as_i64().unwrap()), "{data}");
    let (id, data) = stream.expect("pair-code").await;
    assert!(id.is_some());
    assert_eq!((&data["code"], &data["phoneNumber"]), (&json!("ABCD-1234"), &json!("6281234567890")));

    server.clock.advance(30);
    let mut stream = server.stream("toko").await;
    stream.expect("connection-status").await;
    stream.expect("pair-code").await;
}

#[tokio::test]
async fn reconnecting_reader_receives_missed_events_in_order_once() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    let mut stream = server.stream("toko").await;
    let (seen, _) = stream.expect("connection-status").await;
    drop(stream);
    owner.show_qr("one", 60).await;
    owner.show_qr("two", 60).await;
    owner.connected("6281234567890", None).await;

    let mut stream = server.stream_after("toko", &seen.unwrap()).await;
    let (_, data) = stream.expect("connection-status").await;
    assert_eq!(data["status"], "qr_pending", "its codes are superseded");
    let (last, data) = stream.expect("connection-status").await;
    assert_eq!(data["status"], "connected");
    drop(stream);

    let mut stream = server.stream_after("toko", &last.unwrap()).await;
    owner.publish(Status::ended(EndReason::UnlinkedByPhone)).await;
    let (_, data) = stream.expect("connection-status").await;
    assert_eq!(data["reason"], "unlinked-by-phone", "a seen event is not sent again");
}

#[tokio::test]
async fn unknown_last_event_id_starts_with_the_current_status() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    owner.connected("6281234567890", None).await;
    let long = "9".repeat(3_000);
    for junk in ["", "x", "0-0", "beef-99999999999999999999", "1-1-1", "-", "\u{e9}", long.as_str()] {
        let mut stream = server.stream_after("toko", junk).await;
        let (id, data) = stream.expect("connection-status").await;
        assert_eq!((id.is_some(), &data["status"]), (true, &json!("connected")), "{junk}");
    }
}

#[tokio::test]
async fn unconfirmed_status_is_stale_until_confirmed() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    owner.connected("6281234567890", None).await;
    let mut here = server.stream("toko").await;
    here.expect("connection-status").await;
    owner.leave().await;
    let mut late = server.stream("toko").await;
    for stream in [&mut here, &mut late] {
        let (id, data) = stream.expect("connection-status").await;
        assert_eq!((id, &data["stale"]), (None, &json!(true)));
        assert_eq!((&data["status"], &data["reason"]), (&json!("connecting"), &json!("moving")));
        assert_eq!(data["phoneNumber"], "6281234567890");
    }
    let owner = server.own("toko").await;
    owner.connected("6281234567890", None).await;
    for stream in [&mut here, &mut late] {
        loop {
            let (_, data) = stream.expect("connection-status").await;
            assert_eq!(data["stale"], false);
            if data["status"] == "connected" {
                break;
            }
        }
    }
}

#[tokio::test]
async fn idle_stream_has_a_heartbeat() {
    let mut setup = Setup::default();
    setup.http.heartbeat = Duration::from_millis(200);
    let server = setup.start().await;
    let mut stream = server.stream("toko").await;
    stream.expect("connection-status").await;
    let began = std::time::Instant::now();
    for _ in 0..3 {
        assert!(matches!(stream.frame().await, Some(Frame::Heartbeat { every: 0.2, .. })));
    }
    assert!(began.elapsed() >= Duration::from_millis(300), "it is a heartbeat, not a flood");
}

#[tokio::test]
async fn stream_ends_with_its_token() {
    let server = Server::start().await;
    let token = sign(&json!({"id": "toko", "exp": server.second() - 28}));
    let mut stream = EventStream::open(server.get(EVENTS).bearer_auth(&token)).await;
    stream.expect("connection-status").await;
    let (id, _) = stream.expect("token-expired").await;
    assert_eq!(id, None);
    assert!(stream.frame().await.is_none());
    problem(server.get(EVENTS).bearer_auth(&token).send().await.unwrap(), 401, "expired-token").await;
}

#[tokio::test]
async fn stream_ends_with_its_token_when_the_clock_jumps() {
    let mut setup = Setup::default();
    setup.http.heartbeat = Duration::from_millis(200);
    let server = setup.start().await;
    let mut stream = server.stream("toko").await;
    server.clock.advance(7_200);
    stream.expect("connection-status").await;
    stream.expect("token-expired").await;
    assert!(stream.frame().await.is_none());
}

#[tokio::test]
async fn stream_over_the_limit_is_refused_until_another_closes() {
    let mut setup = Setup::default();
    setup.http.streams_per_tenant_max = 2;
    let server = setup.start().await;
    let (first, _second) = (server.stream("toko").await, server.stream("toko").await);
    let ask = || server.get(EVENTS).bearer_auth(server.token("toko")).send();
    let answer = ask().await.unwrap();
    assert_ne!(header(&answer, "retry-after"), "");
    problem(answer, 429, "too-many-streams").await;
    server.stream("another").await;
    drop(first);
    in_time(async {
        while ask().await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A proxy such as HAProxy notices only at a write that its client has gone.
#[tokio::test]
async fn streams_are_written_to_before_another_is_refused() {
    let mut setup = Setup::default();
    setup.http.streams_per_tenant_max = 1;
    // The only heartbeats are those that the refused request causes.
    setup.http.heartbeat = Duration::from_secs(3_600);
    let server = setup.start().await;
    let (mut held, mut foreign) = (server.stream("toko").await, server.stream("another").await);
    for stream in [&mut held, &mut foreign] {
        stream.expect("connection-status").await;
    }
    let answer = server.get(EVENTS).bearer_auth(server.token("toko")).send().await.unwrap();
    problem(answer, 429, "too-many-streams").await;
    // The write after a client's end succeeds, so one is not enough to notice it.
    for _ in 0..2 {
        assert!(matches!(held.frame().await, Some(Frame::Heartbeat { every: 3_600.0, .. })));
    }
    server.end_streams.cancel();
    assert!(foreign.rest().await.is_empty(), "another tenant's streams are not written to");
}

/// Caddy 2.6.2 compresses and does not flush a stream whose first write is larger than 512 bytes.
#[tokio::test]
async fn first_write_is_small_where_a_code_follows() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    owner.show_qr("one", 60).await;
    let mut answer = server.get(EVENTS).bearer_auth(server.token("toko")).send().await.unwrap();
    let first = in_time(answer.chunk()).await.unwrap().unwrap();
    assert!(first.starts_with(b"retry: ") && first.ends_with(b"\n\n") && first.len() <= 512, "{first:?}");
    let second = in_time(answer.chunk()).await.unwrap().unwrap();
    assert!(second.starts_with(b"event: connection-status\n"), "{second:?}");
    assert!(second.windows(15).any(|part| part == b"\nevent: qr-code"), "{second:?}");
}

#[tokio::test]
async fn first_write_holds_the_present_where_it_is_small() {
    let server = Server::start().await;
    let mut answer = server.get(EVENTS).bearer_auth(server.token("toko")).send().await.unwrap();
    let first = in_time(answer.chunk()).await.unwrap().unwrap();
    assert!(first.starts_with(b"retry: ") && first.len() <= 512, "{first:?}");
    assert!(first.windows(26).any(|part| part == b"\nevent: connection-status\n"), "{first:?}");
}

#[tokio::test]
async fn draining_instance_ends_its_streams_and_refuses_none() {
    let server = Server::start().await;
    let mut stream = server.stream("toko").await;
    server.end_streams.cancel();
    let received = stream.rest().await.into_iter().filter(|frame| matches!(frame, Frame::Event(_)));
    assert_eq!(received.count(), 1, "the status, and no goodbye");
    // An error would end an EventSource for good; after the end of a stream it reconnects, elsewhere.
    let mut late = server.stream("toko").await;
    late.rest().await;
    assert_eq!(server.get("/healthz").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn head_opens_no_stream() {
    let mut setup = Setup::default();
    setup.http.streams_per_tenant_max = 1;
    let server = setup.start().await;
    for _ in 0..3 {
        let answer = server.request("HEAD", EVENTS).bearer_auth(server.token("toko")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    server.stream("toko").await;
}

#[tokio::test]
async fn two_tenants_receive_no_byte_of_each_other() {
    let server = Server::start().await;
    let (mut ani, mut budi) = (server.stream("ani").await, server.stream("budi").await);
    let (of_ani, of_budi) = (server.own("ani").await, server.own("budi").await);
    for round in 0..10 {
        of_ani.show_qr(&format!("ANI-SECRET-{round}"), 60).await;
        of_budi.show_qr(&format!("BUDI-SECRET-{round}"), 60).await;
        // Readers that fall behind are cut, and these two must receive everything.
        for (stream, own, other) in [(&mut ani, "ANI-", "BUDI-"), (&mut budi, "BUDI-", "ANI-")] {
            loop {
                let Event { name, data, .. } = stream.next().await.expect("the stream goes on");
                let text = data.to_string();
                assert!(!text.contains(other), "{text}");
                if name == "qr-code" {
                    assert_eq!(data["qrText"], format!("{own}SECRET-{round}"));
                    break;
                }
            }
        }
    }
    of_ani.connected("6281111111111", Some("ANI-NAME")).await;
    of_budi.connected("6282222222222", Some("BUDI-NAME")).await;
    server.end_streams.cancel();
    for (stream, other) in [(&mut ani, ["BUDI", "6282222222222"]), (&mut budi, ["ANI", "6281111111111"])] {
        let rest = format!("{:?}", stream.rest().await);
        assert!(other.iter().all(|other| !rest.contains(other)), "{rest}");
    }
}
