//! The rules of a tenant's record that need no I/O, for both backends.

use std::sync::Arc;

use super::{DesiredState, Generation, Usage, takeover::takeover_status};
use crate::events::{Event, Shown, Status};

/// What the rules decide on.
pub(in crate::store) struct Facts<'a> {
    pub newest: Option<&'a Arc<Event>>,
    /// The newest desired state, while it is not fulfilled.
    pub desired: Option<&'a (Generation, DesiredState)>,
    /// The tenant has a live owner.
    pub is_owned: bool,
}

/// What becomes of the desired state when a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum AfterEnd {
    /// There was none.
    Nothing,
    Fulfilled,
    /// A newer one came while the session ended. `starts`: it wants a link, so `connecting`/`starting` is appended at once.
    Newer {
        starts: bool,
    },
}

impl Facts<'_> {
    pub fn is_disconnected(&self) -> bool {
        self.newest.is_none_or(|newest| matches!(newest.status, Status::Disconnected { .. }))
    }

    /// The status needs a live owner, and there is none.
    pub fn is_stale(&self) -> bool {
        !self.is_disconnected() && !self.is_owned
    }

    pub fn shown(&self) -> Option<Shown> {
        Some(Shown { event: self.newest?.clone(), stale: self.is_stale() })
    }

    pub fn takeover_status(&self) -> Option<Status> {
        takeover_status(self.newest.map(|newest| &**newest), self.desired.map(|(_, desired)| desired))
    }

    /// Whether an instance may acquire the tenant. A desired state of a later version is left to an instance that knows it.
    pub fn is_orphaned(&self) -> bool {
        matches!(self.desired, Some((_, DesiredState::Run { .. } | DesiredState::Unlink))) && !self.is_owned
    }

    pub fn usage(&self, request: &DesiredState) -> Usage {
        Usage::of(request, self.desired.map(|(_, desired)| desired), self.newest.map(|newest| &newest.status))
    }

    /// The request with the options that it leaves open.
    pub fn complete(&self, request: DesiredState) -> DesiredState {
        request.after(self.desired.map(|(_, desired)| desired), self.newest.map(|newest| &newest.status))
    }

    /// Whether the request appends `connecting`/`starting`.
    pub fn starts(&self, request: &DesiredState) -> bool {
        matches!(request, DesiredState::Run { .. }) && self.is_disconnected()
    }

    /// Whether the request has nothing to do, unless there are credentials. With an owner it counts as fulfilled only when
    /// the owner has read it: the owner may be about to append another status.
    pub fn fulfils(&self, request: &DesiredState) -> bool {
        matches!(request, DesiredState::Unlink) && self.is_disconnected() && !self.is_owned
    }

    /// Whether the request repeats an unlink that the owner has still to do. Nothing changes then: otherwise a client that
    /// repeats "disconnect" makes so many versions of the record that its owner can append nothing.
    pub fn repeats_unlink(&self, request: &DesiredState) -> bool {
        let unlinks = matches!(self.desired, Some((_, DesiredState::Unlink)));
        unlinks && self.is_owned && matches!(request, DesiredState::Unlink)
    }

    /// `fulfils`: the desired state that the session fulfilled.
    pub fn after_end(&self, fulfils: Generation) -> AfterEnd {
        match self.desired {
            None => AfterEnd::Nothing,
            Some((number, _)) if *number == fulfils => AfterEnd::Fulfilled,
            Some((_, desired)) => AfterEnd::Newer { starts: matches!(desired, DesiredState::Run { .. }) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        events::{ConnectingReason, Cursor, EndReason, EventId, JournalId},
    };

    const RUN: DesiredState = DesiredState::run(None);

    fn event(status: Status) -> Arc<Event> {
        let id = EventId { journal: JournalId::new(7), cursor: Cursor { epoch: 1, sequence: 1 } };
        Arc::new(Event::after(None, id, Timestamp::UNIX_EPOCH, status))
    }

    #[test]
    fn unlink_is_fulfilled_at_once_only_without_owner() {
        let (ended, starting) =
            (event(Status::ended(EndReason::Cancelled)), event(Status::connecting(ConnectingReason::Starting, None)));
        let facts = |newest, is_owned| Facts { newest, desired: None, is_owned };
        for (newest, is_owned, fulfils) in [
            (None, false, true),
            (Some(&ended), false, true),
            (Some(&ended), true, false),
            (Some(&starting), false, false),
        ] {
            assert_eq!(facts(newest, is_owned).fulfils(&DesiredState::Unlink), fulfils, "{newest:?} {is_owned}");
            assert!(!facts(newest, is_owned).fulfils(&RUN));
        }
        assert!(facts(Some(&ended), true).starts(&RUN) && !facts(Some(&starting), false).starts(&RUN));
    }

    #[test]
    fn unlink_that_an_owner_has_still_to_do_is_repeated() {
        let (unlink, run) = ((Generation(1), DesiredState::Unlink), (Generation(1), RUN));
        let facts = |desired, is_owned| Facts { newest: None, desired: Some(desired), is_owned };
        assert!(facts(&unlink, true).repeats_unlink(&DesiredState::Unlink));
        assert!(!facts(&unlink, false).repeats_unlink(&DesiredState::Unlink), "an instance has to take it over");
        assert!(!facts(&unlink, true).repeats_unlink(&RUN));
        assert!(!facts(&run, true).repeats_unlink(&DesiredState::Unlink));
    }

    #[test]
    fn end_fulfils_no_newer_request() {
        let after = |desired: Option<(Generation, DesiredState)>| {
            Facts { newest: None, desired: desired.as_ref(), is_owned: true }.after_end(Generation(3))
        };
        assert_eq!(after(None), AfterEnd::Nothing);
        assert_eq!(after(Some((Generation(3), RUN))), AfterEnd::Fulfilled);
        assert_eq!(after(Some((Generation(4), RUN))), AfterEnd::Newer { starts: true });
        assert_eq!(after(Some((Generation(4), DesiredState::Unlink))), AfterEnd::Newer { starts: false });
    }

    #[test]
    fn desired_state_of_later_version_is_not_acquired() {
        let later = (Generation(1), DesiredState::Unknown(serde_json::Value::Null));
        let run = (Generation(1), RUN);
        let facts = |desired, is_owned| Facts { newest: None, desired: Some(desired), is_owned };
        assert!(!facts(&later, false).is_orphaned());
        assert!(facts(&run, false).is_orphaned() && !facts(&run, true).is_orphaned());
    }
}
