use tokio::sync::oneshot;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::adv::{Corruption, Statement};
use crate::device::DeviceId;
use crate::phone::ScanError;
use crate::stanza::{fresh_id, request};

/// A pairing under way: the phone's statement, and the receiver of the outcome.
pub(crate) struct Ceremony {
    pub(crate) device: DeviceId,
    pub(crate) business_name: String,
    pub(crate) statement: Statement,
    pub(crate) adv_secret: Vec<u8>,
    pub(crate) corruption: Corruption,
    pub(crate) outcome: oneshot::Sender<Result<DeviceId, ScanError>>,
    /// The id of the `pair-success` that the device has to answer.
    pub(crate) request_id: String,
}

impl Ceremony {
    pub(crate) fn request_id() -> String {
        fresh_id()
    }

    pub(crate) fn pair_success(&self) -> Node {
        let identity = self.statement.seal(&self.adv_secret, self.corruption);
        let success = NodeBuilder::new("pair-success").children([
            NodeBuilder::new("device-identity").bytes(identity).build(),
            NodeBuilder::new("biz").attr("name", self.business_name.as_str()).build(),
            NodeBuilder::new("device").attr("jid", self.device.jid()).attr("lid", self.device.lid_jid()).build(),
            NodeBuilder::new("platform").attr("name", "android").build(),
        ]);
        request(&self.request_id, "md", "set", vec![success.build()])
    }
}
