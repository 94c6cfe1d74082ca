use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::error::Code;

/// Logs failed authentication: the first of a code at once, then how many came in ten seconds. Without a line an
/// operator does not see that tokens are tried; with one for each, a client could fill the disk.
#[derive(Default)]
pub(super) struct Refusals {
    /// For each code that had a log line in the last ten seconds: the refusals since then, which are not logged yet.
    unlogged: Mutex<HashMap<&'static str, (Code, u64)>>,
}

impl Refusals {
    pub fn add(&self, code: Code) {
        let mut unlogged = self.unlogged.lock().unwrap_or_else(PoisonError::into_inner);
        match unlogged.get_mut(code.as_str()) {
            Some((_, count)) => *count += 1,
            None => {
                unlogged.insert(code.as_str(), (code, 0));
                write(code, 1);
            }
        }
    }

    /// Logs the counts since the last call. Called every ten seconds.
    pub fn flush(&self) {
        let mut unlogged = self.unlogged.lock().unwrap_or_else(PoisonError::into_inner);
        unlogged.retain(|_, (_, count)| *count > 0);
        for (code, count) in unlogged.values_mut() {
            write(*code, std::mem::take(count));
        }
    }
}

fn write(code: Code, refused: u64) {
    let (word, message) = (code.as_str(), "authentication failed");
    match code {
        // Ordinary: a page that is opened before its user signs in, or left open, or whose user was signed out.
        Code::MissingToken | Code::ExpiredToken | Code::TokenRevoked => {
            tracing::info!(code = word, refused, "{message}")
        }
        _ => tracing::warn!(code = word, refused, "{message}"),
    }
}
