use std::fmt::Write as _;

use crate::{
    events::PhoneNumber,
    store::{
        StoreError,
        crypt::NUMBER_TABLE,
        redis::{
            Shared, random_name, schema,
            script::{Call, NUMBER},
        },
    },
};

impl Shared {
    /// False: the number has had as many pairing codes as it may.
    pub async fn count_code(&self, number: &PhoneNumber) -> Result<bool, StoreError> {
        self.tasks.check_open()?;
        let hash = self.keys.own().row(NUMBER_TABLE, number.as_str().as_bytes());
        let mut name = String::with_capacity(2 * hash.len());
        hash.iter().for_each(|byte| write!(name, "{byte:02x}").expect("writing into a string cannot fail"));
        let limit = self.limits.number_codes;
        let call = Call::on_keys(&NUMBER, [schema::number(&name)]).arg(random_name());
        let counted: u8 = self.connections.call_with_retries(&call.arg(limit.count()).arg(limit.per_ms())).await?;
        Ok(counted == 1)
    }
}
