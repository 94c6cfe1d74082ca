//! `tautan erase`: unlinks a tenant and removes all its data.

use std::{
    io::{self, Read},
    process::ExitCode,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Seams, StartError, backend::Backend, build::sessions, chain};
use crate::{
    clock,
    config::{self, Config},
    session::{EraseError, Erased},
    store::embedded::{self, Directory, OpenError},
    tenant::{InvalidTenant, LENGTH_MAX, TenantId},
};

/// Time for the session to end: an unlink waits up to 10 s for WhatsApp, and an owner that dies is noticed after 8 s.
const SESSION_TIME_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub(super) enum NoTenant {
    #[error("standard input cannot be read")]
    Unread(#[source] io::Error),
    #[error("standard input is empty: write the tenant's name to it")]
    Empty,
    #[error("standard input is no tenant's name")]
    Invalid(#[from] InvalidTenant),
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Erase(#[from] EraseError),
}

/// The name is not an argument, which other users of the machine could read in the list of processes.
pub(super) fn tenant(input: impl Read) -> Result<TenantId, NoTenant> {
    let mut text = String::new();
    // With room for the end of the line. A longer text is no tenant's name.
    input.take(LENGTH_MAX as u64 + 3).read_to_string(&mut text).map_err(NoTenant::Unread)?;
    let name = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if name.is_empty() { Err(NoTenant::Empty) } else { Ok(TenantId::parse(name)?) }
}

pub(super) async fn run(config: Config, seams: Seams, tenant: TenantId) -> ExitCode {
    report(erase(config, seams, &tenant).await)
}

async fn erase(config: Config, mut seams: Seams, tenant: &TenantId) -> Result<Erased, Failed> {
    let Config { data_dir, mut store, mut session, whatsapp, .. } = config;
    let is_embedded = match &mut store {
        config::Store::Embedded { .. } => true,
        config::Store::Redis(settings) => {
            // Other instances leave no session to this process.
            settings.sessions_max = Some(0);
            false
        }
    };
    if is_embedded && !Directory::holds_store(&data_dir) {
        // A wrong directory: an empty store would be made there, and nothing erased.
        return Err(StartError::from(OpenError::NoStore(data_dir)).into());
    }
    session.sessions_max = None;
    let session_time_max = SESSION_TIME_MAX.mul_f32(seams.patience.unwrap_or(1.0));
    let clock = clock::system();
    let backend = Backend::open(store, &data_dir, seams.on_commit.take(), clock.clone()).await?;
    let (stores, stop) = (backend.stores(), CancellationToken::new());
    let sessions = sessions(&stores, whatsapp, session, seams, &clock, stop.clone());
    let erased = match sessions {
        Ok(sessions) => {
            let erased = sessions.erase(tenant, session_time_max).await;
            stop.cancel();
            sessions.closed().await;
            erased.map_err(Failed::from)
        }
        Err(refused) => Err(StartError::from(refused).into()),
    };
    backend.close().await;
    if is_embedded && erased.is_ok() {
        // The handles of the file end with the last of these.
        drop((stores, backend));
        embedded::rewrite(&data_dir).map_err(StartError::from)?;
    }
    erased
}

fn report(erased: Result<Erased, Failed>) -> ExitCode {
    match erased {
        Ok(Erased::Fully) => println!("erased: nothing of the tenant is stored any more"),
        Ok(Erased::StillListed) => println!(
            "erased: nothing of the tenant is stored any more. WhatsApp could not be told: remove the device on the phone"
        ),
        Ok(Erased::Unknown) => println!("nothing of the tenant was stored"),
        Err(error) => {
            eprintln!("tautan cannot erase: {}", chain(&error));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_is_read_with_any_end_of_line() {
        let long = "x".repeat(LENGTH_MAX);
        for name in ["toko-sari", "auth0|5f7c", "%2F", "{/}", "'\"\\`$(rm)", &long] {
            for end in ["", "\n", "\r\n"] {
                assert_eq!(tenant(format!("{name}{end}").as_bytes()).unwrap().as_str(), name);
            }
        }
        for empty in ["", "\n", "\r\n"] {
            assert!(matches!(tenant(empty.as_bytes()), Err(NoTenant::Empty)), "{empty:?}");
        }
        for wrong in ["a b", "a\nb", "a\n\n", " a", "\u{f6}", &format!("{long}x"), &format!("{long}xxxx")] {
            assert!(matches!(tenant(wrong.as_bytes()), Err(NoTenant::Invalid(_))), "{wrong:?}");
        }
        assert!(matches!(tenant(&[0xff][..]), Err(NoTenant::Unread(_))));
    }
}
