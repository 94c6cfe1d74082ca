use crate::{
    events::{PhoneNumber, Shown},
    store::{StoreError, Stores, Wish},
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
    pub fn new(stores: Stores) -> Self {
        Self { stores }
    }

    /// Starts or resumes the tenant's session; asked twice it is one session. Answers the present, which already says
    /// `connecting` or further.
    pub async fn connect(&self, tenant: &TenantId, phone: Option<PhoneNumber>) -> Result<Shown, SessionError> {
        self.stores.roster.want(tenant, Wish::Run { phone }).await?;
        self.stores.journal.latest(tenant).await?.ok_or(SessionError::NoCapacity)
    }

    /// Unlinks, or gives up the pairing under way; asked twice it is done once. Answers the present, `None` if there
    /// never was a session.
    pub async fn disconnect(&self, tenant: &TenantId) -> Result<Option<Shown>, SessionError> {
        self.stores.roster.want(tenant, Wish::Unlink).await?;
        Ok(self.stores.journal.latest(tenant).await?)
    }
}
