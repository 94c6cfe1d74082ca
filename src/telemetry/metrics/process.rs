use std::{fmt::Write as _, fs};

use rustix::process::{Resource, getrlimit};

use super::PROCESS;
use crate::clock::Timestamp;

/// The kernel counts CPU time for processes in hundredths of a second on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends what the kernel says of this process now. The recorder has no counter with fractions, which CPU time is. What
/// cannot be read is left out.
pub fn write(out: &mut String, began: Timestamp) {
    let values = [
        resident_bytes(),
        cpu_seconds(),
        open_descriptors(),
        getrlimit(Resource::Nofile).current.map(|max| max as f64),
        Some(began.as_millisecond() as f64 / 1_000.0),
    ];
    for (metric, value) in PROCESS.iter().zip(values) {
        let Some(value) = value else { continue };
        let (name, kind, help) = (metric.name, metric.kind.as_str(), metric.help());
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
            .expect("writing into a string cannot fail");
    }
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0)
}

/// The fields behind the program's name, which may hold spaces, are the third and following (proc_pid_stat(5)).
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND)
}

/// Without the one that reads the list.
fn open_descriptors() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_this_process_are_read_from_the_kernel() {
        let _file = tempfile::tempfile().unwrap();
        let mut text = String::new();
        write(&mut text, Timestamp::from_second(1_790_000_000).unwrap());
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 4.0 && value("process_open_fds") <= value("process_max_fds"));
        assert!(value("process_start_time_seconds") == 1.79e9);
        let before = value("process_cpu_seconds_total");
        let mut spun = 0_u64;
        while cpu_seconds().unwrap() < before + 0.05 {
            spun = std::hint::black_box(spun.wrapping_add(1));
        }
    }
}
