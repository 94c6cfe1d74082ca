use crate::{
    events::{PhoneNumber, Shown},
    store::{StoreError, Stores},
    tenant::TenantId,
};

/// What may be asked of sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    stores: Stores,
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Every instance owns as many sessions as it may.
    #[error("no instance has room for another session")]
    NoCapacity,
}

impl Sessions {
    /// Starts or resumes the tenant's session; asked twice it is one session. Answers the present, which already says
    /// `connecting` or further.
    pub async fn connect(&self, tenant: &TenantId, phone: Option<PhoneNumber>) -> Result<Shown, SessionError> {
        let _ = (tenant, phone, &self.stores);
        Err(SessionError::NoCapacity)
    }

    /// Unlinks, or gives up the pairing under way; asked twice it is done once. Answers the present, `None` if there
    /// never was a session.
    pub async fn disconnect(&self, tenant: &TenantId) -> Result<Option<Shown>, SessionError> {
        let _ = (tenant, &self.stores);
        Ok(None)
    }
}
