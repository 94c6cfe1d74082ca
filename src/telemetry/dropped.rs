use std::{thread, time::Duration};

use tracing_appender::non_blocking::ErrorCounter;

const EVERY: Duration = Duration::from_secs(10);

/// Reports lines that did not fit, from a thread that lives as long as the process.
pub fn report(counter: ErrorCounter) {
    let watch = move || {
        let mut reported = 0;
        loop {
            thread::sleep(EVERY);
            let dropped = counter.dropped_lines();
            if dropped > reported {
                tracing::warn!(lines = dropped - reported, "log lines were dropped, the log's reader is too slow");
                // This line may have been dropped as well.
                if counter.dropped_lines() == dropped {
                    reported = dropped;
                }
            }
        }
    };
    // Without the thread nothing but this report is missing.
    let _ = thread::Builder::new().name("log-dropped".into()).spawn(watch);
}
