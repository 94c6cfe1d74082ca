use std::collections::{HashMap, VecDeque};

const ROWS_MAX: usize = 256;

/// What only helps while it is fresh, kept in memory: the oldest gives way.
#[derive(Default)]
pub(super) struct Recent {
    pub sent: Bounded,
    pub base_keys: Bounded,
}

#[derive(Default)]
pub(super) struct Bounded {
    rows: HashMap<(String, String), Vec<u8>>,
    order: VecDeque<(String, String)>,
}

impl Bounded {
    pub fn put(&mut self, first: &str, second: &str, value: &[u8]) {
        let key = (first.to_owned(), second.to_owned());
        if self.rows.insert(key.clone(), value.to_vec()).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > ROWS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.rows.remove(&oldest);
            }
        }
    }

    pub fn get(&self, first: &str, second: &str) -> Option<&[u8]> {
        self.rows.get(&(first.to_owned(), second.to_owned())).map(Vec::as_slice)
    }

    pub fn take(&mut self, first: &str, second: &str) -> Option<Vec<u8>> {
        let key = (first.to_owned(), second.to_owned());
        let row = self.rows.remove(&key)?;
        self.order.retain(|queued| *queued != key);
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_row_gives_way() {
        let mut bounded = Bounded::default();
        for n in 0..=ROWS_MAX {
            bounded.put("chat", &n.to_string(), b"x");
        }
        assert_eq!(bounded.get("chat", "0"), None);
        assert!(bounded.get("chat", "1").is_some());
        assert_eq!(bounded.take("chat", "1").as_deref(), Some(&b"x"[..]));
        assert_eq!(bounded.take("chat", "1"), None);
    }
}
