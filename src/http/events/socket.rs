use std::{
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use socket2::SockRef;
use tokio::{net::TcpStream, time::Instant};

use super::{chunk::LAST, timer::Timer};

/// A client that takes none of the waiting bytes for this long is disconnected. A client that gets only heartbeats does
/// not reach this limit: the kernel holds thousands of them.
const STALLED_MAX: Duration = Duration::from_secs(20);
/// The bytes that the kernel may hold for a client that does not read. It counts its own overhead, and doubles the
/// number.
const SEND_BUFFER_BYTES: usize = 16 * 1024;
/// The part of it that was not sent yet. The socket refuses more, so a stalled client is noticed early.
const NOT_SENT_BYTES_MAX: u32 = 8 * 1024;
/// A client has nothing to send after its request. So many bytes are read and dropped to see the end of the connection;
/// later bytes stay in the kernel, which lets the client wait.
const UNASKED_BYTES_MAX: usize = 16 * 1024;

/// The socket of one stream.
pub struct Socket {
    socket: TcpStream,
    /// The body is sent in chunks.
    chunked: bool,
    unasked_bytes: usize,
}

impl Socket {
    /// `unasked_bytes`: the bytes that the client has sent after its request.
    pub fn new(socket: TcpStream, chunked: bool, unasked_bytes: usize) -> Self {
        let tuning = SockRef::from(&socket);
        let tuned = tuning
            .set_send_buffer_size(SEND_BUFFER_BYTES)
            .and_then(|()| tuning.set_tcp_notsent_lowat(NOT_SENT_BYTES_MAX));
        if let Err(error) = tuned {
            tracing::debug!(%error, "a stream's socket could not be tuned");
        }
        Self { socket, chunked, unasked_bytes }
    }

    /// When a client that takes nothing from now on is disconnected.
    pub fn stalls_at() -> Instant {
        Instant::now() + STALLED_MAX
    }

    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// Ends the body, if the socket takes so much now. Without it a client sees a lost connection, and comes back as well.
    pub fn end_body(&self) {
        if self.chunked {
            let _ = self.socket.try_write(LAST);
        }
    }

    /// Writes as much as the socket takes now. True: all of it.
    pub fn try_write(&self, bytes: &mut Bytes) -> io::Result<bool> {
        while !bytes.is_empty() {
            match self.socket.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Writes all. An error once the timer is over; each byte that the socket accepts begins it anew. The kernel wakes a writer
    /// only when a third of the buffer is free. Without the last attempt, a reader that takes less than that in the time is
    /// cut although it reads.
    pub fn poll_write(&self, bytes: &mut Bytes, stall: &mut Timer, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let left = bytes.len();
            if self.try_write(bytes)? {
                return Poll::Ready(Ok(()));
            }
            if bytes.len() < left {
                stall.set(Self::stalls_at());
            }
            if self.socket.poll_write_ready(cx)?.is_pending() {
                ready!(stall.poll(cx));
                match SockRef::from(&self.socket).send(bytes) {
                    Ok(count) if count > 0 => bytes.advance(count),
                    Ok(_) | Err(_) => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                }
                stall.set(Self::stalls_at());
            }
        }
    }

    /// Ready once the client has closed its side, whether or not it would go on reading.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.unasked_bytes < UNASKED_BYTES_MAX {
            if ready!(self.socket.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match self.socket.try_read(&mut [0; 512]) {
                Ok(0) => return Poll::Ready(()),
                Ok(count) => self.unasked_bytes += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        net::{TcpListener, TcpSocket},
        time::sleep,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reader_is_cut_when_it_stops_and_not_when_it_is_slow() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(4096).unwrap();
        let (client, accepted) =
            tokio::join!(client.connect(listener.local_addr().unwrap()), async { listener.accept().await.unwrap().0 });
        let (client, socket) = (client.unwrap(), Socket::new(accepted, true, 0));
        let mut bytes = Bytes::from(vec![0; 1 << 20]);
        let mut stall = Timer::default();
        stall.set(Socket::stalls_at());
        let mut read = 0;
        for _ in 0..8 {
            let written = poll_fn(|cx| socket.poll_write(&mut bytes, &mut stall, cx));
            tokio::select! {
                ended = written => panic!("{ended:?} after {read} bytes were read"),
                () = sleep(STALLED_MAX * 3 / 4) => {}
            }
            client.readable().await.unwrap();
            read += client.try_read(&mut [0; 4096]).unwrap();
        }
        let began = Instant::now();
        let written = poll_fn(|cx| socket.poll_write(&mut bytes, &mut stall, cx)).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() <= STALLED_MAX * 2);
    }
}
