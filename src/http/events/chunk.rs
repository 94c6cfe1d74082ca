use bytes::Bytes;

/// A part of a stream, encoded once for readers of either version of HTTP. HTTP/1.1 gets chunks: clients such as urllib3
/// pass on a chunk at once and wait for 64 KiB of any other body, and with chunks a client can tell the end of a stream
/// from a lost connection. HTTP/1.0 knows no chunks.
#[derive(Clone, Default)]
pub struct Chunk {
    /// The text between the size of the chunk and its line end; empty if the text is, since an empty chunk ends a body.
    bytes: Bytes,
    text_at: usize,
}

const LINE_END: &str = "\r\n";
/// Ends a body of chunks.
pub const LAST: &[u8] = b"0\r\n\r\n";

impl Chunk {
    pub fn new(text: &str) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        let size = format!("{:x}{LINE_END}", text.len());
        let text_at = size.len();
        Self { bytes: [&size, text, LINE_END].concat().into(), text_at }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes to write. Copies nothing.
    pub fn framed(&self, chunked: bool) -> Bytes {
        if chunked || self.is_empty() {
            return self.bytes.clone();
        }
        self.bytes.slice(self.text_at..self.bytes.len() - LINE_END.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_same_in_both_framings() {
        for text in ["", "x", "event: heartbeat\ndata: {}\n\n", &"é".repeat(2_000)] {
            let chunk = Chunk::new(text);
            assert_eq!(chunk.framed(false), text);
            let framed = chunk.framed(true);
            if text.is_empty() {
                assert!(framed.is_empty(), "an empty chunk would end the stream");
            } else {
                let (size, rest) = std::str::from_utf8(&framed).unwrap().split_once("\r\n").unwrap();
                assert_eq!(usize::from_str_radix(size, 16), Ok(text.len()));
                assert_eq!(rest, format!("{text}\r\n"));
            }
        }
    }
}
