//! The server's answers to a linked device's requests. No I/O: takes the state, returns an answer.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::device::{DeviceId, lid_user};
use crate::stanza::attr;
use crate::world::State;

/// What follows an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    /// The device takes messages from now on.
    Activate,
    /// The device has unlinked itself.
    End,
}

/// The children of the `<iq type=result>`, which every question gets: an unknown one an empty result.
pub(crate) fn answer(state: &mut State, device: DeviceId, iq: &Node) -> (Vec<Node>, Next) {
    let set = attr(iq, "type") == "set";
    match attr(iq, "xmlns").as_str() {
        "passive" if iq.get_optional_child("active").is_some() => (vec![], Next::Activate),
        "abt" | "w" => (vec![NodeBuilder::new("props").attr("protocol", "1").build()], Next::Nothing),
        "blocklist" => (vec![NodeBuilder::new("list").build()], Next::Nothing),
        "privacy" => (vec![NodeBuilder::new("privacy").build()], Next::Nothing),
        "usync" => (vec![usync(state, iq)], Next::Nothing),
        "w:sync:app:state" => (vec![collections(iq)], Next::Nothing),
        "encrypt" if set => {
            if let Some(device) = state.device_mut(device) {
                device.keys.upload(iq);
            }
            (vec![], Next::Nothing)
        }
        "encrypt" => (keys(state, device, iq), Next::Nothing),
        "w:p" => {
            if let Some(device) = state.device_mut(device) {
                device.tally.pings += 1;
            }
            (vec![], Next::Nothing)
        }
        "w:m" => {
            if let Some(device) = state.device_mut(device) {
                device.tally.media_asked += 1;
            }
            (vec![], Next::Nothing)
        }
        "md" if iq.get_optional_child("remove-companion-device").is_some() => {
            state.unlink(device);
            (vec![], Next::End)
        }
        _ => (vec![], Next::Nothing),
    }
}

fn keys(state: &mut State, device: DeviceId, iq: &Node) -> Vec<Node> {
    if let Some(wanted) = iq.get_optional_child("key") {
        let users = wanted.get_children_by_tag("user").filter_map(|user| user.attrs.get("jid")?.to_jid());
        let users: Vec<Node> = users.collect::<Vec<_>>().into_iter().map(|jid| handed_out(state, &jid)).collect();
        return vec![NodeBuilder::new("list").children(users).build()];
    }
    let Some(device) = state.device_mut(device) else { return vec![] };
    if iq.get_optional_child("count").is_some() {
        return vec![NodeBuilder::new("count").attr("value", device.keys.count().to_string()).build()];
    }
    vec![device.keys.digest()]
}

/// A `<user>` with the keys of a phone (device 0) or of a linked device.
fn handed_out(state: &mut State, jid: &Jid) -> Node {
    let user = NodeBuilder::new("user").attr("jid", jid);
    let account = state.number_of(jid).and_then(|number| state.accounts.get_mut(&number));
    let Some(account) = account else {
        return user.children([NodeBuilder::new("error").attr("code", "406").build()]).build();
    };
    if jid.device == 0 {
        return user.children(account.keys.hand_out().nodes()).build();
    }
    let Some(device) = account.devices.get_mut(&jid.device).filter(|device| device.linked) else {
        return user.children([NodeBuilder::new("error").attr("code", "406").build()]).build();
    };
    let mut nodes = device.keys.hand_out().nodes();
    nodes.push(NodeBuilder::new("device-identity").bytes(device.signed_identity.clone()).build());
    user.children(nodes).build()
}

/// Nothing is kept in the app-state collections, so each is at version 0.
fn collections(iq: &Node) -> Node {
    let asked = iq.get_optional_child("sync").map(|sync| sync.get_children_by_tag("collection"));
    let empty = asked
        .into_iter()
        .flatten()
        .map(|collection| {
            NodeBuilder::new("collection").attr("name", attr(collection, "name")).attr("version", "0").build()
        })
        .collect::<Vec<_>>();
    NodeBuilder::new("sync").children(empty).build()
}

fn usync(state: &State, iq: &Node) -> Node {
    let query = iq.get_optional_child("usync");
    let asked = query.and_then(|query| query.get_optional_child("list"));
    let users = asked.map(|list| list.get_children_by_tag("user").collect::<Vec<_>>()).unwrap_or_default();
    let users = users.into_iter().filter_map(|user| user.attrs.get("jid")?.to_jid());
    let users = users.map(|jid| usync_user(state, &jid)).collect::<Vec<_>>();
    let mut usync = NodeBuilder::new("usync");
    for name in ["sid", "mode", "context", "index", "last"] {
        if let Some(value) = query.and_then(|query| query.attrs.get(name)) {
            usync = usync.attr(name, value.as_str().as_ref());
        }
    }
    usync.children([NodeBuilder::new("list").children(users).build()]).build()
}

fn usync_user(state: &State, jid: &Jid) -> Node {
    let number = state.number_of(jid);
    let mut devices = vec![NodeBuilder::new("device").attr("id", "0").build()];
    if let Some(account) = number.and_then(|number| state.accounts.get(&number)) {
        devices.extend(account.devices.iter().filter(|(_, device)| device.linked).map(|(index, _)| {
            NodeBuilder::new("device").attr("id", index.to_string()).attr("key-index", index.to_string()).build()
        }));
    }
    let list = NodeBuilder::new("device-list").children(devices).build();
    let mut children = vec![NodeBuilder::new("devices").children([list]).build()];
    if let Some(number) = number {
        let lid = format!("{}@lid", lid_user(number));
        children.push(NodeBuilder::new("lid").attr("val", lid).build());
    }
    NodeBuilder::new("user").attr("jid", jid.to_non_ad()).children(children).build()
}
