use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{decode::Chunks, frames::Frames, token::Signer};

const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// More connections than an address has ports are spread over so many addresses of loopback.
const SOURCES: usize = 8;

/// The deployment, and who asks.
pub struct Target {
    pub address: SocketAddr,
    pub host: String,
    /// Of the stream. `{tenant}` stands for the tenant's name.
    pub path: String,
    /// The tenant's name. `{n}` stands for its number.
    pub tenant: String,
    /// `None`: requests have no token.
    pub signer: Option<Signer>,
}

impl Target {
    pub fn tenant(&self, number: usize) -> String {
        self.tenant.replace("{n}", &number.to_string())
    }

    /// Everything but the body.
    fn request(&self, method: &str, path: &str, tenant: usize, more: &str) -> String {
        let name = self.tenant(tenant);
        let path = path.replace("{tenant}", &name);
        let token = self.signer.as_ref().map(|signer| format!("authorization: Bearer {}\r\n", signer.token(&name)));
        let token = token.unwrap_or_default();
        format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{token}{more}\r\n", self.host)
    }

    async fn connect(&self, number: usize, receive_buffer: Option<u32>) -> io::Result<TcpStream> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let IpAddr::V4(address) = self.address.ip()
            && address.is_loopback()
        {
            let source = Ipv4Addr::new(127, 0, 0, 1 + u8::try_from(number % SOURCES).unwrap_or(0));
            // Without it each bind would take a port of its own, whatever it is connected to.
            SockRef::from(&socket).set_reuse_address(true)?;
            socket.bind(SocketAddr::from((source, 0)))?;
        }
        let socket = socket.connect(self.address).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    /// Posts a body and waits for the answer. Answers its status.
    pub async fn post(&self, path: &str, tenant: usize, body: &str) -> Result<u16, String> {
        let more = format!(
            "content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\
             x-eventsource-event: connection-status\r\n",
            body.len()
        );
        let request = self.request("POST", path, tenant, &more) + body;
        let answered = timeout(ANSWER_TIME_MAX, async {
            let mut socket = self.connect(tenant, None).await?;
            socket.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).await?;
            Ok::<_, io::Error>(answer)
        });
        let answer = answered.await.map_err(|_| format!("POST {path}: no answer"))?;
        let answer = answer.map_err(|error| format!("POST {path}: {error}"))?;
        status(&answer).ok_or_else(|| format!("POST {path}: no HTTP"))
    }
}

/// One open stream.
pub struct Stream {
    pub socket: TcpStream,
    chunks: Option<Chunks>,
    frames: Frames,
    /// Of the body, read together with the head.
    first: Vec<u8>,
}

impl Stream {
    /// Returns once the head of the answer is there. `receive_buffer`: what the kernel may keep for a reader that does not read.
    pub async fn open(
        target: &Target,
        number: usize,
        tenant: usize,
        receive_buffer: Option<u32>,
    ) -> Result<Self, String> {
        let opened = timeout(ANSWER_TIME_MAX, Self::begin(target, number, tenant, receive_buffer));
        opened.await.map_err(|_| "no answer".to_owned())?
    }

    async fn begin(target: &Target, number: usize, tenant: usize, receive_buffer: Option<u32>) -> Result<Self, String> {
        let request = target.request("GET", &target.path, tenant, "accept: text/event-stream\r\n");
        let text = |error: io::Error| error.to_string();
        let mut socket = target.connect(number, receive_buffer).await.map_err(text)?;
        socket.write_all(request.as_bytes()).await.map_err(text)?;
        let mut head = Vec::new();
        let end = loop {
            socket.readable().await.map_err(text)?;
            let mut buffer = [0; 2048];
            match socket.try_read(&mut buffer) {
                Ok(0) => return Err("closed before the answer".to_owned()),
                Ok(count) => head.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if head.len() > HEAD_BYTES_MAX {
                return Err("the head of the answer is too long".to_owned());
            }
        };
        let first = head.split_off(end);
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        match status(head.as_bytes()) {
            Some(200) => {}
            Some(other) => return Err(format!("status {other}")),
            None => return Err("no HTTP".to_owned()),
        }
        let chunks = head.contains("\r\ntransfer-encoding: chunked\r\n").then(Chunks::default);
        Ok(Self { socket, chunks, frames: Frames::default(), first })
    }

    /// Waits for the next bytes, and hands the events that they complete to `take`. Answers how many bytes there were; 0: the
    /// stream has ended.
    pub async fn read(&mut self, mut take: impl FnMut(&[u8])) -> Result<usize, String> {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            self.feed(&first, &mut take)?;
            return Ok(first.len());
        }
        loop {
            self.socket.readable().await.map_err(|error| error.to_string())?;
            let mut buffer = [0; 8192];
            match self.socket.try_read(&mut buffer) {
                Ok(count) => {
                    self.feed(&buffer[..count], &mut take)?;
                    let is_over = self.chunks.as_ref().is_some_and(Chunks::is_over);
                    return Ok(if is_over { 0 } else { count });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn feed(&mut self, bytes: &[u8], take: &mut impl FnMut(&[u8])) -> Result<(), String> {
        match &mut self.chunks {
            Some(chunks) => chunks.feed(bytes, |data| self.frames.feed(data, &mut *take)),
            None => {
                self.frames.feed(bytes, take);
                Ok(())
            }
        }
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.get(..12)?;
    if !line.get(..7)?.eq_ignore_ascii_case(b"HTTP/1.") {
        return None;
    }
    std::str::from_utf8(&line[9..12]).ok()?.parse().ok()
}
