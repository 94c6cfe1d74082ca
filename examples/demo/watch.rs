use std::time::Duration;

use futures::StreamExt as _;

use crate::phone::DemoPhone;

/// Prints the events of the page's stream, so that a visitor sees both sides.
pub async fn print_the_stream(phone: DemoPhone) {
    loop {
        if let Ok(answer) = phone.get("/api/whatsapp/events", "text/event-stream").await {
            let (mut body, mut text, mut event) = (answer.bytes_stream(), String::new(), String::new());
            while let Some(Ok(bytes)) = body.next().await {
                text.push_str(&String::from_utf8_lossy(&bytes));
                while let Some((line, rest)) = text.split_once('\n') {
                    if let Some(name) = line.strip_prefix("event: ") {
                        event = name.to_owned();
                    } else if let Some(data) = line.strip_prefix("data: ") {
                        println!("stream: {event} {}", shortened(data));
                    }
                    text = rest.to_owned();
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn shortened(data: &str) -> String {
    match data.char_indices().nth(140) {
        Some((end, _)) => format!("{}…", &data[..end]),
        None => data.to_owned(),
    }
}
