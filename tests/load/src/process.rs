use std::{fs, time::Duration};

/// Of `/proc/PID/stat`; Linux gives user programs this number whatever its own is.
const TICKS_PER_SECOND: u64 = 100;

/// A process whose memory and CPU are measured.
#[derive(Clone)]
pub struct Watched {
    pub name: String,
    pid: u32,
}

impl Watched {
    /// `NAME=PID`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, pid) = text.split_once('=').ok_or("--pid is NAME=PID")?;
        let pid = pid.parse().map_err(|_| format!("--pid: {pid} is no process id"))?;
        Ok(Self { name: name.to_owned(), pid })
    }

    /// Time on a CPU until now, in the program and in the kernel.
    pub fn cpu(&self) -> Result<Duration, String> {
        let stat = self.read("stat")?;
        // The name in parentheses may have spaces.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let (user, kernel) =
            ticks(11).zip(ticks(12)).ok_or_else(|| format!("/proc/{}/stat cannot be read", self.pid))?;
        Ok(Duration::from_millis((user + kernel) * 1000 / TICKS_PER_SECOND))
    }

    /// Memory that is resident now.
    pub fn rss_bytes(&self) -> Result<u64, String> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.ok_or_else(|| format!("/proc/{}/status has no VmRSS", self.pid))? * 1024)
    }

    fn read(&self, file: &str) -> Result<String, String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid))
            .map_err(|error| format!("process {} ({}): {error}", self.name, self.pid))
    }
}

/// CPU of all of them at one moment.
pub fn cpu(watched: &[Watched]) -> Result<Vec<Duration>, String> {
    watched.iter().map(Watched::cpu).collect()
}

/// What the kernel holds for the sockets of the server on this port, in bytes, as `ss` counts it: received, queued to
/// send, reserved, and waiting in the backlog. `None`: there is no `ss`.
pub fn socket_bytes(port: u16) -> Option<u64> {
    let filter = format!(":{port}");
    let answer =
        std::process::Command::new("ss").args(["-tmnH", "state", "all", "sport", "=", &filter]).output().ok()?;
    Some(String::from_utf8_lossy(&answer.stdout).split("skmem:(").skip(1).map(one_socket).sum())
}

/// How many connections to this port are open at the server's side. `None`: there is no `ss`.
pub fn established(port: u16) -> Option<usize> {
    let filter = format!(":{port}");
    let answer =
        std::process::Command::new("ss").args(["-tnH", "state", "established", "sport", "=", &filter]).output();
    Some(String::from_utf8_lossy(&answer.ok()?.stdout).lines().count())
}

fn one_socket(text: &str) -> u64 {
    let inside = text.split(')').next().unwrap_or_default();
    let value = |field: &str| {
        let digits = field.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let name = &field[..field.len() - digits.len()];
        if ["r", "f", "w", "o", "bl"].contains(&name) { digits.parse().unwrap_or(0) } else { 0 }
    };
    inside.split(',').map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_socket_is_what_is_held_not_what_may_be() {
        assert_eq!(one_socket("r10,rb131072,t5,tb32768,f200,w3000,o40000,bl500000,d7) cubic"), 543_210);
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let this = Watched::parse(&format!("me={}", std::process::id())).unwrap();
        assert!(this.rss_bytes().unwrap() > 100_000);
        assert!(this.cpu().is_ok());
        assert!(Watched::parse("me").is_err() && Watched::parse("me=x").is_err());
    }
}
