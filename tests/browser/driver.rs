use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

const STARTS_MAX: usize = 5;
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// A chromedriver, shared by the tests that run at the same time and ended with the last of them.
pub struct Driver {
    child: Child,
    port: u16,
    pub chromium: PathBuf,
    // Held so that a late word of the driver's does not meet a closed pipe.
    _stdout: BufReader<ChildStdout>,
}

impl Driver {
    /// `None` where there is no Chromium: the test has said so, and passes.
    pub fn shared() -> Option<Arc<Self>> {
        static CURRENT: Mutex<Weak<Driver>> = Mutex::new(Weak::new());
        let (Some(chromium), Some(chromedriver)) = (installed("chromium"), installed("chromedriver")) else {
            println!("NOT RUN: browser tests (chromium and chromium-driver are not installed)");
            assert!(std::env::var_os("CI").is_none(), "CI has to run the browser tests");
            return None;
        };
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = current.upgrade() {
            return Some(driver);
        }
        let driver = Arc::new(Self::start(chromium, &chromedriver));
        *current = Arc::downgrade(&driver);
        Some(driver)
    }

    /// It chooses a port that is free for IPv4 and ends if the same port is taken for IPv6: then it chooses again.
    fn start(chromium: PathBuf, chromedriver: &PathBuf) -> Self {
        let mut output = Vec::new();
        for _ in 0..STARTS_MAX {
            match Self::try_start(&chromium, chromedriver) {
                Ok(driver) => return driver,
                Err(printed) => output.push(printed),
            }
        }
        panic!("chromedriver ended at once: {output:#?}")
    }

    /// `Err`: what it printed before it ended.
    fn try_start(chromium: &Path, chromedriver: &PathBuf) -> Result<Self, String> {
        let mut command = Command::new(chromedriver);
        command.args(["--port=0", "--log-level=SEVERE"]).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("chromedriver starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (mut line, mut printed) = (String::new(), String::new());
        let port = loop {
            line.clear();
            if stdout.read_line(&mut line).expect("its output can be read") == 0 {
                let status = child.wait().expect("it has ended");
                return Err(format!("{printed}{status}"));
            }
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim().trim_end_matches('.').parse().expect("a port");
            }
            printed.push_str(&line);
        };
        Ok(Self { child, port, chromium: chromium.to_owned(), _stdout: stdout })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Asks without a runtime, since a test that panics has none any more when its browser is dropped.
    pub fn ask_and_wait(&self, method: &str, path: &str) {
        let Ok(mut socket) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else { return };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", self.port);
        // Nothing can be done about a driver that does not answer: the child is killed in the end.
        let _ = socket.set_read_timeout(Some(LEAVE_MAX));
        let _ = socket.write_all(request.as_bytes());
        // The answer comes when it is done. The driver leaves the socket open after it, whatever we ask for.
        let _ = socket.read(&mut [0; 1024]);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Its own shutdown ends the browsers too; `kill` would leave them behind.
        self.ask_and_wait("GET", "/shutdown");
        let until = Instant::now() + LEAVE_MAX;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
