use std::{
    collections::{HashMap, VecDeque},
    mem::size_of,
};

/// Data that is of use only while it is new, in memory: the oldest is removed first.
pub(super) struct Recent {
    pub sent: Cache<Vec<u8>>,
    pub base_keys: Cache<Vec<u8>>,
}

impl Default for Recent {
    fn default() -> Self {
        let (sent, base_keys) = (Limit { rows: 256, bytes: 1 << 20 }, Limit { rows: 256, bytes: 64 << 10 });
        Self { sent: Cache::new(sent), base_keys: Cache::new(base_keys) }
    }
}

/// The most that a cache holds. The limit that is reached first counts.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub rows: usize,
    pub bytes: usize,
}

/// Rows in memory by namespace and key. The oldest row without a read since its last turn is removed first.
pub(super) struct Cache<V> {
    rows: HashMap<CacheKey, Row<V>>,
    turns: VecDeque<CacheKey>,
    bytes: usize,
    limit: Limit,
}

type CacheKey = (String, String);

struct Row<V> {
    value: V,
    asked: bool,
}

pub(super) trait Bytes {
    fn bytes(&self) -> usize;
}

impl Bytes for Vec<u8> {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl<V: Bytes> Bytes for Option<V> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, V::bytes)
    }
}

impl<V: Bytes> Cache<V> {
    pub fn new(limit: Limit) -> Self {
        Self { rows: HashMap::new(), turns: VecDeque::new(), bytes: 0, limit }
    }

    pub fn put(&mut self, first: &str, second: &str, value: V) {
        let cache_key = (first.to_owned(), second.to_owned());
        self.bytes += cost(&cache_key, &value);
        match self.rows.insert(cache_key.clone(), Row { value, asked: false }) {
            Some(old) => self.bytes -= cost(&cache_key, &old.value),
            None => self.turns.push_back(cache_key),
        }
        while self.rows.len() > self.limit.rows || self.bytes > self.limit.bytes {
            let Some(cache_key) = self.turns.pop_front() else { return };
            match self.rows.get_mut(&cache_key) {
                Some(row) if row.asked => {
                    row.asked = false;
                    self.turns.push_back(cache_key);
                }
                Some(_) => _ = self.remove(&cache_key),
                None => {}
            }
        }
    }

    pub fn get(&mut self, first: &str, second: &str) -> Option<&V> {
        let row = self.rows.get_mut(&(first.to_owned(), second.to_owned()))?;
        row.asked = true;
        Some(&row.value)
    }

    pub fn take(&mut self, first: &str, second: &str) -> Option<V> {
        let cache_key = (first.to_owned(), second.to_owned());
        let value = self.remove(&cache_key)?;
        self.turns.retain(|waiting| *waiting != cache_key);
        Some(value)
    }

    pub fn clear(&mut self) {
        self.rows.clear();
        self.turns.clear();
        self.bytes = 0;
    }

    fn remove(&mut self, cache_key: &CacheKey) -> Option<V> {
        let row = self.rows.remove(cache_key)?;
        self.bytes -= cost(cache_key, &row.value);
        Some(row.value)
    }
}

/// Namespace and key are in the map and in the turns.
fn cost<V: Bytes>((first, second): &CacheKey, value: &V) -> usize {
    2 * (size_of::<CacheKey>() + first.len() + second.len()) + size_of::<Row<V>>() + value.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { rows: 100, bytes: 64 << 10 };

    fn full() -> Cache<Vec<u8>> {
        let mut cache = Cache::new(LIMIT);
        (0..LIMIT.rows).for_each(|n| cache.put("chat", &n.to_string(), b"x".to_vec()));
        cache
    }

    #[test]
    fn oldest_row_is_evicted_when_the_cache_is_full() {
        let mut cache = full();
        cache.put("chat", "one more", b"x".to_vec());
        assert_eq!(cache.get("chat", "0"), None);
        assert!(cache.get("chat", "1").is_some());
        assert_eq!(cache.take("chat", "1").as_deref(), Some(&b"x"[..]));
        assert_eq!(cache.take("chat", "1"), None);
    }

    #[test]
    fn row_that_was_asked_for_stays_longer() {
        let mut cache = full();
        assert!(cache.get("chat", "0").is_some());
        cache.put("chat", "one more", b"x".to_vec());
        assert!(cache.get("chat", "0").is_some());
        assert_eq!(cache.get("chat", "1"), None);
    }

    #[test]
    fn rows_take_no_more_bytes_than_the_limit() {
        let mut cache = Cache::new(LIMIT);
        for n in 0..LIMIT.rows {
            cache.put("chat", &n.to_string(), vec![b'x'; 4096]);
            assert!(cache.bytes <= LIMIT.bytes, "{}", cache.bytes);
        }
        assert!((10..16).contains(&cache.rows.len()), "{}", cache.rows.len());
        cache.put("chat", "too long", vec![b'x'; LIMIT.bytes]);
        assert_eq!((cache.rows.len(), cache.turns.len(), cache.bytes), (0, 0, 0), "not even alone");
    }

    #[test]
    fn bytes_of_a_row_that_is_put_again_count_once() {
        let mut cache = Cache::new(LIMIT);
        (0..1_000).for_each(|_| cache.put("chat", "same", vec![b'x'; 4096]));
        assert_eq!((cache.rows.len(), cache.turns.len()), (1, 1));
        cache.take("chat", "same");
        assert_eq!(cache.bytes, 0);
    }
}
