use std::{fs, net::SocketAddr, path::Path};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::StartError;
use crate::{
    auth::{self, KeySource, Minter, Secret},
    http::LocalSignIn,
    store::{crypt::MasterKey, embedded::SIGN_IN_FILE},
    tenant::TenantId,
};

const TENANT: &str = "local";

/// What local mode adds: its own tokens, and the link that gives one out once.
pub(super) struct Local {
    pub auth: auth::Settings,
    pub sign_in: LocalSignIn,
    pub url: String,
}

/// The tokens of local mode, signed with the secret in its file.
pub(super) fn auth_settings(file: &str) -> auth::Settings {
    auth::Settings { keys: vec![KeySource::Secret(Secret::new(file.trim()))], ..auth::Settings::default() }
}

pub(super) fn local(data_dir: &Path, address: SocketAddr) -> Result<Local, StartError> {
    let path = data_dir.join(SIGN_IN_FILE);
    // Made and checked like an encryption key: 32 random bytes in a file for its owner only.
    MasterKey::load_or_create(&path).map_err(StartError::Key)?;
    let text = fs::read_to_string(&path).map_err(|source| StartError::SignInKey { path, source })?;
    let auth = auth_settings(&text);
    let minter = Minter::new(&auth).expect("there is a secret among the keys");
    let tenant = TenantId::parse(TENANT).expect("the name is a good one");
    let code = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>());
    let url = format!("http://{address}/local/sign-in?code={code}");
    Ok(Local { auth, sign_in: LocalSignIn::new(&code, minter, tenant), url })
}
