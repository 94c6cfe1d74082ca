//! What clients send to a Redis, as its `MONITOR` shows it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    mem,
    net::{Shutdown, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::JoinHandle,
    time::Duration,
};

use crate::RedisServer;

/// Longer than a line of the monitor takes.
const LINE_TIME_MAX: Duration = Duration::from_secs(5);
/// The client of a command that a script calls.
const CLIENT_OF_SCRIPTS: &str = "lua";

/// Reads along from when it is made.
pub struct Monitor {
    connection: TcpStream,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    sent: Mutex<Vec<Command>>,
    grown: Condvar,
}

/// A command as a client sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    client: String,
    pub words: Vec<String>,
}

impl Monitor {
    pub fn of(redis: &RedisServer) -> Self {
        let mut connection = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
        connection.write_all(b"MONITOR\r\n").unwrap();
        let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "+OK");
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let reader = std::thread::spawn(move || {
            for command in lines.map_while(Result::ok).filter_map(|line| Command::parse(&line)) {
                of_thread.lock().push(command);
                of_thread.grown.notify_all();
            }
        });
        Self { connection, shared, reader: Some(reader) }
    }

    /// What clients sent since the last call; neither what scripts called nor what [`RedisServer::ask`] asked.
    pub fn sent(&self, redis: &RedisServer) -> Vec<Command> {
        let mark = "until-here";
        redis.ask(&["ECHO", mark]);
        let is_mark = |command: &Command| command.words == ["ECHO", mark];
        let (mut sent, waited) = self
            .shared
            .grown
            .wait_timeout_while(self.shared.lock(), LINE_TIME_MAX, |sent| !sent.iter().any(is_mark))
            .expect("the reader does not panic");
        assert!(!waited.timed_out(), "the monitor is silent");
        let end = sent.iter().position(is_mark).expect("it was waited for");
        let rest = sent.split_off(end + 1);
        let mut taken = mem::replace(&mut *sent, rest);
        drop(sent);
        let asks: Vec<_> = taken.iter().filter(|command| command.words == ["QUIT"] || is_mark(command)).collect();
        let asks: Vec<_> = asks.into_iter().map(|command| command.client.clone()).collect();
        taken.retain(|command| command.client != CLIENT_OF_SCRIPTS && !asks.contains(&command.client));
        taken
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.connection.shutdown(Shutdown::Both);
        self.reader.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Command>> {
        self.sent.lock().expect("no holder panics")
    }
}

impl Command {
    /// `+1700000000.000000 [0 127.0.0.1:60866] "GET" "key"`. `None`: the answer to another command.
    fn parse(line: &str) -> Option<Self> {
        let (head, rest) = line.split_once("] ")?;
        let client = head.split_once(" [")?.1.split_once(' ')?.1.to_owned();
        let (mut words, mut word, mut escaped) = (Vec::new(), None::<String>, false);
        for c in rest.chars() {
            match &mut word {
                None if c == '"' => word = Some(String::new()),
                None => {}
                Some(text) if escaped => {
                    escaped = false;
                    text.push(c);
                }
                Some(_) if c == '\\' => escaped = true,
                Some(_) if c == '"' => words.extend(word.take()),
                Some(text) => text.push(c),
            }
        }
        Some(Self { client, words })
    }

    /// Some argument holds this text.
    pub fn names(&self, text: &str) -> bool {
        self.words.iter().any(|word| word.contains(text))
    }

    /// The command; of a script its digest, of another its first argument.
    pub fn shape(&self) -> String {
        self.words.iter().take(2).cloned().collect::<Vec<_>>().join(" ")
    }
}
