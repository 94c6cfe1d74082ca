//! Encrypts kept data again with the new key: tenant by tenant, slowly, without the owner, until nothing is encrypted with the
//! previous key.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::proof::RotationState;
use crate::{
    store::redis::{
        Shared,
        client::failure::Failure,
        schema,
        script::{Call, RESEAL},
    },
    tenant::TenantId,
};

/// One tenant, or one step of the scan, takes a few commands.
const STEP_EVERY: Duration = Duration::from_millis(200);
/// Keys that Redis looks at in one step of the scan.
const LOOK_AT: usize = 500;
/// Exchanges in one script, during which Redis serves no other client.
const EXCHANGES_MAX: usize = 64;
const AGAIN_AFTER_CHANGES: Duration = Duration::from_secs(1);
/// While another instance decides on the direction of the rotation, and after a failure.
const AGAIN_LATER: Duration = Duration::from_secs(10);
/// The pause once nothing is left to reseal: other instances may still write with the previous key.
const AGAIN_WHEN_DONE: Duration = Duration::from_secs(600);

/// Reseals until the store is closed.
pub async fn run(shared: Arc<Shared>) {
    let rounds = async {
        let mut logged = false;
        loop {
            let wait = match go_round(&shared).await {
                Ok(None) => AGAIN_LATER,
                Ok(Some(0)) => {
                    if !logged {
                        tracing::info!(
                            "nothing is sealed with the previous key any more: it is not needed once every instance has \
                             the new one"
                        );
                    }
                    logged = true;
                    AGAIN_WHEN_DONE
                }
                Ok(Some(tenants)) => {
                    logged = false;
                    tracing::info!(tenants, "encrypted again with the new key, looking again");
                    AGAIN_AFTER_CHANGES
                }
                Err(failure) if failure.is_passing() => AGAIN_LATER,
                Err(failure) => {
                    tracing::warn!(error = %failure, "data of the previous key cannot be encrypted again, retrying");
                    AGAIN_LATER
                }
            };
            sleep(wait).await;
        }
    };
    tokio::select! {
        () = shared.tasks.stopped() => {}
        () = rounds => {}
    }
}

/// How many tenants had data of the previous key. `None`: our current key is not the new one.
async fn go_round(shared: &Shared) -> Result<Option<usize>, Failure> {
    if shared.connections.rotation_state().await? != RotationState::TakingOver {
        return Ok(None);
    }
    let (mut cursor, mut changed) = (0, 0);
    loop {
        let (next, found) = shared.scan(cursor, LOOK_AT).await?;
        for tenant in found {
            changed += usize::from(reseal_tenant(shared, &tenant).await?);
            sleep(STEP_EVERY).await;
        }
        if next == 0 {
            return Ok(Some(changed));
        }
        cursor = next;
        sleep(STEP_EVERY).await;
    }
}

/// A value of the previous key, and the value that replaces it.
struct Exchange {
    what: &'static str,
    place: String,
    name: Vec<u8>,
    old: Vec<u8>,
    new_name: Vec<u8>,
    new: Vec<u8>,
}

impl Exchange {
    fn of(what: &'static str, place: &str, old: &[u8], new: Vec<u8>) -> Self {
        let (place, old) = (place.to_owned(), old.to_owned());
        Self { what, place, name: Vec::new(), old, new_name: Vec::new(), new }
    }
}

/// True: the tenant had data of the previous key. Does not hold all rows of a tenant in memory.
async fn reseal_tenant(shared: &Shared, tenant: &TenantId) -> Result<bool, Failure> {
    let (exchanges, tables) = find(shared, tenant).await?;
    let mut changed = exchange(shared, tenant, &exchanges).await?;
    for table in &tables {
        let mut cursor = 0;
        loop {
            let (next, exchanges) = find_rows(shared, tenant, table, cursor).await?;
            changed |= exchange(shared, tenant, &exchanges).await?;
            if next == 0 {
                break;
            }
            cursor = next;
        }
    }
    Ok(changed)
}

/// True: there was something to exchange.
async fn exchange(shared: &Shared, tenant: &TenantId, exchanges: &[Exchange]) -> Result<bool, Failure> {
    for some in exchanges.chunks(EXCHANGES_MAX) {
        let mut call = Call::on(&RESEAL, tenant);
        for Exchange { what, place, name, old, new_name, new } in some {
            call = call.arg(*what).arg(place).arg(name).arg(old).arg(new_name).arg(new);
        }
        let _: u64 = shared.connections.call(&call).await?;
    }
    Ok(!exchanges.is_empty())
}

/// Reads a part of a table; also returns where the next part begins. A row that is exchanged meanwhile is found again under its
/// new name, or not at all.
async fn find_rows(
    shared: &Shared,
    tenant: &TenantId,
    table: &str,
    cursor: u64,
) -> Result<(u64, Vec<Exchange>), Failure> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HSCAN").arg(schema::rows(tenant, table)).arg(cursor).arg("COUNT").arg(LOOK_AT);
    type Scanned = (u64, Vec<(Vec<u8>, Vec<u8>)>);
    let ((next, rows),): (Scanned,) = shared.connections.query(&pipeline).await?;
    let seals = shared.seals(tenant);
    let exchanges = rows.into_iter().filter_map(|(name, old)| {
        let (new_name, new) = seals.row_anew(table, &name, &old)?;
        Some(Exchange { what: "row", place: table.to_owned(), name, old, new_name: new_name.to_vec(), new })
    });
    Ok((next, exchanges.collect()))
}

/// Finds the tenant's data that is no row, and the tables that have rows.
async fn find(shared: &Shared, tenant: &TenantId) -> Result<(Vec<Exchange>, Vec<String>), Failure> {
    type Entry = (String, Vec<Vec<u8>>);
    type Found = ((Option<u64>, Option<Vec<u8>>), Vec<Entry>, Vec<String>);
    let mut pipeline = redis::pipe();
    pipeline.cmd("HMGET").arg(schema::record(tenant)).arg(schema::field::GENERATION).arg(schema::field::DESIRED);
    pipeline.cmd("XRANGE").arg(schema::history(tenant)).arg("-").arg("+");
    pipeline.cmd("SMEMBERS").arg(schema::tables(tenant));
    let ((generation, desired), entries, tables): Found = shared.connections.query(&pipeline).await?;

    let seals = shared.seals(tenant);
    let mut exchanges = Vec::new();
    if let Some(old) = desired {
        let new = seals.desired_anew(generation.unwrap_or_default(), &old);
        exchanges.extend(new.map(|new| Exchange::of("desired", "", &old, new)));
    }
    // An entry has two pairs; the first one is the event.
    for (id, old) in entries.iter().filter_map(|(id, pairs)| Some((id, pairs.get(1)?))) {
        exchanges.extend(seals.event_anew(id, old).map(|new| Exchange::of("event", id, old, new)));
    }
    let coded: Vec<&String> =
        entries.iter().filter(|(_, pairs)| pairs.get(3).is_some_and(|coded| coded == b"1")).map(|(id, _)| id).collect();
    if !coded.is_empty() {
        let mut pipeline = redis::pipe();
        coded.iter().for_each(|id| _ = pipeline.cmd("GET").arg(schema::code(tenant, id)));
        let codes: Vec<Option<Vec<u8>>> = shared.connections.query(&pipeline).await?;
        for (id, old) in coded.into_iter().zip(codes).filter_map(|(id, code)| Some((id, code?))) {
            exchanges.extend(seals.event_anew(id, &old).map(|new| Exchange::of("code", id, &old, new)));
        }
    }
    Ok((exchanges, tables))
}
