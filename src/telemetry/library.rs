use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::Sampled;

/// A place in a library's code from which records come: its module and line.
type CallSite = (String, Option<u32>);

/// The lines of the log for each place. There are as many places as the libraries have, and what WhatsApp or a contact
/// sends decides how often one of them has something to say.
static CALL_SITES: LazyLock<Mutex<HashMap<CallSite, Sampled>>> = LazyLock::new(Mutex::default);

/// How many were left out before this one; `None`: this one is left out too.
fn take_line(call_site: CallSite) -> Option<u64> {
    CALL_SITES.lock().unwrap_or_else(PoisonError::into_inner).entry(call_site).or_default().take()
}

/// Takes the records of libraries that log through `log`, the WhatsApp library's above all: it prints phone numbers,
/// refs and pair codes at info and whole stanzas at debug. No setting opens this filter: a warning or an error is
/// logged without its text, everything else is dropped.
struct Filter;

static FILTER: Filter = Filter;

pub(super) fn install() {
    if log::set_logger(&FILTER).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

impl Log for Filter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        let (module, line) = (record.module_path().unwrap_or_default(), record.line());
        if record.level() > Level::Warn {
            return;
        }
        let Some(unlogged) = take_line((module.to_owned(), line)) else { return };
        if record.level() == Level::Error {
            tracing::error!(module, line, unlogged, "a library reported an error");
        } else {
            tracing::warn!(module, line, unlogged, "a library reported a warning");
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn repeated_record_has_one_line_in_ten_seconds() {
        let (one, other) = (("a::b".to_owned(), Some(1)), ("a::b".to_owned(), Some(2)));
        assert_eq!(take_line(one.clone()), Some(0));
        for _ in 0..500 {
            assert_eq!(take_line(one.clone()), None);
        }
        assert_eq!(take_line(other), Some(0), "another place has lines of its own");
        tokio::time::advance(std::time::Duration::from_secs(10)).await;
        assert_eq!(take_line(one), Some(500));
    }
}
