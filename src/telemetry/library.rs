use log::{Level, LevelFilter, Log, Metadata, Record};

/// Takes the records of libraries that log through `log`, the WhatsApp library's above all: it prints phone numbers, refs
/// and pair codes at info and whole stanzas at debug. No setting opens this filter: a warning or an error is told without
/// its text, everything else is dropped.
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
        match record.level() {
            Level::Error => tracing::error!(module, line, "a library reported an error"),
            Level::Warn => tracing::warn!(module, line, "a library reported a warning"),
            Level::Info | Level::Debug | Level::Trace => {}
        }
    }

    fn flush(&self) {}
}
