//! The resources that a process uses.

use std::{fmt, fs, time::Duration};

use tokio::time::{Instant, sleep};

/// Threads that blocked end after 10 s without work, connections of clients when those are gone.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    memory_kib: u64,
    descriptors: usize,
    threads: usize,
}

impl Measured {
    fn now(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says so");
        let memory = line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
        let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).expect("it runs").count();
        Self { memory_kib: memory, descriptors: count("fd"), threads: count("task") }
    }

    /// Once descriptors and threads have stayed the same for some seconds.
    pub async fn at_rest(pid: u32) -> Self {
        let (begun, mut last, mut same_since) = (Instant::now(), Self::now(pid), Instant::now());
        while begun.elapsed() < SETTLES_WITHIN && same_since.elapsed() < Duration::from_secs(12) {
            sleep(Duration::from_millis(500)).await;
            let now = Self::now(pid);
            if (now.descriptors, now.threads) != (last.descriptors, last.threads) {
                same_since = Instant::now();
            }
            last = now;
        }
        last
    }

    /// Descriptors and threads come and go with what is under way; what is at rest needs as many as before.
    pub fn is_no_more_than(&self, before: &Self, memory_growth_max: f64) {
        let grown = self.memory_kib as f64 / before.memory_kib as f64;
        println!("memory is {grown:.3} times what it was after the warm-up");
        assert!(self.descriptors <= before.descriptors, "{self}, after the warm-up {before}");
        assert!(self.threads <= before.threads, "{self}, after the warm-up {before}");
        assert!(grown <= memory_growth_max, "{self}, after the warm-up {before}");
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory_kib, descriptors, threads } = self;
        write!(f, "{memory_kib} KiB, {descriptors} descriptors, {threads} threads")
    }
}
