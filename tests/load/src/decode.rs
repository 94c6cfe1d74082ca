/// Takes the framing of HTTP/1.1 chunks out of a body that arrives in pieces.
#[derive(Default)]
pub struct Chunks {
    state: State,
}

#[derive(Clone, Copy, Default)]
enum State {
    /// The digits of a size; whether a semicolon has ended them.
    #[default]
    Start,
    Size(usize, bool),
    Data(usize),
    /// The line end behind a chunk.
    LineEnd,
    /// Behind the last chunk.
    Over,
}

impl Chunks {
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Hands the data in `bytes` to `take`. An error: these are no chunks.
    pub fn feed<'a>(&mut self, mut bytes: &'a [u8], mut take: impl FnMut(&'a [u8])) -> Result<(), String> {
        while let Some(&byte) = bytes.first() {
            if let State::Data(left) = self.state {
                let (data, rest) = bytes.split_at(left.min(bytes.len()));
                take(data);
                bytes = rest;
                self.state = if data.len() == left { State::LineEnd } else { State::Data(left - data.len()) };
                continue;
            }
            bytes = &bytes[1..];
            self.state = match (self.state, byte) {
                (State::LineEnd, b'\r') => State::LineEnd,
                (State::LineEnd, b'\n') => State::Start,
                (State::Size(0, _), b'\n') => State::Over,
                (State::Size(size, _), b'\n') => State::Data(size),
                (State::Size(size, ended), b'\r') => State::Size(size, ended),
                (State::Size(size, _), b';') => State::Size(size, true),
                (State::Size(size, true), _) => State::Size(size, true),
                (State::Start, _) => State::Size(digit(byte)?, false),
                (State::Size(size, false), _) if size < 1 << 24 => State::Size(size * 16 + digit(byte)?, false),
                (State::Over, _) => State::Over,
                (State::LineEnd | State::Size(..) | State::Data(_), _) => return Err("a broken chunk".to_owned()),
            };
        }
        Ok(())
    }
}

fn digit(byte: u8) -> Result<usize, String> {
    let digit = char::from(byte).to_digit(16).ok_or_else(|| format!("byte {byte} in the size of a chunk"))?;
    Ok(digit as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_the_same_however_it_is_cut() {
        let body = b"5\r\nhello\r\n1;name=value\r\n,\r\nA\r\n0123456789\r\n0\r\n\r\n";
        for size in 1..body.len() {
            let (mut chunks, mut data) = (Chunks::default(), Vec::new());
            for piece in body.chunks(size) {
                chunks.feed(piece, |part| data.extend_from_slice(part)).unwrap();
            }
            assert_eq!(data, b"hello,0123456789", "pieces of {size}");
            assert!(chunks.is_over());
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        assert!(Chunks::default().feed(b"HTTP/1.1 200 OK\r\n", |_| {}).is_err());
        assert!(Chunks::default().feed(b"1\r\nab", |_| {}).is_err());
    }
}
