use super::Wish;
use crate::events::{ConnectingReason, Event, Status};

/// What a new owner says first. `None`: the newest event is true as it stands.
pub(in crate::store) fn greeting(newest: Option<&Event>, wish: Option<&Wish>) -> Option<Status> {
    let resuming = |account| Some(Status::connecting(ConnectingReason::Resuming, Some(account)));
    match (newest.map(|newest| &newest.status), wish) {
        (Some(Status::Connected { account } | Status::Connecting { account: Some(account), .. }), _) => {
            resuming(account.clone())
        }
        (Some(Status::Connecting { account: None, .. }), _) => None,
        (Some(Status::QrPending { .. }) | None, _) => Some(starting()),
        (Some(Status::Disconnected { .. }), Some(Wish::Run { .. })) => Some(starting()),
        // Credentials that outlived their session are about to be wiped: the page knows all there is to know.
        (Some(Status::Disconnected { .. }), Some(Wish::Unlink | Wish::Unknown(_)) | None) => None,
    }
}

pub(in crate::store) fn starting() -> Status {
    Status::connecting(ConnectingReason::Starting, None)
}
