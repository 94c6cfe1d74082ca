use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::World;

/// How a client begins that asks which release of WhatsApp's own client is the newest.
const QUESTION: &[u8] = b"GET /sw.js ";
/// More of a question is not read.
const QUESTION_BYTES_MAX: usize = 8 << 10;

/// Whether the socket brings that question, which is not a connection. Takes nothing from it.
pub(crate) async fn asks(socket: &TcpStream) -> bool {
    let mut begin = [0; QUESTION.len()];
    loop {
        // Wakes also for bytes that were seen already.
        match socket.peek(&mut begin).await {
            Ok(0) | Err(_) => return false,
            Ok(read) if !QUESTION.starts_with(&begin[..read]) => return false,
            Ok(read) if read == QUESTION.len() => return true,
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Answers it, if there is an answer, as WhatsApp does: somewhere in a script.
pub(crate) async fn answer(world: &World, mut socket: TcpStream) -> std::io::Result<()> {
    let mut question = Vec::new();
    while !question.ends_with(b"\r\n\r\n") && question.len() < QUESTION_BYTES_MAX {
        if socket.read_buf(&mut question).await? == 0 {
            return Ok(());
        }
    }
    let revision = world.change(|state| {
        state.lookups += 1;
        state.published
    });
    let (status, body) = match revision {
        Some(revision) => {
            let script = r#"{\"SiteData\":{\"server_revision\":REVISION,\"client_revision\":REVISION,\"pr\":1}}"#;
            ("200 OK", script.replace("REVISION", &revision.to_string()))
        }
        None => ("503 Service Unavailable", String::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    socket.write_all((head + &body).as_bytes()).await?;
    socket.shutdown().await
}
