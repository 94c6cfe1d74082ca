//! A server that does the least: it accepts, answers each request with the head of a stream, and sends the same bytes to all
//! of them at a fixed rate. Its CPU is what the kernel takes for it, whatever the server is written in.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use clap::ArgMatches;

use crate::{
    arguments::{count, seconds},
    listen::stamped,
};

const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(1);
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const LINES: (&str, &str) = ("event: connection-status\ndata: ", "\n\n");

pub fn run(arguments: &ArgMatches) -> Result<(), String> {
    let streams = count(arguments, "streams");
    let bytes = count(arguments, "bytes").saturating_sub(LINES.0.len() + LINES.1.len());
    let groups = count(arguments, "groups").max(1);
    let pause = Duration::from_millis(count(arguments, "every-ms") as u64) / u32::try_from(groups).unwrap_or(1);
    let ends_at = Instant::now() + seconds(arguments);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    println!("listening {}", listener.local_addr().map_err(|error| error.to_string())?);
    let mut open = accept(&listener, streams, ends_at).map_err(|error| error.to_string())?;
    let mut due = Instant::now();
    for group in (0..groups).cycle() {
        if Instant::now() >= ends_at || open.is_empty() {
            return Ok(());
        }
        let event = format!("{}{}{}", LINES.0, stamped(bytes), LINES.1);
        let mut number = 0;
        open.retain_mut(|socket| {
            number += 1;
            number % groups != group || socket.write(event.as_bytes()).is_ok_and(|count| count > 0)
        });
        due += pause;
        sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn accept(listener: &TcpListener, streams: usize, ends_at: Instant) -> std::io::Result<Vec<TcpStream>> {
    listener.set_nonblocking(true)?;
    let mut open = Vec::with_capacity(streams);
    while open.len() < streams && Instant::now() < ends_at {
        let mut socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                sleep(ACCEPT_PAUSE);
                continue;
            }
            Err(error) => return Err(error),
        };
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(REQUEST_TIME_MAX))?;
        socket.set_nodelay(true)?;
        let mut request = [0; 4096];
        let _ = socket.read(&mut request)?;
        socket.write_all(HEAD)?;
        socket.set_nonblocking(true)?;
        open.push(socket);
    }
    Ok(open)
}
