//! The key check value, which only the right encryption key opens. A process with a wrong key finds that out before it reads or
//! writes data.
//!
//! The value also tells instances the direction of a key rotation. Instances with the keys (old, new) and instances with
//! (new, old) run side by side for a while and read each other's rows. If each encrypted the other's rows again, they would
//! never end. So the value is encrypted with the key that all data goes to. A process that starts and opens it with its
//! previous key replaces it by one of its current key, and keeps the old value beside it.

use redis::aio::MultiplexedConnection;

use crate::store::{
    crypt::{MasterKeys, Ring, RowLocation},
    redis::{
        client::{failure::Failure, layout::LAYOUT, unusable::UnusableServer},
        schema::{self, proof_field},
        script::{Call, PROVE},
    },
};

const LOCATION: RowLocation<'static> = RowLocation { table: "proof", row: b"redis" };
/// Attempts to replace a value that others replace meanwhile.
const TRIES: usize = 8;

/// The direction of a rotation, as this process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationState {
    /// The data goes from our previous key to our current one.
    TakingOver,
    /// There is no rotation, or one away from our current key.
    Done,
}

/// The key check value, and the one before it.
pub type Found = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The fields of [`Found`].
pub const FIELDS: [&str; 2] = [proof_field::PROOF, proof_field::FORMER];

pub async fn find(connection: &mut MultiplexedConnection) -> Result<Found, Failure> {
    let mut ask = redis::cmd("HMGET");
    ask.arg(schema::PROOF).arg(&FIELDS).query_async(connection).await.map_err(Failure::greeted_with)
}

/// Checks the keys; makes the value if there is none. `begins`: the process has just started, so its keys are the newest that
/// the operator has configured.
pub async fn prove(
    connection: &mut MultiplexedConnection,
    master: &MasterKeys,
    begins: bool,
    mut found: Found,
) -> Result<RotationState, Failure> {
    let ring = master.own();
    for _ in 0..TRIES {
        let (proof, former) = found;
        match judge(&ring, proof.as_deref(), former.as_deref())? {
            Judgement::Valid(state) => return Ok(state),
            Judgement::Behind if !begins => return Ok(RotationState::Done),
            Judgement::Behind | Judgement::Missing => {}
        }
        let proof = proof.unwrap_or_default();
        let call = Call::on_keys(&PROVE, [schema::PROOF.to_owned()]).arg(&proof).arg(ring.seal(LOCATION, b"tautan"));
        let call = call.arg(LAYOUT);
        let _: () = call.greet(connection).await?;
        found = find(connection).await?;
    }
    Err(Failure::Contended)
}

#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    Missing,
    Valid(RotationState),
    /// All data goes to our previous key.
    Behind,
}

fn judge(ring: &Ring, proof: Option<&[u8]>, former: Option<&[u8]>) -> Result<Judgement, UnusableServer> {
    let Some(proof) = proof else { return Ok(Judgement::Missing) };
    if ring.is_current(LOCATION, proof) {
        let from_ours = former.is_some_and(|former| ring.open_previous(LOCATION, former).is_some());
        return Ok(Judgement::Valid(if from_ours { RotationState::TakingOver } else { RotationState::Done }));
    }
    if ring.open_previous(LOCATION, proof).is_some() { Ok(Judgement::Behind) } else { Err(UnusableServer::WrongKey) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::crypt::MasterKey;

    fn ring(current: u8, previous: Option<u8>) -> Ring {
        let key = |byte| MasterKey::from([byte; 32]);
        MasterKeys { current: key(current), previous: previous.map(key) }.own()
    }

    #[test]
    fn proof_tells_the_direction_of_a_rotation() {
        let (old, new) = (ring(1, None).seal(LOCATION, b"tautan"), ring(2, None).seal(LOCATION, b"tautan"));
        let (old, new) = (Some(old.as_slice()), Some(new.as_slice()));
        let done = Ok(Judgement::Valid(RotationState::Done));
        assert_eq!(judge(&ring(1, None), None, None), Ok(Judgement::Missing));
        assert_eq!(judge(&ring(1, Some(2)), old, None), done, "the first step changes nothing");
        assert_eq!(judge(&ring(2, Some(1)), old, None), Ok(Judgement::Behind));
        assert_eq!(judge(&ring(2, Some(1)), new, old), Ok(Judgement::Valid(RotationState::TakingOver)));
        assert_eq!(judge(&ring(1, Some(2)), new, old), Ok(Judgement::Behind), "the second step, not here yet");
        assert_eq!(judge(&ring(2, None), new, old), done, "the third step");
        for (stranger, proof) in [(ring(3, None), old), (ring(2, None), old), (ring(3, Some(4)), new)] {
            assert_eq!(judge(&stranger, proof, None), Err(UnusableServer::WrongKey));
        }
    }
}
