use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::http::Context;

/// Between two passes over the open streams. Without it, a back end that revokes many tokens would keep all streams from
/// opening and ending.
const PASS_EVERY: Duration = Duration::from_millis(100);

/// Ends streams whose token was revoked, until `stop`.
pub async fn end_revoked(context: Arc<Context>, stop: CancellationToken) {
    let mut changes = context.services.revoked.changes();
    let verifier = &context.services.verifier;
    while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
        context.streams.limit.end_revoked(|tenant, issued_at| verifier.is_revoked(tenant, issued_at));
        sleep(PASS_EVERY).await;
    }
}
