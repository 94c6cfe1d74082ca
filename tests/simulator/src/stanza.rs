//! The stanzas that the server sends, and how it parses the client's.

use std::time::{SystemTime, UNIX_EPOCH};

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Node, NodeContent, SERVER_JID};

#[expect(clippy::disallowed_methods, reason = "stamps stanzas as the real server does; no test looks at them")]
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// A fresh stanza id; random, because a client that sees an id again takes it for a repetition.
pub(crate) fn fresh_id() -> String {
    format!("{:016X}", rand::random::<u64>())
}

/// An attribute's text, empty when absent.
pub(crate) fn attr(node: &Node, name: &str) -> String {
    node.attrs.get(name).map(|value| value.as_str().into_owned()).unwrap_or_default()
}

pub(crate) fn bytes(node: Option<&Node>) -> Vec<u8> {
    match node.and_then(|node| node.content.as_ref()) {
        Some(NodeContent::Bytes(bytes)) => bytes.clone(),
        Some(NodeContent::String(text)) => text.as_bytes().to_vec(),
        Some(NodeContent::Nodes(_)) | None => Vec::new(),
    }
}

/// The answer to a client's `<iq>`.
pub(crate) fn result(iq: &Node, children: Vec<Node>) -> Node {
    NodeBuilder::new("iq")
        .attr("from", SERVER_JID)
        .attr("type", "result")
        .attr("id", attr(iq, "id"))
        .apply_content((!children.is_empty()).then_some(NodeContent::Nodes(children)))
        .build()
}

/// The refusal of a client's `<iq>`.
pub(crate) fn error(iq: &Node, code: u16, text: &'static str) -> Node {
    let error = NodeBuilder::new("error").attr("code", code.to_string()).attr("text", text).build();
    NodeBuilder::new("iq")
        .attr("from", SERVER_JID)
        .attr("type", "error")
        .attr("id", attr(iq, "id"))
        .children([error])
        .build()
}

/// A notification of the server.
pub(crate) fn notification(kind: &'static str, child: Node) -> Node {
    NodeBuilder::new("notification")
        .attr("from", SERVER_JID)
        .attr("type", kind)
        .attr("id", fresh_id())
        .attr("t", unix_now())
        .children([child])
        .build()
}

/// A request of the server.
pub(crate) fn request(id: &str, namespace: &str, kind: &str, children: Vec<Node>) -> Node {
    NodeBuilder::new("iq")
        .attr("from", SERVER_JID)
        .attr("type", kind)
        .attr("id", id)
        .attr("xmlns", namespace)
        .attr("t", unix_now())
        .apply_content((!children.is_empty()).then_some(NodeContent::Nodes(children)))
        .build()
}

pub(crate) fn stream_error(code: Option<u16>, conflict: Option<&'static str>) -> Node {
    let mut error = NodeBuilder::new("stream:error");
    if let Some(code) = code {
        error = error.attr("code", code.to_string());
    }
    if let Some(kind) = conflict {
        error = error.children([NodeBuilder::new("conflict").attr("type", kind).build()]);
    }
    error.build()
}

/// Sent once a device is active: everything that waited for it has been sent.
pub(crate) fn offline_end(count: usize) -> Node {
    let end = NodeBuilder::new("offline").attr("count", count.to_string()).build();
    NodeBuilder::new("ib").attr("from", SERVER_JID).children([end]).build()
}
