//! While `tautan move` fills this Redis, no instance may start on it: it would log in with credentials that are not all
//! there yet.

use super::{
    RedisStore, Shared,
    client::{failure::Failure, unusable::UnusableServer},
    schema::{self, proof_field::MOVING},
};
use crate::store::StoreError;

/// Refuses a Redis that a move fills, unless the move is ours.
pub fn check(found: Option<&str>, ours: Option<&str>) -> Result<(), UnusableServer> {
    if found.is_some_and(|found| ours != Some(found)) { Err(UnusableServer::Moving) } else { Ok(()) }
}

impl RedisStore {
    /// Keeps every instance from starting on this Redis, until [`Self::end_move`]. Fails if another move has begun.
    pub async fn begin_move(&self, id: &str) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HSETNX").arg(schema::PROOF).arg(MOVING).arg(id).ignore();
        pipeline.cmd("HGET").arg(schema::PROOF).arg(MOVING);
        let (found,): (Option<String>,) = self.shared().connections.query(&pipeline).await?;
        check(found.as_deref(), Some(id)).map_err(Failure::from)?;
        Ok(())
    }

    /// Lets instances start. Changes nothing if the move with this id does not fill this Redis.
    pub async fn end_move(&self, id: &str) -> Result<(), StoreError> {
        let connections = &self.shared().connections;
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(schema::PROOF).arg(MOVING);
        let (found,): (Option<String>,) = connections.query(&pipeline).await?;
        if found.as_deref() == Some(id) {
            let mut pipeline = redis::pipe();
            pipeline.cmd("HDEL").arg(schema::PROOF).arg(MOVING).ignore();
            let () = connections.query(&pipeline).await?;
        }
        Ok(())
    }

    /// Whether another instance is alive.
    pub async fn others_live(&self) -> Result<bool, StoreError> {
        let shared: &Shared = self.shared();
        // Before it is known, this process would take itself for another.
        let ours = shared.membership.registered_as().await.ok_or(Failure::Closed)?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("SMEMBERS").arg(schema::incarnations());
        let (names,): (Vec<String>,) = shared.connections.query(&pipeline).await?;
        let mut others = names.iter().filter(|name| *ours != ***name).peekable();
        if others.peek().is_none() {
            return Ok(false);
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("EXISTS").arg(others.map(|name| schema::heartbeat(name)).collect::<Vec<_>>());
        let (living,): (u64,) = shared.connections.query(&pipeline).await?;
        Ok(living > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_that_a_move_fills_is_refused() {
        assert_eq!(check(None, None), Ok(()));
        assert_eq!(check(None, Some("a")), Ok(()), "the move has not begun");
        assert_eq!(check(Some("a"), Some("a")), Ok(()));
        assert_eq!(check(Some("a"), None), Err(UnusableServer::Moving));
        assert_eq!(check(Some("a"), Some("b")), Err(UnusableServer::Moving));
    }
}
