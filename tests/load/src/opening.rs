use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::{JoinSet, spawn_local};

use crate::{arguments::Common, client::Stream, frames::stamp, process, report::Delays, token::since_1970};

/// Streams that were opened together.
pub struct Opened {
    pub streams: Vec<Stream>,
    pub delays: Delays,
    pub took: Duration,
    /// CPU of each watched process meanwhile.
    pub cpu: Vec<Duration>,
}

/// Opens `count` streams, so many at the same time as the arguments say. An error: some were refused.
pub async fn open(common: &Rc<Common>, count: usize, receive_buffer: Option<u32>) -> Result<Opened, String> {
    let (next, streams, delays) =
        (Rc::new(Cell::new(0)), Rc::<RefCell<Vec<_>>>::default(), Rc::<RefCell<Delays>>::default());
    let refused = Rc::<RefCell<BTreeMap<String, usize>>>::default();
    let (before, began) = (process::cpu(&common.watched)?, Instant::now());
    let mut openers = JoinSet::new();
    for _ in 0..common.at_once.min(count) {
        let (common, next, streams, delays, refused) =
            (common.clone(), next.clone(), streams.clone(), delays.clone(), refused.clone());
        openers.spawn_local(async move {
            while next.get() < count {
                let number = next.replace(next.get() + 1);
                let asked = Instant::now();
                match Stream::open(&common.target, number, number % common.tenants, receive_buffer).await {
                    Ok(stream) => {
                        delays.borrow_mut().add(asked.elapsed());
                        streams.borrow_mut().push(stream);
                    }
                    Err(error) => *refused.borrow_mut().entry(error).or_default() += 1,
                }
            }
        });
    }
    while openers.join_next().await.is_some() {}
    let took = began.elapsed();
    let cpu = process::cpu(&common.watched)?.into_iter().zip(before).map(|(after, before)| after - before).collect();
    let refused = refused.take();
    if !refused.is_empty() {
        return Err(format!("{} of {count} streams were opened: {refused:?}", streams.borrow().len()));
    }
    Ok(Opened { streams: streams.take(), delays: delays.take(), took, cpu })
}

/// What all readers together have read.
#[derive(Default)]
pub struct Counts {
    pub bytes: u64,
    pub events: u64,
    /// Of these, events with a stamp.
    pub stamped: u64,
    pub stamped_bytes: u64,
    pub ended: usize,
    pub delays: Delays,
}

/// Reads all streams until the program ends; counts into `counts`.
pub fn read_all(streams: Vec<Stream>, counts: &Rc<RefCell<Counts>>) {
    for mut stream in streams {
        let counts = counts.clone();
        spawn_local(async move {
            loop {
                let read = stream.read(|event| {
                    let mut counts = counts.borrow_mut();
                    counts.events += 1;
                    if let Some(made) = stamp(event) {
                        counts.stamped += 1;
                        counts.stamped_bytes += event.len() as u64 + 2;
                        counts.delays.add(since_1970().saturating_sub(Duration::from_micros(made)));
                    }
                });
                match read.await {
                    Ok(0) | Err(_) => break,
                    Ok(bytes) => counts.borrow_mut().bytes += bytes as u64,
                }
            }
            counts.borrow_mut().ended += 1;
        });
    }
}
