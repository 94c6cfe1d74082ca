//! Every stream, at any time and with any last event id, shows the current status at once and misses no event.

use tautan_test_support::{Api, Event, EventStream, rank};

use crate::stage::{Stage, TENANT, link, scan};

/// The status that a new stream begins with, and the code if one follows.
async fn present(api: &Api) -> (Event, Option<Event>) {
    let mut stream = api.events().await;
    let status = stream.next().await.expect("the present at once");
    assert_eq!(status.name, "connection-status");
    let qr = if status.is_status("qr_pending") { stream.next().await } else { None };
    (status, qr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_stream_shows_the_current_status_in_every_state() {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let (never, _) = present(&api).await;
    assert_eq!((&never.data["status"], &never.data["reason"]), (&"disconnected".into(), &"never-linked".into()));

    let mut first = api.events().await;
    api.connect().await;
    let (starting, _) = present(&api).await;
    assert_ne!(starting.data["status"], "disconnected", "the answer to connect already promised more");

    let shown = first.until_qr().await;
    for _reload in 0..2 {
        let (status, qr) = present(&api).await;
        let qr = qr.expect("the code follows its status");
        assert_eq!(status.data["status"], "qr_pending");
        assert_eq!((qr.text("qrText"), &qr.id), (shown.text("qrText"), &shown.id));
        assert!(qr.data["expiresIn"].as_u64() <= shown.data["expiresIn"].as_u64());
    }
    assert_eq!(scan(&mut api.events().await, &stage.phone).await, stage.device());

    let connected = first.until_status("connected").await;
    assert_eq!(present(&api).await.0, connected);
    api.disconnect().await;
    let ended = first.until_status("disconnected").await;
    assert_eq!(present(&api).await.0, ended);
}

/// All events until a status, without a code's remaining time, which differs between readers.
async fn story(stream: &mut EventStream, until: &str) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let mut event = stream.next().await.expect("the stream goes on");
        if let Some(data) = event.data.as_object_mut() {
            data.remove("expiresIn");
        }
        let over = event.is_status(until);
        events.push(event);
        if over {
            return events;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_streams_receive_the_same_events_and_ids() {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let (mut one, mut two) = (api.events().await, api.events().await);
    let pairing = async {
        api.connect().await;
        scan(&mut api.events().await, &stage.phone).await
    };
    let (_, one, two) = tokio::join!(pairing, story(&mut one, "connected"), story(&mut two, "connected"));
    assert_eq!(one, two);
    rise(&one);
}

fn rise(events: &[Event]) {
    let ranks: Vec<_> = events.iter().filter_map(|event| event.id.as_deref().map(rank)).collect();
    assert!(ranks.len() >= 4 && ranks.is_sorted_by(|one, next| one < next), "{ranks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnecting_client_gets_each_event_once_for_any_id() {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let mut watching = api.events().await;
    let pairing = async {
        api.connect().await;
        scan(&mut api.events().await, &stage.phone).await
    };
    let (_, received) = tokio::join!(pairing, story(&mut watching, "connected"));
    // The last event before the end is `connected` with the account's name.
    for (at, id) in received.iter().enumerate().filter_map(|(at, event)| Some((at, event.id.as_ref()?))) {
        let missed: Vec<Event> = received[at + 1..].iter().filter(|event| event.name != "qr-code").cloned().collect();
        let mut back = api.events_after(Some(id)).await;
        for expected in missed {
            let got = back.next().await.expect("what was missed");
            assert_eq!((got.name, got.data), (expected.name, expected.data), "after {id}");
        }
    }
    // A reader that has seen every event receives only new ones.
    let mut back = api.events_after(watching.last_id.as_deref()).await;
    api.disconnect().await;
    let next = back.next().await.expect("what comes");
    assert_eq!(
        (next.data["status"].as_str(), next.data["reason"].as_str()),
        (Some("disconnected"), Some("unlinked-by-user"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_rise_over_a_restart_and_old_cursors_get_the_status() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let seen = link(&program.api(TENANT), &stage.phone).await.last_id.expect("connected has an id");
    program.terminate();
    assert!(program.wait().success());
    let program = stage.start();
    for cursor in [Some(seen.as_str()), None, Some("999-1"), Some("not an id")] {
        let mut stream = program.api(TENANT).events_after(cursor).await;
        let present = stream.next().await.expect("the present at once");
        assert!(present.id.as_ref().is_none_or(|id| rank(id) > rank(&seen)), "{present:?} after {seen}");
        let connected = if present.is_status("connected") { present } else { stream.until_status("connected").await };
        assert!(connected.id.is_some_and(|id| rank(&id) > rank(&seen)));
    }
}
