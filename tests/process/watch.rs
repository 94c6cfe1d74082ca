//! A page that stays open: it follows the stream with curl, and opens another one after each end, as EventSource does.

use std::{
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::RecvTimeoutError,
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use serde_json::Value;
use tautan_test_support::{DEADLINE, Frame};

use crate::printed::Printed;

const PAUSE: Duration = Duration::from_millis(200);

#[derive(Clone, Debug)]
pub struct Seen {
    pub id: Option<String>,
    pub data: Value,
}

/// What the page was sent since it was opened.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Each `connection-status`, in order.
    pub statuses: Vec<Seen>,
    /// Streams that were opened.
    pub opened: usize,
    /// Requests for a stream that were answered otherwise, or not at all.
    pub refused: usize,
}

pub struct Watch {
    watched: Arc<Mutex<Watched>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// `curl`: its arguments, which name the stream and the token.
    pub fn start(curl: Vec<String>) -> Self {
        let (watched, ends) = (Arc::<Mutex<Watched>>::default(), Arc::<AtomicBool>::default());
        let page = Page { curl, watched: watched.clone(), ends: ends.clone(), last_id: None };
        Self { watched, ends, thread: Some(std::thread::spawn(|| page.follow())) }
    }

    /// What was sent up to now.
    pub fn watched(&self) -> Watched {
        self.watched.lock().expect("the page does not panic").clone()
    }

    /// What was sent until its newest status is this one, and true.
    #[track_caller]
    pub fn until_newest(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Watched {
        let until = Instant::now() + DEADLINE;
        loop {
            let watched = self.watched();
            if watched.statuses.last().is_some_and(|seen| seen.data["stale"] == false && wanted(seen)) {
                return watched;
            }
            assert!(Instant::now() < until, "{what} is not sent, but {watched:#?}");
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "the page panicked");
    }
}

struct Page {
    curl: Vec<String>,
    watched: Arc<Mutex<Watched>>,
    ends: Arc<AtomicBool>,
    last_id: Option<String>,
}

impl Page {
    fn follow(mut self) {
        while !self.ends.load(Ordering::Relaxed) {
            let mut command = Command::new("curl");
            command.args(["--no-buffer", "--silent", "--include"]).args(&self.curl);
            if let Some(id) = &self.last_id {
                command.args(["--header", &format!("last-event-id: {id}")]);
            }
            let stream = Printed::by(&mut command).expect("curl runs");
            self.read(&stream);
            drop(stream);
            sleep(PAUSE);
        }
    }

    /// One stream, to its end.
    fn read(&mut self, stream: &Printed) {
        let (mut is_open, mut in_headers, mut frame) = (None, false, Vec::new());
        while !self.ends.load(Ordering::Relaxed) {
            let line = match stream.next(PAUSE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if line.starts_with("HTTP/") {
                is_open = Some(line.split(' ').nth(1) == Some("200"));
                self.opened(is_open);
                in_headers = true;
            } else if in_headers {
                in_headers = !line.is_empty();
            } else if is_open != Some(true) {
                // The body of a refusal.
            } else if line.is_empty() {
                self.received(Frame::read(&frame.join("\n")));
                frame.clear();
            } else {
                frame.push(line);
            }
        }
        if is_open.is_none() && !self.ends.load(Ordering::Relaxed) {
            self.opened(None);
        }
    }

    fn received(&mut self, frame: Frame) {
        let Frame::Event(event) = frame else { return };
        self.last_id = event.id.clone().or_else(|| self.last_id.take());
        if event.name == "connection-status" {
            let seen = Seen { id: event.id, data: event.data };
            self.watched.lock().expect("no reader panics").statuses.push(seen);
        }
    }

    fn opened(&self, answer: Option<bool>) {
        let mut watched = self.watched.lock().expect("no reader panics");
        if answer == Some(true) { watched.opened += 1 } else { watched.refused += 1 }
    }
}

/// Asks for the status again and again, as pages that are opened do.
pub struct Requests {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

impl Requests {
    /// `curl`: its arguments, which name the status and the token.
    pub fn start(curl: Vec<String>) -> Self {
        let ends = Arc::<AtomicBool>::default();
        let until = ends.clone();
        let thread = std::thread::spawn(move || {
            let (mut answered, mut failed) = (0, Vec::new());
            while !until.load(Ordering::Relaxed) {
                let asked = Command::new("curl").args(["--silent", "--show-error", "--fail"]).args(&curl).output();
                let asked = asked.expect("curl runs");
                match asked.status.success() {
                    true => answered += 1,
                    false => failed.push(String::from_utf8_lossy(&asked.stderr).into_owned()),
                }
                sleep(PAUSE / 4);
            }
            (answered, failed)
        });
        Self { ends, thread }
    }

    /// How many were answered, and what was said of the others.
    pub fn end(self) -> (usize, Vec<String>) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("the requests do not panic")
    }
}
