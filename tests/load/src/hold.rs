use std::{cell::RefCell, rc::Rc, time::Duration};

use clap::ArgMatches;
use tokio::time::sleep;

use crate::{
    arguments::Common,
    opening::{Counts, open, read_all},
    process,
    report::Report,
};

/// The pause before memory is measured: opening a stream takes memory that is freed a moment later.
const SETTLE: Duration = Duration::from_secs(3);

pub async fn run(arguments: &ArgMatches) -> Result<(), String> {
    let common = Rc::new(Common::read(arguments)?);
    let rss = || common.watched.iter().map(process::Watched::rss_bytes).collect::<Result<Vec<_>, _>>();
    let (mut report, before) = (Report::new(common.json), rss()?);
    let mut opened = open(&common, common.streams, None).await?;
    let counts = Rc::<RefCell<Counts>>::default();
    read_all(opened.streams, &counts);
    sleep(SETTLE).await;

    let (cpu, settled) = (process::cpu(&common.watched)?, rss()?);
    let first = counts.take();
    sleep(common.time).await;
    let (seconds, idle) = (common.time.as_secs_f64(), counts.take());
    report.put("streams", common.streams);
    report.put_number("opens_per_second", common.streams as f64 / opened.took.as_secs_f64());
    report.put_delays("open", &mut opened.delays);
    for (at, process) in common.watched.iter().enumerate() {
        let name = &process.name;
        let bytes = settled[at].saturating_sub(before[at]) as f64;
        report.put(format!("{name}_rss_before_bytes"), before[at]);
        report.put(format!("{name}_rss_bytes"), settled[at]);
        report.put_number(format!("{name}_bytes_per_stream"), bytes / common.streams as f64);
        let opens = common.streams as f64 / opened.cpu[at].as_secs_f64().max(0.01);
        report.put_number(format!("{name}_opens_per_cpu_second"), opens);
        let used = process.cpu()?.saturating_sub(cpu[at]).as_secs_f64();
        report.put_number(format!("{name}_idle_cpu_percent"), used / seconds * 100.0);
    }
    report.put_number("idle_events_per_second", idle.events as f64 / seconds);
    report.put_number("idle_bytes_per_event", idle.bytes as f64 / idle.events.max(1) as f64);
    report.put("ended", first.ended + idle.ended);
    report.print();
    Ok(())
}
