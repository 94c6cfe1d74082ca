use std::{cell::RefCell, rc::Rc, time::Duration};

use clap::ArgMatches;
use tokio::{
    task::spawn_local,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    arguments::{Common, count, word},
    frames::STAMP,
    opening::{Counts, open, read_all},
    process,
    report::Report,
    token::since_1970,
};

const SETTLE: Duration = Duration::from_secs(2);
/// A publisher posts one after the other; so many of them share the rate.
const PUBLISHERS: usize = 8;

pub async fn run(arguments: &ArgMatches) -> Result<(), String> {
    let common = Rc::new(Common::read(arguments)?);
    let mut report = Report::new(common.json);
    let mut opened = open(&common, common.streams, None).await?;
    let counts = Rc::<RefCell<Counts>>::default();
    read_all(opened.streams, &counts);
    let failed = Rc::<RefCell<usize>>::default();
    publish(&common, arguments, &failed);
    sleep(SETTLE).await;

    let cpu = process::cpu(&common.watched)?;
    counts.take();
    sleep(common.time).await;
    let (seconds, mut heard) = (common.time.as_secs_f64(), counts.take());
    report.put("streams", common.streams);
    report.put("tenants", common.tenants);
    report.put_delays("open", &mut opened.delays);
    report.put("deliveries", heard.stamped);
    report.put_number("deliveries_per_second", heard.stamped as f64 / seconds);
    report.put_number("bytes_per_delivery", heard.stamped_bytes as f64 / heard.stamped.max(1) as f64);
    report.put_delays("delivery", &mut heard.delays);
    for (process, before) in common.watched.iter().zip(cpu) {
        let used = process.cpu()?.saturating_sub(before).as_secs_f64();
        report.put_number(format!("{}_cpu_percent", process.name), used / seconds * 100.0);
        let each = used / heard.stamped.max(1) as f64;
        report.put_number(format!("{}_cpu_s_per_100k_deliveries", process.name), each * 100_000.0);
    }
    report.put("ended", heard.ended);
    report.put("posts_failed", *failed.borrow());
    report.print();
    if heard.stamped == 0 {
        return Err("no event with a stamp was read".to_owned());
    }
    Ok(())
}

/// Posts events to the tenants in turn, for as long as the program runs.
pub fn publish(common: &Rc<Common>, arguments: &ArgMatches, failed: &Rc<RefCell<usize>>) {
    let (rate, bytes) = (count(arguments, "rate"), count(arguments, "bytes"));
    let publishers = PUBLISHERS.min(rate);
    for publisher in 0..publishers {
        let (common, failed) = (common.clone(), failed.clone());
        let path = word(arguments, "publish-path").to_owned();
        let mut ticks = interval(Duration::from_secs_f64(publishers as f64 / rate as f64));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        spawn_local(async move {
            let mut tenant = publisher;
            loop {
                ticks.tick().await;
                let body = stamped(bytes);
                let posted = common.target.post(&path, tenant % common.tenants, &body).await;
                *failed.borrow_mut() += usize::from(!posted.is_ok_and(|status| (200..300).contains(&status)));
                tenant += publishers;
            }
        });
    }
}

/// A body of about so many bytes that says when it was made.
pub fn stamped(bytes: usize) -> String {
    let stamp = String::from_utf8_lossy(STAMP);
    let begin = format!(r#"{{"status":"connected","name":"{stamp}{:016}","pad":""#, since_1970().as_micros());
    let pad = bytes.saturating_sub(begin.len() + 2);
    format!(r#"{begin}{:x<pad$}"}}"#, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::stamp;

    #[test]
    fn stamped_body_has_its_size_and_its_time() {
        let body = stamped(300);
        assert_eq!(body.len(), 300);
        let age = since_1970() - Duration::from_micros(stamp(body.as_bytes()).unwrap());
        assert!(age < Duration::from_secs(10), "{age:?}");
        assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
    }
}
