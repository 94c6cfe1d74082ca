//! Messages from a phone to a linked device, through the device's outbox.

use tokio::sync::oneshot;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::protocol_message::Type;
use waproto::whatsapp::message::{
    AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId, AppStateSyncKeyShare,
    DeviceSentMessage, HistorySyncNotification, HistorySyncType, ProtocolMessage,
};

use crate::account::Parcel;
use crate::connection::Order;
use crate::device::DeviceId;
use crate::phone::TextError;
use crate::signal::Sealed;
use crate::stanza::{fresh_id, unix_now};
use crate::world::World;

type Done = oneshot::Receiver<Result<(), TextError>>;

/// Puts a text from `sender`'s phone on its way.
pub(crate) async fn post_text(world: &World, sender: u64, to: DeviceId, text: &str) -> Result<Done, TextError> {
    let mut message = wa::Message { conversation: Some(text.to_owned()), ..Default::default() };
    if sender == to.number() {
        message = wa::Message {
            device_sent_message: MessageField::some(DeviceSentMessage {
                destination_jid: Some(Jid::pn(sender.to_string()).to_string()),
                message: MessageField::some(message),
                phash: None,
            }),
            ..Default::default()
        };
    }
    let envelope = Envelope { sender, to, category: None };
    post(world, envelope, &message).await
}

/// What the phone does by itself after linking a device: shares the key of its app state, without which the device waits
/// 10 s before it calls itself connected.
pub(crate) async fn share_app_state_key(world: &World, to: DeviceId) {
    let key = AppStateSyncKey {
        key_id: MessageField::some(AppStateSyncKeyId { key_id: Some(vec![0, 0, 0, 0, 0, 1]) }),
        key_data: MessageField::some(AppStateSyncKeyData {
            key_data: Some(rand::random::<[u8; 32]>().to_vec()),
            fingerprint: MessageField::some(AppStateSyncKeyFingerprint {
                raw_id: Some(1),
                current_index: Some(0),
                device_indexes: vec![0],
            }),
            timestamp: Some(i64::try_from(unix_now() * 1000).unwrap_or(i64::MAX)),
        }),
    };
    let share = ProtocolMessage {
        r#type: Some(Type::APP_STATE_SYNC_KEY_SHARE),
        app_state_sync_key_share: MessageField::some(AppStateSyncKeyShare { keys: vec![key] }),
        ..Default::default()
    };
    // A device with keys that cannot be used gets no share, and so shows what a client does without one.
    let _ = post_own(world, to, share).await;
}

/// Tells a device where the account's chat history can be downloaded.
pub(crate) async fn offer_history(world: &World, to: DeviceId) -> Result<Done, TextError> {
    let notification = HistorySyncNotification {
        file_sha256: Some(rand::random::<[u8; 32]>().to_vec()),
        file_length: Some(4_096),
        media_key: Some(rand::random::<[u8; 32]>().to_vec()),
        file_enc_sha256: Some(rand::random::<[u8; 32]>().to_vec()),
        direct_path: Some("/v/t62.1-1/history.enc".to_owned()),
        sync_type: Some(HistorySyncType::INITIAL_BOOTSTRAP),
        chunk_order: Some(1),
        progress: Some(100),
        ..Default::default()
    };
    let offer = ProtocolMessage {
        r#type: Some(Type::HISTORY_SYNC_NOTIFICATION),
        history_sync_notification: MessageField::some(notification),
        ..Default::default()
    };
    post_own(world, to, offer).await
}

async fn post_own(world: &World, to: DeviceId, message: ProtocolMessage) -> Result<Done, TextError> {
    let message = wa::Message { protocol_message: MessageField::some(message), ..Default::default() };
    post(world, Envelope { sender: to.number(), to, category: Some("peer") }, &message).await
}

/// After this the next message opens a new session, as a sender does whose message could not be read.
pub(crate) async fn forget_session(world: &World, sender: u64, to: DeviceId) {
    let sessions = world.read().accounts.get(&sender).map(|account| account.sessions.clone());
    if let Some(sessions) = sessions {
        sessions.lock().await.forget(to);
    }
}

struct Envelope {
    sender: u64,
    to: DeviceId,
    category: Option<&'static str>,
}

async fn post(world: &World, envelope: Envelope, message: &wa::Message) -> Result<Done, TextError> {
    let Envelope { sender, to, .. } = envelope;
    let sessions = world.read().accounts.get(&sender).map(|account| account.sessions.clone());
    let sessions = sessions.ok_or(TextError::Stopped)?;
    // Held until the stanza is in the outbox: the ratchet's order is the order of delivery.
    let mut sessions = sessions.lock().await;
    if !sessions.has(to) {
        let keys = world.change(|state| state.linked_mut(to).map(|device| device.keys.hand_out()));
        sessions.open(to, &keys.ok_or(TextError::Unlinked)?).await.map_err(|_| TextError::BadKeys)?;
    }
    let sealed = sessions.seal(to, message).await.map_err(|_| TextError::BadKeys)?;
    let id = fresh_id();
    let stanza = stanza(&envelope, &id, sealed);
    let (done, read) = oneshot::channel();
    let parcel = Parcel { id, stanza, sent_on: None, done: Some(done) };
    world
        .change(|state| state.linked_mut(to).map(|device| device.outbox.push_back(parcel)))
        .ok_or(TextError::Unlinked)?;
    drop(sessions);
    world.order_device(to, || Order::Deliver);
    Ok(read)
}

fn stanza(envelope: &Envelope, id: &str, sealed: Sealed) -> Node {
    let from = Jid::pn(envelope.sender.to_string());
    let mut message = NodeBuilder::new("message")
        .attr("from", &from)
        .attr("id", id)
        .attr("type", "text")
        .attr("t", unix_now().to_string());
    if let Some(category) = envelope.category {
        message = message.attr("category", category);
    } else if envelope.sender == envelope.to.number() {
        message = message.attr("recipient", &from);
    }
    let enc = NodeBuilder::new("enc").attr("v", "2").attr("type", sealed.kind).bytes(sealed.ciphertext);
    message.children([enc.build()]).build()
}
