use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

use tokio_util::sync::CancellationToken;

use crate::session::End;

/// Why a link ended, and the signal to stop. The first reason is kept.
#[derive(Default)]
pub(super) struct Termination {
    end: OnceLock<End>,
    /// A row of the credentials could not be read. The library reports that like any other failure.
    unreadable: AtomicBool,
    terminated: CancellationToken,
    stop: CancellationToken,
}

impl Termination {
    pub fn terminate(&self, end: End) {
        let end = match end {
            End::Internal | End::StoreFailed if self.unreadable.load(Ordering::Acquire) => End::Unreadable,
            end => end,
        };
        let first = self.end.set(end).is_ok();
        // After these ends the library would go on: reconnect without the lease, send unsaved state, show codes again,
        // or act for another account.
        let hard = matches!(
            end,
            End::LeaseLost
                | End::StoreFailed
                | End::PairingFailed
                | End::PairingCutShort
                | End::AccountChanged
                | End::Unreadable
                | End::Internal
        );
        if first && hard {
            self.stop.cancel();
        }
        self.terminated.cancel();
    }

    pub fn row_was_unreadable(&self) {
        self.unreadable.store(true, Ordering::Release);
    }

    pub fn end(&self) -> Option<End> {
        self.end.get().copied()
    }

    pub fn is_terminated(&self) -> bool {
        self.terminated.is_cancelled()
    }

    /// Waits for the end. Cancel safe.
    pub async fn terminated(&self) -> End {
        self.terminated.cancelled().await;
        // `terminate` writes the end before it cancels.
        self.end().unwrap_or(End::Internal)
    }

    /// Every task of the link ends with this token.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }
}

/// The stage of a pairing. Never decreases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// No account yet: codes are shown.
    Offering,
    /// The phone's signature was received. No login yet.
    Scanned,
    /// Logged in at least once: the credentials are proven.
    Linked,
}

pub(super) struct Progress(AtomicU8);

impl Progress {
    pub fn new(stage: Stage) -> Self {
        Self(AtomicU8::new(stage as u8))
    }

    pub fn stage(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            0 => Stage::Offering,
            1 => Stage::Scanned,
            _ => Stage::Linked,
        }
    }

    pub fn reach(&self, stage: Stage) {
        self.0.fetch_max(stage as u8, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_termination_wins() {
        let termination = Termination::default();
        termination.terminate(End::Replaced);
        termination.terminate(End::StoreFailed);
        assert_eq!(termination.end(), Some(End::Replaced));
        assert!(!termination.stop().is_cancelled(), "a replaced link may still save what it has");
    }

    /// Three crashes end a session for good, and a row that cannot be read now must not.
    #[test]
    fn failure_after_an_unreadable_row_is_no_crash() {
        for end in [End::Internal, End::StoreFailed] {
            let termination = Termination::default();
            termination.row_was_unreadable();
            termination.terminate(end);
            assert_eq!(termination.end(), Some(End::Unreadable));
            assert!(termination.stop().is_cancelled());
        }
        let termination = Termination::default();
        termination.row_was_unreadable();
        termination.terminate(End::UnlinkedByPhone);
        assert_eq!(termination.end(), Some(End::UnlinkedByPhone));
    }

    #[test]
    fn progress_never_falls_back() {
        let progress = Progress::new(Stage::Offering);
        progress.reach(Stage::Linked);
        progress.reach(Stage::Scanned);
        assert_eq!(progress.stage(), Stage::Linked);
    }
}
