use std::sync::{Arc, atomic::AtomicUsize};

use tokio::sync::mpsc::{Receiver, channel};
use tokio_util::task::TaskTracker;

use super::{
    inbox::{EVENTS_MAX, Inbox, InboxEvent},
    keys::Keys,
    runtime::LinkRuntime,
    settings::Settings,
    termination::{Progress, Stage, Termination},
};
use crate::{
    link_options::ProxyName,
    store::{CredentialStore, Lease},
};

/// State that the parts of one link share.
#[derive(Clone)]
pub(super) struct Shared {
    pub settings: Arc<Settings>,
    pub lease: Lease,
    pub keys: Arc<Keys>,
    pub termination: Arc<Termination>,
    pub progress: Arc<Progress>,
    pub tasks: TaskTracker,
    pub runtime: LinkRuntime,
    pub inbox: Inbox,
}

impl Shared {
    /// Also returns the receiver of the link's events, for its driver.
    pub fn new(
        settings: Arc<Settings>,
        credentials: Arc<dyn CredentialStore>,
        lease: Lease,
        proxy: Option<ProxyName>,
        stage: Stage,
        alive: Arc<AtomicUsize>,
    ) -> (Self, Receiver<InboxEvent>) {
        let (termination, progress) = (Arc::new(Termination::default()), Arc::new(Progress::new(stage)));
        let tasks = TaskTracker::new();
        let runtime = LinkRuntime::new(tasks.clone(), termination.clone(), progress.clone(), settings.qr_pace);
        let deadline = settings.flush_deadline;
        let keys = Keys::new(credentials, lease.clone(), proxy, termination.clone(), progress.clone(), deadline, alive);
        let (to, events) = channel(EVENTS_MAX);
        let inbox = Inbox::new(to, termination.clone());
        (Self { settings, lease, keys: Arc::new(keys), termination, progress, tasks, runtime, inbox }, events)
    }
}
