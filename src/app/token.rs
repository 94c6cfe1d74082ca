//! `tautan token`: prints a token that the service accepts, to try things out with curl.

use std::{fs, io, path::PathBuf, process::ExitCode, time::Duration};

use super::{chain, local};
use crate::{
    auth::Minter,
    clock,
    config::{Config, Mode},
    store::embedded::SIGN_IN_FILE,
    tenant::TenantId,
};

#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("no key to sign with: a public key and a key set only check tokens. Your SaaS product signs them")]
    NoSecret,
    #[error("{} cannot be read; local mode makes it when the service starts", .path.display())]
    SignInKey {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Standard output has only the token, so that a shell can use it: `curl -H "Authorization: Bearer $(…)"`.
pub(super) fn run(config: &Config, tenant: &TenantId, lifetime: Duration) -> ExitCode {
    match minter(config) {
        Ok(minter) => {
            println!("{}", minter.mint(tenant, clock::system().now(), lifetime));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tautan cannot make a token: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn minter(config: &Config) -> Result<Minter, TokenError> {
    match &config.mode {
        Mode::Tokens(settings) => Minter::new(settings).ok_or(TokenError::NoSecret),
        Mode::Local => {
            let path = config.data_dir.join(SIGN_IN_FILE);
            // Never created here: the service would refuse to start with a key and without a store.
            let key = fs::read_to_string(&path).map_err(|source| TokenError::SignInKey { path, source })?;
            Minter::new(&local::auth_settings(&key)).ok_or(TokenError::NoSecret)
        }
    }
}
