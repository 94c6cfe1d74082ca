use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing::Span;

use crate::tenant::TenantId;

/// The spans of requests under way that may start a session, by tenant. The supervisor may start it before the request
/// does: whichever does, the session's log lines name the request.
#[derive(Default)]
pub(super) struct RequestSpans(Mutex<HashMap<TenantId, Span>>);

/// Removes the span when it is dropped.
pub(super) struct RequestSpan<'s> {
    spans: &'s RequestSpans,
    tenant: &'s TenantId,
}

impl RequestSpans {
    /// A session of the tenant that starts before the result is dropped belongs to the current span.
    pub fn enter<'s>(&'s self, tenant: &'s TenantId) -> RequestSpan<'s> {
        self.lock().insert(tenant.clone(), Span::current());
        RequestSpan { spans: self, tenant }
    }

    /// The span of the newest request, or none.
    pub fn of(&self, tenant: &TenantId) -> Span {
        self.lock().get(tenant).cloned().unwrap_or_else(Span::none)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Span>> {
        // Nothing under this lock can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RequestSpan<'_> {
    fn drop(&mut self) {
        self.spans.lock().remove(self.tenant);
    }
}
