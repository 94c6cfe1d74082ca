use std::time::Duration;

use serde_json::{Map, Value};

/// Delays of one kind.
#[derive(Default)]
pub struct Delays(Vec<Duration>);

impl Delays {
    pub fn add(&mut self, delay: Duration) {
        self.0.push(delay);
    }

    /// The delay that so many percent do not exceed, in milliseconds.
    pub fn percentile_ms(&mut self, percent: usize) -> Option<f64> {
        self.0.sort_unstable();
        let at = (self.0.len() * percent).div_ceil(100).checked_sub(1)?;
        Some(rounded(self.0[at].as_secs_f64() * 1000.0))
    }
}

/// What a command has measured.
pub struct Report {
    json: bool,
    values: Map<String, Value>,
}

impl Report {
    pub fn new(json: bool) -> Self {
        Self { json, values: Map::new() }
    }

    pub fn put(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.values.insert(name.into(), value.into());
    }

    pub fn put_number(&mut self, name: impl Into<String>, value: f64) {
        self.put(name, rounded(value));
    }

    pub fn put_delays(&mut self, name: &str, delays: &mut Delays) {
        for percent in [50, 99] {
            self.put(format!("{name}_p{percent}_ms"), delays.percentile_ms(percent));
        }
    }

    pub fn print(self) {
        if self.json {
            println!("{}", Value::from(self.values));
            return;
        }
        for (name, value) in &self.values {
            println!("{name:32} {value}");
        }
    }
}

/// Six digits behind the point are more than is measured.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_one_of_the_delays() {
        let mut delays = Delays::default();
        assert_eq!(delays.percentile_ms(50), None);
        for ms in (1..=200).rev() {
            delays.add(Duration::from_millis(ms));
        }
        assert_eq!(delays.percentile_ms(50), Some(100.0));
        assert_eq!(delays.percentile_ms(99), Some(198.0));
    }
}
