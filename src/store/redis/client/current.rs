use std::{sync::Arc, time::Instant};

use super::{connection::Live, failure::Failure, server::Server, unusable::UnusableServer};

/// The connection that commands use, and what this process has seen of earlier ones.
#[derive(Default)]
pub struct Current {
    pub live: Option<Arc<Live>>,
    pub failed: Option<(Instant, Failure)>,
    /// Why the server is unusable, if that was logged. Logged again only after the server was usable.
    pub unusable: Option<UnusableServer>,
    /// The run of the server whose dangers were logged.
    pub warned: Option<String>,
    /// This process has had a connection.
    pub began: bool,
    /// The last run of the server, and the latest time at which it can have begun; `None`: not known.
    run: Option<(String, Option<Instant>)>,
}

impl Current {
    /// A server that replaces another may have run for long, but without the other's last writes: its run begins now. When a server
    /// that has followed another one was promoted, its answer does not say.
    pub fn began_at(&mut self, run: &str, server: &Server) -> Option<Instant> {
        let now = Instant::now();
        let began = match &self.run {
            Some((known, began)) if known == run => *began,
            // Without the right to INFO the first connection waits for nothing: nothing says that an earlier run lost anything.
            None if !server.has_followed() => server.uptime().map(|uptime| now.checked_sub(uptime).unwrap_or(now)),
            Some(_) | None => Some(now),
        };
        self.run = Some((run.to_owned(), began));
        began
    }

    pub fn fail(&mut self, failure: Failure) {
        failure.count();
        if let Failure::UnusableServer(unusable) = failure
            && self.unusable.replace(unusable) != Some(unusable)
        {
            tracing::error!(error = %unusable, "redis cannot be used, nothing is read or written until it can");
        }
        self.failed = Some((Instant::now(), failure));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn run_that_replaces_another_begins_now() {
        let mut current = Current::default();
        let server = |run: &str| Server::from(format!("run_id:{run}\r\nuptime_in_seconds:60\r\n"));
        let old = current.began_at("a", &server("a")).expect("it is known");
        assert!(old.elapsed() >= Duration::from_secs(60));
        assert_eq!(current.began_at("a", &server("a")), Some(old), "another connection to the same run");
        let new = current.began_at("b", &server("b")).expect("it is known");
        assert!(new.elapsed() < Duration::from_secs(60), "the server is old, and lacks what the other had");
    }

    /// Any reconnect may lead to another run then.
    #[test]
    fn each_connection_but_the_first_is_a_new_run_without_info() {
        let mut current = Current::default();
        assert_eq!(current.began_at("a", &Server::default()), None);
        for run in ["b", "c"] {
            let began = current.began_at(run, &Server::default());
            assert!(began.is_some_and(|began| began.elapsed() < Duration::from_secs(60)), "{run}");
        }
    }
}
