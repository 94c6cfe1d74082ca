use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use clap::ArgMatches;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    arguments::{Common, count, word},
    client::Stream,
    opening::{Counts, open, read_all},
    process,
    report::{Delays, Report},
};

const CODE_TIME_MAX: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_millis(500);

/// Asks for a link and ends it again, with one stream that waits for what comes of it, and others that only read.
pub async fn run(arguments: &ArgMatches) -> Result<(), String> {
    let common = Rc::new(Common::read(arguments)?);
    let (rounds, wanted) = (count(arguments, "rounds"), word(arguments, "until").as_bytes());
    let readers = open(&common, count(arguments, "readers"), None).await?.streams;
    let counts = Rc::<RefCell<Counts>>::default();
    read_all(readers, &counts);
    let mut stream = Stream::open(&common.target, 0, 0, None).await?;
    let (mut waits, mut answers) = (Delays::default(), Delays::default());
    let (cpu, began) = (process::cpu(&common.watched)?, Instant::now());
    for _ in 0..rounds {
        let asked = Instant::now();
        let post = async {
            let status = common.target.post("/api/whatsapp/connect", 0, "{}").await?;
            answers.add(asked.elapsed());
            if (200..300).contains(&status) { Ok(()) } else { Err(format!("connect: status {status}")) }
        };
        let (posted, code) = tokio::join!(post, until(&mut stream, |event| contains(event, wanted)));
        posted?;
        code?;
        waits.add(asked.elapsed());
        common.target.post("/api/whatsapp/disconnect", 0, "{}").await?;
        until(&mut stream, |event| contains(event, br#""status":"disconnected""#)).await?;
    }
    let took = began.elapsed();
    settled(&counts).await;
    let mut report = Report::new(common.json);
    report.put("rounds", rounds);
    report.put("events_to_readers", counts.borrow().events);
    report.put("readers_ended", counts.borrow().ended);
    report.put_number("rounds_per_second", rounds as f64 / took.as_secs_f64());
    report.put_delays("answer", &mut answers);
    report.put_delays("wait", &mut waits);
    for (process, before) in common.watched.iter().zip(cpu) {
        let used = process.cpu()?.saturating_sub(before).as_secs_f64();
        report.put_number(format!("{}_cpu_s_per_1000_rounds", process.name), used * 1000.0 / rounds.max(1) as f64);
    }
    report.print();
    Ok(())
}

/// Waits until the readers have read what is under way.
async fn settled(counts: &Rc<RefCell<Counts>>) {
    let mut before = u64::MAX;
    while counts.borrow().events != before {
        before = counts.borrow().events;
        sleep(SETTLE).await;
    }
}

/// Asks for a link for each tenant.
pub async fn connect(arguments: &ArgMatches) -> Result<(), String> {
    let common = Rc::new(Common::read(arguments)?);
    let (next, failed) = (Rc::new(Cell::new(0)), Rc::<RefCell<Vec<String>>>::default());
    let mut posters = JoinSet::new();
    for _ in 0..common.at_once.min(common.tenants) {
        let (common, next, failed) = (common.clone(), next.clone(), failed.clone());
        posters.spawn_local(async move {
            while next.get() < common.tenants {
                let tenant = next.replace(next.get() + 1);
                match common.target.post("/api/whatsapp/connect", tenant, "{}").await {
                    Ok(200..300) => {}
                    Ok(status) => failed.borrow_mut().push(format!("status {status}")),
                    Err(error) => failed.borrow_mut().push(error),
                }
            }
        });
    }
    while posters.join_next().await.is_some() {}
    let mut report = Report::new(common.json);
    report.put("tenants", common.tenants);
    report.print();
    match failed.borrow().first() {
        None => Ok(()),
        Some(first) => Err(format!("{} of {} were refused, the first: {first}", failed.borrow().len(), common.tenants)),
    }
}

async fn until(stream: &mut Stream, is_wanted: impl Fn(&[u8]) -> bool) -> Result<(), String> {
    let waited = timeout(CODE_TIME_MAX, async {
        let mut found = false;
        while !found {
            if stream.read(|event| found |= is_wanted(event)).await? == 0 {
                return Err("the stream ended".to_owned());
            }
        }
        Ok(())
    });
    waited.await.map_err(|_| format!("nothing came within {CODE_TIME_MAX:?}"))?
}

fn contains(event: &[u8], part: &[u8]) -> bool {
    event.windows(part.len()).any(|window| window == part)
}
