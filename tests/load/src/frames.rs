/// What stands before the time, in microseconds since 1970, that an event was made at.
pub const STAMP: &[u8] = b"stamp-";
const DIGITS: usize = 16;
/// An event that is longer is not looked at.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// Finds the ends of events in a body that arrives in pieces.
#[derive(Default)]
pub struct Frames {
    /// Of an event whose end is not there yet. Holds no buffer while there is none.
    begun: Vec<u8>,
}

impl Frames {
    /// Hands each event to `take`, without the empty line behind it.
    pub fn feed(&mut self, piece: &[u8], mut take: impl FnMut(&[u8])) {
        if self.begun.is_empty() {
            let rest = whole(piece, &mut take);
            self.begun.extend_from_slice(rest);
        } else {
            let mut begun = std::mem::take(&mut self.begun);
            begun.extend_from_slice(piece);
            let rest = whole(&begun, &mut take);
            if rest.len() < EVENT_BYTES_MAX {
                self.begun.extend_from_slice(rest);
            }
        }
    }
}

/// Answers what is behind the last whole event.
fn whole<'a>(mut bytes: &'a [u8], take: &mut impl FnMut(&[u8])) -> &'a [u8] {
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\n\n") {
        take(&bytes[..end]);
        bytes = &bytes[end + 2..];
    }
    bytes
}

/// When the event was made, if it says so.
pub fn stamp(event: &[u8]) -> Option<u64> {
    let at = event.windows(STAMP.len()).position(|window| window == STAMP)? + STAMP.len();
    std::str::from_utf8(event.get(at..at + DIGITS)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let body = b": hi\n\nevent: a\ndata: stamp-1764263531123456\n\nevent: b\ndata: {}\n\nhalf";
        for size in 1..=body.len() {
            let (mut frames, mut events) = (Frames::default(), Vec::new());
            for piece in body.chunks(size) {
                frames.feed(piece, |event| events.push(event.to_vec()));
            }
            assert_eq!(events.len(), 3, "pieces of {size}");
            assert_eq!(stamp(&events[1]), Some(1_764_263_531_123_456));
            assert_eq!(stamp(&events[2]), None);
            assert_eq!(events[2], b"event: b\ndata: {}");
        }
    }
}
