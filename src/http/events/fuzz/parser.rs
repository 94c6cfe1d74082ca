//! The standard's own reading of a stream, written from its text and from nothing of ours: WHATWG HTML, section 9.2.6,
//! "Interpreting an event stream".

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatched {
    pub name: String,
    pub data: String,
    pub last_event_id: String,
}

#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    after_return: bool,
    begun: bool,
    name: String,
    data: String,
    id: String,
    pub last_event_id: String,
    pub retry: Option<u64>,
    pub events: Vec<Dispatched>,
}

impl Parser {
    /// The next part of the body, cut anywhere.
    pub fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let ends_pair = std::mem::take(&mut self.after_return) && *byte == b'\n';
            match byte {
                b'\n' if ends_pair => {}
                b'\n' => self.end_line(),
                b'\r' => {
                    self.after_return = true;
                    self.end_line();
                }
                byte => self.line.push(*byte),
            }
        }
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let mut line = String::from_utf8_lossy(&bytes).into_owned();
        if !std::mem::replace(&mut self.begun, true) {
            // One byte order mark at the beginning does not count.
            line = line.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(line);
        }
        match line.split_once(':') {
            _ if line.is_empty() => self.dispatch(),
            Some(("", _)) => {}
            Some((field, value)) => self.field(field, value.strip_prefix(' ').unwrap_or(value)),
            None => self.field(&line, ""),
        }
    }

    fn field(&mut self, field: &str, value: &str) {
        match field {
            "event" => self.name = value.to_owned(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = value.to_owned(),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => self.retry = value.parse().ok(),
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        self.last_event_id.clone_from(&self.id);
        let (mut name, mut data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        if data.is_empty() {
            return;
        }
        data.truncate(data.len() - 1);
        if name.is_empty() {
            name.push_str("message");
        }
        self.events.push(Dispatched { name, data, last_event_id: self.last_event_id.clone() });
    }
}

#[test]
fn examples_of_the_standard_are_read_as_it_says() {
    let read = |text: &str| {
        let mut parser = Parser::default();
        parser.read(text.as_bytes());
        let events =
            parser.events.iter().map(|event| (event.name.clone(), event.data.clone(), event.last_event_id.clone()));
        events.collect::<Vec<_>>()
    };
    let event = |name: &str, data: &str, id: &str| (name.to_owned(), data.to_owned(), id.to_owned());
    assert_eq!(read("data: YHOO\ndata: +2\ndata: 10\n\n"), [event("message", "YHOO\n+2\n10", "")]);
    let comments = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n";
    assert_eq!(read(comments), [event("message", "first event", "1"), event("message", "second event", "")]);
    assert_eq!(read("data\n\ndata\ndata\n\ndata:"), [event("message", "", ""), event("message", "\n", "")]);
    assert_eq!(read("data:test\n\ndata: test\r\n\r\n"), [event("message", "test", ""), event("message", "test", "")]);
    assert_eq!(read("\u{feff}event: add\rdata: 1\r\r"), [event("add", "1", "")]);
}
