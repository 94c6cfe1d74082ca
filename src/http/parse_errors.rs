use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    error::{Code, Problem},
    request_id::{self, REQUEST_ID},
};
use crate::telemetry::metrics;

/// A socket that adds a problem body to the answers of the HTTP parser itself. A request that the parser cannot read
/// never reaches a route, and its client would get a status without a body.
pub(super) struct ParseErrorBodies<S> {
    socket: S,
    /// The answer that replaces the parser's, after which nothing is written.
    instead: Bytes,
}

impl<S: AsyncWrite + Unpin> ParseErrorBodies<S> {
    pub fn new(socket: S) -> Self {
        Self { socket, instead: Bytes::new() }
    }

    pub fn into_inner(self) -> S {
        self.socket
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.instead.has_remaining() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.instead))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// Finds an answer that the HTTP parser wrote itself. Returns where it begins, its problem, and the answer that replaces
/// it. The parser's answer is the last on a connection and has no body; refusals of our routes have one.
fn with_body(bytes: &[u8]) -> Option<(usize, Code, Bytes)> {
    let bytes = bytes.strip_suffix(b"\r\n\r\n")?;
    let begin = bytes.windows(STATUS_LINE.len()).rposition(|window| window == STATUS_LINE)?;
    let head = std::str::from_utf8(&bytes[begin..]).ok()?;
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    let problem = match head.get(STATUS_LINE.len() + 2..STATUS_LINE.len() + 5)? {
        "400" => Problem::new(Code::BadRequest, "the request is not HTTP as RFC 9112 defines it"),
        "431" => Problem::new(
            Code::HeadersTooLarge,
            "at most 16 KiB and 100 headers are read; send fewer or smaller cookies",
        ),
        _ => return None,
    };
    let bare = lines.iter().position(|line| line.eq_ignore_ascii_case("content-length: 0"))?;
    lines.remove(bare);
    let body = problem.body();
    let length = body.len();
    // What the client sent as an id has not been read.
    let id = request_id::fresh();
    let id = id.to_str().unwrap_or_default();
    let headers = format!("content-type: application/problem+json\r\ncache-control: no-store\r\n{REQUEST_ID}: {id}");
    let answer = format!("{}\r\n{headers}\r\ncontent-length: {length}\r\n\r\n{body}", lines.join("\r\n"));
    Some((begin, problem.code, answer.into()))
}

/// The beginning of every answer, up to the minor version.
const STATUS_LINE: &[u8] = b"HTTP/1.";

impl<S: AsyncRead + Unpin> AsyncRead for ParseErrorBodies<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ParseErrorBodies<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        match with_body(bytes) {
            None => Pin::new(&mut self.socket).poll_write(cx, bytes),
            Some((0, code, instead)) => {
                metrics().problems.add(code.as_str());
                self.instead = instead;
                // The flush that follows writes the rest.
                match self.poll_instead(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
                }
            }
            // First the end of the answer before it.
            Some((begin, ..)) => Pin::new(&mut self.socket).poll_write(cx, &bytes[..begin]),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = buffers.iter().filter(|buffer| !buffer.is_empty());
        // The parser's answer is one buffer: several buffers are an answer of a route with its body.
        match (filled.next(), filled.next()) {
            (Some(only), None) => self.poll_write(cx, only),
            _ => {
                ready!(self.poll_instead(cx))?;
                Pin::new(&mut self.socket).poll_write_vectored(cx, buffers)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const BARE: &str =
        "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";

    #[test]
    fn only_parser_errors_without_body_get_a_body() {
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(with_body(BARE.as_bytes()).unwrap().0, 0);
        assert_eq!(with_body(format!("{before}{BARE}").as_bytes()).unwrap().0, before.len());
        for other in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: 9\r\n\r\n",
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            "0\r\n\r\n",
            "\r\n\r\n",
            "HTTP/1.\r\n\r\n",
            "",
        ] {
            assert!(with_body(other.as_bytes()).is_none(), "{other:?}");
        }
        assert!(with_body(format!("{BARE}data: x\n\n").as_bytes()).is_none(), "it stands in a body");
    }

    #[tokio::test]
    async fn problem_body_is_written_whole_to_a_slow_reader() {
        let (near, mut far) = tokio::io::duplex(7);
        let writing = async move {
            let mut near = ParseErrorBodies::new(near);
            near.write_all(BARE.as_bytes()).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let mut text = String::new();
        let (_, read) = tokio::join!(writing, far.read_to_string(&mut text));
        read.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())) && head.contains("date: x"), "{head}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["code"], "headers-too-large");
    }
}
