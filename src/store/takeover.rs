use super::DesiredState;
use crate::events::{ConnectingReason, EndReason, Event, Status};

/// The status that a new owner appends first. `None`: the newest event stays true.
pub(in crate::store) fn takeover_status(newest: Option<&Event>, desired: Option<&DesiredState>) -> Option<Status> {
    let resuming = |account| Some(Status::connecting(ConnectingReason::Resuming, Some(account)));
    match (newest.map(|newest| &newest.status), desired) {
        (Some(Status::Connected { account } | Status::Connecting { account: Some(account), .. }), _) => {
            resuming(account.clone())
        }
        (Some(Status::Connecting { account: None, .. }), _) => None,
        (Some(Status::QrPending { .. }) | None, _) => Some(starting()),
        // The session waits for credentials that it can read, or for its proxy. With "starting" it would count as a pairing,
        // which ends when WhatsApp cannot be reached.
        (
            Some(Status::Disconnected { reason: EndReason::CredentialsUnreadable | EndReason::ProxyFailed, .. }),
            Some(DesiredState::Run { .. }),
        ) => None,
        (Some(Status::Disconnected { .. }), Some(DesiredState::Run { .. })) => Some(starting()),
        // Credentials that outlived their session are about to be erased: the page shows the end already.
        (Some(Status::Disconnected { .. }), Some(DesiredState::Unlink | DesiredState::Unknown(_)) | None) => None,
    }
}

pub(in crate::store) fn starting() -> Status {
    Status::connecting(ConnectingReason::Starting, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        events::{Cursor, EventId, JournalId},
    };

    #[test]
    fn takeover_of_unreadable_credentials_does_not_publish_starting() {
        let said = |reason| {
            let id = EventId { journal: JournalId::new(7), cursor: Cursor { epoch: 1, sequence: 1 } };
            let event = Event::after(None, id, Timestamp::UNIX_EPOCH, Status::ended(reason));
            takeover_status(Some(&event), Some(&DesiredState::run(None)))
        };
        assert_eq!(said(EndReason::CredentialsUnreadable), None);
        assert_eq!(said(EndReason::ProxyFailed), None);
        assert_eq!(said(EndReason::QrExpired), Some(starting()));
    }
}
