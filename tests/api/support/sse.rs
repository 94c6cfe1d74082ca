use futures::{StreamExt as _, stream::BoxStream};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use super::in_time;

/// An open event stream, read frame by frame.
pub struct Stream {
    pub retry_ms: u32,
    pub headers: reqwest::header::HeaderMap,
    bytes: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

/// What stands between two empty lines.
#[derive(Clone, Debug)]
pub enum Frame {
    Heartbeat { every: f64, retry_ms: Option<u32> },
    Event { name: String, id: Option<String>, data: Value },
}

impl Stream {
    pub async fn open(request: RequestBuilder) -> Self {
        Self::of(in_time(request.send()).await.unwrap()).await
    }

    pub async fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        let mut stream = Self { retry_ms: 0, headers, bytes: response.bytes_stream().boxed(), text: String::new() };
        match stream.frame().await {
            Some(Frame::Heartbeat { retry_ms: Some(ms), .. }) => stream.retry_ms = ms,
            other => panic!("a stream begins with retry in a heartbeat, not {other:?}"),
        }
        stream
    }

    /// The next frame; `None` when the stream has ended.
    pub async fn frame(&mut self) -> Option<Frame> {
        in_time(async {
            loop {
                if let Some((frame, rest)) = self.text.split_once("\n\n") {
                    let (frame, rest) = (read(frame), rest.to_owned());
                    self.text = rest;
                    return Some(frame);
                }
                let part = self.bytes.next().await?.ok()?;
                self.text.push_str(std::str::from_utf8(&part).unwrap());
            }
        })
        .await
    }

    /// The next event: its name, its id, its data.
    pub async fn event(&mut self) -> (String, Option<String>, Value) {
        loop {
            match self.frame().await.expect("the stream goes on") {
                Frame::Event { name, id, data } => return (name, id, data),
                Frame::Heartbeat { retry_ms: None, .. } => {}
                Frame::Heartbeat { retry_ms: Some(_), .. } => panic!("retry is sent once"),
            }
        }
    }

    pub async fn expect(&mut self, expected: &str) -> (Option<String>, Value) {
        let (name, id, data) = self.event().await;
        assert_eq!(name, expected, "{data}");
        (id, data)
    }

    /// Whatever comes until the stream ends.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut all = Vec::new();
        while let Some(frame) = self.frame().await {
            all.push(frame);
        }
        all
    }
}

fn read(frame: &str) -> Frame {
    let lines: Vec<&str> = frame.split('\n').collect();
    let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
    let data = field("data: ").unwrap_or_else(|| panic!("an event without data is not dispatched: {frame:?}"));
    let known =
        lines.iter().all(|line| ["retry: ", "event: ", "id: ", "data: "].iter().any(|field| line.starts_with(field)));
    assert!(known && !frame.contains('\r'), "{frame:?}");
    let data: Value = serde_json::from_str(data).unwrap();
    let (name, id) = (field("event: ").unwrap().to_owned(), field("id: ").map(str::to_owned));
    let retry_ms = field("retry: ").map(|ms| ms.parse::<u32>().unwrap());
    if name == "heartbeat" {
        assert_eq!(id, None, "a heartbeat moves nobody's place");
        return Frame::Heartbeat { every: data["every"].as_f64().unwrap(), retry_ms };
    }
    assert_eq!(retry_ms, None, "{frame:?}");
    Frame::Event { name, id, data }
}
