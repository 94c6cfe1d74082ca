//! The last event id of clients that cannot send `Last-Event-ID` as a header.

use serde_json::json;
use tautan::events::{ConnectingReason, Status};
use tautan_test_support::EventStream;

use crate::support::Server;

/// event-source-polyfill sends the header's value in the address, since the header would take a preflight.
#[tokio::test]
async fn last_event_id_in_the_query_resumes_where_no_header_does() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    let mut first = server.stream("toko").await;
    let (before, _) = first.expect("connection-status").await;
    owner.publish(Status::connecting(ConnectingReason::Resuming, None)).await;
    let (middle, _) = first.expect("connection-status").await;
    owner.publish(Status::connecting(ConnectingReason::Scanned, None)).await;
    let (before, middle) = (before.expect("it has an id"), middle.expect("it has an id"));

    let open = async |query: &str, header: Option<&str>| -> Vec<serde_json::Value> {
        let path = format!("/api/whatsapp/events{query}");
        let request = server.get(&path).bearer_auth(server.token("toko"));
        let request = header.into_iter().fold(request, |request, id| request.header("last-event-id", id));
        let mut stream = EventStream::open(request).await;
        let mut reasons = Vec::new();
        while reasons.last() != Some(&json!("scanned")) {
            reasons.push(stream.expect("connection-status").await.1["reason"].clone());
        }
        reasons
    };
    let (missed_two, missed_one) = ([json!("resuming"), json!("scanned")], [json!("scanned")]);
    assert_eq!(open(&format!("?lastEventId={before}"), None).await, missed_two);
    assert_eq!(open(&format!("?a=b&lastEventId={before}&c"), None).await, missed_two);
    assert_eq!(
        open(&format!("?lastEventId={middle}&lastEventId={before}"), None).await,
        missed_two,
        "the last one counts"
    );
    assert_eq!(open(&format!("?lastEventId={before}"), Some(&middle)).await, missed_one, "the header wins");
    assert_eq!(open(&format!("?lastEventId={middle}"), Some(&before)).await, missed_two, "the header wins");
    for unknown in ["?lastEventId=", "?lastEventId", "?lastEventId=x", "?lasteventid=1-1", "?xlastEventId=1-1", ""] {
        assert_eq!(open(unknown, None).await, missed_one, "{unknown}: the present");
    }
    assert_eq!(open(&format!("?lastEventId={before}"), Some("x")).await, missed_one, "the header is there");
}
