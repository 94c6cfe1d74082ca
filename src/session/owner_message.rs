use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::PasskeyAnswer;
use crate::events::Passkey;

/// A passkey answer on its way to the session's owner, with the question that it answers: when it arrives WhatsApp may
/// have asked another question, for which it would count as a wrong answer.
#[derive(Serialize, Deserialize)]
pub(super) struct OwnerMessage {
    asked: Passkey,
    answer: PasskeyAnswer,
}

impl OwnerMessage {
    pub fn new(asked: &Passkey, answer: PasskeyAnswer) -> Self {
        Self { asked: asked.clone(), answer }
    }

    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("it has string keys and no failing serializer").into()
    }

    /// `None`: another version of this program sent it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// `None`: it is no answer to this question.
    pub fn answer_to(self, asked: &Passkey) -> Option<PasskeyAnswer> {
        (self.asked.is_same_question(asked) && self.answer.answers(&asked.step)).then_some(self.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        events::{PairingId, PasskeyStep},
    };

    #[test]
    fn answer_counts_only_for_its_own_question() {
        let expires_at = Timestamp::UNIX_EPOCH;
        let (step, pairing) = (PasskeyStep::Assert { options: "{}".into() }, PairingId::new(1));
        let asked = Passkey { step, expires_at, lifetime: None, pairing };
        let answer = PasskeyAnswer::Assertion { json: "{}".into(), credential: vec![1, 2] };
        let bytes = OwnerMessage::new(&asked, answer.clone()).to_bytes();
        let read = || OwnerMessage::from_bytes(&bytes).unwrap();
        assert!(read().answer_to(&asked) == Some(answer));
        // For the same step, with the same end.
        let later = Passkey { pairing: PairingId::new(2), ..asked.clone() };
        let other = Passkey { step: PasskeyStep::Compare { code: "ABCD-1234".into() }, ..asked };
        assert!(read().answer_to(&later).is_none() && read().answer_to(&other).is_none());
        assert!(OwnerMessage::from_bytes(b"{}").is_none(), "sent by a later version");
    }
}
