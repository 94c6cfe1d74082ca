use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use clap::ArgMatches;
use tokio::time::sleep;

use crate::{
    arguments::{Common, count},
    listen::publish,
    opening::{Counts, open, read_all},
    process,
    report::Report,
};

/// Of a reader that never reads: the least that Linux gives.
const RECEIVE_BUFFER_BYTES: u32 = 4096;

pub async fn run(arguments: &ArgMatches) -> Result<(), String> {
    let common = Rc::new(Common::read(arguments)?);
    let (port, stalled) = (common.target.address.port(), count(arguments, "stalled"));
    let rss = || common.watched.iter().map(process::Watched::rss_bytes).sum::<Result<u64, _>>();
    let counts = Rc::<RefCell<Counts>>::default();
    read_all(open(&common, common.streams, None).await?.streams, &counts);
    sleep(Duration::from_secs(1)).await;
    let before = rss()?;
    let kernel_before = process::socket_bytes(port);
    // Held, never read.
    let opened = open(&common, stalled, Some(RECEIVE_BUFFER_BYTES)).await?;
    let failed = Rc::<RefCell<usize>>::default();
    publish(&common, arguments, &failed);
    counts.take();

    let (began, mut cut_after, mut most, mut kernel_most) = (Instant::now(), None, before, kernel_before);
    while began.elapsed() < common.time {
        sleep(Duration::from_secs(1)).await;
        most = most.max(rss()?);
        kernel_most = kernel_most.max(process::socket_bytes(port));
        // The readers' own connections stay.
        if cut_after.is_none() && process::established(port).is_some_and(|open| open <= common.streams) {
            cut_after = Some(began.elapsed().as_secs());
        }
    }
    let mut heard = counts.take();
    let left = process::established(port).map(|open| open.saturating_sub(common.streams));
    drop(opened);
    let mut report = Report::new(common.json);
    report.put("readers", common.streams);
    report.put("stalled", stalled);
    report.put("stalled_left", left);
    report.put("all_cut_after_s", cut_after);
    report.put("rss_growth_bytes", most - before);
    report.put("socket_bytes_before", kernel_before);
    report.put("socket_bytes_most", kernel_most);
    report.put("deliveries_to_readers", heard.stamped);
    report.put_number("events_per_second", heard.stamped as f64 / common.streams as f64 / common.time.as_secs_f64());
    report.put_delays("delivery", &mut heard.delays);
    report.put("readers_ended", heard.ended);
    report.put("posts_failed", *failed.borrow());
    report.print();
    Ok(())
}
